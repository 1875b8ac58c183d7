"""Instances at the addresses where this node's nginx itself listens, found from what the machine says of itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lictor import model
from lictor.routing import route_store

LISTENERS = [("", 80), ("::", 80), ("10.0.0.9", 81)]
# An address of the machine, and one that can be bound only because the kernel was told to allow all, as for keepalived.
IN_A_NAMESPACE = """
ip link set lo up; ip address add 10.1.2.3/32 dev lo; ip address add fd00::1/128 dev lo
echo 1 > /proc/sys/net/ipv4/ip_nonlocal_bind; echo 1 > /proc/sys/net/ipv6/ip_nonlocal_bind
exec "$0" -c 'from lictor.routing.route_store import _is_local; print(*map(_is_local, (
    "10.1.2.3", "127.0.0.1", "::1", "fd00::1", "10.1.2.4", "10.1.2.0", "8.8.8.8", "fd00::2")))'
"""


def instance(address: object, port: object) -> model.Instance:
    return model.Instance("n", "s", "books", address, port, "passing", True, None, "")  # type: ignore[arg-type]


@pytest.mark.parametrize(("address", "port", "is_own"), [
    ("127.0.0.1", 80, True), ("::1", 80, True), ("10.0.0.9", 81, True), ("127.0.0.1", 8080, False),
    ("10.0.0.9", 80, False), ("127.0.0.1", 81, False), ("", 80, False), ("books", 80, False), (None, 80, False),
    ("10.0.0.9", "81", False), ("10.0.0.9", [81], False),
])
def test_where_nginx_itself_listens(tmp_path: Path, address: object, port: object, is_own: bool) -> None:
    route_store.write_listeners(str(tmp_path), LISTENERS)
    assert bool(route_store.own_endpoints(str(tmp_path), [instance(address, port)])) is is_own


@pytest.mark.parametrize("damage", ["", "{", "3", "[3]", "[[1]]", '{"a": 1}', "[[[], 80]]", "null"])
def test_a_damaged_note_of_listeners_stops_no_event(tmp_path: Path, damage: str) -> None:
    (tmp_path / "listeners.json").write_text(damage)
    assert route_store.own_endpoints(str(tmp_path), [instance("127.0.0.1", 80)]) == set()


@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")
def test_an_address_that_can_merely_be_bound_is_another_machines() -> None:
    shown = subprocess.run(["unshare", "--net", "sh", "-c", IN_A_NAMESPACE, sys.executable], check=True, text=True,
                           capture_output=True, timeout=60)
    assert shown.stdout.split() == ["True"] * 4 + ["False"] * 4, shown.stderr
