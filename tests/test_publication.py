"""However many handlers ask at once: few reloads, nothing lost. Real lictor-route processes, a real nginx."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from lab.daemon import wait_for
from lab.nginx import Nginx
from lictor import config, files, handler, nginx as lictor_nginx, process, publication, routes, upstream

NAMES = [f"s{number}" for number in range(20)]


class Routed:
    """A node that routes NAMES, which nobody has seen yet; Consul is away."""

    def __init__(self, folder: Path, nginx: Nginx, interval: str) -> None:
        self.nginx, self.state_dir = nginx, str(folder / "state")
        for each in handler.FOLDERS:
            os.makedirs(os.path.join(self.state_dir, each))
        for name in NAMES:
            files.write_json(f"{self.state_dir}/routes/{name}.json", {
                "name": name, "service": name, "path": f"/{name}", "host": "", "traffic": "healthy", "node": "node-1",
                "empty_ok": False, "removed": False})
        (folder / "lictor.toml").write_text(
            f'state_dir = "{self.state_dir}"\n[nginx]\nconf_dir = "{nginx.conf_dir}"\n'
            f'main_conf = "{nginx.main_conf}"\npid_file = "{nginx.pid_file}"\n'
            f'reload_min_interval = "{interval}"\n')
        self.environ = {**os.environ, "CONSUL_HTTP_ADDR": "127.0.0.1:9", "CONSUL_INDEX": "1",
                        "LICTOR_CONFIG": str(folder / "lictor.toml")}
        self.settings = config.load(self.environ)
        lictor_nginx.prepare(nginx.conf_dir)
        nginx.start()

    def event(self, name: str, port: int) -> subprocess.Popen[bytes]:
        """Start the handler as Consul does, with one instance on `port`."""
        running = subprocess.Popen([*process.handler_argv("lictor-route"), name, "--state-dir", self.state_dir],
                                   stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environ)
        assert running.stdin
        running.stdin.write(payload(name, port))
        running.stdin.close()
        running.stdin = None  # communicate would flush it
        return running

    def served(self, name: str) -> upstream.Served | None:
        return routes.served(self.state_dir, name)

    def is_confirmed(self, name: str, port: int) -> bool:
        now = self.served(name)
        return bool(now and now.confirmed and now.peers == (("127.0.0.1", port),))

    def reloads(self) -> int:
        return len(re.findall("signal 1 .SIGHUP. received", files.read(f"{self.nginx.folder}/error.log") or ""))


def payload(name: str, port: int) -> bytes:
    entry: dict[str, Any] = {
        "Node": {"Node": "node-1", "Address": "127.0.0.1"}, "Service": {"ID": name, "Service": name, "Port": port},
        "Checks": [{"Node": "node-1", "CheckID": "serfHealth", "Status": "passing", "ServiceID": ""}]}
    return json.dumps([entry]).encode()


def test_a_crowd_of_handlers_shares_its_reloads(tmp_path: Path, nginx: Nginx) -> None:
    routed = Routed(tmp_path, nginx, "250ms")
    began = time.monotonic()
    running = [routed.event(name, 9001) for name in NAMES]
    told = [each.communicate(timeout=60)[1].decode() for each in running]
    took_s = time.monotonic() - began
    assert [each.returncode for each in running] == [0] * len(running), told
    assert 1 <= routed.reloads() <= 1 + took_s / 0.25
    assert all(routed.is_confirmed(name, 9001) for name in NAMES)
    assert nginx.get("/s0")[0] == nginx.get("/s19")[0] == 502  # nobody is there, but it is asked


@pytest.mark.parametrize("rescue", ["event", "timer"])
def test_what_a_killed_one_was_waiting_for_comes_with_the_next(rescue: str, tmp_path: Path, nginx: Nginx) -> None:
    routed = Routed(tmp_path, nginx, "1h")
    reloaded = os.path.join(nginx.conf_dir, "run", "reloaded")
    files.touch(reloaded, time.time_ns())
    killed = routed.event("s0", 9001)
    wait_for(lambda: routed.served("s0"), "its decision is noted")
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)
    assert not routed.is_confirmed("s0", 9001) and routed.reloads() == 0
    files.touch(reloaded, 0)
    if rescue == "event":
        routed.event("s1", 9004).communicate(timeout=60)
    else:
        publication.publish(routed.settings, routes.names(routed.state_dir))  # as a sweep does
    assert routed.is_confirmed("s0", 9001) and routed.reloads() == 1
