"""registrator beside lictor-registrar: a table of containers, what both register, and why where they differ.

docs/moving-over.md has the same differences, for users.
"""

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from lictor.registrar import registration

from support import registrator

OPTIONS = registration.Options(host=registrator.HOST, engine="E1")
ANYWHERE = {"8080/tcp": [{"HostIp": "0.0.0.0", "HostPort": "32768"}, {"HostIp": "::", "HostPort": "32768"}]}
TWO = {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8001"}], "443/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8002"}]}
DNS = {"53/udp": [{"HostIp": "0.0.0.0", "HostPort": "5300"}], "53/tcp": [{"HostIp": "0.0.0.0", "HostPort": "5301"}]}
LOOPBACK = {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "1"}]}


def container(labels: dict[str, str] | None = None, env: list[str] | None = None, ports: dict[str, Any] | None = None,
              *, exposed: list[str] | None = None, mode: str = "default", image: str = "hub:5000/shop/books:1.0",
              address: str = "172.17.0.2", health: str = "") -> dict[str, Any]:
    state: dict[str, Any] = {"Status": "running", "StartedAt": "2026-01-01"}
    network = "bridge" if mode == "default" else mode
    published = ANYWHERE if ports is None else ports
    return {
        "Id": "c0ffee", "Name": "/books-1", "State": state | ({"Health": {"Status": health}} if health else {}),
        "HostConfig": {"NetworkMode": mode},
        "Config": {"Image": image, "Labels": labels or {}, "Env": env or [],
                   "ExposedPorts": dict.fromkeys(published if exposed is None else exposed, {})},
        "NetworkSettings": {"Ports": published, "Networks": {network: {"IPAddress": address}}},
    }


PAUSE = container(address="172.17.0.9")
PAUSE_UNPUBLISHED = container(address="172.17.0.9", ports={})
OURS = {"ignore", "lictor-engine", "lictor-container", "lictor-image", "lictor-image-id", "lictor-protocol"}


def ours(shown: dict[str, Any], *, joined: dict[str, Any] | None = None, **options: Any) -> list[dict[str, Any]]:
    names = {"ip": "address", "use_ip_from_label": "address_label"}
    given_options = OPTIONS._replace(**{names.get(key, key): value for key, value in options.items()})
    found, _ = registration.registrations(shown, given_options, joined=joined)
    return sorted((each.definition for each in found), key=lambda each: str(each["ID"]))


def comparable(body: dict[str, Any], at: str) -> dict[str, Any]:
    """Leave out what always differs: lictor's metadata, settings in the metadata, the order of tags, and the node's
    address where there is none. Ours are checked at the loopback address instead of `at`."""
    address = body["Address"] or at
    check = {key: value.replace("127.0.0.1", at) if isinstance(value, str) else value
             for key, value in body.get("Check", {}).items()}
    meta = {key: value for key, value in body["Meta"].items() if key not in OURS and not key.startswith("check_")}
    return {**body, "Address": address, "Tags": sorted(body["Tags"]), "Meta": meta, "Check": check}


