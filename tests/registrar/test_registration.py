"""Tables: what Docker's inspect shows of a container, and what Consul is told of it."""

from typing import Any

import pytest

from lictor import model
from lictor.registrar import registration

OPTIONS = registration.Options(host="vm", engine="E1")
LOOPBACK = {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "32768"}]}
OWN = {"lictor.engine": "docker", "lictor.service": "books", "lictor.number": "1", "lictor.container": "books-1",
       "lictor.registers": "SERVICE_NAME SERVICE_8080_NAME"}
META = {"lictor-engine": "E1", "lictor-container": "c0ffee", "lictor-image": "hub:5000/shop/books-service:1.0"}


def container(labels: dict[str, str] | None = None, env: list[str] | None = None, ports: dict[str, Any] | None = None,
              *, status: str = "running", health: str = "", network_mode: str = "default",
              image: str = "hub:5000/shop/books-service:1.0") -> dict[str, Any]:
    state: dict[str, Any] = {"Status": status, "Running": status != "exited"}
    if health:
        state["Health"] = {"Status": health}
    return {
        "Id": "c0ffee", "Name": "/books-1", "State": state, "HostConfig": {"NetworkMode": network_mode},
        "Config": {"Image": image, "Labels": labels, "Env": env, "ExposedPorts": {"8080/tcp": {}}},
        "NetworkSettings": {"Ports": LOOPBACK if ports is None else ports,
                            "Networks": {"bridge": {"IPAddress": "172.17.0.2"}}},
    }


