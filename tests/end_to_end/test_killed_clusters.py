"""kill -9 of lictor at each step of a set's life, and two managers at once: the set ends at its size, nothing is lost.
"""

import base64
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lictor.adapters import files

from lab import forked
from lab.daemon import wait_for
from lab.docker import Docker
from lab.etcd_service import EtcdService
from lab.etcd_writer import Writer
from lab.node import QUICK, Node, settings_text

pytestmark = pytest.mark.timeout(1200)

# Reconciles, and kills itself at the first of the moments that are left, which it says. Of an act of that kind they
# are: unkept (before what is kept is written), kept (after), begun (after its record), after (before its outcome is
# recorded), or when Docker has been asked for the first thing of it: remove, create. An act is tried again at once.
_KILLED = """
import json, os, signal, sys
from lictor.adapters import docker
from lictor.planner.cluster import kept
from lictor.reconcile import loop
from lictor.reconcile.cluster import act, record, step
from lictor.spec.settings import load_settings

name, left = sys.argv[1], {tuple(each) for each in json.loads(sys.argv[2])}
kept.BACK_OFF_S = 0.2
kind = ""

def pass_by(moment):
    if (kind, moment) in left:
        print(json.dumps([kind, moment]), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

def passing(original, before, after):
    def called(*arguments, **options):
        pass_by(before)
        result = original(*arguments, **options)
        pass_by(after)
        return result
    return called

def taking(original):
    def take(context, observation, look, writer):
        global kind
        kind = look.decision.action.kind if look.decision.action else ""
        return original(context, observation, look, writer)
    return take

step.take = taking(step.take)
record.write = passing(record.write, "unkept", "kept")
act.Executor._do = passing(act.Executor._do, "begun", "after")
for call in ("remove", "create"):
    setattr(docker.Client, call, passing(getattr(docker.Client, call), "", call))
sys.exit(loop.run(load_settings(), None, [name]))
"""

MOMENTS = {
    "found": [("initiate", "unkept"), ("initiate", "kept"), ("initiate", "begun"), ("initiate", "create"),
              ("initiate", "after")],
    "grow": [("add", "unkept"), ("add", "kept"), ("add", "begun"), ("add", "after"), ("start", "begun"),
             ("start", "create"), ("start", "after"), ("givevote", "begun"), ("givevote", "after")],
    "release": [("restart", "kept"), ("restart", "begun"), ("restart", "remove"), ("restart", "create"),
                ("restart", "after"), ("stepdown", "begun"), ("stepdown", "after")],
    "shrink": [("leave", "kept"), ("leave", "begun"), ("leave", "after"), ("stop", "begun"), ("stop", "remove"),
               ("stop", "after")],
}


@pytest.fixture(scope="module")
def images(docker_engine: Docker) -> None:
    docker_engine.build_etcd("etcd:1")
    docker_engine.build_etcd("etcd:2", version="2")


@pytest.fixture
def db(images: None, docker: Docker, tmp_path: Path) -> Iterator[EtcdService]:
    """Nothing is reconciled by itself there."""
    (tmp_path / "node").mkdir()
    node = Node(str(tmp_path / "node"), docker, keep_data=True, timer="", watches=False, registers=False)
    try:
        yield EtcdService(node.start(), docker)
    finally:
        node.stop()
        docker.clear_volumes()


def reconcile_killed(db: EtcdService, moments: list[tuple[str, str]]) -> list[str] | None:
    """Reconcile; returns the moment at which it was killed, None if it came to its end. The lock in Consul, which a
    killed holder leaves for half a minute, is taken away."""
    done = subprocess.run([sys.executable, "-c", _KILLED, db.name, json.dumps(moments)], timeout=600,
                          env={**os.environ, **db.node.environ}, capture_output=True, text=True)
    db.node.consul.request("DELETE", f"/v1/kv/lictor/locks/{db.name}")
    if done.returncode == -signal.SIGKILL:
        moment: list[str] = json.loads(done.stdout.splitlines()[-1])
        return moment
    assert done.returncode in (0, 75), done.stderr
    return None


