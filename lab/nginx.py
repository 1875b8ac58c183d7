"""A real nginx, set up as a user's would be who includes what lictor writes."""

import os
import signal

from lictor.adapters import files

from lab.daemon import Daemon, free_ports, wait_for
from lab.http import ask

BINARY = "/usr/sbin/nginx"
_MODULES = "include /etc/nginx/modules-enabled/*.conf;"
_MAIN_CONF = """
{modules}
user root;
pid {folder}/nginx.pid;
error_log {folder}/error.log notice;
worker_processes 2;
worker_shutdown_timeout 60s;
events {{ worker_connections 4096; }}
http {{
    log_format timed '$msec $status $upstream_addr $upstream_status $request_time $upstream_response_time $request';
    access_log {folder}/access.log timed;
    client_body_temp_path {folder}/tmp/body;
    proxy_temp_path {folder}/tmp/proxy;
    fastcgi_temp_path {folder}/tmp/fastcgi;
    uwsgi_temp_path {folder}/tmp/uwsgi;
    scgi_temp_path {folder}/tmp/scgi;
    server {{
        listen {listen};
        include {conf_dir}/locations/*.conf;
        location = /nginx-is-up {{ return 200 "up"; }}
    }}
    include {conf_dir}/lictor.conf;
}}
"""


class Nginx:
    """`conf_dir` is lictor's own folder, `main_conf`, `pid_file` and `port` are the user's nginx.

    On loopback it has a free port; in the network namespace `netns` it listens on `address`, port 80.
    """

    def __init__(self, folder: str, *, address: str = "127.0.0.1", netns: str = "", binary: str = BINARY) -> None:
        self.folder, self.netns, self.address, self.binary = folder, netns, address, binary
        self.conf_dir = os.path.join(folder, "lictor")
        self.main_conf = os.path.join(folder, "nginx.conf")
        self.pid_file = os.path.join(folder, "nginx.pid")
        self.port = 80 if netns else free_ports(1)[0]
        self.url = f"http://{address}:{self.port}"
        for each in (self.conf_dir, os.path.join(folder, "tmp")):
            os.makedirs(each, exist_ok=True)
        text = _MAIN_CONF.format(folder=folder, conf_dir=self.conf_dir, listen=f"{address}:{self.port}",
                                 modules=_MODULES)
        files.write_atomic(self.main_conf, text)
        self.daemon: Daemon | None = None

    def load_no_modules(self) -> None:
        """Be the nginx of a user who has installed none of Debian's modules, Lua's among them; before it is started."""
        files.write_atomic(self.main_conf, (files.read(self.main_conf) or "").replace(_MODULES, ""))

    @property
    def argv(self) -> list[str]:
        return [self.binary, "-c", self.main_conf, "-g", "daemon off;"]

    @property
    def reload_argv(self) -> list[str]:
        """What nginx's own documentation has people call."""
        return [self.binary, "-c", self.main_conf, "-s", "reload"]

    def start(self, timeout_s: float = 60) -> "Nginx":
        """Start it; lictor's snippet (`lictor.conf` in `conf_dir`) must be there, as it must be for a user's nginx."""
        self.daemon = Daemon(self.argv, os.path.join(self.folder, "nginx.out"))
        wait_for(self.is_up, f"nginx answers on {self.url}", timeout_s)
        return self

    @property
    def pid(self) -> int:
        """Its master process; nginx has to have been started."""
        assert self.daemon
        return self.daemon.pid

    def is_up(self) -> bool:
        return self.get("/nginx-is-up")[0] == 200

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.daemon:
            self.daemon.stop(number)

    def send(self, number: int) -> None:
        """Send a signal to the master process, which has to have been started."""
        assert self.daemon
        self.daemon.send(number)

    def get(self, path: str, host: str = "") -> tuple[int, str]:
        """One request on a fresh connection: status and body."""
        return ask(f"{self.address}:{self.port}", "GET", path, headers={"Host": host} if host else {}, netns=self.netns,
                   timeout_s=60)