CHECKS = [
    {"HTTP": "/health"}, {"HTTPS": "/health"}, {"HTTP": "/a?b=c&d"}, {"TCP": "true"}, {"TTL": "30s"}, {"GRPC": "true"},
    {"HTTP": "/h", "HTTP_METHOD": "HEAD"}, {"HTTPS": "/h", "HTTPS_METHOD": "PUT"},
    {"HTTP": "/h", "HTTPS_METHOD": "PUT"},
    {"GRPC": "1", "GRPC_USE_TLS": "1"}, {"GRPC": "1", "GRPC_USE_TLS": "1", "TLS_SKIP_VERIFY": "1"},
    {"GRPC": "1", "TLS_SKIP_VERIFY": "1"}, {"HTTP": "/h", "HTTPS": "/s", "TCP": "1", "TTL": "1m", "GRPC": "1"},
    {"TTL": "1m", "TCP": "1", "GRPC": "1"}, {"TCP": "1", "GRPC": "1"}, {"HTTP": "/h", "INTERVAL": "1m30s"},
    {"TCP": "1", "INTERVAL": "500ms", "TIMEOUT": "2s"}, {"HTTP": "/h", "TIMEOUT": "1s"}, {"GRPC": "1", "TIMEOUT": "1s"},
    {"HTTP": "/h", "INITIAL_STATUS": "passing"}, {"TTL": "9s", "INITIAL_STATUS": "warning"},
    {"TCP": "1", "DEREGISTER_AFTER": "10m"}, {"INTERVAL": "5s"}, {"HTTP": ""}, {"INITIAL_STATUS": "passing"},
]
LABELS: list[dict[str, str]] = [
    {}, {"SERVICE_NAME": "web"}, {"SERVICE_NAME": ""}, {"SERVICE_ID": "my:id"}, {"SERVICE_ID": "a/b"},
    {"SERVICE_NAME": "Web_1.x"}, {"SERVICE_NAME": "w" * 64}, {"SERVICE_NAME": "a/b"}, {"SERVICE_NAME": "a:b"},
    {"SERVICE_NAME": "a b"}, {"SERVICE_NAME": "web_"}, {"SERVICE_NAME": "-web"}, {"SERVICE_NAME": "bücher"},
    {"SERVICE_ID": "i" * 300}, {"SERVICE_TAGS": "a,b"}, {"SERVICE_TAGS": "a\\,b,c"}, {"SERVICE_TAGS": ",a,,b,"},
    {"SERVICE_TAGS": "t" * 256}, {"SERVICE_TAGS": "urlprefix-/a strip=/a"}, {"SERVICE_TAGS": ""},
    {"SERVICE_ZONE": "x", "SERVICE_A-B": "y"}, {"SERVICE_IGNORE": "1"}, {"SERVICE_IGNORE": "false"},
    {"SERVICE_IGNORE": ""}, {"SERVICE_8080_NAME": "web"}, {"SERVICE_8080_IGNORE": "1"},
    {"SERVICE_IGNORE": "1", "SERVICE_8080_IGNORE": ""}, {"SERVICE_8080_TAGS": "b", "SERVICE_TAGS": "a"},
    {"SERVICE_80_NAME": "web", "SERVICE_443_ID": "tls"}, {"SERVICE_8080_ZONE": "x", "SERVICE_ZONE": "y"},
    {"service_name": "x"}, {"SERVICE_name": "lower"}, {"SERVICE_ACCOUNT": "x" * 512}, {"OTHER": "x"},
    {"SERVICE_9090_NAME": "no-such-port"}, {"SERVICE_08080_NAME": "no-port"},
    *({f"SERVICE_CHECK_{key}": value for key, value in check.items()} for check in CHECKS),
    *({f"SERVICE_8080_CHECK_{key}": value for key, value in check.items()} for check in CHECKS),
]


@pytest.mark.parametrize("labels", LABELS, ids=lambda labels: ",".join(labels)[:60] or "none")
def test_labels_and_variables_mean_the_same(labels: dict[str, str]) -> None:
    variables = [f"{key}={value}" for key, value in labels.items()]
    others = [f"{key}={'/other' if 'HTTP' in key else 'other'}" for key in labels]
    for ports in (ANYWHERE, TWO, LOOPBACK):
        assert_the_same(container(labels, ports=ports))
        assert_the_same(container({}, variables, ports))
        assert_the_same(container(labels, others, ports))  # the label wins


def assert_the_same(shown: dict[str, Any]) -> None:
    """Compare all but what UDP is asked, which registrator asks in vain, though a TTL may be set; of two ports with one
    id any one may win."""
    at = registrator.HOST_IP if shown["NetworkSettings"]["Ports"] is not LOOPBACK else "127.0.0.1"
    theirs = [comparable(body, at) for body in registrator.registered(shown)]
    found = [comparable(body, at) for body in ours(shown)]
    for body, own in zip(theirs, found, strict=False):
        if "udp" in body["Tags"] and "TTL" not in body["Check"]:
            body["Check"] = {key: value for key, value in own["Check"].items() if key == "TTL"}
    if len({body["ID"] for body in theirs}) == len(theirs):
        assert found == theirs


