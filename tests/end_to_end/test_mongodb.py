"""A set of the double of MongoDB that lictor runs, with a key file and a user: a member answers in each container."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.daemon import wait_for
from lab.docker import Docker
from lab.mongodb.service import MongoService
from lab.node import Node

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def db(docker: Docker, tmp_path: Path) -> Iterator[MongoService]:
    (tmp_path / "node").mkdir()
    node = Node(str(tmp_path / "node"), docker, keep_data=True, timer="3s")
    try:
        service = MongoService(node.start(), docker, str(tmp_path))
        try:
            yield service
        finally:
            service.mongods.stop()
    finally:
        node.stop()
        docker.clear_volumes()


def test_a_set_is_made_grows_loses_a_disk_and_shrinks_and_nobody_is_told_the_password(db: MongoService) -> None:
    db.apply()
    db.settle(1)
    db.scale(3)
    db.settle(3)
    assert db.done() == ["start 1", "initiate 1", "start 2", "add 2", "start 3", "add 3", "givevote 2", "givevote 3"]
    wait_for(lambda: db.tagged("primary") == [f"{db.name}-1"] and db.tagged("secondary") == [
        f"{db.name}-2", f"{db.name}-3"], "tags", 20)
    number, before = db.follower(), len(db.done())
    db.wipe(number)
    wait_for(lambda: len(db.done()) > before, "lictor acts", 60)
    db.settle(3)
    done = db.done()[before:]
    assert done.index("givevote 4") < done.index(f"leave {number}") and f"start {number}" not in done
    shown = db.node.run("status", db.name).stdout
    assert f"{db.name}-1" in shown and "primary" in shown
    db.scale(1)
    db.settle(1)
    assert len(db.set_ids()) == 1 and db.mongods.network.elections == 1
    keys = {each["Key"]: base64.b64decode(each["Value"] or "").decode()
            for each in db.node.consul.request("GET", "/v1/kv/?recurse=true")}
    assert f"lictor/cluster/{db.name}" in keys
    log = Path(f"{db.node.settings.state_dir}/lictor.log").read_text()
    everywhere = [shown, db.node.run("why", db.name, "--json").stdout, log, *keys.values()]
    assert not [text for text in everywhere if db.user[1] in text]
