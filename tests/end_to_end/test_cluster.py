"""A set of etcd on the real programs, under a client that writes: nothing acknowledged is lost, whatever happens."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lab.daemon import Daemon, free_ports, wait_for
from lab.docker import Docker
from lab.etcd_service import EtcdService
from lab.etcd_writer import Writer
from lab.http import ask
from lab.node import Node
from support import names

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="session")
def images(docker_engine: Docker) -> None:
    docker_engine.build_etcd("etcd:1")
    docker_engine.build_etcd("etcd:2", version="2")


@pytest.fixture
def db(request: pytest.FixtureRequest, images: None, docker: Docker, tmp_path: Path) -> Iterator[EtcdService]:
    (tmp_path / "node").mkdir()
    node = Node(str(tmp_path / "node"), docker, keep_data=True, timer="3s", config=names.CONFIG)
    try:
        yield EtcdService(node.start(), docker, getattr(request, "param", ""))
    finally:
        node.stop()
        docker.clear_volumes()


@pytest.fixture
def writer(db: EtcdService) -> Iterator[Writer]:
    db.apply()
    db.settle(1)
    found = Writer(db.addresses)
    found.start()
    try:
        yield found
    finally:
        found.finish()


def grow(db: EtcdService, size: int) -> None:
    db.scale(size)
    db.settle(size)


def assert_nothing_lost(db: EtcdService, writer: Writer) -> None:
    writer.wait_for_more()
    writer.finish()
    assert writer.missing() == set()
    wait_for(lambda: len(db.set_ids()) == 1, "who answers is of one set")


def test_up_and_down(db: EtcdService, writer: Writer) -> None:
    """Every member comes on a volume of its own, which stays when the member has left. Clients are told of each."""
    for size in (3, 5, 3, 1):
        grow(db, size)
        wait_for(lambda: db.seeds() == ",".join(map(db.address, sorted(db.members()))) != "", "clients are told")
        writer.wait_for_more()
    assert_nothing_lost(db, writer)
    assert db.volumes() == {f"{db.name}-{number}-data" for number in range(1, 6)}


@pytest.mark.parametrize("role", ["leader", "follower"])
@pytest.mark.parametrize("harm", ["kill", "wipe"])
def test_a_killed_member_comes_back_and_one_without_its_disk_is_replaced(db: EtcdService, writer: Writer, role: str,
                                                                         harm: str) -> None:
    grow(db, 3)
    before = len(db.all_done())
    number = db.wait_leader() if role == "leader" else db.follower()
    getattr(db, harm)(number)
    wait_for(lambda: len(db.done()) > before, "lictor acts", 60)
    db.settle(3)
    done = db.all_done()[before:]
    if harm == "kill":
        assert done == [f"start {number}"]
    else:  # it leaves before its number, or another one, is started on an empty volume
        assert done[0] == f"leave {number}" and done.index("stop " + str(number)) < len(done) - 1
    assert_nothing_lost(db, writer)


def test_a_release_restarts_the_primary_last(db: EtcdService, writer: Writer) -> None:
    """etcd may elect another primary at any moment on a busy machine, so each act is held against what it saw."""
    grow(db, 3)
    before = len(db.history())
    done = db.node.run("deploy", db.name, "etcd:2", "--wait", "--timeout", "10m", timeout_s=660)
    assert done.returncode == 0, done.stdout + done.stderr
    db.settle(3)
    db.all_done()
    assert_no_primary_is_restarted(db.history()[before:])
    assert "etcd:2" in db.node.run("status").stdout
    assert_nothing_lost(db, writer)


def assert_no_primary_is_restarted(records: list[dict[str, Any]]) -> None:
    """Each member is restarted once, under another primary; who is primary steps down when it alone is left."""
    acts = [each for each in records if each["outcome"] == "done" and each["kind"] in ("restart", "stepdown")]
    restarted: list[str] = []
    for each in acts:
        leads = each["seen"].startswith(f"{each['container']} is primary in term ")
        assert leads == (each["kind"] == "stepdown"), each
        if each["kind"] == "stepdown":
            assert len(restarted) == 2 and each["container"] not in restarted, acts
        else:
            restarted.append(each["container"])
    assert len(restarted) == len({*restarted}) == 3, acts


def test_a_lost_majority_is_told_to_people_and_left_alone(db: EtcdService, writer: Writer) -> None:
    grow(db, 3)
    lost = sorted({1, 2, 3} - {db.wait_leader()})
    writer.wait_for_more()
    before = db.all_done()
    db.hold("two disks are lost")
    for number in lost:
        db.wipe(number)
    db.resume()
    wait_for(lambda: is_told_to_people(db), "a record", 120)
    wait_for(lambda: "majority lost" in db.node.run("status", db.name).stdout, "status says it")
    assert db.all_done() == before


def is_told_to_people(db: EtcdService) -> bool:
    told = [each["reason"] for each in db.history() if each["kind"] == "set needs a person"]
    return any("majority lost: 1 of 3 voters answer" in each and "--force-new-cluster" in each for each in told)


def test_a_release_without_an_image_ends_no_member_and_says_why(db: EtcdService, writer: Writer) -> None:
    grow(db, 3)
    before, containers = db.all_done(), db.docker.docker("ps", "-q", "--no-trunc").split()
    db.deploy("etcd:none")
    wait_for(lambda: failed_restarts(db), "it fails")
    for verb in (["status", db.name, "--json"], ["status", "--json"], ["plan", db.name], ["why", db.name]):
        wait_for(partial(says_why, db, verb), f"{verb} says why")
    assert db.done() == before and sorted(db.docker.docker("ps", "-q", "--no-trunc").split()) == sorted(containers)
    db.deploy("etcd:1")
    db.settle(3)
    wait_for(lambda: "backing off" not in db.node.run("status").stdout, "that is over")
    assert_nothing_lost(db, writer)


def failed_restarts(db: EtcdService) -> list[dict[str, Any]]:
    return [each for each in db.history() if each["kind"] == "restart" and each["outcome"] == "failed"]


def says_why(db: EtcdService, verb: list[str]) -> bool:
    """Tell whether a verb says why the newest try failed; whose turn it is changes with an election."""
    failed, said = failed_restarts(db)[-1], db.node.run(*verb).stdout
    cause = f" and failed: {failed['detail'].partition(chr(34))[0]}"  # which JSON writes otherwise
    return f"backing off: restart {failed['container']} was tried " in said and cause in said


def test_without_the_agent_nothing_is_changed_and_with_it_all_goes_on(db: EtcdService, writer: Writer) -> None:
    db.scale(3)
    wait_for(lambda: len(db.members()) >= 2, "the first newcomer is a member", 60)
    db.node.consul.stop()
    wait_for(lambda: not db.node.handler_pids(), "what had begun has ended", 120)
    members = wait_for(db.members, "a member leads")
    writer.wait_for_more(100)
    wait_for(lambda: db.members() == members, "the members are those of before")
    db.node.consul.start(env=db.node.environ)
    db.settle(3)
    assert_nothing_lost(db, writer)


def is_tagged(db: EtcdService) -> bool:
    """Tell whether each member has the tag of its role."""
    leader = db.leader()
    others = sorted(db.containers() - {f"{db.name}-{leader}"})
    return db.tagged("primary") == [f"{db.name}-{leader}"] and db.tagged("secondary") == others


@contextmanager
def gateway(folder: Path) -> Iterator[str]:
    """Run etcd's gateway, whose settings name no member; it asks port 53 of what stands in resolv.conf."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    argv = ["etcd", "gateway", "start", "--discovery-srv", "service.consul", "--insecure-discovery", "--listen-addr",
            address]
    own = f"mount --bind {folder}/resolv.conf /etc/resolv.conf && exec {' '.join(argv)}"
    daemon = Daemon(["unshare", "--mount", "/bin/sh", "-c", own], str(folder / "gateway.log"))
    try:
        yield address
    finally:
        daemon.stop()


