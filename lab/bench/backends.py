"""Instances to route to: one nginx that answers, on many loopback addresses, with the address and port it was asked."""

import os
import signal

from lictor.adapters import files

from lab.bench import probe
from lab.daemon import Daemon, free_ports, wait_for

_CONF = """
pid {folder}/nginx.pid;
error_log {folder}/error.log;
worker_processes 1;
worker_rlimit_nofile 20000;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    keepalive_requests 10000000;
    client_body_temp_path {folder}/tmp;
    proxy_temp_path {folder}/tmp;
    fastcgi_temp_path {folder}/tmp;
    uwsgi_temp_path {folder}/tmp;
    scgi_temp_path {folder}/tmp;
    server {{
{listens}
        location / {{ return 200 "$server_addr:$server_port"; }}
    }}
}}
"""


class Backends:
    """`addresses` and `ports` are what can be registered; each of them answers on each port. Lowest address first."""

    def __init__(self, folder: str, count: int) -> None:
        self.folder = folder
        self.addresses = [f"127.1.{100 + number // 100}.{100 + number % 100}" for number in range(count)]
        self.ports = free_ports(2)
        self.daemon: Daemon | None = None

    def start(self) -> None:
        os.makedirs(os.path.join(self.folder, "tmp"))
        path = os.path.join(self.folder, "nginx.conf")
        listens = "\n".join(f"        listen {address}:{port};" for address in self.addresses for port in self.ports)
        files.write_atomic(path, _CONF.format(folder=self.folder, listens=listens))
        self.daemon = Daemon(["/usr/sbin/nginx", "-c", path, "-g", "daemon off;"],
                             os.path.join(self.folder, "nginx.out"))
        last = self.addresses[-1], self.ports[-1]
        wait_for(lambda: probe.ask(*last, "/") == f"{last[0]}:{last[1]}", "the backends answer")

    def stop(self) -> None:
        if self.daemon:
            self.daemon.stop(signal.SIGTERM)
