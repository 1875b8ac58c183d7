"""However many handlers ask at once: few reloads, nothing lost. Real lictor-route processes, a real nginx."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lictor import errors
from lictor.adapters import files
from lictor.routing import nginx_processes, publish, route_store

from lab.daemon import wait_for
from lab.nginx import Nginx
from support.routed import Routed, decide, published, put_route

NAMES = [f"s{number}" for number in range(20)]


def test_a_crowd_of_handlers_shares_its_reloads(tmp_path: Path, nginx: Nginx) -> None:
    routed = Routed(str(tmp_path), nginx, NAMES)
    began = time.monotonic()
    running = [routed.event(name, 9001) for name in NAMES]
    told = [each.communicate(timeout=150)[1].decode() for each in running]
    took_s = time.monotonic() - began
    assert [each.returncode for each in running] == [0] * len(running), told
    assert 1 <= routed.reloads() <= 1 + took_s / 0.25
    assert all(routed.is_confirmed(name, 9001) for name in NAMES)
    assert nginx.get("/s0")[0] == nginx.get("/s19")[0] == 502  # nobody is there, but it is asked


@pytest.mark.parametrize("rescue", ["event", "timer"])
def test_what_a_killed_one_was_waiting_for_comes_with_the_next(rescue: str, tmp_path: Path, nginx: Nginx) -> None:
    routed = Routed(str(tmp_path), nginx, NAMES[:2], interval="1h")
    reloaded = os.path.join(nginx.conf_dir, "run", "reloaded")
    files.touch(reloaded, time.time_ns())
    killed = routed.event("s0", 9001)
    wait_for(lambda: routed.served("s0"), "its decision is noted")
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=150)
    assert not routed.is_confirmed("s0", 9001) and routed.reloads() == 0
    files.touch(reloaded, 0)
    if rescue == "event":
        routed.event("s1", 9004).communicate(timeout=150)
        assert published(routed.settings, "s1").generation == published(routed.settings, "s0").generation
    else:
        publish.publish(routed.settings, route_store.names(routed.state_dir))  # as a sweep does
    assert routed.is_confirmed("s0", 9001) and routed.reloads() >= 1  # nginx is told again if it takes long


def test_other_peers_are_published_without_a_look_at_other_services(
        tmp_path: Path, nginx: Nginx, monkeypatch: pytest.MonkeyPatch) -> None:
    routed, read = Routed(str(tmp_path), nginx, NAMES), set[str]()
    for name in NAMES:
        decide(routed.settings, name, 9001)
    assert sorted(publish.publish(routed.settings)) == sorted(NAMES)
    assert route_store.unconfirmed(routed.state_dir) == []
    decide(routed.settings, "s3", 9002)
    unwatched = files.read

    def note(path: str) -> str | None:
        read.add(path)
        return unwatched(path)

    monkeypatch.setattr(files, "read", note)
    assert publish.publish(routed.settings) == ["s3"] and routed.is_confirmed("s3", 9002)
    of_services = {os.path.basename(path).partition(".")[0] for path in read
                   if path.startswith(tuple(f"{routed.state_dir}/{each}/" for each in ("routes", "peers")))}
    assert of_services == {"s3"} and route_store.unconfirmed(routed.state_dir) == []


def lose_mark(routed: Routed) -> None:
    decide(routed.settings, "s0", 9002)
    os.remove(f"{routed.state_dir}/unconfirmed/s0")


def cut_short_before_the_record(routed: Routed) -> None:
    files.write_atomic(f"{routed.state_dir}/unconfirmed/s0", "")
    files.write_atomic(f"{routed.state_dir}/unconfirmed/unknown", "")


def decide_after_the_record(routed: Routed) -> None:
    decide(routed.settings, "s0", 9002)


def move(routed: Routed) -> None:
    decide(routed.settings, "s0", 9002)
    put_route(routed.settings, "s0", path="/moved")


@pytest.mark.parametrize(("change", "is_left", "path"), [
    (lose_mark, False, "/s0"), (cut_short_before_the_record, True, "/s0"), (decide_after_the_record, True, "/s0"),
    (move, True, "/moved")])
def test_a_mark_stays_until_all_is_confirmed_and_a_sweep_finds_a_lost_one(
        tmp_path: Path, nginx: Nginx, change: Callable[[Routed], None], path: str, *, is_left: bool) -> None:
    routed = Routed(str(tmp_path), nginx, ["s0"])
    decide(routed.settings, "s0", 9001)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nginx_processes, "hup", refuse)
        assert publish.publish(routed.settings) == [] and route_store.unconfirmed(routed.state_dir) == ["s0"]
    assert publish.publish(routed.settings) == ["s0"] and route_store.unconfirmed(routed.state_dir) == []
    change(routed)
    assert bool(route_store.unconfirmed(routed.state_dir)) == is_left
    assert publish.publish(routed.settings) == (["s0"] if is_left and not routed.is_confirmed("s0", 9001) else [])
    publish.publish(routed.settings, ["s0"])  # as a sweep does
    assert published(routed.settings, "s0").confirmed and nginx.get(path)[0] == 502
    assert route_store.unconfirmed(routed.state_dir) == []


def refuse(*_: object) -> None:
    raise errors.Unavailable("nginx is not running")
