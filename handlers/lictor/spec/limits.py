"""Limits within which a spec can work: for files that people write, and for keys that they put by hand. Pure.

A last good value is only parsed. A refusal of its old mistakes would leave its service alone.
"""

import functools
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

from lictor import errors
from lictor.spec import placeholders, service_spec
from lictor.spec.input.problems import Path, dotted
from lictor.spec.quantities import Duration, Memory, parse_duration, show_duration, show_share

MOST_BUDGET = 1000
LONGEST_BYTES = 100_000  # a service's state holds up to three specs, and Consul takes 512 KiB of it
DURATIONS = {
    "heal.per": ("1s", "24h"),  # replacements are on record for a day
    "release.deadline": ("1s", "8760h"), "release.for": ("10s", "24h"),
    "route.timeout": ("1s", "24h"), "route.wait": ("100ms", "60s"),
    "check.interval": ("1ms", "24h"), "check.timeout": ("1ms", "24h"),
    "autoscale.p50": ("1ms", "60s"), "autoscale.p95": ("1ms", "60s"), "autoscale.p99": ("1ms", "60s"),
    "autoscale.window": ("20s", "5m"),  # a node's slices are of the last 6 min
    "autoscale.down_after": ("1m", "1h"), "autoscale.hold_after_manual": ("0s", "24h")}
_ANY_DURATION = ("0s", "8760h")
_MOST_SEEDS = 16
_LEAST_CANARY, _MOST_CANARY = 0.01, 0.5
_LEAST_CPUS = 0.01  # Docker gives no container less,
LEAST_MEMORY_M, _MOST_MEMORY_G = 4, 65536  # nor less than this; and no machine has more
_MOST_BODY_G = 1024
_MODES = "ro|rw|z|Z|nocopy|r?(?:shared|slave|private)|consistent|cached|delegated"
VOLUME = re.compile(rf"(?:(?:/[^:]*|[A-Za-z0-9][A-Za-z0-9_.-]+):)?/[^:]+(?::(?:{_MODES})(?:,(?:{_MODES}))*)?")


def refuse_long(text: str | bytes, where: str) -> None:
    """Raise Refused, naming `where`, for the JSON of a spec that is too long."""
    if len(text) > LONGEST_BYTES:
        raise errors.Refused(f"{where}: has {len(text)} bytes as JSON; it may have {LONGEST_BYTES}")


def require_workable(spec: service_spec.Spec) -> None:
    """Raise ValueError, naming the key, what was given and what is allowed, if the spec could never work."""
    for _, text in list_unworkable(spec):
        raise ValueError(text)


def list_unworkable(spec: service_spec.Spec, *, is_whole: bool = True) -> Iterator[tuple[Path, str]]:
    """List what could never work, each with the path of its key. Of a spec that is not whole each key is judged alone.
    """
    if spec.image and spec.engine != "none":
        yield from _problems(("image",), service_spec.parse_image, spec.image, spec.engine)
    for path, amount in _amounts(spec, ()):
        key, named = dotted(path), ".".join(step for step in path if isinstance(step, str))
        if isinstance(amount, Duration):
            yield from _problems(path, _require_duration, key, amount, *DURATIONS.get(named, _ANY_DURATION))
        elif named == "route.max_body":  # it is no memory of a container
            if amount > _MOST_BODY_G << 30:
                yield path, f"{key} is {str(amount)[:100]} bytes; it must be at most {_MOST_BODY_G}g, or 0 for no limit"
        elif amount and not LEAST_MEMORY_M << 20 <= amount <= _MOST_MEMORY_G << 30:
            yield path, (f"{key} is {str(amount)[:100]} bytes; it must be within {LEAST_MEMORY_M}m.."
                         f"{_MOST_MEMORY_G}g, or 0 for no limit")
    for place, volume in enumerate(spec.volumes):
        yield from _problems(("volumes", place), _require_volume, volume)
    for place, file in enumerate(spec.env_files):
        if not os.path.isabs(file):
            yield ("env_file", place), f"env_file holds {file[:100]!r}; it must be a file's whole path"
    yield from _list_impossible(spec, is_whole)
    yield from _list_unfilled(spec)
    if is_whole:
        yield from _list_not_by_grpc(spec)


def _problems(path: Path, require: Callable[..., object], *given: object) -> Iterator[tuple[Path, str]]:
    try:
        require(*given)
    except ValueError as error:
        yield path, str(error)


def _require_volume(text: str) -> None:
    """Raise ValueError unless Docker takes this as a volume."""
    if not VOLUME.fullmatch(text):
        raise ValueError(f"volumes holds {text[:100]!r}; it must be SOURCE:/TARGET or SOURCE:/TARGET:MODE, the source "
                         "a volume's name or a path, and the mode such as ro")


