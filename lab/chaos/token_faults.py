"""Tokens are worth nothing for a while."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lab.chaos.doing import Doing
from lab.chaos.world import COMING_UP_S, World
from lab.daemon import wait_for


@contextmanager
def take_tokens(world: World, chance: random.Random) -> Iterator[Doing]:
    """Take all rights from the agent's and the handlers' token at the server, and give them back."""
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
