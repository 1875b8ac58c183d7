"""The example with a database of three, on the real programs; in MongoDB's place a double answers in each container."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest

from lictor.spec import spec_file

from lab.daemon import wait_for
from lab.docker import Docker
from lab.mongodb.service import MongoService
from lab.node import Node
from support import names
from support.paths import REPOSITORY

pytestmark = pytest.mark.timeout(1200)

DB, BOOKS = REPOSITORY / "examples/mongodb.yaml", REPOSITORY / "examples/books-with-database.yaml"
INSTANCES = ("books-service-1", "books-service-2")


@pytest.fixture
def db(docker: Docker, tmp_path: Path) -> Iterator[MongoService]:
    (tmp_path / "node").mkdir()
    node = Node(str(tmp_path / "node"), docker, keep_data=True, timer="3s", config=names.CONFIG)
    try:
        spec = spec_file.load(DB.read_text(), str(DB))
        service = MongoService(node.start(), docker, str(tmp_path), spec)
        try:
            yield service
        finally:
            service.mongods.stop()
    finally:
        node.stop()
        docker.clear_volumes()


def connect(db: MongoService, hosts: str, *, scheme: str = "mongodb", options: str = "") -> "pymongo.MongoClient[Any]":
    return pymongo.MongoClient(f"{scheme}://{hosts}/?replicaSet=rs0&authSource=admin{options}", username=db.user[0],
                               password=db.user[1], serverSelectionTimeoutMS=120_000)


def write(client: "pymongo.MongoClient[Any]", value: int) -> None:
    with client:
        assert client.books.sold.insert_one({"value": value}).acknowledged


def made(db: MongoService) -> dict[str, str]:
    """The ids of the books service's containers."""
    return {name: db.docker.docker("inspect", "--format", "{{.Id}}", name) for name in INSTANCES}


def require_waiting(db: MongoService) -> None:
    """Apply the books service before its database: it waits, says so, and fails nothing."""
    done = db.node.run("apply", str(BOOKS))
    assert "; but its instances wait: there is no service books-db with `cluster`" in done.stdout, done
    wait_for(lambda: " waiting: books-db has no member yet" in db.node.run("status").stdout, "status says it")
    wait = "wait books-service-1: waiting: books-db has no member yet. Would start books-service-1 ("
    assert f"books-service: {wait}" in db.node.run("plan", "books-service").stdout
    told = db.node.run("why", "books-service").stdout
    assert wait in told and "failed" not in told and not db.docker.containers()


def require_clients(db: MongoService) -> None:
    """Drivers write by the seeds of the environment, and by Consul's names."""
    members = [db.address(number) for number in (1, 2, 3)]
    wait_for(lambda: db.seeds() == ",".join(members), "clients are told of all members")
    wait_for(lambda: db.tagged("primary") == [f"{db.name}-1"] and db.tagged("secondary") == [
        f"{db.name}-2", f"{db.name}-3"], "tags")
    listed = json.loads(db.docker.docker("inspect", "--format", "{{json .Config.Env}}", INSTANCES[0]))
    [seeds] = [each.partition("=")[2] for each in listed if each.startswith("DB_SEEDS=")]
    assert seeds and set(seeds.split(",")) <= set(members)
    write(connect(db, seeds), 1)
    wait_for(lambda: names.places(f"primary.{db.name}.service.consul") == members[:1], "Consul's DNS names the primary")
    wait_for(lambda: names.places(f"{db.name}.service.consul") == members, "it names all members")
    with names.in_use():
        write(connect(db, "service.dc1.consul", scheme="mongodb+srv",
                      options=f"&srvServiceName={db.name}&tls=false"), 2)


def test_a_set_is_made_grows_loses_a_disk_and_shrinks_and_nobody_is_told_the_password(db: MongoService) -> None:
    require_waiting(db)
    db.apply()
    db.settle(3)
    assert db.all_done() == [
        "start 1", "initiate 1", "start 2", "add 2", "start 3", "add 3", "givevote 2", "givevote 3"]
    db.node.wait_served(*INSTANCES)
    books = made(db)
    require_clients(db)
    number, before = db.follower(), len(db.all_done())
    assert_doctor_names_who_is_not_reached(db, number)
    db.wipe(number)
    wait_for(lambda: len(db.done()) > before, "lictor acts", 60)
    db.settle(3)
    done = db.all_done()[before:]
    assert done.index("givevote 4") < done.index(f"leave {number}") and f"start {number}" not in done
    shown = db.node.run("status", db.name).stdout
    assert f"{db.name}-1" in shown and "primary" in shown
    db.scale(1)
    db.settle(1)
    wait_for(lambda: [db.seeds()] == [*map(db.address, db.members())], "clients are told of the one member")
    wait_for(lambda: len(db.set_ids()) == 1, "who answers is of one set")
    assert not [each for each in db.done() if each.startswith("stepdown")]
    assert made(db) == books
    db.node.wait_served(*INSTANCES)  # other members are no release
    with connect(db, db.seeds()) as client:
        assert sorted(each["value"] for each in client.books.sold.find()) == [1, 2]
    keys = {each["Key"]: base64.b64decode(each["Value"] or "").decode()
            for each in db.node.consul.request("GET", "/v1/kv/?recurse=true")}
    assert f"lictor/cluster/{db.name}" in keys
    log = Path(f"{db.node.settings.state_dir}/lictor.log").read_text()
    everywhere = [shown, db.node.run("why", db.name, "--json").stdout, log, *keys.values()]
    assert not [text for text in everywhere if db.user[1] in text]


def assert_doctor_names_who_is_not_reached(db: MongoService, cut: int) -> None:
    """The members' network is cut between one and the others; lictor reaches each of them all the time."""
    well = f"ok   set {db.name}: each of 3 members says that it reaches the others"
    wait_for(lambda: well in db.examined(), well)
    db.mongods.network.sides = {db.address(cut): 1}
    one, other = (f"{db.name}-{number}" for number in sorted({1, 2, 3} - {cut}))
    says = f"{one} and {other} do not reach {db.name}-{cut} at {db.address(cut)}: unreachable"
    wait_for(lambda: f"FAIL set {db.name}: {says}" in db.examined(), says, 60)
    db.mongods.network.sides = {}
    db.settle(3)