@pytest.mark.parametrize("db", ["etcd-client"], indirect=True)
def test_the_names_in_consul_follow_the_roles(db: EtcdService, writer: Writer, tmp_path: Path) -> None:
    primary = "primary.etcd-client.service.consul"
    grow(db, 3)
    wait_for(lambda: is_tagged(db), "tags", 60)
    wait_for(lambda: names.places(primary) == [db.address(db.leader())], "Consul's DNS names the primary", 60)
    wait_for(lambda: names.places("etcd-client.service.consul") == sorted(map(db.address, db.members())),
             "it names all members", 60)
    with gateway(tmp_path) as address:  # etcd's own resolver of SRV records
        wait_for(lambda: ask(address, "GET", "/health") == (200, '{"health":"true"}'), "a member answers behind it")
    leader = db.wait_leader()
    db.hold("it is not started again before the others have elected one")
    db.kill(leader)
    wait_for(lambda: db.leader() not in (0, leader), "another member leads", 60)
    wait_for(lambda: db.tagged("primary") == [f"{db.name}-{db.leader()}"], "the tag follows", 60)
    wait_for(lambda: names.places(primary) == [db.address(db.leader())], "Consul's DNS follows", 60)
    db.resume()
    db.settle(3)
    wait_for(lambda: is_tagged(db), "the tags of all", 60)
    assert_nothing_lost(db, writer)


