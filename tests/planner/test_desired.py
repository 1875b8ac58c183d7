"""Keys in, desired state out; the last good value stays when the new one is refused."""

import json
import re

import pytest

from lictor import errors, model
from lictor.planner import desired, service_state
from lictor.planner.service_state import State
from lictor.reconcile.container_spec import parse_env_file
from lictor.routing.key_cache import Key, versions
from lictor.spec import service_spec
from lictor.spec.keys import changed_services, describe_unknown, group_by_service

from support.scene import state_of

SPEC = {"name": "books", "image": "books:1", "port": 8080, "node": "node-1", "route": {"path": "/books"},
        "replicas": {"initial": 2, "max": 9}}
KEYS = {"spec": json.dumps(SPEC).encode()}


@pytest.mark.parametrize("text", [
    "three", "-1", "1e3", "999", "", "\x00\xff", "3.0", "٣", "0x3", "+3", "03", "1_0", "9" * 5000,
])
def test_a_bad_count_is_refused_by_name_and_the_last_good_one_stays(text: str) -> None:
    wanted = desired.desired("books", {**KEYS, "replicas": text.encode("utf-8")}, state_of(replicas=4))
    assert wanted.replicas == 4
    (problem,) = wanted.problems
    assert problem.startswith("services/books/replicas: is ") and problem.endswith("a whole number within 0..9")
    assert "\n" not in problem and len(problem) < 300


@pytest.mark.parametrize(("keys", "remembered", "replicas"), [
    ({}, State(), 2),
    ({"replicas": b"3"}, State(), 3),
    ({"replicas": b"3\n"}, state_of(replicas=5), 3),
    ({}, state_of(replicas=5), 5),  # deleting the key keeps the count
    ({}, state_of(replicas=50), 9),
])
def test_the_count_is_the_key_or_the_last_good_one_or_the_initial_one(
        keys: dict[str, bytes], remembered: State, replicas: int) -> None:
    wanted = desired.desired("books", {**KEYS, **keys}, remembered)
    assert (wanted.replicas, wanted.problems) == (replicas, ())


@pytest.mark.parametrize(("spec", "said"), [
    (b"{", "is no JSON"),
    (b"[]", "it is []; it must be a table with the keys name, engine"),
    (json.dumps({**SPEC, "imagee": "x"}).encode(), "unknown key imagee; did you mean image?"),
    (json.dumps({**SPEC, "name": "other"}).encode(), "must be 'books'"),
    (b"\xff\xfe", "is no JSON"),
    (b"[" * 100_000, "is no JSON"),
    (json.dumps({**SPEC, "environment": {"A": "\ud800"}}).encode(), "is no JSON"),
    (json.dumps({**SPEC, "node": ""}).encode(), "node is missing; it must name the one node that runs it"),
])
def test_a_bad_spec_is_refused_and_the_last_good_one_stays(spec: bytes, said: str) -> None:
    wanted = desired.desired("books", {"spec": spec}, state_of(spec=SPEC))
    assert wanted.spec == service_spec.parse_spec(SPEC, "")
    (problem,) = wanted.problems
    assert problem.startswith("services/books/spec") and said in problem
    assert desired.desired("books", {"spec": spec}, State()).spec is None


def test_the_image_key_wins_and_a_bad_one_does_not() -> None:
    good = desired.desired("books", {**KEYS, "image": b"books:2"}, State())
    bad = desired.desired("books", {**KEYS, "image": b"books:2 --privileged"}, state_of(image="books:2"))
    assert good.spec and bad.spec
    assert (good.spec.image, bad.spec.image, len(bad.problems)) == ("books:2", "books:2", 1)


@pytest.mark.parametrize(("engine", "image"), [("docker", "books:1"), ("webhook", "releases/V2")])
def test_the_image_key_is_held_to_dockers_grammar_where_docker_gets_it(engine: str, image: str) -> None:
    spec = {**SPEC, "engine": engine, "image": "books:1"}
    wanted = desired.desired("books", {"spec": json.dumps(spec).encode(), "image": b"releases/V2"}, State())
    assert wanted.spec and wanted.spec.image == image
    assert len(wanted.problems) == (image == "books:1")


