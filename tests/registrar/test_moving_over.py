"""From registrator to lictor-registrar on real containers: entries, options, networks, and hostile images."""

import json
import os
from pathlib import Path
from typing import Any

import docker as docker_library
import pytest

from lab.consul import Consul
from lab.daemon import wait_for
from lab.docker import Docker
from support.registrar import Start, heartbeat

IMAGE = "books-service:1.0"
HOST = os.uname().nodename


def run(docker: Docker, name: str, *options: str, image: str = IMAGE, **labels: str) -> str:
    words = [word for key, value in labels.items() for word in ("--label", f"{key}={value}")]
    return docker.docker("run", "-d", "--name", name, *options, *words, image)


def services(consul: Consul) -> dict[str, dict[str, Any]]:
    """What is registered, by id without the host's name."""
    return {service_id.removeprefix(f"{HOST}:"): service
            for service_id, service in consul.request("GET", "/v1/agent/services").items()}


def reasons(tmp_path: Path) -> dict[str, str]:
    return {each["container"]: each["reason"] for each in heartbeat(tmp_path).get("refusals", [])}


def register_as_registrator(consul: Consul, name: str, port: int, **fields: Any) -> None:
    consul.register({"ID": f"{HOST}:{name}:8080", "Name": "books", "Address": "127.0.0.1", "Port": port,
                     "Meta": {"check_http": "/health"}, **fields})


def test_registrators_entries_become_lictors(consul: Consul, docker: Docker, start: Start, tmp_path: Path) -> None:
    check = {"SERVICE_CHECK_HTTP": "/health", "SERVICE_CHECK_INTERVAL": "300ms"}
    for name in ("live", "stale"):
        run(docker, name, "-p", "127.0.0.1::8080", SERVICE_NAME="books", **check)
    run(docker, "named", "-p", "127.0.0.1::8080", SERVICE_NAME="db", SERVICE_ID="books-db")
    run(docker, "thief", "-p", "127.0.0.1::8080", SERVICE_NAME="x", SERVICE_ID="foreign")
    ports = {name: int(docker.docker("port", name, "8080").rpartition(":")[2]) for name in ("live", "stale", "named")}
    probe = {"HTTP": f"http://127.0.0.1:{ports['live']}/health", "Interval": "300ms"}
    register_as_registrator(consul, "live", ports["live"], Check=probe)
    register_as_registrator(consul, "stale", 9)
    register_as_registrator(consul, "dead", 9)
    consul.register({"ID": "books-db", "Name": "db", "Port": ports["named"]})
    consul.register({"ID": "foreign", "Name": "foreign", "Port": 5432})
    wait_for(lambda: len(consul.passing("books")) == 3, "registrator's entries pass")
    registrar = start()
    assert reasons(tmp_path).keys() == {"live", "stale", "named", "thief"} and heartbeat(tmp_path)["refused"] == 4
    assert f"is registered by somebody else: {HOST}:live:8080, without lictor-engine" in reasons(tmp_path)["live"]
    assert services(consul)["stale:8080"]["Port"] == 9 and "dead:8080" in services(consul)
    registrar.stop()

    registrar = start("-take-over", "-cleanup=true", "-resync", "0.3", f"consul://{consul.address}")
    assert "dead:8080" not in services(consul) and reasons(tmp_path).keys() == {"thief"}
    assert services(consul)["stale:8080"]["Port"] == ports["stale"]
    assert all("lictor-engine" in services(consul)[each]["Meta"] for each in ("live:8080", "stale:8080", "books-db"))
    assert services(consul)["foreign"]["Meta"] == {} and services(consul)["foreign"]["Port"] == 5432
    live = consul.request("GET", "/v1/agent/checks")[f"service:{HOST}:live:8080"]
    assert live["Status"] == "passing"  # not even for a moment out of traffic
    wait_for(lambda: len(consul.passing("books")) == 2, "both pass")

    register_as_registrator(consul, "live", ports["live"])  # registrator is started beside
    wait_for(lambda: "beside this one" in reasons(tmp_path).get("live", ""), "it is told, and not fought about")
    assert services(consul)["live:8080"]["Meta"] == {"check_http": "/health"}


def create(docker: Docker, name: str, **config: Any) -> None:
    """Create a container by the API, which takes what the command refuses, as images do."""
    api: Any = docker_library.APIClient(docker.url or None, version="auto")
    api.start(api.create_container_from_config({"Image": IMAGE, **config}, name)["Id"])


