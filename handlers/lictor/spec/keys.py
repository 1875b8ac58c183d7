"""The keys below services/, and this node's copy of them (keys.json in the state folder).

Handlers that start often import this module, so it imports little.
"""

import os
from collections.abc import Mapping

import msgspec

from lictor import model
from lictor.adapters import files
from lictor.spec.settings import Settings

CACHE = "keys.json"
NAMES = ("spec", "replicas", "image", "color", "hold", "removed")


class Key(msgspec.Struct, frozen=True):
    """One key, as the watch delivers it."""

    modify_index: int
    value: bytes


class KeyCache(msgspec.Struct, frozen=True):
    """The content of keys.json; `watching` are the services of the watches that the agent runs."""

    consul_index: int = 0
    keys: dict[str, Key] = {}
    watching: dict[str, str] = {}
    refused: dict[str, str] = {}  # service -> why its route is not in force though its spec is sound


def group_by_service(entries: Mapping[str, bytes], prefix: str) -> tuple[dict[str, dict[str, bytes]], list[str]]:
    """Group the keys below `prefix` by service; also list the problems: keys of no service, and unknown ones."""
    grouped: dict[str, dict[str, bytes]] = {}
    problems = []
    for key, value in sorted(entries.items()):
        name, _, rest = key.removeprefix(prefix).partition("/")
        if not key.startswith(prefix) or not rest and not name:
            continue
        if not model.is_name(name):
            problems.append(f"{key[:200]!r}: {name[:100]!r} is no service's name; keys are {prefix}NAME/KEY")
        elif rest in NAMES:
            grouped.setdefault(name, {})[rest] = value
        elif rest:
            problems.append(f"{key[:200]!r}: unknown key; known below {prefix}{name}/ are {', '.join(NAMES)}")
    return grouped, problems


def changed_services(old: Mapping[str, Key], new: Mapping[str, Key], prefix: str) -> set[str]:
    """Name the services with a key that is new, changed or gone."""
    differing = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
    return set(group_by_service(dict.fromkeys(differing, b""), prefix)[0])


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