def registered(shown: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    found, refused = registration.registrations(shown, OPTIONS._replace(**options))
    assert refused == []
    return [each.definition for each in found]


def refusals(shown: dict[str, Any]) -> str:
    """The one line that is said of a container of which nothing is registered."""
    found, refused = registration.registrations(shown, OPTIONS)
    assert found == []
    [line] = refused
    assert len(line) < 400 and line.isprintable()
    return line


def test_a_published_port_is_a_service_named_after_the_image() -> None:
    assert registered(container()) == [{"ID": "vm:books-1:8080", "Name": "books-service", "Address": "127.0.0.1",
                                        "Port": 32768, "Tags": [], "Meta": META}]


@pytest.mark.parametrize(("image", "name"), [
    ("books", "books"), ("a/b/books:1", "books"), ("hub:5000/books", "books"), ("books@sha256:00ff", "books"),
])
def test_name_of_an_image(image: str, name: str) -> None:
    assert registered(container(image=image))[0]["Name"] == name


@pytest.mark.parametrize(("bindings", "address", "port", "checked_at"), [
    ([("127.0.0.1", "1")], "127.0.0.1", 1, "127.0.0.1:1"),
    ([("10.0.0.5", "1")], "10.0.0.5", 1, "10.0.0.5:1"),
    ([("127.0.0.1", "1"), ("10.0.0.5", "2")], "10.0.0.5", 2, "10.0.0.5:2"),
    ([("0.0.0.0", "1"), ("::", "1")], "", 1, "127.0.0.1:1"),
    ([("::", "2"), ("0.0.0.0", "1")], "", 1, "127.0.0.1:1"),
    ([("::", "2")], "", 2, "[::1]:2"),
    ([("fd00::5", "2")], "fd00::5", 2, "[fd00::5]:2"),
    ([("", "3")], "", 3, "127.0.0.1:3"),
])
def test_where_a_port_is_reached(bindings: list[tuple[str, str]], address: str, port: int, checked_at: str) -> None:
    ports = {"8080/tcp": [{"HostIp": ip, "HostPort": number} for ip, number in bindings]}
    [found] = registered(container({"SERVICE_CHECK_TCP": "true"}, ports=ports))
    assert (found["Address"], found["Port"], found["Check"]["TCP"]) == (address, port, checked_at)


@pytest.mark.parametrize("shown", [
    container(ports={}), container(ports={"8080/tcp": None}), container(status="exited"),
    container(status="restarting"), container({"SERVICE_IGNORE": "1"}), container({"SERVICE_8080_IGNORE": "yes"}),
])
def test_not_registered(shown: dict[str, Any]) -> None:
    assert registered(shown) == []


def test_options_of_registrator() -> None:
    everywhere = {"8080/tcp": [{"HostIp": "0.0.0.0", "HostPort": "32768"}]}
    assert registered(container(), explicit=True) == []
    assert registered(container({"SERVICE_NAME": "x"}), explicit=True)[0]["Name"] == "x"
    assert registered(container(ports=everywhere), address="10.1.1.1")[0]["Address"] == "10.1.1.1"
    assert registered(container(), address="10.1.1.1")[0]["Address"] == "127.0.0.1"  # nobody else reaches it
    [internal] = registered(container({"SERVICE_CHECK_HTTP": "/h"}, ports={"8080/tcp": None}), internal=True)
    assert (internal["Address"], internal["Port"]) == ("172.17.0.2", 8080)
    assert internal["Check"]["HTTP"] == "http://172.17.0.2:8080/h"
    [host] = registered(container(ports={}, network_mode="host"))
    assert (host["Address"], host["Port"]) == ("", 8080)


def test_several_ports_and_what_is_not_tcp() -> None:
    ports = {each: [{"HostIp": "127.0.0.1", "HostPort": str(1000 + index)}]
             for index, each in enumerate(["8080/tcp", "53/udp", "53/tcp", "53/sctp"])}
    labels = {"SERVICE_NAME": "all", "SERVICE_8080_NAME": "web", "SERVICE_TAGS": "a", "SERVICE_8080_TAGS": "b,c\\,d",
              "SERVICE_CHECK_TCP": "1", "SERVICE_ZONE": "x", "SERVICE_53_ZONE": "y"}
    found = registered(container(labels, ports=ports))
    assert [(each["ID"], each["Name"], each["Port"], each["Tags"], "Check" in each, each["Meta"]["zone"],
             each["Meta"].get("lictor-protocol")) for each in found] == [
        ("vm:books-1:53:sctp", "all-53", 1003, ["a", "sctp"], False, "y", "sctp"),
        ("vm:books-1:53", "all-53", 1002, ["a"], True, "y", None),
        ("vm:books-1:53:udp", "all-53", 1001, ["a", "udp"], False, "y", "udp"),
        ("vm:books-1:8080", "web", 1000, ["b", "c,d"], True, "x", None),
    ]


def test_labels_win_over_variables_and_lictors_containers_have_labels_alone() -> None:
    labels, env = {"SERVICE_NAME": "from-label"}, ["SERVICE_NAME=from-env", "SERVICE_ZONE=a", "SERVICE_", "PATH=/bin"]
    found = registered(container(labels, env[:2]))[0]
    assert (found["Name"], found["Meta"]["zone"]) == ("from-label", "a")
    assert registered(container({}, ["SERVICE_8080_NAME=port", *env[:1]]))[0]["Name"] == "port"
    assert registered(container(labels, ["SERVICE_8080_NAME=port"]))[0]["Name"] == "port"  # a port's own wins anyway
    assert registered(container({**labels, **OWN, "SERVICE_ZONE": "b"}, env))[0]["Meta"] == META


IMAGE: dict[str, Any] = {"Labels": {"SERVICE_NAME": "db", "SERVICE_ID": "db-1", "zone": "x"},
                         "Env": ["SERVICE_TAGS=evil", "A=b"]}


@pytest.mark.parametrize(("labels", "env", "name", "tags"), [
    (IMAGE["Labels"], IMAGE["Env"], "books-service", []),
    ({**IMAGE["Labels"], "SERVICE_NAME": "mine"}, ["SERVICE_TAGS=good"], "mine", ["good"]),
    ({**IMAGE["Labels"], **OWN}, [], "db", []),  # lictor wrote the name, whatever the image has
])
def test_an_image_may_be_of_no_account(labels: dict[str, str], env: list[str], name: str, tags: list[str]) -> None:
    [found], _ = registration.registrations(container(labels, env), OPTIONS, image=IMAGE)
    assert (found.definition["Name"], found.definition["Tags"]) == (name, tags)
    ours = {**IMAGE, "Labels": {**labels, **OWN, "lictor.container": "books-2"}}  # of `docker commit`
    [found], _ = registration.registrations(container(ours["Labels"], env), OPTIONS, image=ours)
    assert found.definition["Name"] == "books-service"


def as_seen(mode: str, ports: dict[str, Any], exposed: list[str], labels: dict[str, str] | None = None,
            address: str = "172.17.0.2") -> dict[str, Any]:
    """A container with that network mode, which exposes these ports."""
    shown = container(labels, ports=ports, network_mode=mode)
    shown["Config"]["ExposedPorts"] = dict.fromkeys(exposed, {})
    shown["NetworkSettings"]["Networks"] = {"bridge": {"IPAddress": address}} if address else {}
    return shown


EVERYWHERE = {"8080/tcp": [{"HostIp": "0.0.0.0", "HostPort": "32768"}]}
PAUSE = as_seen("default", EVERYWHERE, ["8080/tcp"], address="172.17.0.9")
ON_HOST = as_seen("host", {}, [], address="")


@pytest.mark.parametrize(("shown", "joined", "internal", "found"), [
    (as_seen("host", {}, ["8080/tcp"]), None, False, [("books-service", "", 8080)]),
    (as_seen("host", {}, ["8080/tcp"], address=""), None, True, [("books-service", "", 8080)]),
    (as_seen("host", {}, [], {"SERVICE_8088_NAME": "web"}), None, False, [("web", "", 8088)]),
    (as_seen("host", {}, ["8080/tcp"], {"SERVICE_NAME": "web", "SERVICE_8088_NAME": "web"}), None, False,
     [("web-8080", "", 8080), ("web", "", 8088)]),
    (as_seen("host", {}, [], {"SERVICE_8088_TAGS": "a", "SERVICE_NAME": "web"}), None, False, [("web", "", 8088)]),
    (as_seen("host", {}, ["8088/udp"], {"SERVICE_8088_NAME": "dns"}), None, False, [("dns", "", 8088)]),
    (as_seen("container:p", {}, ["8080/tcp"]), PAUSE, False, [("books-service", "", 32768)]),
    (as_seen("container:p", {}, ["8080/tcp"]), PAUSE, True, [("books-service", "172.17.0.9", 8080)]),
    (as_seen("container:p", {}, ["9090/tcp"]), PAUSE, False, [("books-service", "172.17.0.9", 9090)]),
    (as_seen("container:p", {}, [], {"SERVICE_7070_NAME": "a"}), PAUSE, False, [("a", "172.17.0.9", 7070)]),
    (as_seen("container:p", {}, ["9090/tcp"]), ON_HOST, False, [("books-service", "", 9090)]),
    (as_seen("default", EVERYWHERE, ["http/tcp", "8080/tcp", "0/tcp", "65536/tcp", "9" * 5000]), None, False,
     [("books-service", "", 32768)]),
    (as_seen("host", {}, ["http/tcp", "8080"]), None, False, [("books-service", "", 8080)]),
])
def test_ports_of_every_kind_of_network(shown: dict[str, Any], joined: dict[str, Any] | None, internal: bool,
                                        found: list[tuple[str, str, int]]) -> None:
    made, refused = registration.registrations(shown, OPTIONS._replace(internal=internal), joined=joined)
    assert [tuple(each.definition[key] for key in ("Name", "Address", "Port")) for each in made] == found
    assert refused == []


@pytest.mark.parametrize(("shown", "options", "says"), [
    (container({"SERVICE_NAME": "web"}, ports={}), {}, "SERVICE_NAME asked for a port, and it is not published"),
    (container({"SERVICE_NAME": "web"}, ports={"8080/tcp": None}), {}, "-p 8080"),
    (container({"SERVICE_NAME": "web", model.LABEL_TASK: "t"}, ports={"8080/tcp": None}), {}, "mode=host"),
    (container({"SERVICE_9090_NAME": "web"}), {}, "SERVICE_9090_NAME asked"),
    (container({"SERVICE_08080_NAME": "web"}), {}, "SERVICE_08080_NAME asked"),
    (container({"SERVICE_" + "8" * 5000 + "_NAME": "web"}), {}, "SERVICE_888"),
    (container({f"SERVICE_{number}_NAME": "web" for number in range(100, 200)}), {}, ", 97 more asked"),
    (container(env=["SERVICE_ID=db"], ports={}), {}, "SERVICE_ID asked"),
    (container({"SERVICE_9090_NAME": "web", **OWN, "lictor.registers": "SERVICE_9090_NAME"}), {},
     "SERVICE_9090_NAME asked"),
    (container({"SERVICE_NAME": "web"}, ports={}), {"explicit": True}, "SERVICE_NAME asked"),
    (container({"SERVICE_9090_NAME": "web"}, ports={}), {"internal": True}, "does not expose it"),
    (as_seen("none", {}, [], {"SERVICE_NAME": "web"}, ""), {}, "has no network"),
    (as_seen("none", {}, ["8080/tcp"], {"SERVICE_NAME": "web"}, ""), {"internal": True}, "has no address"),
    (as_seen("host", {}, [], {"SERVICE_NAME": "web"}), {}, "SERVICE_8080_NAME"),
    (as_seen("container:gone", {}, ["8080/tcp"], {"SERVICE_NAME": "web"}), {}, "does not run"),
])
def test_a_wish_without_a_port_is_answered_in_one_line(shown: dict[str, Any], options: dict[str, Any],
                                                       says: str) -> None:
    _, refused = registration.registrations(shown, OPTIONS._replace(**options))
    assert len(refused) == 1 and says in refused[0] and len(refused[0]) < 600


@pytest.mark.parametrize(("shown", "options"), [
    (container({"SERVICE_NAME": "web", "SERVICE_IGNORE": "1"}, ports={}), {}),
    (container({"SERVICE_9090_NAME": ""}), {}), (container({"SERVICE_9090_IGNORE": "1"}), {}),
    (container({"SERVICE_NAME": "worker", **OWN}, ports={}), {}),  # it has no port to have
    (container({"SERVICE_TAGS": "web"}, ports={}), {"explicit": True}),
    (container(env=["SERVICE_ACCOUNT=x"], ports={}), {}), (container(ports={}), {}),
    (container({"SERVICE_NAME": "web"}, status="exited"), {}),
])
def test_who_asks_for_nothing_is_told_nothing(shown: dict[str, Any], options: dict[str, Any]) -> None:
    assert registration.registrations(shown, OPTIONS._replace(**options))[1] == []


@pytest.mark.parametrize(("key", "value", "field", "found"), [
    ("SERVICE_NAME", " web\n", "Name", "web"), ("SERVICE_ID", "\tid ", "ID", "id"),
    ("SERVICE_TAGS", "a,b\n", "Tags", ["a", "b"]), ("SERVICE_TAGS", "\n a , b,\nc\n,", "Tags", ["a", "b", "c"]),
    ("SERVICE_TAGS", "strip=/a b", "Tags", ["strip=/a b"]), ("SERVICE_ZONE", " x\n", "Meta", {**META, "zone": "x"}),
    ("SERVICE_CHECK_HTTP", "/health\n", "Check", {"HTTP": "http://127.0.0.1:32768/health", "Interval": "10s"}),
    ("SERVICE_CHECK_TTL", " 30s\r\n", "Check", {"TTL": "30s"}), ("SERVICE_CHECK_TCP", " ", "Check", None),
    ("SERVICE_IGNORE", "\n", "Name", "books-service"),
    ("SERVICE_8080_NAME", "web\n", "Name", "web"),
])
def test_white_space_around_any_value_is_no_part_of_it(key: str, value: str, field: str, found: object) -> None:
    assert registered(container({key: value}))[0].get(field) == found
    assert registered(container(env=[f"{key}={value}"]))[0].get(field) == found


@pytest.mark.parametrize("tags", ["good,a\nb", "a,\x1b[2J".replace("a", "good"), "t" * 10_240 + ",good", "good,\x00"])
def test_a_bad_tag_is_left_out_and_not_its_instance(tags: str) -> None:
    [found], refused = registration.registrations(container({"SERVICE_TAGS": tags}), OPTIONS)
    assert found.definition["Tags"] == ["good"]
    assert len(refused) == 1 and "is left out" in refused[0] and refused[0].isprintable() and len(refused[0]) < 300


@pytest.mark.parametrize(("tags", "count"), [
    (["t" * 4096] * 4, 4), (["t" * 4096] * 5, 4), (["t" * 1000] * 100_000, 16), (["t" * 16_000, *["t"] * 9], 9)])
def test_tags_together_are_so_long_that_a_node_can_read_those_of_all(tags: list[str], count: int) -> None:
    [found], refused = registration.registrations(container({"SERVICE_TAGS": ",".join(tags)}), OPTIONS)
    assert len(found.definition["Tags"]) == count and len(refused) == (count < len(tags))
    assert all("is left out" in each and len(each) < 300 for each in refused)


@pytest.mark.parametrize("name", ["consul", "lictor", "Consul", "LICTOR", " consul\n"])
def test_two_names_are_no_containers_to_have(name: str) -> None:
    assert "SERVICE_NAME" in refusals(container({"SERVICE_NAME": name}))
    assert "SERVICE_ID" in refusals(container({"SERVICE_ID": name}))
    assert "SERVICE_NAME" in refusals(container(image=f"hub/{name.strip().lower()}:1"))


def test_all_of_the_metadata_fits_into_consuls_64() -> None:
    labels = {f"SERVICE_K{number}": "x" for number in range(100)} | {model.LABEL_COLOR: "blue"}
    shown = container(labels, ports={"8080/udp": [{"HostIp": "127.0.0.1", "HostPort": "1"}]})
    [found], refused = registration.registrations({**shown, "Image": "sha256:ab"}, OPTIONS)
    assert len(found.definition["Meta"]) == 64 and len(refused) == 42


def test_what_lictor_wants_to_know_again_stands_in_the_metadata() -> None:
    labels = {"SERVICE_ID": "my:id", "SERVICE_LICTOR-CONTAINER": "fake", model.LABEL_COLOR: "green"}
    found, refused = registration.registrations(container(labels), OPTIONS)
    assert found[0].definition["Meta"] == {**META, "lictor-color": "green"}
    assert (found[0].id, found[0].container_id) == ("my:id", "c0ffee")
    assert "SERVICE_LICTOR-CONTAINER is left out" in refused[0]


HTTP = {"HTTP": "http://127.0.0.1:32768/health", "Interval": "10s"}


@pytest.mark.parametrize(("settings", "check"), [
    ({"HTTP": "/health"}, HTTP),
    ({"HTTPS": "/a?b=c"}, {"HTTP": "https://127.0.0.1:32768/a?b=c", "Interval": "10s"}),
    ({"TCP": "true"}, {"TCP": "127.0.0.1:32768", "Interval": "10s"}),
    ({"TTL": "30s"}, {"TTL": "30s"}),
    ({"HTTP": "/health", "TCP": "true", "INTERVAL": "1m30s", "TIMEOUT": "500ms"},
     {**HTTP, "Interval": "1m30s", "Timeout": "500ms"}),
    ({"HTTP": "/health", "INITIAL_STATUS": "passing", "DEREGISTER_AFTER": "10m"},
     {**HTTP, "Status": "passing", "DeregisterCriticalServiceAfter": "10m"}),
    ({"HTTP": "/health", "HTTP_METHOD": "HEAD"}, {**HTTP, "Method": "HEAD"}),
    ({"HTTPS": "/a", "HTTPS_METHOD": "PUT", "HTTP_METHOD": "HEAD"},
     {"HTTP": "https://127.0.0.1:32768/a", "Method": "PUT", "Interval": "10s"}),
    ({"HTTPS": "/a", "TLS_SKIP_VERIFY": "1"},
     {"HTTP": "https://127.0.0.1:32768/a", "TLSSkipVerify": True, "Interval": "10s"}),
    ({"HTTP": "/health", "TLS_SKIP_VERIFY": "1"}, HTTP), ({"HTTPS": "/a"}, {
        "HTTP": "https://127.0.0.1:32768/a", "Interval": "10s"}),
    ({"GRPC": "true", "INTERVAL": "2s", "TIMEOUT": "1s"},
     {"GRPC": "127.0.0.1:32768", "Interval": "2s", "Timeout": "1s"}),
    ({"GRPC": "1", "GRPC_USE_TLS": "1", "TLS_SKIP_VERIFY": "1"},
     {"GRPC": "127.0.0.1:32768", "GRPCUseTLS": True, "TLSSkipVerify": True, "Interval": "10s"}),
    ({"GRPC": "1", "TLS_SKIP_VERIFY": "1"}, {"GRPC": "127.0.0.1:32768", "Interval": "10s"}),
    ({"GRPC": "1", "TCP": "1"}, {"TCP": "127.0.0.1:32768", "Interval": "10s"}),
])
def test_checks(settings: dict[str, str], check: dict[str, str] | None) -> None:
    labels = {f"SERVICE_CHECK_{key}": value for key, value in settings.items()}
    assert registered(container(labels))[0].get("Check") == check
    by_port = {f"SERVICE_8080_CHECK_{key}": value for key, value in settings.items()}
    assert registered(container(by_port))[0].get("Check") == check


UDP = {"53/udp": [{"HostIp": "0.0.0.0", "HostPort": "5300"}]}
TWINS = {**UDP, "53/tcp": [{"HostIp": "0.0.0.0", "HostPort": "5301"}]}
BESIDE = {**UDP, "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8000"}]}


