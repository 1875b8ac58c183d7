"""Consul holds what it should not: bad input in the keys, garbage in the catalogue, damaged state."""

import base64
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lab.chaos.container_faults import deed
from lab.chaos.doing import Doing, choose
from lab.chaos.machine import COMING_UP_S
from lab.chaos.world import SERVICES, World
from lab.daemon import wait_for

_NODE = "evil"
_GARBAGE = 50
_BAD: dict[str, tuple[str | None, ...]] = {  # None: the key is deleted
    "replicas": ("banana", "-1", "999", "", "３", "3.0", "1e9", "0x3", "3 3", "null", None),
    "spec": ("{", "", "null", "[]", '{"name": "x"}', '{"replicas": 3}', '{"surprise": true}', "\x00\x01", "{" * 3000),
    "image": ("bad image", "; rm -rf /", "", "\x00", "ｂｏｏｋｓ:1", "x" * 5000),
}
_DAMAGED = (b"", b"{", b"null", b"[]", b"\x00\xff", b'{"spec": {"release": "x"}}', b'{"release": 3}', b'"x"', b"1e999",
            b'{"last_good": []}', b"[" * 5000)
_ADDRESSES = ("127.0.0.1; } server { root /etc", "${evil}", "../../etc/passwd", "127.0.0.1\nserver 6.6.6.6", "0.0.0.0",
              "１２７.0.0.1", "a" * 10_000, "evil.example.com", "010.0.0.1", "::", "fe80::1%eth0", "256.1.1.1",
              "224.0.0.1")
_PORTS = (70_000, -1, 65_536, 2**31, -(2**31))
_NAMES = ("../../etc/x", "a;b", "$HOME", "UPPER", "x" * 100, "ａ", ".", "-", "lictor", "evil-service")


@contextmanager
def write_bad_keys(world: World, chance: random.Random) -> Iterator[Doing]:
    service, key = chance.choice(sorted(SERVICES.values())), chance.choice(sorted(_BAD))
    path, bad, hold_s = f"services/{service}/{key}", chance.choice(_BAD[key]), chance.uniform(3, 10)
    before = _read(world, path)
    assert before is not None
    try:
        if bad is None:
            world.server.request("DELETE", f"/v1/kv/{path}")
        else:
            world.server.put(path, bad)
        wait_for(lambda: _read(world, path) == (None if bad is None else bad.encode()), f"{path} is bad")
        yield Doing(path, f"{'deleted' if bad is None else repr(bad)[:40]} for {hold_s:.1f} s", hold_s)
    finally:
        wait_for(lambda: _write(world, path, before), f"{path} is good again", COMING_UP_S)


def _read(world: World, path: str) -> bytes | None:
    found: list[dict[str, Any]] | None = world.server.request("GET", f"/v1/kv/{path}")
    return base64.b64decode(found[0]["Value"] or "") if found else None


def _write(world: World, path: str, value: bytes) -> bool:
    world.server.put(path, value)
    return _read(world, path) == value


@contextmanager
def register_garbage(world: World, chance: random.Random) -> Iterator[Doing]:
    hold_s = chance.uniform(5, 15)
    refused = 0
    try:
        for number in range(_GARBAGE):
            try:
                world.server.request("PUT", "/v1/catalog/register", _garbage(number, chance))
            except OSError as error:
                if "400" not in str(error) and "500" not in str(error):
                    raise
                refused += 1
        there = len(_registered(world))
        assert there + refused == _GARBAGE and there > _GARBAGE / 2, f"{there} are there, {refused} were refused"
        yield Doing("the catalogue", f"{there} for {hold_s:.1f} s", hold_s)
    finally:
        wait_for(lambda: _clear(world), "the garbage has gone", COMING_UP_S)


def _garbage(number: int, chance: random.Random) -> dict[str, Any]:
    """Of our services only what cannot be reached; under other names nothing has to be wrong."""
    fields: dict[str, Any] = {"Address": chance.choice(_ADDRESSES), "Port": 80}
    if chance.random() < 0.4:
        fields = {"Address": "10.66.66.66", "Port": chance.choice(_PORTS)}
    name = chance.choice(sorted(SERVICES.values()) if chance.random() < 0.7 else _NAMES)
    return {"Node": _NODE, "Address": "10.66.66.66", "SkipNodeUpdate": number > 0, "Service": {
        "Service": name, "ID": f"evil-{number};}}\n", **fields, "Tags": ["../../x", "$y"],
        "Meta": {"weight": "1; } evil {", "lictor-container": "evil"}}}


def _registered(world: World) -> dict[str, Any]:
    node: dict[str, Any] = world.server.request("GET", f"/v1/catalog/node/{_NODE}") or {}
    return node.get("Services") or {}


def _clear(world: World) -> bool:
    if _registered(world):
        world.server.request("PUT", "/v1/catalog/deregister", {"Node": _NODE})
    return not _registered(world)


@contextmanager
def damage_state(world: World, chance: random.Random) -> Iterator[Doing]:
    """Damage what lictor remembers of one service. Another service is healed meanwhile."""
    victim = choose(world, chance)
    service = chance.choice(sorted(set(SERVICES.values()) - {victim.service}))
    path, bad, hold_s = f"lictor/state/{service}", chance.choice(_DAMAGED), chance.uniform(5, 15)
    world.server.put(path, bad)
    try:
        with deed(world, "killed", victim):
            world.docker.docker("kill", victim.id)
        yield Doing(path, f"{bad[:40]!r} for {hold_s:.1f} s, and {victim.name} is dead", hold_s, victim.id, victim.at)
    finally:  # as an operator would; what is lost is learned again
        wait_for(lambda: _read(world, path) != bad or world.server.request("DELETE", f"/v1/kv/{path}"),
                 f"{path} has gone", COMING_UP_S)
