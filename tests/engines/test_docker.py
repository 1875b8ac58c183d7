"""The docker engine against a real one."""

import base64
import json
import re
import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lictor import errors, model
from lictor.adapters.docker import Client
from lictor.engines import docker as engine
from lictor.registrar import registration
from lictor.spec import service_spec

from lab.daemon import wait_for
from lab.docker import Docker
from support.registry import Registry

OF_BOOKS = ["-l", "lictor.service=books", "-l", "lictor.engine=docker"]
BOOKS = {"name": "books", "image": "books-service:1.0", "port": "127.0.0.1::8080"}


@pytest.fixture(autouse=True)
def environ(docker: Docker, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in docker.environ.items():
        monkeypatch.setenv(key, value)


@pytest.fixture
def network(docker: Docker) -> Iterator[str]:
    docker.docker("network", "create", "lictor-test")
    try:
        yield "lictor-test"
    finally:
        docker.clear()
        docker.docker("network", "rm", "lictor-test")


def start(number: int = 1, color: str = "", **keys: Any) -> model.Container:
    return engine.start(service_spec.parse_spec({**BOOKS, **keys}, "test"), number=number, color=color, release="r1")


def inspect(docker: Docker, name: str, field: str) -> str:
    return docker.docker("inspect", "--format", f"{{{{json {field}}}}}", name)


def within(docker: Docker, container: model.Container, script: str) -> str:
    return docker.docker("exec", container.id, "/bin/busybox", "sh", "-c", script).strip()


def port(docker: Docker, name: str) -> int:
    return int(docker.docker("port", name, "8080").rpartition(":")[2])


def test_what_is_started_is_listed_until_it_is_removed(docker: Docker) -> None:
    docker.docker("run", "-d", "--name", "not-ours", "books-service:1.0")
    docker.docker("run", "-d", "--name", "of-swarm", *OF_BOOKS, "-l", "com.docker.swarm.task.id=x", "books-service:1.0")
    first, second, other = start(), start(2, "green"), start(name="carts")
    assert (first.name, second.name, other.name) == ("books-1", "books-green-2", "carts-1")
    assert first == model.Container(
        id=first.id, name="books-1", service="books", number=1, color="", image="books-service:1.0", release="r1",
        status="running", created_at=first.created_at, started_at=first.started_at, exit_code=None)
    assert first.created_at <= first.started_at <= second.started_at
    assert (second.number, second.color) == (2, "green")
    assert engine.containers("books") == [first, second]
    assert [each.id for each in engine.containers()] == [first.id, second.id, other.id]
    docker.docker("kill", "books-1")
    [killed] = engine.containers("books")[:1]
    assert (killed.status, killed.exit_code) == ("exited", 137)
    for each in (first, first, second, other):  # the second time it is gone already
        engine.remove(each, grace_s=5)
    assert engine.containers() == [] and docker.containers() == ["not-ours", "of-swarm"]


def test_what_is_stopped_is_kept_and_started_again_for_the_same_release_only(docker: Docker) -> None:
    spec = service_spec.parse_spec(BOOKS, "test")
    first = engine.start(spec, number=1, color="blue", release="r1")
    engine.stop(first, grace_s=0)
    assert [(each.id, each.status) for each in engine.containers("books")] == [(first.id, "exited")]
    with pytest.raises(errors.Conflict):
        engine.start(spec, number=1, color="blue", release="r2")
    again = engine.start(spec, number=1, color="blue", release="r1")
    assert (again.id, again.status) == (first.id, "running") and again.started_at > first.started_at
    engine.remove(again, grace_s=0)
    engine.stop(again, grace_s=0)
    assert docker.containers() == []


def test_all_are_seen_in_one_request_with_what_docker_s_list_shows_of_them(
        docker: Docker, monkeypatch: pytest.MonkeyPatch) -> None:
    started, _, paused = start(), shell("exit 3", 2), start(3, "green")
    docker.docker("create", "--name", "books-4", *OF_BOOKS, "-l", "lictor.number=4", "-l", "lictor.container=books-4",
                  "books-service:1.0")
    docker.docker("run", "-d", "--name", "books-5", *OF_BOOKS, "-l", "lictor.number=5", "-l",
                  "lictor.container=books-5", "--health-cmd", "false", "--health-start-period", "1h",
                  "books-service:1.0")
    docker.docker("pause", paused.name)
    wait_for(lambda: engine.containers("books")[1].status == "exited", "it has ended")
    docker.docker("restart", "-t", "0", started.name)
    exact = engine.containers("books")
    monkeypatch.setattr(Client, "inspect", None)
    listed = engine.containers()
    assert [(each.name, each.status, each.exit_code) for each in listed] == [
        ("books-1", "running", None), ("books-2", "exited", 3), ("books-4", "created", None),
        ("books-5", "running", None), ("books-green-3", "paused", None)]
    assert [each.health for each in listed] == ["", "", "", "starting", ""]
    for one, whole in zip(listed, exact, strict=True):
        created_at = float(int(whole.created_at))
        assert one == whole._replace(created_at=created_at, started_at=created_at if whole.started_at else 0.0)
    assert exact[0].started_at > exact[2].created_at > listed[0].started_at


def test_an_image_whose_tag_has_moved_is_seen_by_its_id_in_the_list(docker: Docker) -> None:
    docker.docker("tag", "books-service:1.0", "moving:1")
    start(image="moving:1")
    moved = docker.build_books("moving:1", version="2.0")
    try:
        assert engine.containers("books")[0].image == "moving:1"
        assert engine.containers()[0].image == inspect(docker, "books-1", ".Image").strip('"')
    finally:
        docker.clear()
        docker.docker("rmi", moved)


def test_every_key_of_the_spec_reaches_docker(docker: Docker, network: str, tmp_path: Any) -> None:
    start(environment={"A": "1", "B": None}, entrypoint=["/bin/busybox"], command="sh -c 'busybox sleep 100'",
          volumes=[f"{tmp_path}:/data:ro", "/scratch"], networks=["bridge", network], user="1000:1000", read_only=True,
          cap_drop=["ALL"], stop_grace_period="1500ms", logging={"driver": "json-file", "options": {"max-size": "1m"}},
          resources={"cpus": 0.5, "memory": "64m"})
    for field, value in {
        ".Config.Env": '["A=1","B=","PATH=/bin","VERSION=1.0"]', ".Config.Entrypoint": '["/bin/busybox"]',
        ".Config.Cmd": '["sh","-c","busybox sleep 100"]', ".HostConfig.Binds": f'["{tmp_path}:/data:ro"]',
        ".Config.Volumes": '{"/scratch":{}}', ".Config.User": '"1000:1000"', ".HostConfig.ReadonlyRootfs": "true",
        ".HostConfig.CapDrop": '["ALL"]', ".Config.StopTimeout": "2", ".Config.Hostname": '"books-1"',
        ".HostConfig.LogConfig": '{"Type":"json-file","Config":{"max-size":"1m"}}',
        ".HostConfig.NanoCpus": "500000000", ".HostConfig.Memory": str(64 * 1024 ** 2),
        ".HostConfig.RestartPolicy.Name": '"no"', ".HostConfig.SecurityOpt": '["no-new-privileges"]',
        ".HostConfig.PidsLimit": "4096",
    }.items():
        assert inspect(docker, "books-1", field) == value, field
    assert '"bridge":' in inspect(docker, "books-1", ".NetworkSettings.Networks")
    assert f'"{network}":' in inspect(docker, "books-1", ".NetworkSettings.Networks")
    [volume] = docker.docker("volume", "ls", "-q").split()
    engine.remove(engine.containers()[0], grace_s=0)
    assert volume not in docker.docker("volume", "ls", "-q").split()


def test_each_option_of_the_spec_holds_in_the_container(docker: Docker) -> None:
    """What Compose has beside image, command and volumes; read inside of the container where that shows it."""
    made = start(
        tmpfs=["/run", "/scratch:size=64k,mode=1777"], init=True, shm_size="8m", dns="10.0.0.53", hostname="library",
        ulimits={"nofile": {"soft": 100, "hard": 200}, "core": 0}, sysctls={"net.core.somaxconn": 77},
        extra_hosts=["db:10.0.0.5", "six:::1"], working_dir="/scratch", pids_limit=55, group_add=["1234"],
        healthcheck={"test": "busybox test -d /scratch", "interval": "1s", "timeout": "5s", "retries": 9},
        security_opt=["no-new-privileges"], read_only=True, command=["/bin/busybox", "sleep", "1000"])
    assert json.loads(inspect(docker, "books-1", ".HostConfig")).items() >= {
        "Tmpfs": {"/run": "", "/scratch": "size=64k,mode=1777"}, "Init": True, "ShmSize": 8 << 20, "PidsLimit": 55,
        "SecurityOpt": ["no-new-privileges"], "GroupAdd": ["1234"], "Ulimits": [
            {"Name": "nofile", "Hard": 200, "Soft": 100}, {"Name": "core", "Hard": 0, "Soft": 0}]}.items()
    test = json.loads(inspect(docker, "books-1", ".Config.Healthcheck"))
    assert test == {"Test": ["CMD-SHELL", "busybox test -d /scratch"], "Interval": 10 ** 9, "Timeout": 5 * 10 ** 9,
                    "Retries": 9}

    def shown(command: str) -> str:
        return within(docker, made, command)
    assert shown("busybox hostname; pwd; busybox cat /proc/sys/net/core/somaxconn; ulimit -Hn; ulimit -c") == (
        "library\n/scratch\n77\n200\n0")
    assert "docker-init" in shown("busybox cat /proc/1/cmdline") and "1234" in shown("busybox id -G")
    assert {"10.0.0.5\tdb", "::1\tsix"} <= set(shown("busybox cat /etc/hosts").splitlines())
    assert "nameserver 10.0.0.53" in shown("busybox cat /etc/resolv.conf")
    assert shown("echo > /run/a; echo > /scratch/b; busybox grep -c -E ' /(run|scratch) tmpfs' /proc/mounts") == "2"


def test_an_image_is_pulled_as_its_policy_says(docker: Docker, monkeypatch: pytest.MonkeyPatch) -> None:
    pulled: list[str] = []

    def pull(_: Client, image: str, timeout_s: float, reason: str) -> None:
        pulled.append(reason)
        raise errors.Unavailable("the registry is away")
    monkeypatch.setattr(Client, "_pull", pull)
    start(1, pull_policy="missing")
    assert pulled == []
    start(2, pull_policy="always")  # and what is here is taken
    assert pulled == ["its pull_policy is always"]
    with pytest.raises(errors.Refused, match="not-here:1 is not on this node, and its pull_policy is never"):
        start(3, pull_policy="never", image="not-here:1")
    with pytest.raises(errors.Unavailable, match="the registry is away"):
        start(3, pull_policy="always", image="not-here:1")


@pytest.mark.parametrize(("check", "labels"), [
    (None, {}),
    ({"http": "/health", "interval": "1500ms", "timeout": "1s"}, {
        "SERVICE_8080_CHECK_HTTP": "/health", "SERVICE_8080_CHECK_INTERVAL": "1500ms",
        "SERVICE_8080_CHECK_TIMEOUT": "1000ms"}),
    ({"https": "/health", "insecure": True}, {
        "SERVICE_8080_CHECK_HTTPS": "/health", "SERVICE_8080_CHECK_TLS_SKIP_VERIFY": "true",
        "SERVICE_8080_CHECK_INTERVAL": "10000ms", "SERVICE_8080_CHECK_TIMEOUT": "5000ms"}),
    ({"http": "/health", "port": 8081}, {
        "SERVICE_8080_CHECK_HTTP": "/health", "SERVICE_8080_CHECK_PORT": "8081", "SERVICE_8081_IGNORE": "true",
        "SERVICE_8080_CHECK_INTERVAL": "10000ms", "SERVICE_8080_CHECK_TIMEOUT": "5000ms"}),
    ({"tcp": True, "port": 8080}, {"SERVICE_8080_CHECK_TCP": "true", "SERVICE_8080_CHECK_INTERVAL": "10000ms",
                                   "SERVICE_8080_CHECK_TIMEOUT": "5000ms"}),
    ({"tcp": True}, {"SERVICE_8080_CHECK_TCP": "true", "SERVICE_8080_CHECK_INTERVAL": "10000ms",
                     "SERVICE_8080_CHECK_TIMEOUT": "5000ms"}),
])
def test_labels_tell_the_registrar_and_a_user_cannot_change_that(check: Any, labels: dict[str, str]) -> None:
    users = {"SERVICE_NAME": "evil", "SERVICE_8080_NAME": "evil", "SERVICE_id": "x", "SERVICE_IGNORE": "1",
             "SERVICE_CHECK_TTL": "1h", "SERVICE_TAGS": "a,b", "team": ""}
    spec = service_spec.parse_spec({**BOOKS, "labels": users, **({"check": check} if check else {})}, "test")
    registered_as = {"SERVICE_NAME": "books-blue", "SERVICE_8080_NAME": "books-blue", "SERVICE_TAGS": "a,b", **labels}
    assert engine.definition(spec, "books-blue-3", number=3, color="blue", release="r1")["Labels"] == {
        "lictor.service": "books", "lictor.number": "3", "lictor.color": "blue", "lictor.release": "r1",
        "lictor.engine": "docker", "lictor.container": "books-blue-3", "lictor.gate": "", "team": "",
        "lictor.member": "", "lictor.registers": " ".join(sorted(registered_as)), **registered_as}


def test_what_cannot_start_leaves_nothing_behind_and_says_docker_s_reason(docker: Docker) -> None:
    with pytest.raises(errors.LictorError, match="not-there"):
        start(entrypoint=["/not-there"])
    with pytest.raises(errors.LictorError, match="no-such-network"):
        start(networks=["no-such-network"])
    host = docker.docker("network", "inspect", "--format", "{{.Id}}", "host")  # is no way round its name
    for networks in ([host], [host[:1]], ["bridge", host]):
        with pytest.raises(errors.Refused, match=f"networks holds '{networks[-1]}'; there is no network of this name"):
            start(networks=networks)
    assert docker.containers() == []


@pytest.fixture
def without_its_image(docker: Docker) -> Iterator[None]:
    """What a test pulls is gone after it, and its containers."""
    images = set(docker.docker("images", "-q").split())
    yield
    docker.clear()
    for each in set(docker.docker("images", "-q").split()) - images:
        docker.docker("rmi", "-f", each)


@pytest.mark.usefixtures("without_its_image")
def test_a_missing_image_is_pulled_once(capfd: pytest.CaptureFixture[str]) -> None:
    with Registry() as registry:
        assert start(image=registry.image).status == "running"
    assert start(2, image=registry.image).status == "running"  # the registry has gone
    begun, ended = (line for line in capfd.readouterr().err.splitlines() if line.startswith("action=pull "))
    assert begun == f'action=pull image={registry.image} outcome=started reason="the image is not on this node"'
    assert re.fullmatch(rf"action=pull image={registry.image} outcome=done ms=\d+", ended)


@pytest.mark.usefixtures("without_its_image")
def test_a_pull_uses_the_credentials_of_the_docker_command(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    good, wrong = (base64.b64encode(each).decode() for each in (b"reader:good", b"reader:wrong"))
    with Registry(credentials=good) as registry:
        with pytest.raises(errors.Refused, match=f"pull {registry.image}: .*no basic auth credentials"):
            start(image=registry.image)
        login = tmp_path / "config.json"
        login.write_text(json.dumps({"auths": {registry.address: {"auth": wrong}}}))
        with pytest.raises(errors.Refused, match=f"pull {registry.image}: unauthorized"):
            start(image=registry.image)
        login.write_text(json.dumps({"auths": {registry.address: {"auth": good}}}))
        assert start(image=registry.image).status == "running"


def test_an_image_that_cannot_be_pulled_is_named_and_leaves_nothing_behind(docker: Docker) -> None:
    with Registry(blobs=False) as registry:
        for image, reason in {"nobody/nothing:1": "not found", "tools/busybox:2": "manifest unknown"}.items():
            with pytest.raises(errors.Refused, match=f"pull {registry.address}/{image}: .*{reason}"):
                start(image=f"{registry.address}/{image}")
        with pytest.raises(errors.Unavailable, match=f"pull {registry.image}: .*unknown blob"):
            start(image=registry.image)
    with pytest.raises(errors.Unavailable, match=f"pull {registry.image}: .*connection refused"):
        start(image=registry.image)
    assert docker.containers() == []


def test_a_name_that_is_taken_is_a_conflict(docker: Docker) -> None:
    docker.docker("run", "-d", "--name", "books-1", "books-service:1.0")
    with pytest.raises(errors.Conflict, match="books-1"):
        start()
    assert docker.containers() == ["books-1"]


@pytest.fixture
def lying_image(docker: Docker) -> Iterator[str]:
    """An image of a container of lictor's, as `docker commit` makes it, and with everything else that labels can say.
    """
    copied = start(7, "green")
    says = {"com.docker.compose.project": "shop", "com.docker.compose.service": "books",
            "com.docker.compose.container-number": "1", "com.docker.swarm.task.id": "t", "lictor.gate": "x",
            "lictor.member": "etcd 127.0.0.1:1 127.0.0.1:1", "com.docker.swarm.task.name": "books.1.t",
            "SERVICE_8080_ID": "db", "SERVICE_8080_id": "db",
            "SERVICE_IGNORE": "1", "SERVICE_9999_NAME": "payments", "SERVICE_8080_CHECK_TTL": "1h"}
    docker.docker("commit", *(f'--change=LABEL {key}="{value}"' for key, value in says.items()),
                  "--change=EXPOSE 9999", "--change=ENV SERVICE_ID=db", copied.name, "lying:1")
    docker.clear()
    yield "lying:1"
    docker.clear()
    docker.docker("rmi", "lying:1")


@pytest.mark.parametrize(("name", "labels"), [
    ("books-1", []), ("books-1", ["-l", "lictor.service=books"]), ("books-1", [*OF_BOOKS, "-l", "lictor.number=1"]),
    ("debug", ["-l", "lictor.service=books"]), ("debug", [*OF_BOOKS, "-l", "lictor.container=debug"]),
    ("debug", [*OF_BOOKS, "-l", "lictor.container=debug", "-l", "lictor.number=1"]),
])
def test_what_only_looks_like_its_own_is_neither_listed_nor_touched(
        docker: Docker, lying_image: str, name: str, labels: list[str]) -> None:
    docker.docker("run", "-d", "--name", name, *labels, lying_image)
    ours = start(3)
    assert [each.id for each in engine.containers("books")] == [each.id for each in engine.containers()] == [ours.id]
    claimed = ours._replace(id=inspect(docker, name, ".Id").strip('"'), name=name, number=1)
    for end in (engine.stop, engine.remove):
        with pytest.raises(errors.Refused, match="left alone"):
            end(claimed, grace_s=0)
    assert docker.containers("status=running") == sorted([name, ours.name])


def test_an_image_hides_no_container_of_ours_and_takes_no_other_s_place_in_the_catalogue(
        docker: Docker, lying_image: str) -> None:
    ours = start(2, image=lying_image, check={"http": "/health"}, labels={"SERVICE_TAGS": "a"})
    assert engine.containers("books") == [ours] and (ours.color, ours.number) == ("", 2)
    for internal in (False, True):
        found, refused = registration.registrations(
            json.loads(docker.docker("inspect", ours.name))[0], registration.Options("vm", "e", internal=internal))
        assert refused == [] and not any(each.joins for each in found)
        assert {each.id: each.definition["Name"] for each in found} == {
            "vm:books-2:8080": "books", **({"vm:books-2:9999": "books-9999"} if internal else {})}
        assert "HTTP" in found[0].definition["Check"] and found[0].definition["Tags"] == ["a"]
    engine.stop(ours, grace_s=0)
    assert start(2, image=lying_image).id == ours.id  # it is found again, too
    engine.remove(ours, grace_s=0)
    assert docker.containers() == []


def test_logs_are_bounded_where_neither_the_spec_nor_the_daemon_bounds_them(docker: Docker) -> None:
    start()
    start(2, logging={"driver": "json-file", "options": {"max-file": "2"}})
    start(3, logging={"driver": "none"})
    assert [json.loads(inspect(docker, f"books-{number}", ".HostConfig.LogConfig")) for number in (1, 2, 3)] == [
        {"Type": "json-file", "Config": {"max-file": "3", "max-size": "10m"}},
        {"Type": "json-file", "Config": {"max-file": "2", "max-size": "10m"}}, {"Type": "none", "Config": {}}]
    assert docker.containers() == ["books-1", "books-2", "books-3"]


def shell(script: str, number: int = 1, **keys: Any) -> model.Container:
    return start(number, entrypoint=["/bin/busybox", "sh", "-c"], command=[script], **keys)


def test_stopping_waits_for_the_grace_and_no_longer(docker: Docker, tmp_path: Path) -> None:
    said = tmp_path / "said"
    polite = shell("exec > /data/said; trap 'echo asked; busybox sleep 1; echo done; exit 0' TERM; echo ready; "
                   "while :; do busybox sleep 0.1; done", volumes=[f"{tmp_path}:/data"])
    wait_for(lambda: said.read_text() == "ready\n", "it runs")
    engine.remove(polite, grace_s=60)
    assert said.read_text().split() == ["ready", "asked", "done"]
    engine.remove(shell("trap '' TERM; while :; do busybox sleep 1; done"), grace_s=0.1)
    assert docker.containers() == []


def test_logs_are_the_last_lines_of_both_streams() -> None:
    talker = shell("for i in 1 2 3; do echo out $i; done; busybox sleep 1; printf '\\377\\n' >&2; busybox sleep 100")
    wait_for(lambda: engine.logs(talker, lines=2) == "out 3\n\ufffd\n", "two lines")


def test_in_flight_counts_requests_from_outside(docker: Docker) -> None:
    container = start()
    url = f"http://127.0.0.1:{port(docker, container.name)}"
    wait_for(lambda: urllib.request.urlopen(f"{url}/health", timeout=5).status == 200, "it serves")
    wait_for(lambda: engine.in_flight(container) == 0, "nothing is in flight")
    # A request that lasts until the test ends it.
    within(docker, container, "echo '#!/bin/busybox sh' > /www/cgi-bin/held; "
           "echo 'while [ -e /held ]; do busybox sleep 0.1; done' >> /www/cgi-bin/held; "
           "echo 'echo Content-Type: text/plain; echo' >> /www/cgi-bin/held; "
           "busybox chmod +x /www/cgi-bin/held; busybox touch /held")
    docker.docker("exec", "-d", container.id, "/bin/busybox", "wget", "-O", "/dev/null",
                  "http://127.0.0.1:8080/cgi-bin/held")
    held = threading.Thread(target=lambda: urllib.request.urlopen(f"{url}/cgi-bin/held", timeout=150).read())
    with socket.create_connection(("127.0.0.1", port(docker, container.name))):
        held.start()
        wait_for(lambda: engine.in_flight(container) == 2, "one idle connection and one request")
        within(docker, container, "busybox rm /held")
        held.join()
        wait_for(lambda: engine.in_flight(container) == 1, "the idle one")
    wait_for(lambda: engine.in_flight(container) == 0, "none")
    engine.remove(container, grace_s=0)
    assert engine.in_flight(container) is None


def test_docker_that_cannot_be_reached_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(errors.Unavailable, match="No such file or directory"):
        engine.containers()
