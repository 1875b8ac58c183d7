"""Members are killed, removed, frozen, paused, cut off, and lose their disks."""

import contextlib
import os
import random
import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lab.chaos.container_faults import deed, is_running, unpause
from lab.chaos.doing import Doing, Fault, NotDone, Victim
from lab.chaos.machine import COMING_UP_S
from lab.chaos.sets.victims import ANY, FOLLOWER, LEADER, choose, choose_majority
from lab.chaos.sets.world import MARK, World
from lab.daemon import wait_for

_FREE_S = 20.0  # how long to wait until Docker, or the size, need not stay


def kill(role: str) -> Fault[World]:
    """Kill a member of this role by force; its container is left, and has ended."""
    @contextmanager
    def fault(world: World, chance: random.Random) -> Iterator[Doing]:
        victim = choose(world, chance, role)
        with deed(world, "killed", victim):
            world.docker.docker("kill", victim.id)
        wait_for(lambda: not is_running(world, victim.id), f"{victim.name} is dead")
        yield Doing(victim.name, f"a {role}, SIGKILL", victim=victim.id, began=victim.at)

    return fault


@contextmanager
def remove_container(world: World, chance: random.Random) -> Iterator[Doing]:
    victim = choose(world, chance)
    with deed(world, "killed", victim):
        world.docker.docker("rm", "-f", victim.id)
    yield Doing(victim.name, "its container is removed", victim=victim.id, began=victim.at)


@contextmanager
def lose_disk(world: World, chance: random.Random) -> Iterator[Doing]:
    """Remove a member's container and its volume. Until that is made up for, no other disk is lost, and the size stays:
    what is left has to be a majority for good."""
    if not world.size_stays.acquire(timeout=_FREE_S):
        raise NotDone("the size is being changed")
    try:
        wait_for(lambda: not world.trouble or world.ending.is_set(), "the set is as desired", _FREE_S)
        if world.size < 3 or world.ending.is_set():
            raise NotDone(f"a set of {world.size} would be lost with it")
        if not world.docker_stays.acquire(timeout=_FREE_S):
            raise NotDone("Docker is being restarted, or a member is paused")
        try:
            victim = choose(world, chance, chance.choice((LEADER, FOLLOWER)), comes_back=False)
            volume = f"{victim.name}-data"
            with deed(world, "killed", victim):
                world.docker.docker("rm", "-f", victim.id)
                _delete(world, volume)
        finally:
            world.docker_stays.release()
        yield Doing(victim.name, f"its container and {volume} are removed", victim=victim.id, began=victim.at)
        with contextlib.suppress(AssertionError):
            wait_for(lambda: not world.trouble or world.ending.is_set(), "it is made up for", COMING_UP_S)
    finally:
        world.size_stays.release()


def _delete(world: World, volume: str) -> None:
    folder, mark = os.path.dirname(world.docker.docker("volume", "inspect", "-f", "{{.Mountpoint}}", volume)), ""
    with contextlib.suppress(FileNotFoundError), open(os.path.join(folder, MARK), encoding="ascii") as file:
        mark = file.read()
    world.docker.docker("volume", "rm", volume)
    world.deleted.append(mark)


@contextmanager
def freeze(world: World, chance: random.Random) -> Iterator[Doing]:
    """Freeze a member: it hangs, with its connections open. Nobody but its peers can tell."""
    victim, hold_s = choose(world, chance, chance.choice((LEADER, FOLLOWER))), chance.uniform(3, 15)
    with _frozen(world, [victim]):
        yield Doing(victim.name, f"SIGSTOP for {hold_s:.1f} s", hold_s, began=victim.at)


@contextmanager
def freeze_majority(world: World, chance: random.Random) -> Iterator[Doing]:
    """Freeze a majority: nothing may be changed meanwhile, and afterwards all goes on."""
    victims, hold_s = choose_majority(world, chance), chance.uniform(8, 20)
    with _frozen(world, victims):
        names = ", ".join(victim.name for victim in victims)
        yield Doing(names, f"SIGSTOP of a majority for {hold_s:.1f} s", hold_s, began=victims[0].at)


@contextmanager
def _frozen(world: World, victims: Sequence[Victim]) -> Iterator[None]:
    with contextlib.ExitStack() as thaw:
        for victim in victims:
            thaw.callback(world.hurt.discard, victim.id)
        for victim in victims:
            descriptor = os.pidfd_open(_pid_of(world, victim))
            thaw.callback(os.close, descriptor)
            thaw.callback(_send, descriptor, signal.SIGCONT)
            _send(descriptor, signal.SIGSTOP)
        yield


def _send(descriptor: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it was replaced meanwhile
        signal.pidfd_send_signal(descriptor, number)


def _pid_of(world: World, victim: Victim) -> int:
    pid = int(world.docker.docker("inspect", "-f", "{{.State.Pid}}", victim.id))
    if not pid:
        raise NotDone(f"{victim.name} does not run any more")
    return pid


@contextmanager
def pause(world: World, chance: random.Random) -> Iterator[Doing]:
    """Pause a member, as for a backup; Docker stays meanwhile, for the pause must end."""
    if not world.docker_stays.acquire(timeout=_FREE_S):
        raise NotDone("Docker is being restarted")
    try:
        victim, hold_s = choose(world, chance, ANY), chance.uniform(3, 15)
        with deed(world, "paused", victim):
            try:
                world.docker.docker("pause", victim.id)
                yield Doing(victim.name, f"paused for {hold_s:.1f} s", hold_s, began=victim.at)
            finally:
                unpause(world, victim)
                world.hurt.discard(victim.id)
    finally:
        world.docker_stays.release()


@contextmanager
def cut_off(world: World, chance: random.Random) -> Iterator[Doing]:
    """Cut a member off from everybody, the other members, lictor and clients. It runs on, and may think that it leads.
    """
    victim, hold_s = choose(world, chance, chance.choice((LEADER, FOLLOWER))), chance.uniform(3, 15)
    try:
        link = _link_of(_pid_of(world, victim))
        try:
            subprocess.run(["ip", "link", "set", link, "down"], check=True, capture_output=True)
            yield Doing(victim.name, f"cut off for {hold_s:.1f} s", hold_s, began=victim.at)
        finally:
            done = subprocess.run(["ip", "link", "set", link, "up"], capture_output=True, text=True)
            if done.returncode and "Cannot find device" not in done.stderr:  # it went with its container
                raise OSError(f"{link}: {done.stderr.strip()}")
    finally:
        world.hurt.discard(victim.id)


def _link_of(pid: int) -> str:
    """Find the host's end of a container's only link."""
    shown = subprocess.check_output(["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-o", "link", "show", "eth0"],
                                    text=True, timeout=10)
    [index] = re.findall(r"eth0@if(\d+)", shown)
    listed = subprocess.check_output(["ip", "-o", "link"], text=True, timeout=10)
    links: dict[str, str] = dict(re.findall(r"^(\d+): ([^@:]+)", listed, re.MULTILINE))
    if index not in links:
        raise NotDone("its container has gone")
    return links[index]