@pytest.mark.parametrize(("shown", "options"), [
    (container({"SERVICE_TAGS": "a"}), {"tags": "b,c"}), (container(), {"tags": "b\\,c"}),
    (container(ports=DNS), {"tags": "x"}), (container(ports=DNS), {}),
    (container({"SERVICE_53_NAME": "dns", "SERVICE_TAGS": "a"}, ports=DNS), {}),
    (container(), {"explicit": True}), (container({"SERVICE_NAME": "x"}), {"explicit": True}),
    (container({"SERVICE_8080_NAME": "x"}, ports={**ANYWHERE, **TWO}), {"explicit": True}),
    (container(), {"ip": "10.9.9.9"}), (container(ports=TWO), {"ip": "10.9.9.9"}),
    (container({"addr": "10.1.1.1"}), {"use_ip_from_label": "addr"}),
    (container({"addr": "10.1.1.1/24"}), {"use_ip_from_label": "addr"}),
    (container({"addr": "10.1.1.1", "SERVICE_CHECK_TCP": "1"}), {"use_ip_from_label": "addr", "ip": "10.9.9.9"}),
    (container({}), {"use_ip_from_label": "addr"}),
    (container({"SERVICE_CHECK_HTTP": "/h"}), {"internal": True}),
    (container({"SERVICE_CHECK_GRPC": "1"}, ports={"8080/tcp": None}), {"internal": True}),
    (container(ports={"8080/tcp": None}), {}), (container(ports={}, exposed=[]), {}),
    (container({"addr": "10.1.1.1"}), {"use_ip_from_label": "addr", "internal": True}),
    (container(ports={}, exposed=["8080/tcp"], mode="host", address=""), {}),
    (container(ports={}, exposed=["8080/tcp", "9/udp"], mode="host", address=""), {}),
    (container({"SERVICE_CHECK_TCP": "1"}, ports={}, exposed=["80/tcp"], mode="host", address=""), {"ip": "10.9.9.9"}),
    (container(ports={}, exposed=["9090/tcp"], mode="container:x", address=""), {"joined": PAUSE}),
    (container(ports={}, exposed=["8080/tcp"], mode="container:x", address=""), {"joined": PAUSE_UNPUBLISHED}),
    (container(ports={}, exposed=["8080/tcp"], mode="container:x", address=""), {"joined": PAUSE, "internal": True}),
    (container(image="books"), {}), (container(image="books:latest"), {}), (container(image="a/b/c/books:1"), {}),
])
def test_options_and_networks_mean_the_same(shown: dict[str, Any], options: dict[str, Any]) -> None:
    theirs = registrator.registered(shown, **options)
    found = ours(shown, **options)
    at = options.get("ip") or registrator.HOST_IP
    assert [comparable(body, at) for body in found] == [comparable(body, at) for body in theirs]


def parts(bodies: list[dict[str, Any]], *keys: str) -> list[tuple[Any, ...]]:
    return [tuple(body.get(key) for key in keys) for body in bodies]


USER_NETWORK = container(mode="shop", address="172.20.0.5")
PROGRAM = container({"SERVICE_CHECK_SCRIPT": "curl $SERVICE_IP", "SERVICE_CHECK_TTL": "9s"})
UDP_ALONE = container({"SERVICE_CHECK_HTTP": "/h"}, ports={"53/udp": [{"HostIp": "0.0.0.0", "HostPort": "5300"}]})
NO_CHECK_SETTINGS = "the check's settings are no metadata"
UNSAFE = "it must not reach a configuration"
SEVERAL = {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "1"}, {"HostIp": "10.0.0.5", "HostPort": "2"}]}
AGENTS_OWN = "the agent's own address counts, so that a host's name need not resolve"


