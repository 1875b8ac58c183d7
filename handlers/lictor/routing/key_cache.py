"""The versions of the keys below services/ that this node's routes were made from: keys.json in the state folder."""

import os
import zlib
from collections.abc import Mapping

import msgspec

from lictor.adapters import files
from lictor.spec.keys import CACHE, known_below
from lictor.spec.settings import Settings


class Key(msgspec.Struct, frozen=True):
    """One key, as the watch delivers it."""

    modify_index: int
    value: bytes


class KeyCache(msgspec.Struct, frozen=True):
    """The content of keys.json; `watching` are the names of the watches that the agent runs, each with its service."""

    consul_index: int = 0
    versions: dict[str, str] = {}  # of the services' keys
    watching: dict[str, str] = {}
    allowed: tuple[str, ...] = ("*",)  # the services of [allow], by which the routes were made
    measures_all: bool = False  # the node had metrics when the routes were made
    reloaded_at: float = 0.0  # when the agent was reloaded last, in seconds since the start of the machine
    refused: dict[str, str] = {}  # service -> why its route is not in force though its spec is sound


def versions(keys: Mapping[str, Key], prefix: str) -> dict[str, str]:
    """Give each service's key what another version of it would not have; a Consul set up anew has old indexes."""
    return {key: f"{keys[key].modify_index}:{zlib.crc32(keys[key].value)}" for key in filter(known_below(prefix), keys)}


def read_cache(settings: Settings) -> KeyCache:
    """Read the cache; an absent or damaged one counts as empty, so that all keys are new."""
    try:
        return msgspec.convert(files.read_json(os.path.join(settings.state_dir, CACHE)), KeyCache)
    except msgspec.ValidationError:
        return KeyCache()


def write_cache(settings: Settings, cache: KeyCache) -> None:
    files.write_json(os.path.join(settings.state_dir, CACHE), msgspec.to_builtins(cache))