@pytest.mark.parametrize(("settings", "ports", "said"), [
    # settings of a check that nothing asks for: it would pass for ever
    *[({f"SERVICE_CHECK_{key}": "1s"}, LOOPBACK, f"SERVICE_CHECK_{key} changes nothing: no SERVICE_CHECK_HTTP, ")
      for key in ("INTERVAL", "TIMEOUT")],
    ({"SERVICE_CHECK_HTTP_METHOD": "HEAD"}, LOOPBACK, "SERVICE_CHECK_HTTP_METHOD changes nothing"),
    ({"SERVICE_8080_CHECK_GRPC_USE_TLS": "1"}, LOOPBACK, "SERVICE_CHECK_GRPC_USE_TLS changes nothing"),
    ({"SERVICE_CHECK_TLS_SKIP_VERIFY": "1"}, LOOPBACK, "SERVICE_CHECK_TLS_SKIP_VERIFY changes nothing"),
    ({"SERVICE_CHECK_INTERVAL": "1s", "SERVICE_CHECK_TCP": "1"}, LOOPBACK, ""),
    # a check by TCP of what speaks UDP alone
    *[({f"SERVICE_{port}CHECK_{key}": "/h"}, UDP, f"SERVICE_CHECK_{key} is not asked: it asks by TCP, and the port is "
       "53/udp") for key in ("HTTP", "HTTPS", "TCP", "GRPC") for port in ("", "53_")],
    ({"SERVICE_CHECK_HTTP": "/h"}, TWINS, ""), ({"SERVICE_53_CHECK_HTTP": "/h"}, TWINS, ""),
    ({"SERVICE_CHECK_HTTP": "/h"}, BESIDE, ""), ({"SERVICE_80_CHECK_HTTP": "/h"}, BESIDE, ""),
    ({"SERVICE_53_CHECK_HTTP": "/h"}, BESIDE, "SERVICE_CHECK_HTTP is not asked"),
    ({"SERVICE_CHECK_HTTP": "/h", "SERVICE_CHECK_TTL": "9s"}, UDP, ""),
    # a port by its number outside of the container
    ({"SERVICE_32768_NAME": "x"}, LOOPBACK, "that is where it is published. Name the container's own port: "
                                            "SERVICE_8080_NAME"),
    ({"SERVICE_8001_NAME": "x"}, LOOPBACK, "it is not published"),
    ({"SERVICE_53_NAME": "x", "SERVICE_8001_NAME": "y"}, {**UDP, "80/tcp": [{"HostIp": "", "HostPort": "53"}]},
     "it is not published"),
])
def test_a_wish_without_effect_is_one_line(settings: dict[str, str], ports: dict[str, Any], said: str) -> None:
    found, refused = registration.registrations(container(settings, ports=ports), OPTIONS)
    assert len(found) == len(ports) and len(refused) == bool(said) and said in "".join(refused)