def test_a_spec_that_is_gone_holds_and_a_tombstone_removes() -> None:
    gone = desired.desired("books", {}, state_of(spec=SPEC))
    assert gone.spec and "cannot be read" in gone.why_held and not gone.removed
    assert desired.desired("books", {"removed": b""}, state_of(spec=SPEC)).removed


def test_counts_do_not_change_the_release_and_ports_do() -> None:
    def release(**changes: object) -> str:
        return desired.fingerprint(service_spec.parse_spec({**SPEC, **changes}, ""))
    assert release() == release(replicas={"max": 3}, route={"path": "/"}, drain="1s", autoscale={"p95": "1s"})
    assert release(check={"http": "/"}) == release(check={"http": "/", "start": "5m"}) != release(check={"http": "/x"})
    assert len({release(), release(port=81), release(image="books:2"), release(environment={"A": "1"}),
                release(engine="swarm", placement={"spread": ["node.labels.zone"]})}) == 5


@pytest.mark.parametrize(("name", "fits"), [("a" * 57, True), ("a-b_c", True), ("a" * 58, False), ("a.b", False)])
def test_swarm_takes_fewer_names(name: str, fits: bool) -> None:
    spec = {**SPEC, "engine": "swarm", "name": name, "placement": {
        "constraints": ["node.labels.disk==ssd", "node.role != manager", "engine.labels.a.b-c==1.2/3"],
        "spread": ["node.labels.zone", "engine.labels.rack"]}}
    if fits:
        assert service_spec.parse_spec(spec, "").name == name
        return
    with pytest.raises(errors.Refused, match="Swarm takes at most 57 of a-z 0-9 _ -, and no dot"):
        service_spec.parse_spec(spec, "")


def test_keys_are_grouped_by_service_and_strange_ones_named() -> None:
    entries = dict.fromkeys(["services/", "services/books/spec", "services/books/colour", "services/../x/spec",
                             "services/Books/spec", "services/books/replicas", "services/mails/color",
                             "services/db/mongo/1", "other/books/spec"], b"")
    grouped, unknown = group_by_service(entries, "services/")
    assert {name: sorted(keys) for name, keys in grouped.items()} == {"books": ["replicas", "spec"]}
    assert unknown == ["services/../x/spec", "services/Books/spec", "services/books/colour", "services/db/mongo/1"]
    assert describe_unknown([*unknown, "services/a/1", "services/a/2"], "services/") == [
        "'services/Books/spec': 'Books' is no service's name; it must be 1 to 63 of a-z 0-9 _ . -, with a letter or "
        "digit at both ends, and without '..'",
        "'services/../x/spec', 'services/books/colour', 'services/db/mongo/1' and 2 more: not lictor's. It reads "
        "services/NAME/KEY, where KEY is one of spec, replicas, image, color, canary, hold, "
            "removed"]
    assert describe_unknown([], "services/") == []


@pytest.mark.parametrize("name", ["Bad_Name", "-books", "books-", "books.", "b..s", "a" * 64, "b s", "bücher", "B", "_",
                                  "books\n", "{name}", "*"])
def test_a_key_whose_name_is_bad_is_told_with_the_rule_of_names(name: str) -> None:
    keys = {f"services/{name}/{key}": b"1" for key in ("spec", "replicas", "image", "hold", "removed")}
    grouped, unknown = group_by_service(keys, "services/")
    [said] = describe_unknown(unknown, "services/")
    assert grouped == {} and f" and 2 more: {name!r} is no service's name; {model.NAME_RULE}" in said
    with pytest.raises(errors.Refused, match=re.escape(f"name is {name + '.'!r}; {model.NAME_RULE}")):
        service_spec.parse_spec({**SPEC, "name": f"{name}."}, "")




@pytest.mark.parametrize("key", ["color", "replicas", "removed"])
def test_a_service_whose_one_key_changes_has_changed(key: str) -> None:
    name = f"services/books/{key}"
    now = versions({name: Key(2, b"x"), "services/books/instances": Key(2, b"x")}, "services/")
    for before in ({}, {name: Key(1, b"x")}, {name: Key(2, b"")}):  # the last one: of a Consul that was set up anew
        assert changed_services(versions(before, "services/"), now, "services/") == {"books"}
    assert changed_services(now, now, "services/") == set() and now.keys() == {name}


