"""The swarm engine against a real Swarm of one node."""

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from lictor import errors, model
from lictor.adapters import docker_swarm, heartbeat
from lictor.engines import swarm as engine
from lictor.engines.protocols import Order
from lictor.spec import service_spec
from lictor.spec.settings import Settings

from lab.daemon import wait_for
from lab.docker import Docker
from lab.swarm import Swarm

BOOKS = {"name": "books", "engine": "swarm", "image": "books-service:1.0", "port": 8080}
SETTINGS = Settings()


@pytest.fixture(autouse=True)
def environ(swarm: Swarm, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in swarm.environ.items():
        monkeypatch.setenv(key, value)


def spec(**keys: Any) -> service_spec.Spec:
    return service_spec.parse_spec({**BOOKS, **keys}, "test")


def scale(replicas: int, color: str = "", made_from: str = "r1", **keys: Any) -> str:
    return engine.scale(SETTINGS, Order(spec(**keys), color, replicas, made_from))


def redeploy(replicas: int, made_from: str, **keys: Any) -> str:
    return engine.redeploy(SETTINGS, Order(spec(**keys), "", replicas, made_from))


def group(service: str = "books") -> model.Group:
    found = engine.groups(service)
    assert found is not None and len(found) == 1
    return found[0]


def wait_running(count: int, release: str = "r1") -> model.Group:
    wait_for(lambda: (group().release, len(group().container_ids or ())) == (release, count) and not group().trouble,
             f"{count} of {release} run")
    return group()


def shell(script: str) -> dict[str, Any]:
    return {"entrypoint": ["/bin/busybox", "sh", "-c"], "command": [script]}


def version(swarm: Swarm, service: str = "books") -> int:
    return int(swarm.docker("service", "inspect", "--format", "{{.Version.Index}}", service))


def inspect(swarm: Swarm, container_id: str) -> Any:
    return json.loads(swarm.docker("inspect", container_id))[0]


def test_a_change_of_the_count_makes_none_anew_and_nothing_is_sent_without_a_change(swarm: Swarm) -> None:
    swarm.docker("service", "create", "-d", "--name", "not-ours", "--replicas", "0", "books-service:1.0")
    assert engine.groups() == [] and engine.groups("books") == []
    scale(2)
    first = wait_running(2)
    ids = first.container_ids
    assert first == model.Group("books", "", 2, "r1", "books-service:1.0", ids, task_ids=ids)
    before = version(swarm)
    assert scale(2) == "books is so already" and version(swarm) == before
    scale(3, stop_grace_period="3s")
    more = wait_running(3)
    assert set(first.container_ids or ()) < set(more.container_ids or ())
    scale(1)
    assert set(wait_running(1).container_ids or ()) < set(more.container_ids or ())
    scale(0)
    assert wait_running(0).replicas == 0 and engine.groups() == [group()]


def test_a_colour_is_a_service_and_only_what_says_so_is_changed_or_removed(swarm: Swarm) -> None:
    for color in ("blue", "green"):
        scale(0, color)
    assert [(each.service, each.color) for each in engine.groups() or []] == [("books", "blue"), ("books", "green")]
    swarm.docker("service", "create", "-d", "--name", "carts", "--replicas", "0", "-l", "lictor.service=books",
                 "books-service:1.0")  # as somebody copied it
    assert len(engine.groups("books") or []) == 2
    for name, color in (("carts", ""), ("books-blue", "")):
        with pytest.raises(errors.Refused, match=f"service {name} does not say that it is {name}'s; it is left alone"):
            engine.remove(SETTINGS, Order(spec(name=name), color, 0, ""))
        with pytest.raises(errors.Refused, match="left alone"):
            scale(1, name=name)
        with pytest.raises(errors.Refused, match="left alone"):
            redeploy(1, "r2", name=name)
    for _ in range(2):  # the second time it is gone already
        engine.remove(SETTINGS, Order(spec(), "blue", 0, ""))
    assert sorted(swarm.docker("service", "ls", "--format", "{{.Name}} {{.Replicas}}").splitlines()) == [
        "books-green 0/0", "carts 0/0"]


def test_a_service_whose_id_begins_with_the_name_is_not_meant(swarm: Swarm) -> None:
    swarm.docker("service", "create", "-d", "--name", "other", "--replicas", "0", "books-service:1.0")
    begins = swarm.docker("service", "inspect", "--format", "{{.ID}}", "other")[:3]
    assert engine.remove(SETTINGS, Order(spec(name=begins), "", 0, "")) == ""
    scale(0, name=begins)
    assert group(begins).service == begins


def test_every_key_of_the_spec_reaches_the_container(swarm: Swarm, tmp_path: Any) -> None:
    swarm.docker("network", "create", "-d", "overlay", "lictor-test")
    try:
        scale(1, environment={"A": "{{.Task.ID}}", "B": None}, entrypoint=["/bin/busybox"],
              command="sh -c 'busybox sleep 100'", networks=["lictor-test"], user="1000:1000",
              volumes=[f"{tmp_path}:/data:ro,rprivate", "kept:/kept:nocopy", "/own"], read_only=True, cap_drop=["ALL"],
              logging={"driver": "json-file", "options": {"max-size": "1m"}}, labels={"team": "x"}, check={"tcp": True},
              resources={"cpus": 0.5, "memory": "64m"}, tmpfs="/scratch:size=64k,mode=1770", init=True, shm_size="8m",
              dns=["10.0.0.53"], hostname="library", ulimits={"nofile": {"soft": 100, "hard": 200}}, pids_limit=55,
              sysctls=["net.core.somaxconn=77"], extra_hosts={"db": "10.0.0.5"}, working_dir="/scratch",
              group_add=["1234"], healthcheck={"test": ["CMD", "/bin/busybox", "true"], "interval": "1s"})
        [container_id] = wait_running(1).container_ids or ()
        found = inspect(swarm, container_id)
    finally:
        swarm.clear()
        wait_for(lambda: swarm.docker("network", "rm", "lictor-test"), "the network is free")
    own, host = found["Config"], found["HostConfig"]
    assert own["Env"][:2] == ["A={{.Task.ID}}", "B="]
    assert (own["Entrypoint"], own["Cmd"]) == (["/bin/busybox"], ["sh", "-c", "busybox sleep 100"])
    assert (own["User"], own["Hostname"]) == ("1000:1000", "library")
    assert (host["ReadonlyRootfs"], host["CapDrop"]) == (True, ["ALL"])
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "1m"}}
    assert (host["NanoCpus"], host["Memory"]) == (500_000_000, 64 * 1024 ** 2)
    assert "lictor-test" in found["NetworkSettings"]["Networks"]
    mounts = {each["Destination"]: (each["Type"], each.get("Name") or each["Source"], each["RW"], each["Propagation"])
              for each in found["Mounts"]}
    assert mounts.pop("/own")[0] == "volume"
    in_memory = {each["Target"]: each["TmpfsOptions"] for each in host["Mounts"] if each["Type"] == "tmpfs"}
    assert in_memory == {"/scratch": {"SizeBytes": 65536, "Mode": 0o1770}, "/dev/shm": {"SizeBytes": 8 << 20}}
    assert (host["Init"], host["Dns"], own["WorkingDir"], host["GroupAdd"]) == (
        True, ["10.0.0.53"], "/scratch", ["1234"])
    assert (host["Sysctls"], host["ExtraHosts"]) == ({"net.core.somaxconn": "77"}, ["db:10.0.0.5"])
    assert host["Ulimits"] == [{"Name": "nofile", "Hard": 200, "Soft": 100}]
    assert own["Healthcheck"]["Test"] == ["CMD", "/bin/busybox", "true"]
    mounts = {path: each for path, each in mounts.items() if each[0] != "tmpfs"}
    assert mounts == {"/data": ("bind", str(tmp_path), False, "rprivate"), "/kept": ("volume", "kept", True, "")}
    registered_as = {
        "SERVICE_NAME": "books", "SERVICE_8080_NAME": "books", "SERVICE_8080_CHECK_TCP": "true",
        "SERVICE_8080_CHECK_INTERVAL": "10000ms", "SERVICE_8080_CHECK_TIMEOUT": "5000ms"}
    assert {key: value for key, value in own["Labels"].items() if not key.startswith("com.docker.")} == {
        "lictor.service": "books", "lictor.engine": "swarm", "lictor.release": "r1", "lictor.color": "",
        "lictor.gate": "", "lictor.registers": " ".join(sorted(registered_as)), **registered_as, "team": "x"}
    assert host["PidsLimit"] == 55
    swarm.docker("volume", "rm", "kept")


