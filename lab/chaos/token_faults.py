"""Tokens are worth nothing for a while, or are replaced for good."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lictor.adapters import files

from lab.chaos.container_faults import deed
from lab.chaos.doing import Doing, NotDone, choose
from lab.chaos.machine import COMING_UP_S
from lab.chaos.world import World
from lab.daemon import wait_for

_FREE_S = 20.0


@contextmanager
def _tokens_stay(world: World) -> Iterator[None]:
    if not world.tokens_stay.acquire(timeout=_FREE_S):
        raise NotDone("the tokens are being changed")
    try:
        yield
    finally:
        world.tokens_stay.release()


@contextmanager
def take_tokens(world: World, chance: random.Random) -> Iterator[Doing]:
    """Take all rights from the agent's and the handlers' token at the server, and give them back."""
    with _tokens_stay(world):
        hold_s = chance.uniform(3, 12)
        try:
            for token in world.tokens:
                _set_rights(world, token, [])
            wait_for(lambda: not any(_may_read(world, each) for each in world.tokens), "the tokens are worth nothing")
            yield Doing("the node's tokens", f"without rights for {hold_s:.1f} s", hold_s)
        finally:
            for token in world.tokens:
                wait_for(lambda token=token: _set_rights(world, token, token["Policies"])  # type: ignore[misc]
                         and _may_read(world, token), "it has its rights again", COMING_UP_S, every_s=0.5)


@contextmanager
def rotate_token(world: World, chance: random.Random) -> Iterator[Doing]:
    """Replace the handlers' token in its file, and delete the old one: what was registered with it lives on.

    A container is then killed, or its health broken: it has to leave the catalogue, and its replacement to come in.
    """
    with _tokens_stay(world):
        is_killed = chance.random() < 0.5
        victim = choose(world, chance, first=not is_killed)
        old, new = world.tokens[1], world.make_token(world.tokens[1]["Policies"])
        world.tokens[1] = new
        files.write_atomic(world.token_file, new["SecretID"], mode=0o600)
        wait_for(lambda: world.server.request("DELETE", f"/v1/acl/token/{old['AccessorID']}"), "it is deleted")
        hurt, words = ("killed", ["kill", victim.id]) if is_killed else (
            "broken", ["exec", victim.id, "busybox", "rm", "/www/health"])
        with deed(world, hurt, victim):
            world.docker.docker(*words)
        yield Doing("the handlers' token", f"replaced; {victim.name} is {hurt}", victim=victim.id, began=victim.at)


def _set_rights(world: World, token: dict[str, Any], policies: list[dict[str, Any]]) -> bool:
    path = f"/v1/acl/token/{token['AccessorID']}"
    return bool(world.server.request("PUT", path, {**token, "Policies": policies}))


def _may_read(world: World, token: dict[str, Any]) -> bool:
    try:
        return bool(world.server.request("GET", "/v1/kv/services/?keys", token=token["SecretID"]))
    except OSError as error:
        if "403" not in str(error):
            raise
        return False
