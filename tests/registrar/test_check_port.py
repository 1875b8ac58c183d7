"""A check at another port than the traffic's: by labels as a table, and by a spec on a real container."""

from typing import Any

import pytest

from lictor.registrar import registration

from lab.node import Node

SOON_S = 90
OPTIONS = registration.Options(host="vm", engine="E1")
BOUND = {8080: "32768", 8081: "32769"}
# With BREAKS=health the service answers at 8080 and has no /health there; 8081 is its administrator's.
COMMAND = ["/bin/busybox", "sh", "-c", "busybox mkdir -p /admin; echo ok > /admin/health; "
           "busybox httpd -p 8081 -h /admin; . /bin/serve"]


def register(labels: dict[str, str], ports: tuple[str, ...] = ("8080/tcp", "8081/tcp"),
             **options: Any) -> tuple[list[Any], list[str]]:
    """Return what each registration's check asks, and what is told of the container."""
    bindings = {port: [{"HostIp": "127.0.0.1", "HostPort": BOUND[int(port[:4])]}] for port in ports}
    container = {
        "Id": "c0ffee", "Name": "/books-1", "State": {"Status": "running"}, "HostConfig": {"NetworkMode": "default"},
        "Config": {"Image": "books:1", "Labels": labels, "Env": [], "ExposedPorts": dict.fromkeys(ports, {})},
        "NetworkSettings": {"Ports": bindings, "Networks": {"bridge": {"IPAddress": "172.17.0.2"}}}}
    found, told = registration.registrations(container, OPTIONS._replace(**options))
    return [check.get("HTTP") or check.get("TCP") or check.get("GRPC") or check["TTL"]
            for each in found if (check := each.definition.get("Check"))], told


@pytest.mark.parametrize(("more", "asked"), [
    ({"SERVICE_8080_CHECK_HTTP": "/h"}, "http://127.0.0.1:32769/h"),
    ({"SERVICE_8080_CHECK_HTTPS": "/h"}, "https://127.0.0.1:32769/h"),
    ({"SERVICE_8080_CHECK_TCP": "1"}, "127.0.0.1:32769"), ({"SERVICE_CHECK_GRPC": "1"}, "127.0.0.1:32769"),
])
def test_the_check_asks_the_port_that_is_named(more: dict[str, str], asked: str) -> None:
    assert register({"SERVICE_8080_CHECK_PORT": "8081", "SERVICE_8081_IGNORE": "1", **more}) == ([asked], [])


def test_it_is_asked_at_the_address_of_the_instance() -> None:
    labels = {"SERVICE_8080_CHECK_PORT": "8081", "SERVICE_8081_IGNORE": "1", "SERVICE_CHECK_HTTP": "/"}
    assert register(labels, internal=True) == (["http://172.17.0.2:8081/"], [])
    assert register({**labels, "at": "10.0.0.7"}, address_label="at") == (["http://10.0.0.7:32769/"], [])


@pytest.mark.parametrize("port", ["8082", "", " 8081 ", "8081/tcp", "x", "{", "-1", "9" * 300, "8081\n8081"])
@pytest.mark.parametrize("ports", [("8080/tcp",), ("8080/tcp", "8081/tcp"), ("8080/tcp", "8081/udp")])
def test_a_port_that_nobody_reaches_is_refused_and_never_replaced_by_another(port: str, ports: tuple[str, ...]) -> None:
    labels = {"SERVICE_8080_CHECK_HTTP": "/", "SERVICE_8080_CHECK_PORT": port, "SERVICE_8081_IGNORE": "1"}
    found, told = register(labels, ports)
    if not port:  # as if it were not given
        assert (found, told) == (["http://127.0.0.1:32768/"], [])
    elif port.strip() == "8081" and "8081/tcp" in ports:
        assert (found, told) == (["http://127.0.0.1:32769/"], [])
    else:
        assert found == [] and "SERVICE_CHECK_PORT is " in told[0] and told[0].endswith("Publish it")
        assert told[0].isprintable() and len(told[0]) < 400


def test_a_port_without_a_check_is_told() -> None:
    found, told = register({"SERVICE_8080_CHECK_PORT": "8081", "SERVICE_8081_IGNORE": "1"})
    assert found == [] and told[0].startswith("SERVICE_CHECK_PORT changes nothing")


def test_an_instance_passes_by_its_other_port_and_gets_its_requests_at_the_first(node: Node) -> None:
    node.apply(command=COMMAND, environment={"BREAKS": "health"}, heal={"grace": "5m"},
               check={"http": "/health", "port": 8081, "interval": "500ms"})
    node.wait_served("books-service-1", timeout_s=SOON_S)
    assert len(node.docker.docker("port", "books-service-1").splitlines()) == 2

    def says() -> str:
        return node.run("status").stdout

    node.wait_for(lambda: "as desired" in says(), "it is as desired", SOON_S)
    node.docker.docker("exec", "books-service-1", "busybox", "rm", "/admin/health")
    node.wait_for(lambda: "is critical: HTTP GET http://127.0.0.1:" in says(), "its check's words are told", SOON_S)
