"""Processes are killed, frozen and started again, and the disk of the state folder is full."""

import contextlib
import os
import random
import select
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lictor.adapters import files
from lictor.routing import nginx_socket

from lab.chaos.container_faults import deed
from lab.chaos.doing import Doing, NotDone, choose
from lab.chaos.machine import COMING_UP_S, Machine
from lab.chaos.timeline import Outage
from lab.chaos.world import World
from lab.daemon import wait_for

_FREE_S = 20.0  # how long to wait until Docker need not stay
_HANDLER_S = 20.0  # the timer's next run is there before


@contextmanager
def kill_handler(world: World, chance: random.Random) -> Iterator[Doing]:
    """Whichever runs next, at some moment of its work: often that is to mend a container that was killed before."""
    victim = choose(world, chance) if chance.random() < 0.7 else None
    if victim:
        with deed(world, "killed", victim):
            world.docker.docker("kill", victim.id)
    began = time.time()
    pid, name = kill_next_handler(world, chance)
    yield Doing(name, f"kill -9 of pid {pid}" + (f", after that of {victim.name}" if victim else ""),
                victim=victim.id if victim else "", began=victim.at if victim else began)


def kill_next_handler(world: Machine, chance: random.Random) -> tuple[int, str]:
    """Kill the next handler that runs, and return its pid and name; where in its work it is hit is left to chance."""
    deadline = time.monotonic() + _HANDLER_S
    longest_s = 0.8
    while time.monotonic() < deadline and not world.ending.is_set():
        handlers = sorted(pid for pid in world.node.handler_pids() if _handler(pid))
        if handlers:
            pid = chance.choice(handlers)
            name = _handler(pid)
            time.sleep(chance.uniform(0, longest_s))
            if name and _kill(pid):
                return pid, name
            longest_s /= 2  # most end soon
        time.sleep(0.05)
    raise NotDone(f"no handler was caught at work within {_HANDLER_S:g} s")


def _handler(pid: int) -> str:
    """Name the handler script that a process runs; "" for any other process."""
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
            words = file.read().split("\0")
    except OSError:
        return ""
    name = os.path.basename(words[1]) if len(words) > 1 else ""
    return " ".join([name, *filter(None, words[2:])])[:60] if name.startswith("lictor-") else ""