def test_what_swarm_is_told_beside_the_container() -> None:
    scale(0, "blue", stop_grace_period="1500ms", resources={"cpus": 0.5, "memory": "64m"}, check={
        "tcp": True, "port": 8081}, release={
        "strategy": "blue-green", "healthy_for": "1500ms"}, placement={
            "constraints": ["node.role==manager"], "spread": ["node.labels.zone"]})
    there = docker_swarm.connect().service("books-blue")
    assert there
    told = there["Spec"]
    assert told["Labels"] == {"lictor.service": "books", "lictor.engine": "swarm", "lictor.color": "blue",
                              "lictor.release": "r1"}
    resources = {"NanoCPUs": 500_000_000, "MemoryBytes": 64 * 1024 ** 2}
    assert told["TaskTemplate"]["Resources"] == {"Limits": {**resources, "Pids": 4096}, "Reservations": resources}
    assert told["TaskTemplate"]["Placement"] == {
        "Constraints": ["node.role==manager"], "Preferences": [{"Spread": {"SpreadDescriptor": "node.labels.zone"}}]}
    assert told["TaskTemplate"]["ContainerSpec"]["StopGracePeriod"] == 1_500_000_000
    assert told["TaskTemplate"]["RestartPolicy"]["Condition"] == "any"
    for config_key in ("UpdateConfig", "RollbackConfig"):
        assert told[config_key] == {"Parallelism": 1, "Order": "start-first", "FailureAction": "pause",
                                    "Delay": 1_500_000_000, "Monitor": 1_500_000_000, "MaxFailureRatio": 0}
    published = [{"Protocol": "tcp", "TargetPort": port, "PublishMode": "host"} for port in (8080, 8081)]
    assert told["EndpointSpec"]["Ports"] == published
    assert told["TaskTemplate"]["ContainerSpec"]["Labels"]["SERVICE_8080_CHECK_PORT"] == "8081"