@pytest.mark.parametrize(("labels", "field", "value"), [
    ({"SERVICE_NAME ": " web"}, "Name", "web"), ({" SERVICE_8080_NAME\t": "web"}, "Name", "web"),
    ({"SERVICE_NAME": "\ufeffweb\u00a0"}, "Name", "web"), ({"SERVICE_TAGS": "\u00a0a\u200b,b\r\n"}, "Tags", ["a", "b"]),
    ({"SERVICE_ID": "one\u200b"}, "ID", "one"), ({"SERVICE_ZONE ": "x"}, "Meta", {**META, "zone": "x"}),
])
def test_what_stands_unseen_around_a_label_or_its_key_is_no_part_of_it(labels: dict[str, str], field: str,
                                                                       value: object) -> None:
    for shown in (container(labels), container(env=[f"{key}={text}" for key, text in labels.items()])):
        assert [each[field] for each in registered(shown)] == [value]


@pytest.mark.parametrize(("health", "initial", "status"), [
    ("starting", "", "critical"), ("starting", "passing", "passing"), ("healthy", "", "passing"),
    ("unhealthy", "passing", "critical"),
])
def test_a_healthcheck_becomes_a_ttl_check(health: str, initial: str, status: str) -> None:
    [found], _ = registration.registrations(
        container({"SERVICE_CHECK_INITIAL_STATUS": initial}, health=health), OPTIONS)
    assert found.definition["Check"] == {"Name": "Docker HEALTHCHECK", "TTL": "60s", "Status": status}
    assert found.health == status