def _kill(pid: int) -> bool:
    """Kill a process unless it has ended by itself."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if select.select([descriptor], [], [], 0)[0] or not _handler(pid):
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        return bool(select.select([descriptor], [], [], 10)[0])
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)


@contextmanager
def restart_agent(world: Machine, chance: random.Random) -> Iterator[Doing]:
    consul = world.node.consul
    number = chance.choice((signal.SIGTERM, signal.SIGKILL))
    before = consul.daemon
    assert before
    try:
        before.stop(number)
        time.sleep(chance.uniform(0, 3))
    finally:
        consul.start(wait=False, env=world.node.environ)
    wait_for(lambda: world.ask_agent("/v1/agent/self"), "the agent answers again", COMING_UP_S)
    assert consul.daemon and consul.daemon.pid != before.pid
    yield Doing("consul agent", f"{number.name}, and started again")


@contextmanager
def freeze_server(world: Machine, chance: random.Random) -> Iterator[Doing]:
    daemon = world.server.daemon
    assert daemon
    try:
        daemon.send(signal.SIGSTOP)
        wait_for(lambda: _state(daemon.pid) == "T", "the server is frozen")
        hold_s = chance.uniform(3, 12)
        yield Doing("consul server", f"SIGSTOP for {hold_s:.1f} s", hold_s)
    finally:
        daemon.send(signal.SIGCONT)
    wait_for(lambda: world.server.request("GET", "/v1/status/leader"), "the server answers again", COMING_UP_S)


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return file.read().rpartition(")")[2].split()[0]


@contextmanager
def restart_docker(world: Machine, chance: random.Random) -> Iterator[Doing]:
    """Kill dockerd; its containers live on."""
    if not world.docker_stays.acquire(timeout=_FREE_S):
        raise NotDone("a container is paused")
    began = time.time()
    try:
        number = chance.choice((signal.SIGTERM, signal.SIGKILL))
        before = world.docker.daemon
        assert before
        try:
            before.stop(number)
            _end_containerd(world)
            time.sleep(chance.uniform(0, 3))
        finally:
            world.docker.start(wait=False)
            world.docker.wait_ready(COMING_UP_S)
        yield Doing("dockerd", f"{number.name}, and started again")
    finally:
        world.docker_away.append(Outage(began, time.time()))
        world.docker_stays.release()


def _end_containerd(world: Machine) -> None:
    """Wait for the old containerd: a dockerd that starts while it is dying takes it for alive, and gives up."""
    path = os.path.join(world.docker.run_dir, "exec", "containerd", "containerd.pid")
    if not os.path.exists(path):
        return
    with open(path, encoding="ascii") as file:
        pid = int(file.read())
    wait_for(lambda: not os.path.exists(f"/proc/{pid}") or _state(pid) == "Z", "containerd has ended")
    os.unlink(path)


@contextmanager
def kill_nginx(world: World, chance: random.Random) -> Iterator[Doing]:
    """With its workers, as an init system does, which then runs what `lictor init` puts before its start."""
    nginx = world.node.nginx
    assert nginx.daemon
    began = time.time()
    try:
        os.killpg(nginx.daemon.pid, signal.SIGKILL)
        nginx.daemon.stop()
        time.sleep(chance.uniform(0, 1))
    finally:
        _start_nginx(world)
        world.nginx_away.append(Outage(began, time.time()))
    yield Doing("nginx", f"SIGKILL; away for {time.time() - began:.1f} s")


def _start_nginx(world: World) -> None:
    """Start it until it stays, as an init system does."""
    nginx = world.node.nginx
    deadline = time.monotonic() + COMING_UP_S
    while True:
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(nginx.conf_dir, nginx_socket.SOCKET))
            nginx.start(timeout_s=5)
            return
        except AssertionError:
            assert nginx.daemon
            nginx.daemon.stop()
            if time.monotonic() > deadline:
                raise


@contextmanager
def break_nginx_conf(world: World, chance: random.Random) -> Iterator[Doing]:
    """Have nginx refuse any change, as its own configuration is broken by its operator: what it serves stays as it is.

    A container is killed meanwhile, so that there is something to publish.
    """
    main_conf = world.node.nginx.main_conf
    with open(main_conf, encoding="utf-8") as file:
        good = file.read()
    began, hold_s = time.time(), chance.uniform(5, 15)
    try:
        files.write_atomic(main_conf, f"{good}chaos_is_no_directive on;\n")
        victim = choose(world, chance)
        with deed(world, "killed", victim):
            world.docker.docker("kill", victim.id)
        yield Doing("nginx", f"refuses changes for {hold_s:.1f} s, and {victim.name} is dead", hold_s, victim.id,
                    victim.at)
    finally:
        files.write_atomic(main_conf, good)
        world.nginx_refusing.append(Outage(began, time.time()))


@contextmanager
def set_clock(world: World, chance: random.Random) -> Iterator[Doing]:
    """Set the handlers' clock, and then right again: nothing is emptied, ended or given up, and healing goes on.

    It is a double: lab/chaos/clock says what it leaves as it is.
    """
    offset_s, hold_s = chance.choice((2 * 3600, -3 * 3600)), chance.uniform(20, 40)
    victim = choose(world, chance)
    try:
        files.write_atomic(world.clock_path, str(offset_s))
        with deed(world, "killed", victim):
            world.docker.docker("kill", victim.id)
        yield Doing("the handlers' clock", f"{offset_s // 3600:+d} h for {hold_s:.1f} s, and {victim.name} is dead",
                    hold_s, victim.id, victim.at)
    finally:
        files.write_atomic(world.clock_path, "0")


@contextmanager
def fill_disk(world: World, chance: random.Random) -> Iterator[Doing]:
    path = os.path.join(world.node.folder, "state", "chaos.full")
    try:
        try:
            with open(path, "wb", buffering=0) as file:
                while True:
                    file.write(bytes(65536))
        except OSError:
            pass
        if shutil.disk_usage(os.path.dirname(path)).free > 0:
            raise NotDone("it has not become full")
        hold_s = chance.uniform(3, 12)
        yield Doing("state folder", f"full for {hold_s:.1f} s", hold_s)
    finally:
        if os.path.exists(path):
            os.unlink(path)