def _amounts(of: Any, path: Path) -> Iterator[tuple[Path, Duration | Memory]]:
    if isinstance(of, Duration | Memory):
        yield path, of
    elif isinstance(of, list):
        for place, each in enumerate(of):
            yield from _amounts(each, (*path, place))
    elif hasattr(of, "__struct_fields__"):
        for name, key in zip(of.__struct_fields__, of.__struct_encode_fields__, strict=True):
            yield from _amounts(getattr(of, name), (*path, key))


_bound_s = functools.cache(parse_duration)  # a sweep judges each key of each service


def _require_duration(key: str, amount: Duration, least: str, most: str) -> None:
    if not _bound_s(least) <= amount <= _bound_s(most):
        shown = f"{amount / 3600:g}h" if amount >= 3600 else f"{amount:g}s"
        raise ValueError(f"{key} is {shown}; it must be within {least}..{most}")


def _list_impossible(spec: service_spec.Spec, is_whole: bool) -> Iterator[tuple[Path, str]]:
    release, heal, cpus, port = spec.release, spec.heal, spec.resources.cpus, spec.container_port
    if not 0 <= heal.budget <= MOST_BUDGET:
        yield ("heal", "budget"), f"heal.budget is {str(heal.budget)[:100]}; it must be within 0..{MOST_BUDGET}"
    if is_whole and release.healthy_for > release.deadline:
        yield ("release", "healthy_for"), (f"release.healthy_for is {release.healthy_for:g}s; it must be within the "
                                           f"deadline, {release.deadline:g}s")
    if 0 < cpus < _LEAST_CPUS:
        yield ("resources", "cpus"), (f"resources.cpus is {cpus!r}; it must be within {_LEAST_CPUS}..1024, or 0 for "
                                      "no limit")
    if is_whole and port is not None and port.protocol == "udp" and (spec.routes or spec.check or release.smoke):
        yield ("port",), f"port is {spec.port!r}; a route, a check and a smoke path ask by TCP"
    if is_whole and port is None:
        yield from _list_unasked(spec)
    yield from _list_canary(release, is_whole)


def _list_canary(release: service_spec.Release, is_whole: bool) -> Iterator[tuple[Path, str]]:
    if release.canary is not None and not _LEAST_CANARY <= release.canary <= _MOST_CANARY:
        yield ("release", "canary"), (f"release.canary is {show_share(release.canary)}; it must be within "
                                      f"{show_share(_LEAST_CANARY)}..{show_share(_MOST_CANARY)}")
    if is_whole and release.canary is None and release.watched_for != service_spec.WATCHED_FOR:
        yield ("release", "for"), (f"release.for is {show_duration(release.watched_for)}, and release.canary is not "
                                   "given; it is for a canary")


def _list_unasked(spec: service_spec.Spec) -> Iterator[tuple[Path, str]]:
    """List what would ask an instance of a service without a port, for which no instance is in the catalogue."""
    asked: dict[Path, object] = {("check",): spec.check, ("release", "smoke"): spec.release.smoke}
    if spec.engine in ("none", *service_spec.DELEGATED):
        asked = {("check", "port"): spec.check and spec.check.port}
    for path, given in asked.items():
        if given:
            yield path, (f"{dotted(path)} is for a service with a port. Without one no instance is in the catalogue, "
                         "and nobody asks it")


def _list_not_by_grpc(spec: service_spec.Spec) -> Iterator[tuple[Path, str]]:
    """List what asks or measures by HTTP/1.1, of a service whose instances speak gRPC."""
    is_grpc = any(each.scheme == "grpc" for each in spec.routes)
    if is_grpc and spec.autoscale:
        yield ("autoscale",), ("autoscale is for HTTP, and route.scheme is grpc. To nginx a failed call is a status "
                               "200, and a stream lasts as long as its client likes")
    if is_grpc and spec.release.canary:
        yield ("release", "canary"), ("release.canary is for HTTP, and route.scheme is grpc. To nginx a failed call is "
                                      "a status 200, so that nobody counts errors")
    if is_grpc and spec.release.smoke:
        yield ("release", "smoke"), (f"release.smoke is {spec.release.smoke!r}; with route.scheme grpc it must be "
                                     "empty, as lictor asks by HTTP/1.1")


def _list_unfilled(spec: service_spec.Spec) -> Iterator[tuple[Path, str]]:
    """List seed lists where nobody fills them in, and so many of them that an environment would be too long."""
    sets = [(key, name) for key, value in spec.environment_table.items() for name in placeholders.list_sets(value)]
    if not sets:
        return
    key, name = sets[0]
    if spec.engine != "docker" or spec.cluster:
        given = "with cluster" if spec.cluster else f"with engine {spec.engine}"
        yield ("environment",), (f"environment.{key[:100]} holds {{seeds:{name}}}, and {given} nothing fills that in; "
                                 "it is for engine docker, without cluster")
    if len(sets) > _MOST_SEEDS:
        yield ("environment",), (f"environment holds {len(sets)} seed lists, such as {{seeds:{name}}}; it may hold "
                                 f"{_MOST_SEEDS}")
