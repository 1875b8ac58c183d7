"""The registrar, end to end: real containers come and go, and the real agent says the same."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from lab.consul import Consul
from lab.daemon import wait_for
from lab.docker import Docker
from support.paths import HANDLERS
from support.registrar import Start, heartbeat, instance

IMAGE = "books-service:1.0"


def run(docker: Docker, name: str, *options: str, image: str = IMAGE, labels: dict[str, str] | None = None) -> str:
    words = [word for key, value in (labels or {}).items() for word in ("--label", f"{key}={value}")]
    return docker.docker("run", "-d", "--name", name, "-p", "127.0.0.1::8080", *options, *words, image)


def ids(consul: Consul) -> set[str]:
    """What is registered, without the host's name in front."""
    host = re.escape(os.uname().nodename)
    return {re.sub(f"^{host}:", "", each) for each in consul.request("GET", "/v1/agent/services")}


def wait_ids(consul: Consul, *wanted: str) -> None:
    wait_for(lambda: ids(consul) == set(wanted), f"{wanted} are registered")


def instance_of(consul: Consul, container: str) -> dict[str, Any]:
    """The instance of one of several containers of one service, once the catalogue has it."""
    def found() -> list[dict[str, Any]]:
        return [dict(each["Service"]) for each in consul.request("GET", "/v1/health/service/books-service")
                if f":{container}:" in each["Service"]["ID"]]

    wait_for(lambda: len(found()) == 1, f"the catalogue has that of {container}")
    return found()[0]


def status(consul: Consul, name: str) -> str:
    """What the agent's check of a service's only instance says; the catalogue may say so a moment later."""
    [check] = [each for each in consul.request("GET", "/v1/agent/checks").values()
               if each["ServiceName"] == name and each["Type"] != "maintenance"]
    return str(check["Status"])


def passing_instance(consul: Consul, name: str) -> dict[str, Any]:
    """The only instance of a service, once the catalogue has heard that its own check passes."""
    def own_status() -> str:
        found = instance(consul, name)
        return str(found["Checks"].get(f"service:{found['ID']}", {}).get("Status"))

    wait_for(lambda: own_status() == "passing", f"the catalogue knows that {name} passes")
    return instance(consul, name)


def test_the_agent_follows_containers(consul: Consul, docker: Docker, start: Start, tmp_path: Path) -> None:
    container_id = run(docker, "before", labels={"SERVICE_NAME": "books", "SERVICE_CHECK_HTTP": "/health",
                                                 "SERVICE_CHECK_INTERVAL": "1s", "lictor.color": "blue"})
    consul.register({"Name": "db", "ID": "foreign"})
    registrar = start()
    wait_ids(consul, "before:8080", "foreign")
    wait_for(lambda: status(consul, "books") == "passing", "its check passes")
    books = instance(consul, "books")
    assert books["Address"] == "127.0.0.1" and docker.docker("port", "before", "8080").endswith(f":{books['Port']}")
    assert books["Meta"] == {"lictor-container": container_id, "lictor-image": IMAGE, "lictor-color": "blue",
                             "lictor-image-id": docker.docker("inspect", "--format", "{{.Image}}", "before"),
                             "lictor-engine": docker.docker("info", "--format", "{{.ID}}")}

    docker.docker("run", "-d", "--name", "several", "-p", "8080", "-p", "127.0.0.1::5300/udp", IMAGE)
    docker.docker("run", "-d", "--name", "unpublished", IMAGE)
    run(docker, "taken", labels={"SERVICE_ID": "foreign"})
    for number, hostile in enumerate(("a;b", "a\nb", "x" * 10_240, "consul")):
        run(docker, f"hostile-{number}", labels={"SERVICE_NAME": hostile})
    run(docker, "after")
    wait_ids(consul, "before:8080", "foreign", "several:8080", "several:5300:udp", "after:8080")
    assert instance(consul, "books-service-8080")["Address"] == ""
    refused = ("taken", "hostile-0", "hostile-1", "hostile-2", "hostile-3")
    wait_for(lambda: all(registrar.log().count(f"container={each}") == 1 for each in refused), "each is named once")

    docker.docker("pause", "before")
    docker.docker("kill", "several")
    docker.docker("rm", "-f", "after")
    wait_ids(consul, "before:8080", "foreign")
    docker.docker("unpause", "before")
    wait_for(lambda: heartbeat(tmp_path)["registered"] == 1, "the heartbeat counts it")

    registrar.send(signal.SIGTERM)
    wait_for(lambda: not registrar.running, "it ends")
    assert registrar.process.returncode == 0
    assert ids(consul) == {"before:8080", "foreign"}


