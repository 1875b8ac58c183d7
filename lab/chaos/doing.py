"""What a fault is, and whom it may hurt."""

import contextlib
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple, TypeVar

from lab.chaos.machine import Machine
from lab.chaos.world import SERVICES, World

_CHOOSE_S = 15.0
M = TypeVar("M", bound=Machine)


class NotDone(Exception):
    """This fault could not be done now."""


class Doing(NamedTuple):
    """What was done; `hold_s`: how long it is to last before it is undone."""

    target: str
    detail: str
    hold_s: float = 0.0
    victim: str = ""  # id of the container that has to be replaced before it is repaired
    began: float = 0.0  # if it was waited for before


class Victim(NamedTuple):
    """A container, chosen at this moment."""

    id: str
    name: str
    service: str
    at: float


# Done when the context is entered, which yields what was done; undone when it is left, however that happens. One that
# cannot be done raises NotDone, or what the tools raise.
Fault = Callable[[M, random.Random], AbstractContextManager[Doing]]


def choose(world: World, chance: random.Random, *, first: bool = False) -> Victim:
    """Choose a container that another one, well and served, can stand in for: otherwise requests would have to fail.

    It counts as hurt from now on. With `first` no other container of its service that runs is hurt.
    """
    deadline = time.monotonic() + _CHOOSE_S
    while True:
        with world.choosing:
            possible: list[dict[str, str]] = []
            with contextlib.suppress(OSError):  # Docker is just away
                possible = _possible(world, first)
            if possible:
                chosen = chance.choice(possible)
                world.hurt.add(chosen["id"])
                return Victim(chosen["id"], chosen["name"], chosen["service"], time.time())
        if time.monotonic() > deadline or world.ending.wait(0.5):
            raise NotDone("no service has an instance that others could stand in for")


def _possible(world: World, first: bool) -> list[dict[str, str]]:
    running = world.containers()
    containers = [each for each in running if each["status"] == "running" and each["id"] not in world.hurt]
    hurt = {each["service"] for each in running if each["id"] in world.hurt}
    found = []
    for service in SERVICES.values():
        if first and service in hurt:
            continue
        found += _replaceable(world, service, [each for each in containers if each["service"] == service])
    return sorted(found, key=lambda each: each["name"])


def _replaceable(world: World, service: str, containers: list[dict[str, str]]) -> list[dict[str, str]]:
    answering, passing = {each.partition("/")[0] for each in world.answering(service)}, world.passing(service)
    fit = [each for each in containers if each["name"] in answering and each["id"] in passing]
    return [each for each in containers if any(other is not each for other in fit)]
