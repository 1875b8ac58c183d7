"""The keys below services/, and this node's copy of them (keys.json in the state folder).

Handlers that start often import this module, so it imports little.
"""

import os
from collections.abc import Mapping, Sequence

import msgspec

from lictor import model
from lictor.adapters import files
from lictor.spec.settings import Settings

CACHE = "keys.json"
NAMES = ("spec", "replicas", "image", "color", "hold", "removed")
_SHOWN_KEYS = 3


class Key(msgspec.Struct, frozen=True):
    """One key, as the watch delivers it."""

    modify_index: int
    value: bytes


class KeyCache(msgspec.Struct, frozen=True):
    """The content of keys.json; `watching` are the services of the watches that the agent runs."""

    consul_index: int = 0
    keys: dict[str, Key] = {}
    watching: dict[str, str] = {}
    allowed: tuple[str, ...] = ("*",)  # the services of [allow], by which the routes were made
    reloaded_at: float = 0.0  # when the agent was reloaded last, in seconds since the start of the machine
    refused: dict[str, str] = {}  # service -> why its route is not in force though its spec is sound


def group_by_service(entries: Mapping[str, bytes], prefix: str) -> tuple[dict[str, dict[str, bytes]], list[str]]:
    """Group the keys below `prefix` by service; also list the keys that are no service's.

    Other programs may keep keys there. A colour alone makes no service: the articles' own system writes it.
    """
    grouped: dict[str, dict[str, bytes]] = {}
    unknown = []
    for key, value in sorted(entries.items()):
        name, rest = _split(key, prefix)
        if model.is_name(name) and rest in NAMES:
            grouped.setdefault(name, {})[rest] = value
        elif rest:
            unknown.append(key)
    return {name: keys for name, keys in grouped.items() if keys.keys() - {"color"}}, unknown


def _split(key: str, prefix: str) -> tuple[str, str]:
    """Split a key into the service's name and the rest; the rest is empty for a folder."""
    name, _, rest = key.removeprefix(prefix).partition("/") if key.startswith(prefix) else ("", "", "")
    return name, rest


def describe_unknown(unknown: Sequence[str], prefix: str) -> str:
    """Name the keys that are no service's, at most three of them; "" without any."""
    if not unknown:
        return ""
    more = f" and {len(unknown) - _SHOWN_KEYS} more" if len(unknown) > _SHOWN_KEYS else ""
    return (f"{', '.join(repr(key[:200]) for key in unknown[:_SHOWN_KEYS])}{more}: not lictor's. It reads "
            f"{prefix}NAME/KEY, where KEY is one of {', '.join(NAMES)}")


def changed_services(old: Mapping[str, Key], new: Mapping[str, Key], prefix: str) -> set[str]:
    """Name the services with a key that is new, changed or gone."""
    differing = (_split(key, prefix) for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    return {name for name, rest in differing if model.is_name(name) and rest in NAMES}


def known_services(settings: Settings) -> set[str]:
    """Name all services that this node knows of."""
    return changed_services({}, read_cache(settings).keys, settings.prefix)


def read_cache(settings: Settings) -> KeyCache:
    """Read the cache; an absent or damaged one counts as empty, so that all keys are new."""
    try:
        return msgspec.convert(files.read_json(os.path.join(settings.state_dir, CACHE)), KeyCache)
    except msgspec.ValidationError:
        return KeyCache()


def write_cache(settings: Settings, cache: KeyCache) -> None:
    files.write_json(os.path.join(settings.state_dir, CACHE), msgspec.to_builtins(cache))