def test_what_is_removed_leaves_its_volumes_and_comes_back_with_them(db: EtcdService, writer: Writer) -> None:
    writer.wait_for_more()
    writer.finish()
    done = db.node.run("remove", db.name)
    assert f"docker volume rm {db.name}-1-data" in done.stdout and "lictor/cluster/" in done.stdout, done.stdout
    wait_for(lambda: db.containers() == set(), "its containers are gone", 60)
    assert db.volumes() == {f"{db.name}-1-data"}
    wait_for(lambda: db.name not in db.node.run("status").stdout, "it is removed", 60)
    wait_for(lambda: db.seeds() == "", "clients are told of none", 60)
    db.apply()
    db.settle(1)
    assert writer.missing() == set()


def test_status_shows_each_member(db: EtcdService, writer: Writer) -> None:
    grow(db, 3)
    wait_for(lambda: is_shown(db), "status and why name the primary, and its term", 60)
    assert_doctor_names_who_is_not_reached(db)


def is_shown(db: EtcdService) -> bool:
    """Tell whether status and why show the members, with the primary that etcd itself names."""
    leader, term = db.leader(), max(each.term for each in db.reports().values())
    shown, told = (db.node.run(verb, db.name).stdout for verb in ("status", "why"))
    rows = {line.split()[0]: line for line in shown.splitlines() if line.startswith(f"{db.name}-")}
    assert sorted(rows) == [f"{db.name}-{number}" for number in (1, 2, 3)], shown
    assert all("yes" in row for row in rows.values()), shown
    assert "last change: " in shown and "givevote" in shown and "joins without a vote" in told, (shown, told)
    row = rows.get(f"{db.name}-{leader}", "")
    return "primary" in row and "0 entries" in row and f"term {term}" in shown and (
        f"{db.name}-{leader} is primary in term {term}" in told)


def assert_doctor_names_who_is_not_reached(db: EtcdService) -> None:
    """A firewall drops what one member sends to another one; both answer lictor, and the leader sees both."""
    well = f"ok   set {db.name}: each of 3 members says that it reaches the others"
    wait_for(lambda: well in db.examined(), well, 60)
    wait_for(lambda: is_named_behind_a_firewall(db), "doctor names it", 240)


def is_named_behind_a_firewall(db: EtcdService) -> bool:
    """Tell whether doctor names a follower that another one does not reach; False: one of them leads by now."""
    leader = db.wait_leader()
    one, other = sorted({1, 2, 3} - {leader})
    says = (f"FAIL set {db.name}: {db.name}-{one} does not reach {db.name}-{other} at {db.address(other, peer=True)}: "
            "its connection is lost\n")  # and nobody else misses anybody
    with db.firewall(one, other):
        end = wait_for(lambda: says in db.examined() and "said" or db.leader() in (one, other) and "elected", says, 60)
    return end == "said"