def test_what_happened_while_it_was_dead_is_repaired_and_nothing_else(
        consul: Consul, docker: Docker, start: Start, tmp_path: Path) -> None:
    for name in ("stays", "moves", "goes"):
        run(docker, name, labels={"SERVICE_NAME": name, "SERVICE_ID": f"{name}-id", "SERVICE_CHECK_TTL": "1h"})
    killed = start()
    wait_ids(consul, "stays-id", "moves-id", "goes-id")
    consul.request("PUT", "/v1/agent/check/pass/service:stays-id")
    for name in ("stays", "moves"):
        consul.request("PUT", f"/v1/agent/service/maintenance/{name}-id?enable=true&reason=draining")
    wait_for(lambda: all(len(instance(consul, name)["Checks"]) == 3 for name in ("stays", "moves")), "catalogue knows")
    before = {"stays": passing_instance(consul, "stays"), "moves": instance(consul, "moves")}

    killed.stop(signal.SIGKILL)
    docker.docker("rm", "-f", "goes")
    docker.docker("restart", "-t", "0", "moves")
    run(docker, "new")
    start()
    wait_ids(consul, "stays-id", "moves-id", "new:8080")
    wait_for(lambda: instance(consul, "moves")["Port"] != before["moves"]["Port"], "the new port is known")
    assert instance(consul, "moves")["Checks"]["_service_maintenance:moves-id"]["Notes"] == "draining"

    at = heartbeat(tmp_path)["at"]
    wait_for(lambda: heartbeat(tmp_path)["at"] > at + 1, "it has compared three times more")
    assert instance(consul, "stays") == before["stays"]  # with its indexes: nothing was written


def test_an_agent_that_was_away_and_forgot_is_told_again(consul: Consul, docker: Docker, start: Start,
                                                         tmp_path: Path) -> None:
    run(docker, "stays")
    run(docker, "goes")
    registrar = start()
    wait_ids(consul, "stays:8080", "goes:8080")
    consul.stop()
    wait_for(lambda: heartbeat(tmp_path)["trouble"], "it says what is wrong")
    docker.docker("rm", "-f", "goes")
    run(docker, "new")
    consul.start()
    wait_ids(consul, "stays:8080", "new:8080")
    consul.request("PUT", f"/v1/agent/service/deregister/{os.uname().nodename}:new:8080")
    wait_ids(consul, "stays:8080", "new:8080")
    wait_for(lambda: "outcome=recovered" in registrar.log(), "it says so, at the end of what it has done")
    assert registrar.running


def test_docker_away_does_not_mean_that_the_containers_are_gone(consul: Consul, docker: Docker, start: Start,
                                                                tmp_path: Path) -> None:
    run(docker, "stays")
    run(docker, "dies")
    registrar = start()
    wait_ids(consul, "stays:8080", "dies:8080")
    pid = int(docker.docker("inspect", "--format", "{{.State.Pid}}", "dies"))
    before = instance_of(consul, "stays")
    assert docker.daemon
    docker.daemon.stop()
    try:
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: "docker" in heartbeat(tmp_path)["trouble"], "it says what is wrong")
        at = heartbeat(tmp_path)["at"]
        wait_for(lambda: heartbeat(tmp_path)["at"] > at + 1, "it has tried again")
        assert ids(consul) == {"stays:8080", "dies:8080"}
    finally:
        docker.start()
    wait_ids(consul, "stays:8080")
    assert instance_of(consul, "stays") == before
    run(docker, "new")
    wait_ids(consul, "stays:8080", "new:8080")
    assert registrar.running


def test_events_are_heeded_between_comparisons_and_after_docker_was_away(consul: Consul, docker: Docker,
                                                                         start: Start) -> None:
    start(seldom=True)
    run(docker, "first")
    wait_ids(consul, "first:8080")
    docker.docker("kill", "first")
    wait_ids(consul)
    assert docker.daemon
    docker.daemon.stop()
    docker.start()
    run(docker, "second")
    wait_ids(consul, "second:8080")  # by the comparison after the connection came back, or by its event
    docker.docker("rename", "second", "third")
    wait_ids(consul, "third:8080")


def maintenances(consul: Consul) -> list[str]:
    return [str(check["Notes"]) for check in consul.request("GET", "/v1/agent/checks").values()
            if check["CheckID"].startswith("_service_maintenance:")]


def test_a_paused_container_gets_no_traffic_and_a_persons_maintenance_outlasts_its_pause(
        consul: Consul, docker: Docker, start: Start) -> None:
    registrar = start(seldom=True)
    run(docker, "one")
    wait_ids(consul, "one:8080")
    docker.docker("pause", "one")
    wait_for(lambda: maintenances(consul) == ["lictor: its container is paused"], "the event was heard")
    registrar.stop()
    docker.docker("unpause", "one")
    start(seldom=True)
    wait_for(lambda: maintenances(consul) == [], "it runs again")
    [service_id] = consul.request("GET", "/v1/agent/services")
    consul.request("PUT", f"/v1/agent/service/maintenance/{service_id}?enable=true&reason=backup")
    docker.docker("pause", "one")
    docker.docker("unpause", "one")
    run(docker, "two")
    wait_ids(consul, "one:8080", "two:8080")  # so the events before were heard too
    assert maintenances(consul) == ["backup"]


