"""A throw-away Docker engine that is a Swarm of its own, of one node. Ports in host mode only: it has no ingress."""

import subprocess

from lab.daemon import free_ports, wait_for
from lab.docker import Docker, has_link

_GATEWAY = "docker_gwbridge"  # Swarm makes this bridge on its node, and leaves it there


class Swarm(Docker):
    """One in a network namespace: the port of Swarm's gossip between nodes cannot be chosen."""

    options = ()  # a Swarm's engine has no --live-restore
    bridge_prefix = "lswarm"

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.shares_gateway = has_link(_GATEWAY)

    def start(self, *, wait: bool = True) -> "Swarm":
        super().start()
        [port] = free_ports(1)
        self.docker("swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", f"127.0.0.1:{port}")
        return self

    def clear(self) -> None:
        """Remove all services, and every container: Swarm may be about to make one still."""
        services = self.docker("service", "ls", "-q").split()
        if services:
            self.docker("service", "rm", *services)
        wait_for(self._is_clear, "the containers of all services are gone")

    def stop(self) -> None:
        super().stop()
        if not self.shares_gateway:
            subprocess.run(["ip", "link", "del", _GATEWAY], capture_output=True)

    def _is_clear(self) -> bool:
        super().clear()
        return not self.containers()
