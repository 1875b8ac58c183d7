"""However many handlers ask at once: few reloads, nothing lost. Real lictor-route processes, a real nginx."""

import os
import signal
import time
from pathlib import Path

import pytest

from lictor.adapters import files
from lictor.routing import publish, route_store

from lab.daemon import wait_for
from lab.nginx import Nginx
from support.routed import Routed, published

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
