"""Changes between two specs: each key, from which value to which. Pure. Values that may be secrets are never told."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from lictor.adapters.text import one_line
from lictor.planner.desired import MADE_FROM, Desired
from lictor.spec.quantities import Duration, Memory, Share, show_duration, show_memory, show_share
from lictor.spec.route import Route, list_routes
from lictor.spec.service_spec import SECRET, Spec

_LONGEST_SHOWN = 100
_PATIENCE = ("check", "start")  # lictor's own, of which no container is made
_ROUTE = ("route",)
_NOTHING: tuple[Any, ...] = (None, "", [], {})

Path = tuple[str, ...]


class Change(NamedTuple):
    """A key with another value. `is_release`: the containers are made from it."""

    key: str
    described: str
    is_release: bool

    def __str__(self) -> str:
        return f"{self.key} {self.described}{': a release' if self.is_release else ''}"


def list_changes(old: Spec, new: Spec) -> list[Change]:
    """List what differs; the keys of which the containers are made come first."""
    has_instances = new.engine != "none"
    found = [Change(".".join(path), _describe(path, before, after),
                    has_instances and path[0] in MADE_FROM and path != _PATIENCE)
             for path, before, after in _differences(old, new)]
    return sorted(found, key=lambda change: not change.is_release)


def _differences(old: Any, new: Any, path: Path = ()) -> Iterator[tuple[Path, Any, Any]]:
    """Compare what stands at a path. A table that is absent is one with its defaults."""
    if isinstance(old, msgspec.Struct) or isinstance(new, msgspec.Struct):
        for field in msgspec.structs.fields(new if isinstance(new, msgspec.Struct) else old):
            before, after = (getattr(each, field.name) if isinstance(each, msgspec.Struct) else _default(field)
                             for each in (old, new))
            if (*path, field.encode_name) == _ROUTE:
                yield from _route_differences(list_routes(before), list_routes(after))
            else:
                yield from _differences(before, after, (*path, field.encode_name))
    elif isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from _differences(old.get(key), new.get(key), (*path, key))
    elif (type(old), old) != (type(new), new):  # as 1, 1.0 and True are equal, and make other texts
        yield path, old, new


def _route_differences(old: list[Route], new: list[Route]) -> Iterator[tuple[Path, Any, Any]]:
    """Compare the routes of a service. In a list one is told by its host and path, as its number may be another."""
    if len(old) <= 1 and len(new) <= 1:
        yield from _differences(next(iter(old), None), next(iter(new), None), _ROUTE)
        return
    before, after = ({f"route[{each.host}{each.path}]": each for each in routes} for routes in (old, new))
    for name in {**before, **after}:
        was, now = before.get(name), after.get(name)
        yield from _differences(was, now, (name,)) if was and now else [((name,), was, now)]


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return None if field.default is msgspec.NODEFAULT else field.default


def _describe(path: Path, old: Any, new: Any) -> str:
    if path[0] in SECRET:
        return "added" if old in _NOTHING else "removed" if new in _NOTHING else "changed"
    if isinstance(old, Route) or isinstance(new, Route):
        return "removed" if new is None else "added"
    return f"{_show(old)} -> {_show(new)}"


def _show(value: Any) -> str:
    match value:
        case Duration():
            return show_duration(value)
        case Share():
            return show_share(value)
        case Memory():
            return show_memory(value)
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
    if value in _NOTHING:
        return "none"
    text = one_line(f"[{', '.join(value)}]" if isinstance(value, list) else str(value))
    text = re.sub("//[^/@]*@", "//...@", text)  # a password in a URL
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def describe_kept_count(old: Spec | None, service: Desired) -> str:
    """Say, behind what was written, that another initial count changes nothing; usually ""."""
    if not old or not service.spec or service.spec.engine == "none":
        return ""
    initial, count = service.spec.replicas.initial, service.replicas
    return "" if initial in (count, old.replicas.initial) else (
        f"; {count} stay desired: replicas.initial counts at first only, and `lictor scale {service.name} {initial}` "
        "changes it")