def test_a_long_name_still_makes_a_host_name(swarm: Swarm) -> None:
    name = "b" * 57
    scale(1, "green", name=name)
    wait_for(lambda: group(name).container_ids, "it runs")
    assert inspect(swarm, (group(name).container_ids or ("",))[0])["Config"]["Hostname"] == f"{name}-green"


@pytest.mark.parametrize("volume", ["./data:/data", "data", "/data:/data:z", "a:/b:c:d", "x:/y:ro:"])
def test_a_volume_that_swarm_cannot_have_is_named(volume: str) -> None:
    with pytest.raises(errors.Refused, match="volumes holds '.*'; Swarm takes TARGET, NAME:TARGET"):
        scale(1, volumes=[volume])
    assert engine.groups() == []


def test_a_release_replaces_them_and_the_same_one_makes_them_anew(swarm: Swarm) -> None:
    redeploy(2, "r1")  # there is none yet
    first = set(wait_running(2).container_ids or ())
    redeploy(2, "r2", environment={"A": "2"}, release={"healthy_for": "0s"})
    second = set(wait_running(2, "r2").container_ids or ())
    assert not first & second and "A=2" in inspect(swarm, min(second))["Config"]["Env"]
    redeploy(2, "r2", environment={"A": "2"}, release={"healthy_for": "0s"})  # nothing has changed
    wait_for(lambda: not second & set(group().container_ids or ()), "they are made anew")
    wait_running(2, "r2")
    scale(2, made_from="r3", environment={"A": "4"}, release={"healthy_for": "0s"})
    wait_running(2, "r3")


def test_who_comes_too_late_changes_nothing(swarm: Swarm) -> None:
    scale(0)
    client = docker_swarm.connect()
    there = client.service("books")
    assert there
    scale(1)
    with pytest.raises(errors.Conflict, match="books: another writer changed it first"):
        client.update(there["ID"], there["Spec"], version=there["Version"]["Index"])
    with pytest.raises(errors.Conflict, match="already exists"):
        client.create(there["Spec"])
    assert group().replicas == 1


