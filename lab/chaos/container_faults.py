"""Containers are killed, stopped, paused, their health is broken, and an impostor stands beside them."""

import os
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from lab.chaos.doing import Doing, NotDone, Victim, choose
from lab.chaos.machine import Machine
from lab.chaos.timeline import Deed
from lab.chaos.world import IMAGE, IMPOSTORS, World
from lab.daemon import wait_for

_FREE_S = 20.0  # how long to wait until Docker need not stay


@contextmanager
def deed(world: Machine, kind: str, victim: Victim) -> Iterator[None]:
    """Whatever comes of it, that we did it is on record."""
    began = time.time()
    try:
        yield
    finally:
        world.deeds.append(Deed(kind, victim.id, victim.service, began, time.time()))


def is_running(world: Machine, container: str) -> bool:
    return container in {each["id"] for each in world.containers()}


@contextmanager
def kill_container(world: World, chance: random.Random) -> Iterator[Doing]:
    victim = choose(world, chance)
    with deed(world, "killed", victim):
        world.docker.docker("kill", victim.id)
    wait_for(lambda: not is_running(world, victim.id), f"{victim.name} is dead")
    yield Doing(victim.name, "SIGKILL, it is dead", victim=victim.id, began=victim.at)


@contextmanager
def stop_container(world: World, chance: random.Random) -> Iterator[Doing]:
    """Kill a container that may end its answers first, as a decent service does: only a drain has to wait for them."""
    victim = choose(world, chance)
    world.docker.docker("exec", victim.id, "busybox", "touch", "/graceful")
    with deed(world, "stopped", victim):
        world.docker.docker("stop", "-t", "5", victim.id)
    wait_for(lambda: not is_running(world, victim.id), f"{victim.name} has stopped")
    yield Doing(victim.name, "docker stop, it has ended", victim=victim.id, began=victim.at)


def pause_briefly(world: World, chance: random.Random) -> AbstractContextManager[Doing]:
    """Shorter than any time-out, so that requests only take longer."""
    return _pause(world, chance, chance.uniform(2, 5))


def pause_for_long(world: World, chance: random.Random) -> AbstractContextManager[Doing]:
    """As for a backup: it is no illness, so its container is left alone, but it must get no more requests."""
    return _pause(world, chance, chance.uniform(20, 40))


@contextmanager
def _pause(world: World, chance: random.Random, hold_s: float) -> Iterator[Doing]:
    """Pause a container; Docker stays meanwhile, for the pause must end."""
    if not world.docker_stays.acquire(timeout=_FREE_S):
        raise NotDone("Docker is being restarted, or another one is paused")
    try:
        victim = choose(world, chance)
        with deed(world, "paused", victim):
            try:
                world.docker.docker("pause", victim.id)
                yield Doing(victim.name, f"for {hold_s:.1f} s", hold_s, began=victim.at)
            finally:
                unpause(world, victim)
                world.hurt.discard(victim.id)
    finally:
        world.docker_stays.release()


def unpause(world: Machine, victim: Victim) -> None:
    """Unpause a container, unless it was removed meanwhile."""
    def goes_on() -> bool:
        subprocess.run(["docker", "unpause", victim.id], capture_output=True, timeout=20,
                       env={**os.environ, **world.docker.environ})
        return not any(each["id"] == victim.id and each["status"] == "paused" for each in world.containers())

    wait_for(goes_on, f"{victim.name} goes on")


@contextmanager
def break_health(world: World, chance: random.Random) -> Iterator[Doing]:
    """Break a health check for good, of one container only: of two of three lictor would suspect the observer."""
    victim = choose(world, chance, first=True)
    with deed(world, "broken", victim):
        world.docker.docker("exec", victim.id, "busybox", "rm", "/www/health")
    yield Doing(victim.name, "its /health is gone", victim=victim.id, began=victim.at)


@contextmanager
def run_impostor(world: World, chance: random.Random) -> Iterator[Doing]:
    """Run a container whose image says that it is another one, which is killed; it stays for good. It is nobody's: it
    gets no traffic, is left alone, and its image's wish for the other one's service id keeps nobody out."""
    victim = choose(world, chance)
    labels = {"com.docker.compose.project": victim.service, "com.docker.compose.service": victim.service,
              "lictor.service": victim.service, "lictor.number": victim.name.rpartition("-")[2],
              "SERVICE_8080_ID": f"{os.uname().nodename}:{victim.name}:8080"}
    name = f"chaos-impostor-{len(world.impostors) + 1}"
    world.docker.build_labelled(name, IMAGE, labels)
    world.impostors.append(world.docker.docker("run", "-d", "--name", name, "--network", IMPOSTORS, name))
    with deed(world, "killed", victim):
        world.docker.docker("kill", victim.id)
    yield Doing(name, f"it is there, and {victim.name} is dead", victim=victim.id, began=victim.at)
