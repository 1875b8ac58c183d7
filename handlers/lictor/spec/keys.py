"""The keys below services/: which service's they are, and which are no service's.

Handlers that start often import this module, so it imports little; what a key holds is nothing to it.
"""

import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence

from lictor import model
from lictor.adapters import files
from lictor.spec.settings import Settings

CACHE = "keys.json"  # this node's notes of them, in the state folder; `routing.key_cache` reads and writes it
NAMES = ("spec", "replicas", "image", "color", "canary", "hold", "removed")
_SHOWN_KEYS = 3


def group_by_service(entries: Mapping[str, bytes], prefix: str) -> tuple[dict[str, dict[str, bytes]], list[str]]:
    """Group the keys below `prefix` by service; also list the keys that are no service's.

    Other programs may keep keys there. What lictor itself writes makes no service; the articles' own system writes a
    colour too.
    """
    grouped: dict[str, dict[str, bytes]] = {}
    unknown = []
    for key, value in sorted(entries.items()):
        name, rest = _split(key, prefix)
        if _is_known(prefix, key):
            grouped.setdefault(name, {})[rest] = value
        elif rest:
            unknown.append(key)
    return {name: keys for name, keys in grouped.items() if keys.keys() - {"color", "canary"}}, unknown


def known_below(prefix: str) -> Callable[[str], bool]:
    """Make the test that tells a service's key: other programs may keep any number of others below `prefix`."""
    return functools.partial(_is_known, prefix)


def _is_known(prefix: str, key: str) -> bool:
    name, rest = _split(key, prefix)
    return rest in NAMES and model.is_name(name)


def _split(key: str, prefix: str) -> tuple[str, str]:
    """Split a key into the service's name and the rest; the rest is empty for a folder."""
    name, _, rest = key.removeprefix(prefix).partition("/") if key.startswith(prefix) else ("", "", "")
    return name, rest


def describe_unknown(unknown: Sequence[str], prefix: str) -> list[str]:
    """Name the keys that are no service's, at most three of a kind; [] without any. The name may be what is wrong."""
    misnamed = {key: name for key in unknown for name, rest in [_split(key, prefix)] if rest in NAMES}
    others = [key for key in unknown if key not in misnamed]
    texts = [f"{_some([*misnamed])}: {_some(list(dict.fromkeys(misnamed.values())))} is no service's name; "
             f"{model.NAME_RULE}"] if misnamed else []
    return texts + ([f"{_some(others)}: not lictor's. It reads {prefix}NAME/KEY, where KEY is one of "
                     f"{', '.join(NAMES)}"] if others else [])


def _some(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _SHOWN_KEYS} more" if len(texts) > _SHOWN_KEYS else ""
    return ", ".join(repr(text[:200]) for text in texts[:_SHOWN_KEYS]) + more


def changed_services(old: Mapping[str, object], new: Mapping[str, object], prefix: str) -> set[str]:
    """Name the services with a key that is new, changed or gone."""
    return services_of((key for key in old.keys() | new.keys() if old.get(key) != new.get(key)), prefix)


def services_of(keys: Iterable[str], prefix: str) -> set[str]:
    """Name the services that have one of these keys."""
    return {_split(key, prefix)[0] for key in filter(known_below(prefix), keys)}


def known_services(settings: Settings) -> set[str]:
    """Name all services that this node knows of."""
    cache = files.read_json(os.path.join(settings.state_dir, CACHE))
    versions = cache.get("versions") if isinstance(cache, dict) else None
    return services_of(versions, settings.prefix) if isinstance(versions, dict) else set()