@pytest.mark.parametrize(("change", "said"), [
    ({"name": "Books"}, "name is 'Books'"),
    ({"image": "a b"}, "image is 'a b'"),
    ({"port": 0}, "port is 0"),
    ({"port": True}, ""),
    ({"port": "1.2.3.400::80"}, "is no IPv4 address"),
    ({"route": {"path": "books; return 200"}}, "path is"),
    ({"route": {"path": "/a/../b"}}, "path is"),
    ({"route": {"path": "/", "host": "a b"}}, "host is"),
    ({"route": {"path": "/"}, "port": None}, "route needs a port"),
    ({"drain": "soon"}, "is no duration"),
    ({"replicas": {"min": 3, "max": 2}}, "must not descend"),
    ({"check": {"https": "h"}}, "check.https is 'h'; it must be a path such as /health"),
    ({"check": {"http": "/", "https": "/"}}, "check: exactly one of http, https and tcp is allowed"),
    ({"check": {"http": "/", "insecure": True}}, "check.insecure is for https, whose certificate is not verified then"),
    ({"check": {"http": "/", "port": 0}}, "check.port is 0; it must be 1 to 65535"),
    ({"check": {}}, "exactly one of http, https and tcp"),
    ({"engine": "kubernetes"}, "this version knows docker, compose, swarm, command, webhook, none"),
    ({"labels": {"lictor.service": "x"}}, "is lictor's own"),
    ({"labels": {"com.docker.swarm.task.id": "x"}}, "is Swarm's own"),
    ({"placement": {"spread": ["node.labels.zone"]}}, "placement is for engine swarm; this one's engine is docker"),
    ({"engine": "swarm", "port": "127.0.0.1::8080"}, "port names the address 127.0.0.1; Swarm publishes on all "),
    ({"engine": "swarm", "placement": {"constraints": ["node.zone==a"]}}, "constraints holds 'node.zone==a'"),
    ({"engine": "swarm", "placement": {"constraints": ["node.labels.zone=a"]}}, "holds 'node.labels.zone=a'; Swarm "),
    ({"engine": "swarm", "placement": {"constraints": ["node.role==manager; x"]}}, "constraints holds"),
    ({"engine": "swarm", "placement": {"spread": ["node.id"]}}, "spread holds 'node.id'; Swarm takes such as "),
    ({"engine": "swarm", "placement": {"prefer": []}}, "unknown key placement.prefer"),
    ({"resources": {"memory": "much"}}, "is no amount of memory"),
    ({"resources": {"cpus": float("nan")}}, "cpus is nan"),
    ({"resources": {"cpus": -1}}, "cpus is -1"),
    ({"command": "echo 'hunter2"}, "command cannot be split into words: No closing quotation"),
    ({"entrypoint": 'x "hunter2'}, "entrypoint cannot be split into words"),
    # no value that may be a secret is repeated
    ({"environment": "hunter2"}, "environment is a text; it must be a table or a list of strings"),
    ({"environment": ["A=1", {"hunter2": 2}]}, "environment[1] is a table; it must be a string"),
    ({"environment": {"PASSWORD": ["hunter2"]}}, "environment.PASSWORD is a list; it must be a string"),
    ({"labels": 1234567}, "labels is a number"), ({"labels": {"a": True}}, "labels.a is true; it must be a string"),
    ({"command": [1234567]}, "command[0] is a number"), ({"logging": "hunter2"}, "logging is a text"),
    ({"logging": {"options": {"token": 1234567}}}, "logging.options.token is a number; it must be a string"),
    ({"logging": {"driver": True}}, "logging.driver is true"),
    ({"environment": {"": "hunter2"}}, "environment holds a value without a name"),
    ({"environment": ["=hunter2"]}, "environment holds a value without a name"),
    ({"environment": {"A": "1\0hunter2"}}, "environment holds a zero byte"),
    ({"environment": ["A\0=hunter2"]}, "environment holds a zero byte"),
    # where a template has {image} in a path, the image would choose the file
    ({"engine": "command", "image": "x/../../tmp/evil"}, "image is 'x/../../tmp/evil'"),
    ({"engine": "webhook", "image": "x/./y"}, "image is 'x/./y'"), ({"engine": "command", "image": "x/.."}, "image is"),
])
def test_a_spec_that_is_refused_says_why(change: dict[str, object], said: str) -> None:
    with pytest.raises(errors.Refused, match="^books.yaml: ") as raised:
        service_spec.parse_spec({**SPEC, **change}, "books.yaml")
    assert said in str(raised.value) and "hunter2" not in str(raised.value)