def test_each_kind_of_network_and_what_images_may_say(consul: Consul, docker: Docker, start: Start,
                                                      tmp_path: Path) -> None:
    api = docker_library.APIClient(docker.url or None, version="auto")
    create(docker, "hostile", ExposedPorts={"http/tcp": {}}, HostConfig={"NetworkMode": "host"},
           Entrypoint=["/bin/busybox", "sleep", "1000"],
           Labels={"signal": "x", "lictor.number": "9" * 5000, f"SERVICE_{'8' * 5000}_NAME": "x"})
    create(docker, "on-host", HostConfig={"NetworkMode": "host"}, Entrypoint=["/bin/busybox", "sleep", "1000"],
           Labels={"SERVICE_8088_NAME": "web", "SERVICE_8088_CHECK_GRPC": "true"})
    run(docker, "pod", "-p", "127.0.0.1::8080", SERVICE_IGNORE="1")
    create(docker, "in-pod", HostConfig={"NetworkMode": "container:pod"}, Labels={"SERVICE_9090_NAME": "pods"},
           Entrypoint=["/bin/busybox", "sleep", "1000"])
    run(docker, "unpublished", SERVICE_NAME="web", SERVICE_TAGS="a\n")
    run(docker, "script", "-p", "127.0.0.1::8080", SERVICE_NAME="scripted", SERVICE_CHECK_SCRIPT="curl x")
    run(docker, "odd", "-p", "127.0.0.1::8080", SERVICE_NAME="a/b c", SERVICE_ID="odd/id 1?%2f",
        SERVICE_TAGS="a,b\x01,c\n")
    run(docker, "own", "-p", "127.0.0.1::8080", SERVICE_NAME="consul")
    registrar = start()
    found = services(consul)
    assert {"on-host:8088", "in-pod:9090", "script:8080", "odd/id 1?%2f"} <= found.keys()
    assert (found["on-host:8088"]["Service"], found["on-host:8088"]["Port"]) == ("web", 8088)
    assert found["in-pod:9090"]["Address"] == api.inspect_container("pod")["NetworkSettings"]["IPAddress"]
    assert (found["odd/id 1?%2f"]["Service"], found["odd/id 1?%2f"]["Tags"]) == ("a/b c", ["a", "c"])
    checks = {each["ServiceName"]: each for each in consul.request("GET", "/v1/agent/checks").values()}
    assert checks["web"]["Type"] == "grpc" and checks["scripted"]["Status"] == "critical"
    assert reasons(tmp_path).keys() == {"hostile", "unpublished", "script", "odd", "own"}
    assert "it is not published" in reasons(tmp_path)["unpublished"]

    docker.docker("kill", "-s", "HUP", "hostile")  # its event says `signal=x`
    docker.docker("rm", "-f", "odd", "hostile", "in-pod")
    wait_for(lambda: {"odd/id 1?%2f", "in-pod:9090"}.isdisjoint(services(consul)), "their ends are heard")
    assert registrar.running and "Traceback" not in registrar.log() and "unexpected" not in registrar.log()


def test_an_image_may_be_of_no_account(consul: Consul, docker: Docker, start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "image"
    folder.mkdir()
    (folder / "Dockerfile").write_text(f'FROM {IMAGE}\nLABEL SERVICE_NAME=db SERVICE_ID=db-1\nENV SERVICE_TAGS=evil\n')
    docker.docker("build", "-q", "-t", "impostor:1", str(folder))
    run(docker, "impostor", "-p", "127.0.0.1::8080", image="impostor:1")
    run(docker, "honest", "-p", "127.0.0.1::8080", "-e", "SERVICE_TAGS=good", image="impostor:1", SERVICE_NAME="mine")
    start("--ignore-image", "--tags", "all")
    found = {key: (service["Service"], service["Tags"]) for key, service in services(consul).items()}
    assert found == {"impostor:8080": ("impostor", ["all"]), "honest:8080": ("mine", ["good", "all"])}


@pytest.mark.parametrize("words", [["-internal=true", "-ttl", "60", "-ttl-refresh=30", "-retry-attempts", "-1"],
                                   ["-retry-interval=2000", "-explicit=false", "-resync", "0", "-internal"]])
def test_registrators_command_lines_are_taken(consul: Consul, docker: Docker, start: Start, tmp_path: Path,
                                              words: list[str]) -> None:
    run(docker, "one", SERVICE_ADDR="10.1.1.1/24")
    registrar = start(*words, "-useIpFromLabel", "SERVICE_ADDR", f"consul://{consul.address}")
    assert services(consul)["one:8080"]["Address"] == "10.1.1.1", json.dumps(heartbeat(tmp_path))
    assert services(consul)["one:8080"]["Port"] == 8080 and registrar.running