@pytest.mark.parametrize(("log", "said"), [
    ([{"ExitCode": 1, "Output": "\n wget: can't connect\r\nmore\n"}], "wget: can't connect"),
    ([{"ExitCode": 0, "Output": "fine"}, {"ExitCode": 22, "Output": "404 Not Found"}], "404 Not Found"),
    ([{"ExitCode": 1, "Output": "old"}, {"ExitCode": 0, "Output": "fine"}], ""),
    ([{"ExitCode": 7, "Output": ""}], "exit code 7"), ([{"ExitCode": -1, "Output": "timeout (1s)"}], "timeout (1s)"),
    ([{"ExitCode": 1, "Output": "\x1b[2Jgone"}], "?[2Jgone"), ([{"ExitCode": 1, "Output": "x" * 5000}], "x" * 500),
    ([{"ExitCode": 1, "Output": None}], "exit code 1"), ([], ""), (None, ""),
])
def test_what_a_healthcheck_printed_while_it_fails_is_passed_on(log: object, said: str) -> None:
    shown = container(health="unhealthy")
    shown["State"]["Health"]["Log"] = log
    [found], _ = registration.registrations(shown, OPTIONS)
    assert found.health_output == said


def test_a_check_that_was_asked_for_stands_in_for_the_healthcheck() -> None:
    [found], _ = registration.registrations(container({"SERVICE_CHECK_HTTP": "/health"}, health="healthy"), OPTIONS)
    assert (found.definition["Check"], found.health) == (HTTP, None)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[
            ("SERVICE_NAME", value)
            for value in (
                "a;b",
                "a\nb",
                "../x",
                "a/./b",
                "/a",
                "a//b",
                ".",
                "a" * 5000,
                "$x",
                "a{",
                "a'",
                "a#",
                "a\\",
                "x\x00y",
                "a\u202eb",
            )
        ],
        *[("SERVICE_ID", value) for value in ("a\nb", "a/../b", "a;", "x" * 10_240, "a//b")],
        *[("SERVICE_CHECK_HTTP", value) for value in ("health", "/a b", "/a\r\nHost: x", "@evil/", "/" + "x" * 10_240)],
        ("SERVICE_CHECK_HTTPS", "//a\nb"),
        ("SERVICE_CHECK_TTL", "0s"),
        ("SERVICE_CHECK_TTL", "1y"),
        ("SERVICE_CHECK_INITIAL_STATUS", "fine"),
        ("SERVICE_CHECK_DEREGISTER_AFTER", "never"),
    ],
)
def test_hostile_values_are_refused_by_name(key: str, value: str) -> None:
    assert key in refusals(container({key: value}))
    if key.startswith("SERVICE_"):
        assert key in refusals(container(env=[f"{key}={value}"]))


