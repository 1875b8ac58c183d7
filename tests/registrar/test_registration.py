"""Tables: what Docker's inspect shows of a container, and what Consul is told of it."""

from typing import Any

import pytest

from lictor import model
from lictor.registrar import registration

OPTIONS = registration.Options(host="vm", engine="E1")
LOOPBACK = {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "32768"}]}
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


def test_several_ports_and_udp() -> None:
    ports = {each: [{"HostIp": "127.0.0.1", "HostPort": str(1000 + index)}]
             for index, each in enumerate(["8080/tcp", "53/udp", "53/tcp"])}
    labels = {"SERVICE_NAME": "all", "SERVICE_8080_NAME": "web", "SERVICE_TAGS": "a", "SERVICE_8080_TAGS": "b,c\\,d",
              "SERVICE_CHECK_TCP": "1", "SERVICE_ZONE": "x", "SERVICE_53_ZONE": "y"}
    found = registered(container(labels, ports=ports))
    assert [(each["ID"], each["Name"], each["Port"], each["Tags"], "Check" in each, each["Meta"]["zone"],
             each["Meta"].get("lictor-protocol")) for each in found] == [
        ("vm:books-1:53", "all-53", 1002, ["a"], True, "y", None),
        ("vm:books-1:53:udp", "all-53", 1001, ["a", "udp"], False, "y", "udp"),
        ("vm:books-1:8080", "web", 1000, ["b", "c,d"], True, "x", None),
    ]


def test_environment_wins_over_labels_but_not_in_what_lictor_started() -> None:
    labels, env = {"SERVICE_NAME": "from-label"}, ["SERVICE_NAME=from-env", "SERVICE_IGNORE", "PATH=/bin"]
    assert registered(container(labels, env))[0]["Name"] == "from-env"
    assert registered(container({**labels, model.LABEL_SERVICE: "books"}, env))[0]["Name"] == "from-label"


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
    ({"INTERVAL": "5s"}, None),
])
def test_checks(settings: dict[str, str], check: dict[str, str] | None) -> None:
    labels = {f"SERVICE_CHECK_{key}": value for key, value in settings.items()}
    assert registered(container(labels))[0].get("Check") == check
    by_port = {f"SERVICE_8080_CHECK_{key}": value for key, value in settings.items()}
    assert registered(container(by_port))[0].get("Check") == check


@pytest.mark.parametrize(("health", "initial", "status"), [
    ("starting", "", "critical"), ("starting", "passing", "passing"), ("healthy", "", "passing"),
    ("unhealthy", "passing", "critical"),
])
def test_a_healthcheck_becomes_a_ttl_check(health: str, initial: str, status: str) -> None:
    [found], _ = registration.registrations(
        container({"SERVICE_CHECK_INITIAL_STATUS": initial}, health=health), OPTIONS)
    assert found.definition["Check"] == {"Name": "Docker HEALTHCHECK", "TTL": "60s", "Status": status}
    assert found.health == status


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
                "a b",
                "../x",
                "a..b",
                "bücher",
                "８０",
                "a" * 64,
                "a" * 10_240,
                "-a",
                "a/b",
                "$x",
                "a{",
                "\x00",
            )
        ],
        *[("SERVICE_ID", value) for value in ("a\nb", "a/../b", "a;", "é", "x" * 10_240, "a?b", "a%2f")],
        *[("SERVICE_TAGS", value) for value in ("a\nb", "a,\x1b[2J", "t" * 10_240)],
        *[("SERVICE_CHECK_HTTP", value) for value in ("health", "/a b", "/a\r\nHost: x", "@evil/", "/" + "x" * 10_240)],
        ("SERVICE_CHECK_HTTPS", "//a\n"),
        ("SERVICE_CHECK_TTL", "0s"),
        ("SERVICE_CHECK_TTL", "1y"),
        ("SERVICE_CHECK_INITIAL_STATUS", "fine"),
        ("SERVICE_CHECK_DEREGISTER_AFTER", "never"),
        ("SERVICE_CHECK_SCRIPT", "curl x"),
        ("SERVICE_CHECK_CMD", "/bin/x"),
        (model.LABEL_COLOR, "a;b"),
    ],
)
def test_hostile_values_are_refused_by_name(key: str, value: str) -> None:
    assert key in refusals(container({key: value}))
    if key.startswith("SERVICE_"):
        assert key in refusals(container(env=[f"{key}={value}"]))


@pytest.mark.parametrize(("key", "value"), [
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
