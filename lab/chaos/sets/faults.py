"""All the faults of a set by their names; and those that are people's wishes, or lictor's own."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lictor.adapters import files, process

from lab.chaos import process_faults
from lab.chaos.doing import Doing, Fault, NotDone
from lab.chaos.sets import member_faults
from lab.chaos.sets.victims import FOLLOWER, LEADER
from lab.chaos.sets.world import IMAGES, SIZES, World
from lab.daemon import Daemon
from lab.node import MODE, QUICK, settings_text

_FREE_S = 20.0
_PATIENCE_S = 60.0


@contextmanager
def kill_handler(world: World, chance: random.Random) -> Iterator[Doing]:
    """Whichever runs next, at some moment of its work."""
    began = time.time()
    pid, name = process_faults.kill_next_handler(world, chance)
    yield Doing(name, f"kill -9 of pid {pid}", began=began)


@contextmanager
def change_size(world: World, chance: random.Random) -> Iterator[Doing]:
    """Wish for another size, as people do."""
    if not world.size_stays.acquire(timeout=_FREE_S):
        raise NotDone("a lost disk is being made up for")
    try:
        before = world.size
        world.size = chance.choice([size for size in SIZES if size != before])
        world.put("replicas", str(world.size))
        yield Doing("replicas", f"{before} -> {world.size}")
    finally:
        world.size_stays.release()


@contextmanager
def release(world: World, chance: random.Random) -> Iterator[Doing]:
    """Wish for the other image."""
    before = world.image
    world.image = next(image for image in IMAGES if image != before)
    world.put("image", world.image)
    yield Doing("image", f"{before} -> {world.image}")


@contextmanager
def run_two_managers(world: World, chance: random.Random) -> Iterator[Doing]:
    """Have another one manage the set too, over and over: it has a state folder of its own, so that only the lock in
    Consul is between them. It may end what it has begun."""
    node, hold_s, path = world.node, chance.uniform(10, 20), world.folder_of("other.toml")
    files.write_atomic(path, settings_text(world.folder_of("other"), node.nginx, MODE, node.watch_dir) + QUICK)
    environ, log_path = {**node.environ, "LICTOR_CONFIG": path}, world.folder_of("other.log")
    argv = [*process.handler_argv("lictor-reconcile"), world.db.name]
    until, runs = time.monotonic() + hold_s, 0
    os.makedirs(world.folder_of("other"), exist_ok=True)
    while time.monotonic() < until and not world.ending.is_set():
        other = Daemon(argv, log_path, environ)
        runs += 1
        deadline = time.monotonic() + _PATIENCE_S
        while other.running and time.monotonic() < deadline:
            time.sleep(0.05)
        other.stop(signal.SIGKILL)
    yield Doing("another manager", f"it ran {runs} times in {hold_s:.1f} s")


FAULTS: dict[str, Fault[World]] = {
    "leader killed": member_faults.kill(LEADER),
    "follower killed": member_faults.kill(FOLLOWER),
    "container removed": member_faults.remove_container,
    "disk lost": member_faults.lose_disk,
    "member frozen": member_faults.freeze,
    "member paused": member_faults.pause,
    "member cut off": member_faults.cut_off,
    "majority frozen": member_faults.freeze_majority,
    "handler killed": kill_handler,
    "two managers": run_two_managers,
    "agent restarted": process_faults.restart_agent,
    "server frozen": process_faults.freeze_server,
    "docker restarted": process_faults.restart_docker,
    "size changed": change_size,
    "release": release,
}
