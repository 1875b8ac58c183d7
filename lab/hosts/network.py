"""The network between the hosts: a bridge in a namespace of its own, and one cable from it to each host's namespace."""

import json
import os
from typing import Any

from lab import netns

SUBNET = "10.213.7"
_BRIDGE = "lab"
_FORWARDING, _DISABLED = "3", "0"


class Network:
    """Everything is below `folder`. Nothing of the namespace that we are in is changed, or can be reached from there.

    Clients of the services stand in `outside`, the bridge's own namespace: 10.213.7.1, which has no host's routes.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.outside = self.path("bridge")

    def path(self, name: str) -> str:
        """Return the path of the file that keeps a host's namespace."""
        return os.path.join(self.folder, f"lictor-lab-{name}")

    def create(self) -> None:
        os.makedirs(self.folder, exist_ok=True)
        netns.create(self.outside)
        self._run("ip", "link", "add", _BRIDGE, "type", "bridge")
        self._run("ip", "addr", "add", f"{SUBNET}.1/24", "dev", _BRIDGE)
        self._run("ip", "link", "set", _BRIDGE, "up")

    def add(self, name: str, number: int) -> None:
        """Make a new namespace for this host, with the hardware address of the last one: other hosts remember that."""
        path = self.path(name)
        netns.create(path)
        self._run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0",
                  "address", f"02:4c:49:43:00:{number:02x}", "netns", path)
        netns.run(path, "ip", "addr", "add", f"{SUBNET}.{number}/24", "dev", "eth0")
        netns.run(path, "ip", "link", "set", "eth0", "up")
        self._run("ip", "link", "set", name, "master", _BRIDGE, "up")

    def remove(self, name: str) -> None:
        """Pull the cable, and kill everything that runs there at once."""
        netns.kill_members(self.path(name))
        if any(each["ifname"] == name for each in self._links()):
            self._run("ip", "link", "del", name)
        netns.remove(self.path(name))

    def cut(self, name: str) -> None:
        """No packet passes in either direction, silently: the host's own end of the cable stays up."""
        self._run("bridge", "link", "set", "dev", name, "state", _DISABLED)

    def join(self, name: str) -> None:
        self._run("bridge", "link", "set", "dev", name, "state", _FORWARDING)

    def is_cut(self, name: str) -> bool:
        return any(each["ifname"] == name and each.get("state") == "disabled" for each in self._links())

    def delete(self) -> None:
        """All of it, also when only a part was made."""
        for entry in sorted(os.listdir(self.folder)) if os.path.isdir(self.folder) else []:
            path = os.path.join(self.folder, entry)
            netns.kill_members(path)
            netns.remove(path)

    def _links(self) -> list[dict[str, Any]]:
        text = netns.run(self.outside, "bridge", "-json", "link", "show")
        links: list[dict[str, Any]] = json.loads(text or "[]")
        return links

    def _run(self, *argv: str) -> None:
        netns.run(self.outside, *argv)