@pytest.mark.parametrize(("text", "seconds"), [("500ms", 0.5), ("2s", 2), ("1m30s", 90), ("1h", 3600), ("1.5s", 1.5)])
def test_durations_are_written_as_in_compose(text: str, seconds: float) -> None:
    assert service_spec.parse_spec({**SPEC, "drain": text}, "").drain == seconds


@pytest.mark.parametrize(("text", "size"), [("64m", 64 << 20), ("128MiB", 128 << 20), ("1g", 1 << 30),
                                            ("10b", 10), (7, 7)])
def test_memory_is_written_as_in_compose(text: object, size: int) -> None:
    assert service_spec.parse_spec({**SPEC, "resources": {"memory": text}}, "").resources.memory == size


@pytest.mark.parametrize(("text", "table"), [
    ("# of books\n\n A=1 \r\nB=x=y\nC=\n", {"A": "1", "B": "x=y", "C": ""}),
    ("\ufeffA=1\r\nB =2\n C=3", {"A": "1", "B": "2", "C": "3"}),  # from an editor that marks UTF-8
    ("export A=1\nexport\tB=2\n=x\nC D=1\n", {"A": "1", "B": "2"}),  # as a shell reads it, too
    ("A=a\u0085b\u2028c\x0cd\x1ce\n", {"A": "a\u0085b\u2028c\x0cd\x1ce"}),  # only \n ends a line
    ("PATH\nA=1\n", {"A": "1"}),  # to empty PATH would leave the image without its programs
])
def test_env_files_are_read_as_docker_reads_them(text: str, table: dict[str, str]) -> None:
    assert parse_env_file(text) == table


@pytest.mark.parametrize("text", [
    None, b"", b"null", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"failures": "many"}', b'{"passed_once": [1]}',
    b'"\xed\xa0\x80"',
])
def test_a_damaged_state_is_a_fresh_one(text: bytes | None) -> None:
    assert service_state.decode(text) == State()


def test_routes_are_a_list_however_they_were_written() -> None:
    def paths(given: object) -> list[tuple[str, str, bool]]:
        wanted = desired.desired("books", {"spec": json.dumps({**SPEC, "route": given}).encode()}, State())
        found = desired.route(wanted, "node-1") or {"routes": []}
        return [(each["host"], each["path"], "strip" in each["options"]) for each in found["routes"]]

    assert paths(None) == [] and paths("/b") == paths({"path": "/b"}) == paths(["/b"]) == [("", "/b", False)]
    assert paths(["/b", {"path": "/", "host": "a.b", "strip": True}]) == [("", "/b", False), ("a.b", "/", True)]


@pytest.mark.parametrize(("spec", "acts"), [
    ({"node": "node-1"}, True),
    ({"node": "node-2"}, False),
    ({"engine": "none", "image": "", "node": ""}, False),
    ({"engine": "swarm", "node": ""}, True),  # on whichever node the Swarm has a manager then
])
def test_a_route_says_whether_its_node_may_act_for_the_service(spec: dict[str, object], acts: bool) -> None:
    given = {**SPEC, "route": {"path": "/books"}, "release": {"strategy": "rolling"}, **spec}
    wanted = desired.desired("books", {"spec": json.dumps(given).encode()}, State())
    route = desired.route(wanted, "node-1")
    assert wanted.problems == () and route and route["acts"] is acts