def live_through(db: EtcdService, moments: list[tuple[str, str]], size: int) -> list[tuple[str, str]]:
    """Reconcile until the set has its size, killed once at each of the moments; returns those that never came."""
    left = list(moments)

    def is_over() -> bool:
        killed_at = reconcile_killed(db, left)
        if killed_at:
            left.remove((killed_at[0], killed_at[1]))
            return False
        return db.is_settled(size)

    wait_for(is_over, f"{size} members", 240)
    return left


def assert_nothing_lost(db: EtcdService, writer: Writer) -> None:
    assert writer.missing() == set()
    wait_for(lambda: len(db.set_ids()) == 1, "who answers is of one set")


def test_killed_at_each_step_it_goes_on_where_it_was(db: EtcdService) -> None:
    db.apply()
    assert live_through(db, MOMENTS["found"], 1) == []
    writer = Writer(db.addresses)
    writer.start()
    try:
        db.scale(3)
        assert live_through(db, MOMENTS["grow"], 3) == []
        left = MOMENTS["release"]
        for image in ("etcd:2", "etcd:1") * 2:  # if etcd elects another one of its own accord, nobody has to step down
            if left:
                db.deploy(image)
                left = live_through(db, left, 3)
        assert left == []
        db.scale(1)
        assert live_through(db, MOMENTS["shrink"], 1) == []
        writer.wait_for_more()
    finally:
        writer.finish()
    assert_nothing_lost(db, writer)
    assert db.volumes() == {f"{db.name}-{number}-data" for number in (1, 2, 3)}


def test_while_another_holds_the_lock_nothing_is_done(db: EtcdService) -> None:
    db.apply()
    consul, lock = db.node.consul, f"/v1/kv/lictor/locks/{db.name}"
    session = consul.request("PUT", "/v1/session/create", {"Name": "another", "Behavior": "delete"})["ID"]
    assert consul.request("PUT", f"{lock}?acquire={session}", "another")
    assert db.reconcile() == 0
    assert (db.containers(), db.volumes()) == (set(), set())
    assert consul.request("PUT", f"{lock}?release={session}")
    wait_for(lambda: db.reconcile() == 0 and db.is_settled(1), "one member, once the lock is free")


def test_two_managers_at_once_do_one_thing_at_a_time(db: EtcdService) -> None:
    """Each has a state folder of its own, so that only the lock in Consul is between them."""
    path = os.path.join(db.node.folder, "other.toml")
    files.write_atomic(path, settings_text(os.path.join(db.node.folder, "other"), db.node.nginx, "reload",
                                           db.node.watch_dir) + QUICK)
    is_over = threading.Event()

    def manage(config: str) -> None:
        environ = {**os.environ, **db.node.environ, "LICTOR_CONFIG": config}
        while not is_over.is_set():
            forked.handler("lictor-reconcile", [db.name], environ=environ, timeout_s=900)

    managers = [threading.Thread(target=manage, args=(each,)) for each in (path, db.node.settings_path)]
    db.apply()
    writer = Writer(db.addresses)
    for each in managers:
        each.start()
    try:
        db.settle(1)
        writer.start()
        for size in (3, 1):
            db.scale(size)
            db.settle(size)
        writer.wait_for_more()
    finally:
        is_over.set()
        for each in managers:
            each.join()
        if writer.is_alive():
            writer.finish()
    assert_nothing_lost(db, writer)
    entries = db.node.consul.request("GET", f"/v1/kv/lictor/history/{db.name}/?recurse")
    acts = [each for each in sorted(entries, key=lambda each: str(each["Key"]))
            if "ms" in json.loads(base64.b64decode(each["Value"]))]
    spans = [(each["CreateIndex"], each["ModifyIndex"]) for each in acts]  # in which Consul wrote intent and outcome
    assert len(spans) > 5 and all(one[1] < other[0] for one, other in itertools.pairwise(spans)), acts
