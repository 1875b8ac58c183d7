"""Limits within which a spec can work: for files that people write, and for keys that they put by hand. Pure.

A last good value is only parsed. A refusal of its old mistakes would leave its service alone.
"""

import os
import re
from collections.abc import Iterator
from typing import Any

from lictor import errors
from lictor.spec import placeholders, service_spec
from lictor.spec.quantities import Duration, Memory, parse_duration

MOST_BUDGET = 1000
LONGEST_BYTES = 100_000  # a service's state holds up to three specs, and Consul takes 512 KiB of it
_DURATIONS = {
    "heal.per": ("1s", "24h"),  # replacements are on record for a day
    "release.deadline": ("1s", "8760h"), "check.interval": ("1ms", "24h"), "check.timeout": ("1ms", "24h"),
    "autoscale.p50": ("1ms", "60s"), "autoscale.p95": ("1ms", "60s"), "autoscale.p99": ("1ms", "60s"),
    "autoscale.window": ("20s", "5m"),  # a node's slices are of the last 6 min
    "autoscale.down_after": ("1m", "1h"), "autoscale.hold_after_manual": ("0s", "24h")}
_ANY_DURATION = ("0s", "8760h")
_MOST_SEEDS = 16
_LEAST_CPUS = 0.01  # Docker gives no container less,
_LEAST_MEMORY_M, _MOST_MEMORY_G = 4, 65536  # nor less than this; and no machine has more
_MODES = "ro|rw|z|Z|nocopy|r?(?:shared|slave|private)|consistent|cached|delegated"
_VOLUME = re.compile(rf"(?:(?:/[^:]*|[A-Za-z0-9][A-Za-z0-9_.-]+):)?/[^:]+(?::(?:{_MODES})(?:,(?:{_MODES}))*)?")


def refuse_long(text: str | bytes, where: str) -> None:
    """Raise Refused, naming `where`, for the JSON of a spec that is too long."""
    if len(text) > LONGEST_BYTES:
        raise errors.Refused(f"{where}: has {len(text)} bytes as JSON; it may have {LONGEST_BYTES}")


def require_workable(spec: service_spec.Spec) -> None:
    """Raise ValueError, naming the key, what was given and what is allowed, if the spec could never work."""
    if spec.image and spec.engine != "none":
        service_spec.parse_image(spec.image, spec.engine)
    for key, amount in _amounts(spec, ""):
        if isinstance(amount, Duration):
            _require_duration(key, amount)
        elif amount and not _LEAST_MEMORY_M << 20 <= amount <= _MOST_MEMORY_G << 30:
            raise ValueError(f"{key} is {str(amount)[:100]} bytes; it must be within {_LEAST_MEMORY_M}m.."
                             f"{_MOST_MEMORY_G}g, or 0 for no limit")
    for volume in spec.volumes:
        require_volume(volume)
    for path in spec.env_files:
        if not os.path.isabs(path):
            raise ValueError(f"env_file holds {path[:100]!r}; it must be a file's whole path")
    _refuse_impossible(spec)
    _refuse_unfilled(spec)


def require_volume(text: str) -> None:
    """Raise ValueError unless Docker takes this as a volume."""
    if not _VOLUME.fullmatch(text):
        raise ValueError(f"volumes holds {text[:100]!r}; it must be SOURCE:/TARGET or SOURCE:/TARGET:MODE, the source "
                         "a volume's name or a path, and the mode such as ro")


def _amounts(of: Any, where: str) -> Iterator[tuple[str, Duration | Memory]]:
    for key in of.__struct_fields__:
        value = getattr(of, key)
        if isinstance(value, Duration | Memory):
            yield f"{where}{key}", value
        elif hasattr(value, "__struct_fields__"):
            yield from _amounts(value, f"{where}{key}.")


def _require_duration(key: str, amount: Duration) -> None:
    least, most = _DURATIONS.get(key, _ANY_DURATION)
    if not parse_duration(least) <= amount <= parse_duration(most):
        shown = f"{amount / 3600:g}h" if amount >= 3600 else f"{amount:g}s"
        raise ValueError(f"{key} is {shown}; it must be within {least}..{most}")


def _refuse_impossible(spec: service_spec.Spec) -> None:
    release, heal, cpus, port = spec.release, spec.heal, spec.resources.cpus, spec.container_port
    problems = {
        f"heal.budget is {str(heal.budget)[:100]}; it must be within 0..{MOST_BUDGET}":
            not 0 <= heal.budget <= MOST_BUDGET,
        f"release.healthy_for is {release.healthy_for:g}s; it must be within the deadline, {release.deadline:g}s":
            release.healthy_for > release.deadline,
        f"resources.cpus is {cpus!r}; it must be within {_LEAST_CPUS}..1024, or 0 for no limit": 0 < cpus < _LEAST_CPUS,
        f"port is {spec.port!r}; a route, a check and a smoke path ask by TCP":
            port is not None and port.protocol == "udp" and bool(spec.route or spec.check or release.smoke)}
    for problem, is_so in problems.items():
        if is_so:
            raise ValueError(problem)


def _refuse_unfilled(spec: service_spec.Spec) -> None:
    """Refuse seed lists where nobody fills them in, and so many of them that an environment would be too long."""
    sets = [(key, name) for key, value in spec.environment_table.items() for name in placeholders.list_sets(value)]
    if not sets:
        return
    key, name = sets[0]
    if spec.engine != "docker" or spec.cluster:
        given = "with cluster" if spec.cluster else f"with engine {spec.engine}"
        raise ValueError(f"environment.{key[:100]} holds {{seeds:{name}}}, and {given} nothing fills that in; it is "
                         "for engine docker, without cluster")
    if len(sets) > _MOST_SEEDS:
        raise ValueError(f"environment holds {len(sets)} seed lists, such as {{seeds:{name}}}; it may hold "
                         f"{_MOST_SEEDS}")