def test_a_healthcheck_is_passed_on_and_a_restart_changes_nothing(consul: Consul, docker: Docker,
                                                                  start: Start) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "Dockerfile").write_text(
            f"FROM {IMAGE}\nHEALTHCHECK --interval=300ms --retries=1 "
            'CMD ["/bin/busybox", "test", "-f", "/www/health"]\n')
        docker.docker("build", "-q", "-t", "with-healthcheck", folder)
    docker.docker("run", "-d", "--name", "one", "-p", "127.0.0.1::8080", "with-healthcheck")
    registrar = start()
    wait_for(lambda: status(consul, "with-healthcheck") == "passing", "healthy is passing")
    docker.docker("exec", "one", "/bin/busybox", "rm", "/www/health")
    wait_for(lambda: status(consul, "with-healthcheck") == "critical", "unhealthy is critical")
    wait_for(lambda: "HEALTHCHECK: exit code 1" in str(consul.request("GET", "/v1/agent/checks")), "with its evidence")
    docker.docker("exec", "one", "/bin/busybox", "touch", "/www/health")
    wait_for(lambda: status(consul, "with-healthcheck") == "passing", "healthy again")
    before = passing_instance(consul, "with-healthcheck")
    registrar.stop()
    start()
    assert instance(consul, "with-healthcheck") == before  # with its indexes: it was not even critical for a moment


def test_options_decide_what_is_registered_and_what_stays(consul: Consul, docker: Docker, start: Start) -> None:
    named = {"SERVICE_NAME": "named"}
    for name, code in {"fails": 3, "succeeds": 0}.items():
        docker.docker("run", "-d", "--name", name, "-p", "8080", "-l", "SERVICE_NAME=x", "--entrypoint", "/bin/busybox",
                      IMAGE, "sh", "-c", f"trap 'exit {code}' TERM; echo ready; busybox sleep 1000 & wait")
    run(docker, "named", labels=named)
    run(docker, "nameless")
    registrar = start("--explicit", "--ip", "127.0.0.9", "--deregister", "on-success")
    wait_ids(consul, "fails:8080", "succeeds:8080", "named:8080")
    wait_for(lambda: [each["Service"]["Address"] for each in consul.request("GET", "/v1/health/service/x")] == [
        "127.0.0.9"] * 2, "the catalogue has both")
    wait_for(lambda: all("ready" in docker.docker("logs", name) for name in ("fails", "succeeds")), "both heed signals")
    wait_for(lambda: docker.docker("exec", "named", "/bin/busybox", "wget", "-qO", "-", "http://127.0.0.1:8080/health"),
             "named does, too")
    docker.docker("stop", "-t", "60", "fails", "succeeds", "named")
    wait_ids(consul, "fails:8080")
    registrar.stop()
    start("--explicit", "--ip", "127.0.0.9", "--deregister", "on-success")
    assert ids(consul) == {"fails:8080"}  # what was promised of what ended holds after a restart
    docker.docker("rm", "fails")
    wait_ids(consul)


def test_a_second_registrar_of_the_node_ends_with_a_reason_and_changes_nothing(
        consul: Consul, docker: Docker, start: Start, tmp_path: Path) -> None:
    start()
    docker.docker("run", "-d", "--name", "books", "-p", "8080", "-e", "SERVICE_ID=books", "books-service:1.0")
    wait_ids(consul, "books")
    before = consul.request("GET", "/v1/agent/services")
    second = start("--internal")
    wait_for(lambda: not second.running, "the second one ends")
    assert f"another lictor-registrar runs with the state folder {tmp_path}/state" in (
        tmp_path / "registrar-1.log").read_text()
    assert consul.request("GET", "/v1/agent/services") == before


@pytest.mark.parametrize("words", [["--ip", "300.1.1.1"], ["--resync", "-1"], ["--resync", "soon"],
                                   ["--tags", "{{.ID}}"], ["-explicit", "etcd://host:1"],
                                   ["--deregister", "never"]])
def test_bad_options_are_named(words: list[str]) -> None:
    done = subprocess.run([sys.executable, str(HANDLERS / "lictor-registrar"), *words], capture_output=True, text=True,
                          timeout=30)
    assert done.returncode == 2 and words[0] in done.stderr and words[1] in done.stderr