@pytest.mark.parametrize(("shown", "options", "keys", "theirs", "found", "why"), [
    (container(), {}, "Address Port", [("10.0.0.7", 32768)], [("", 32768)], AGENTS_OWN),
    (container(ports={}, exposed=["8080/tcp"], mode="host", address=""), {"internal": True}, "Address Port",
     [("", 8080)], [("", 8080)], ""),
    (container(ports=SEVERAL), {}, "Address Port", [("127.0.0.1", 1)], [("10.0.0.5", 2)],
     "the widest address is the one that others reach"),
    (USER_NETWORK, {}, "Address Port", [("172.20.0.5", 32768)], [("", 32768)], "nobody listens there"),
    (container(ports={}, exposed=["8080/tcp"], mode="container:x", address=""), {"joined": PAUSE}, "Address Port",
     [("172.17.0.9", 8080)], [("", 32768)], "other nodes reach it where it is published"),
    (container({"SERVICE_8088_NAME": "web"}, ports={}, exposed=[], mode="host", address=""), {}, "Name Port",
     [], [("web", 8088)], "nothing is published with the host's network, so the label is all that there is"),
    (container({"SERVICE_8088_NAME": "web"}, ports={}, exposed=[], mode="container:x", address=""), {"joined": PAUSE},
     "Name Address Port", [], [("web", "172.17.0.9", 8088)], "nor with another's"),
    (PROGRAM, {}, "Check", [({"Args": ["curl $SERVICE_IP"], "Interval": "10s"},)], [({"TTL": "9s"},)],
     "a container must not choose what the node runs"),
    (UDP_ALONE, {}, "Check", [({"HTTP": "http://10.0.0.7:5300/h", "Interval": "10s"},)], [(None,)],
     "nothing answers HTTP there"),
    (container({"SERVICE_CHECK_TTL": "9s"}), {}, "Meta", [({"check_ttl": "9s"},)],
     [({"lictor-engine": "E1", "lictor-container": "c0ffee", "lictor-image": "hub:5000/shop/books:1.0"},)],
     NO_CHECK_SETTINGS),
    (container({"SERVICE_TAGS": "a,b"}), {}, "Tags", [(["b", "a"],)], [(["a", "b"],)], "in order"),
    (container({"SERVICE_TAGS": "a, b\n"}), {}, "Tags", [([" b\n", "a"],)], [(["a", "b"],)], "white space is no part"),
    (container({"SERVICE_TAGS": "a\nb,c"}), {}, "Tags", [(["c", "a\nb"],)], [(["c"],)], UNSAFE),
    (container({"SERVICE_NAME": "web\n"}), {}, "Name", [("web\n",)], [("web",)], "white space is no part"),
    (container({"SERVICE_NAME": "a;b"}), {}, "Name", [("a;b",)], [], UNSAFE),
    (container({"SERVICE_NAME": "consul"}), {}, "Name", [("consul",)], [], "it is Consul's own"),
    (container({"SERVICE_ID": "a//b"}), {}, "ID", [("a//b",)], [], "Consul could not deregister it"),
    (container(image="books@sha256:00ff"), {}, "Name", [("books@sha256",)], [("books",)], "a digest is no name"),
    (container(health="healthy"), {}, "Check", [(None,)],
     [({"Name": "Docker HEALTHCHECK", "TTL": "60s", "Status": "passing"},)], "Docker's judgement is passed on"),
    (container({"lictor.engine": "docker", "lictor.service": "books", "lictor.number": "1",
                "lictor.container": "books-1"}, ["SERVICE_NAME=other"]), {}, "Name", [("other",)], [("books",)],
     "no image redirects what lictor started"),
])
def test_the_differences_are_these(shown: dict[str, Any], options: dict[str, Any], keys: str, theirs: list[Any],
                                   found: list[Any], why: str) -> None:
    assert parts(registrator.registered(shown, **options), *keys.split()) == theirs
    assert parts(ours(shown, **options), *keys.split()) == found
    assert (theirs != found) == bool(why)


VALUES = {
    **dict.fromkeys(["NAME", "ID", "TAGS", "ZONE", "CHECK_TCP", "CHECK_GRPC"], ["", "a", "b-1", "a,b", "x:y", "a/b"]),
    "IGNORE": ["", "1"], "CHECK_HTTP": ["", "/", "/health?a=b"], "CHECK_TTL": ["", "30s"],
    "CHECK_INTERVAL": ["", "1s", "1m30s"], "CHECK_TIMEOUT": ["", "500ms"],
}
ENTRIES = st.sampled_from([(f"SERVICE_{port}{key}", value) for key, values in VALUES.items() for value in values
                           for port in ("", "80_", "443_", "53_")])


@given(st.dictionaries(ENTRIES, st.booleans(), max_size=12), st.sampled_from([TWO, DNS]))
def test_any_mixture_means_the_same(entries: dict[tuple[str, str], bool], ports: dict[str, Any]) -> None:
    """Some settings are labels, some are variables, and some are both."""
    labels = dict(entry for entry, is_label in entries.items() if is_label)
    assert_the_same(container(labels, [f"{key}={value}" for key, value in entries], ports))
