"""The volumes of a set's members on this node's Docker: which there are, and whether anything was written to them."""

import os
from collections.abc import Iterable

from lictor.adapters import docker
from lictor.model import Container
from lictor.spec.cluster import numbers_of, volume_of

EMPTY, USED, UNKNOWN = "empty", "used", "unknown"


def read(service: str, containers: Iterable[Container]) -> dict[int, str]:
    """Tell by number which members have a volume, and whether it is empty; what has none is missing.

    If its folder may not be read here, a volume counts as used from the first start of its container.
    """
    found = docker.connect().volumes(f"{service}-")
    return {number: _content(found[volume_of(service, number)], number, containers)
            for number in numbers_of(service, found)}


def names(service: str) -> list[str]:
    """Name the volumes that there are of a service's members."""
    found = docker.connect().volumes(f"{service}-")
    return [volume_of(service, number) for number in numbers_of(service, found)]


def _content(folder: str, number: int, containers: Iterable[Container]) -> str:
    try:
        if folder:
            return USED if os.listdir(folder) else EMPTY
    except OSError:  # it is root's alone, say
        pass
    own = next((each for each in containers if each.number == number), None)
    return UNKNOWN if own is None else USED if own.started_at else EMPTY