@pytest.mark.parametrize(("keys", "said"), [
    ({"resources": {"memory": "1000g"}}, "no suitable node (insufficient resources on 1 node)"),
    ({"placement": {"constraints": ["node.labels.zone==mars"]}},
     "no suitable node (scheduling constraints not satisfied on 1 node)"),
    ({"image": "nobody/nothing:1"}, "No such image: nobody/nothing:1"),
    (shell("exit 3"), "task: non-zero exit (3)"),
    ({"entrypoint": ["/not-there"]}, "starting container failed: "),
    ({"volumes": ["/not/there:/data"]}, "bind source path does not exist: /not/there"),
])
def test_trouble_is_in_swarm_s_words(keys: dict[str, Any], said: str) -> None:
    scale(1, **keys)
    wait_for(lambda: said in group().trouble, f"it says {said}")


def test_a_network_is_named_and_not_meant_by_its_id(swarm: Swarm) -> None:
    for network in (swarm.docker("network", "inspect", "--format", "{{.Id}}", "host"), "nowhere"):
        for given in (network, network[:5]):
            with pytest.raises(errors.Refused, match=f"networks holds '{given}'; there is no network of this name"):
                scale(1, networks=[given])


def test_a_release_that_fails_is_paused_and_the_old_one_comes_back(swarm: Swarm) -> None:
    scale(2)
    first = wait_running(2)
    redeploy(2, "r2", release={"healthy_for": "30s"}, **shell("exit 3"))  # however late Swarm sees that one has ended

    def is_paused() -> bool:
        said = group()
        return (said.release == "r2" and said.trouble.endswith(": task: non-zero exit (3)")
                and "update paused due to failure or early termination of task" in said.trouble)
    wait_for(is_paused, "it is paused, and says why")
    redeploy(2, "r1", release={"healthy_for": "1s"})
    assert len(set(wait_running(2).container_ids or ()) & set(first.container_ids or ())) >= 1  # it went no further


def test_containers_are_those_of_this_node_and_one_that_is_ended_is_replaced(swarm: Swarm) -> None:
    swarm.docker("run", "-d", "--name", "books-1", "-l", "lictor.service=books", "books-service:1.0")
    scale(2, **shell("echo hello; while :; do busybox sleep 0.1; done"))
    scale(1, name="carts")
    wait_running(2)
    wait_for(lambda: group("carts").container_ids, "it runs")
    first, second = engine.containers("books")
    assert (first.number, second.number, first.color, first.status, first.release) == (1, 2, "", "running", "r1")
    assert {first.id, second.id} == set(group().container_ids or ()) and first.name.startswith("books.1.")
    assert [(each.service, each.number) for each in engine.containers()] == [("books", 1), ("books", 2), ("carts", 1)]
    wait_for(lambda: engine.logs(first, lines=5) == "hello\n", "it says hello")
    with pytest.raises(errors.Refused, match="left alone"):
        engine.end(first._replace(number=2), grace_s=0)
    for _ in range(2):  # the second time it is gone already
        engine.end(first, grace_s=0)
    wait_for(lambda: first.id not in (group().container_ids or ()), "Swarm has seen it")
    running = wait_running(2).container_ids or ()
    assert first.id not in running and second.id in running and first.id not in swarm.docker("ps", "-aq", "--no-trunc")


def test_each_has_a_port_of_its_own_on_all_addresses(swarm: Swarm) -> None:
    scale(2)
    published = [inspect(swarm, each)["NetworkSettings"]["Ports"]["8080/tcp"] for each in wait_running(2).container_ids
                 or ()]
    assert all(each[0]["HostIp"] == "0.0.0.0" for each in published)
    for port in {each[0]["HostPort"] for each in published}:
        wait_for(lambda port=port: urllib.request.urlopen(  # type: ignore[misc]
            f"http://127.0.0.1:{port}/health", timeout=5).status == 200, "it serves")
    assert len({each[0]["HostPort"] for each in published}) == 2


def test_only_a_manager_can_be_told_anything(docker: Docker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine.acts_here(SETTINGS) and engine.is_here()
    monkeypatch.setenv("DOCKER_HOST", docker.environ["DOCKER_HOST"])
    assert not engine.acts_here(SETTINGS)
    with pytest.raises(errors.Unavailable, match="not a swarm manager"):
        engine.groups()
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    settings = Settings(state_dir=str(tmp_path))
    assert not engine.acts_here(settings) and not engine.is_here(), "it only routes"
    heartbeat.write(settings.state_dir, heartbeat.Heartbeat(0.0))
    with pytest.raises(errors.Unavailable, match="No such file or directory"):
        engine.acts_here(settings)