@pytest.mark.parametrize(("key", "value"), [
    ("SERVICE_CHECK_HTTP_METHOD", "GET /"),
    ("SERVICE_CHECK_INTERVAL", "1; rm"), ("SERVICE_CHECK_INTERVAL", "-1s"), ("SERVICE_CHECK_TIMEOUT", "５s"),
])
def test_hostile_timing(key: str, value: str) -> None:
    assert key in refusals(container({key: value, "SERVICE_CHECK_HTTP": "/health"}))


@pytest.mark.parametrize(("key", "value"), [
    ("SERVICE_A.B", "x"), ("SERVICE_ACCOUNT", "x" * 513), ("SERVICE_KEY", "-----BEGIN\nKEY"), ("SERVICE_é", "x"),
    ("SERVICE_CONSUL-X", "x"), ("SERVICE_CHECK_METHOD", "PUT"), ("SERVICE_", "x"),
])
def test_what_may_never_have_been_meant_for_us_is_only_left_out(key: str, value: str) -> None:
    found, refused = registration.registrations(container({key: value}), OPTIONS)
    assert [each.definition["Meta"] for each in found] == [META]
    assert "is left out" in refused[0] and value not in refused[0].partition(" ")[2]


def test_one_bad_port_does_not_cost_the_other() -> None:
    ports = {**LOOPBACK, "9090/tcp": [{"HostIp": "127.0.0.1", "HostPort": "32769"}]}
    labels = {"SERVICE_9090_NAME": "a;b", "SERVICE_8080_ID": "same"}
    found, refused = registration.registrations(container(labels, ports=ports), OPTIONS)
    assert [each.id for each in found] == ["same"] and "port 9090/tcp is not registered: SERVICE_NAME" in refused[0]
    found, refused = registration.registrations(container({"SERVICE_ID": "same"}, ports=ports), OPTIONS)
    assert [each.definition["Port"] for each in found] == [32768] and "SERVICE_<port>_ID" in refused[0]


@pytest.mark.parametrize("key", ["SERVICE_CHECK_SCRIPT", "SERVICE_CHECK_CMD"])
def test_a_program_is_not_run_and_nobody_is_called_healthy_for_it(key: str) -> None:
    [found], [line] = registration.registrations(container({key: "curl -f $SERVICE_IP"}), OPTIONS)
    assert (found.definition["Check"]["TTL"], found.definition["Check"]["Status"]) == ("60s", "critical")
    assert "HTTP" in line and key in line and key in found.definition["Check"]["Notes"] and "curl" not in line
    [found], [line] = registration.registrations(container({key: "x", "SERVICE_CHECK_TCP": "1"}), OPTIONS)
    assert found.definition["Check"] == {"TCP": "127.0.0.1:32768", "Interval": "10s"} and key in line
    [found], [line] = registration.registrations(container({key: "x"}, health="healthy"), OPTIONS)
    assert found.health == "passing" and key in line
