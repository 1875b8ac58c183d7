"""A set of etcd on the real programs, under a client that writes: nothing acknowledged is lost, whatever happens."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from lab.daemon import Daemon, free_ports, wait_for
from lab.docker import Docker
from lab.etcd_service import EtcdService
from lab.etcd_writer import Writer
from lab.http import ask
from lab.node import Node
from support import names

pytestmark = pytest.mark.timeout(600)


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
    assert len(db.set_ids()) == 1


def test_up_and_down(db: EtcdService, writer: Writer) -> None:
    """Every member comes on a volume of its own, which stays when the member has left. Clients are told of each."""
    for size in (3, 5, 3, 1):
        grow(db, size)
        members = ",".join(db.address(number) for number in sorted(db.members()))
        wait_for(lambda: db.seeds() == members, "clients are told of the members")  # noqa: B023 - within the loop
        writer.wait_for_more()
    assert_nothing_lost(db, writer)
    assert db.volumes() == {f"{db.name}-{number}-data" for number in range(1, 6)}


@pytest.mark.parametrize("role", ["leader", "follower"])
@pytest.mark.parametrize("harm", ["kill", "wipe"])
def test_a_killed_member_comes_back_and_one_without_its_disk_is_replaced(db: EtcdService, writer: Writer, role: str,
                                                                         harm: str) -> None:
    grow(db, 3)
    number, before = (db.leader() if role == "leader" else db.follower()), len(db.done())
    getattr(db, harm)(number)
    wait_for(lambda: len(db.done()) > before, "lictor acts", 60)
    db.settle(3)
    done = db.done()[before:]
    if harm == "kill":
        assert done == [f"start {number}"]
    else:  # it leaves before its number, or another one, is started on an empty volume
        assert done[0] == f"leave {number}" and done.index("stop " + str(number)) < len(done) - 1
    assert_nothing_lost(db, writer)


def test_a_release_restarts_the_primary_last(db: EtcdService, writer: Writer) -> None:
    grow(db, 3)
    leader, before, term = db.leader(), len(db.done()), max(each.term for each in db.reports().values())
    done = db.node.run("deploy", db.name, "etcd:2", "--wait", "--timeout", "3m", timeout_s=200)
    assert done.returncode == 0, done.stdout + done.stderr
    db.settle(3)
    restarts = [each for each in db.done()[before:] if each.startswith("restart")]
    assert restarts[-1] == f"restart {leader}" and len({*restarts}) == 3
    assert f"stepdown {leader}" in db.done()[before:]
    assert max(each.term for each in db.reports().values()) <= term + 2  # at most one election more than needed
    assert "etcd:2" in db.node.run("status").stdout
    assert_nothing_lost(db, writer)


def test_a_lost_majority_is_told_to_people_and_left_alone(db: EtcdService, writer: Writer) -> None:
    grow(db, 3)
    lost = sorted({1, 2, 3} - {db.leader()})
    writer.wait_for_more()
    db.hold("two disks are lost")
    for number in lost:
        db.wipe(number)
    db.resume()
    before = db.done()
    wait_for(lambda: [each for each in db.history() if each["kind"] == "set needs a person"], "a record", 120)
    [told] = [each for each in db.history() if each["kind"] == "set needs a person"]
    assert "majority lost: 1 of 3 voters answer" in told["reason"] and "--force-new-cluster" in told["reason"]
    assert db.done() == before
    assert "majority lost" in db.node.run("status", db.name).stdout


def test_a_release_without_an_image_ends_no_member_and_says_why(db: EtcdService, writer: Writer) -> None:
    grow(db, 3)
    before, containers = db.done(), db.docker.docker("ps", "-q", "--no-trunc").split()
    db.deploy("etcd:none")
    wait_for(lambda: "failed" in [each["outcome"] for each in db.history() if each["kind"] == "restart"], "it fails")
    failed = next(each for each in db.history() if each["outcome"] == "failed")
    cause = f" and failed: {failed['detail'].partition(chr(34))[0]}"  # which JSON writes otherwise
    for verb in (["status", db.name, "--json"], ["status", "--json"], ["plan", db.name], ["why", db.name]):
        wait_for(partial(says_why, db, verb, failed["container"], cause), f"{verb} says why")
    assert db.done() == before and sorted(db.docker.docker("ps", "-q", "--no-trunc").split()) == sorted(containers)
    db.deploy("etcd:1")
    db.settle(3)
    assert "backing off" not in db.node.run("status").stdout
    assert_nothing_lost(db, writer)


def says_why(db: EtcdService, verb: list[str], container: str, cause: str) -> bool:
    said = db.node.run(*verb).stdout
    return f"backing off: restart {container} was tried " in said and cause in said


def test_without_the_agent_nothing_is_changed_and_with_it_all_goes_on(db: EtcdService, writer: Writer) -> None:
    db.scale(3)
    wait_for(lambda: len(db.members()) == 2, "the first newcomer is a member", 60)
    db.node.consul.stop()
    writer.wait_for_more(100)
    members = db.members()
    writer.wait_for_more(100)
    assert db.members() == members or len(db.members()) == len(members)  # what had begun may end
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
    grow(db, 3)
    leader = db.leader()
    wait_for(lambda: is_tagged(db), "tags", 20)
    assert names.places("primary.etcd-client.service.consul") == [db.address(leader)]
    assert names.places("etcd-client.service.consul") == sorted(map(db.address, db.members()))
    with gateway(tmp_path) as address:  # etcd's own resolver of SRV records
        wait_for(lambda: ask(address, "GET", "/health") == (200, '{"health":"true"}'), "a member answers behind it")
    db.kill(leader)
    wait_for(lambda: db.leader() not in (0, leader), "another member leads")
    wait_for(lambda: db.tagged("primary") == [f"{db.name}-{db.leader()}"], "the tag follows")
    assert names.places("primary.etcd-client.service.consul") == [db.address(db.leader())]
    db.settle(3)
    wait_for(lambda: is_tagged(db), "the tags of all", 20)
    assert_nothing_lost(db, writer)


def test_what_is_removed_leaves_its_volumes_and_comes_back_with_them(db: EtcdService, writer: Writer) -> None:
    writer.wait_for_more()
    writer.finish()
    done = db.node.run("remove", db.name)
    assert f"docker volume rm {db.name}-1-data" in done.stdout and "lictor/cluster/" in done.stdout, done.stdout
    wait_for(lambda: db.containers() == set(), "its containers are gone", 60)
    assert db.volumes() == {f"{db.name}-1-data"}
    wait_for(lambda: db.name not in db.node.run("status").stdout, "it is removed", 60)
    assert db.seeds() == ""
    db.apply()
    db.settle(1)
    assert writer.missing() == set()


def test_status_shows_each_member(db: EtcdService, writer: Writer) -> None:
    grow(db, 3)
    leader, shown = db.leader(), db.node.run("status", db.name).stdout
    rows = {line.split()[0]: line for line in shown.splitlines() if line.startswith(f"{db.name}-")}
    assert sorted(rows) == [f"{db.name}-{number}" for number in (1, 2, 3)]
    assert "primary" in rows[f"{db.name}-{leader}"] and "0 entries" in rows[f"{db.name}-{leader}"]
    assert all("yes" in row for row in rows.values())
    assert f"term {db.reports()[leader].term}" in shown and "last change: " in shown and "givevote" in shown
    told = db.node.run("why", db.name).stdout
    assert f"{db.name}-{leader} is primary in term" in told and "joins without a vote" in told
    assert_doctor_names_who_is_not_reached(db)


def assert_doctor_names_who_is_not_reached(db: EtcdService) -> None:
    """A firewall drops what one member sends to another one; both answer lictor, and the leader sees both."""
    assert f"ok   set {db.name}: each of 3 members says that it reaches the others" in db.examined()
    one, other = sorted({1, 2, 3} - {db.leader()})
    says = (f"FAIL set {db.name}: {db.name}-{one} does not reach {db.name}-{other} at {db.address(other, peer=True)}: "
            "its connection is lost\n")  # and nobody else misses anybody
    with db.firewall(one, other):
        wait_for(lambda: says in db.examined(), says, 60)
