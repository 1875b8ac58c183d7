"""Doubles of engines that are told only how many there should be, on two nodes of which one may die. Nothing runs.

`Swarm` keeps of Docker Swarm: what it was told it remembers; it replaces what ends or is lost with a node, one by one;
an update comes in place, the new one first, and pauses when a new one dies. `Playbook` keeps of Ansible's: it changes
something only while it runs, may break off half-way, and starts on nodes that answer.
"""

import itertools
from dataclasses import dataclass
from random import Random

from lictor import model

NODES = ("node-1", "node-2")
_LOST_AFTER_S = 5.0  # a node that does not answer: then its tasks are


@dataclass
class Task:
    id: str
    color: str
    image: str
    release: str
    node: str
    registered_at: float
    passes_at: float
    dies_at: float

    def passes(self, now: float) -> bool:
        return now >= max(self.registered_at, self.passes_at)


@dataclass
class Told:
    """What the engine has to do for one colour."""

    replicas: int
    image: str
    release: str
    is_paused: bool = False


class Engine:
    """`tasks` are all that are registered: those of a node that is down are so until it is back."""

    def __init__(self, r: Random) -> None:
        self.r, self.now = r, 0.0
        self.tasks: list[Task] = []
        self.told: dict[str, Told] = {}
        self.down_since: float | None = None  # node-2
        self._ids = itertools.count()

    def is_down(self, task: Task) -> bool:
        return self.down_since is not None and task.node == "node-2"

    def running(self, color: str | None = None) -> list[Task]:
        return [each for each in self.tasks if not self.is_down(each) and color in (None, each.color)]

    def tick(self, now: float) -> None:
        self.now = now
        for each in [each for each in self.running() if now >= each.dies_at]:
            self.tasks.remove(each)
            self.ended(each)

    def ended(self, task: Task) -> None:
        """A task ended by itself."""

    def come_back(self) -> None:
        self.down_since = None

    def start(self, color: str, told: Told) -> None:
        registered_at = self.now + self.r.choice((0, 1, 2))
        passes_at = registered_at + (1e9 if "never" in told.image else self.r.choice((0, 0, 1, 3)))
        dies_at = self.now + self.r.choice((1, 2, 3)) if "dies" in told.image else 1e12
        node = self.r.choice(NODES) if self.down_since is None else "node-1"
        self.tasks.append(Task(f"t{next(self._ids)}", color, told.image, told.release, node, registered_at, passes_at,
                               dies_at))


class Swarm(Engine):

    def listed(self, color: str) -> list[Task]:
        """What it takes for running: of a node that died just now it does not know yet."""
        knows = self.down_since is not None and self.now >= self.down_since + _LOST_AFTER_S
        return [each for each in self.tasks if each.color == color and not (knows and self.is_down(each))]

    def tick(self, now: float) -> None:
        super().tick(now)
        for color, told in self.told.items():
            self._repair(color, told)

    def come_back(self) -> None:
        """What was lost has been replaced; its registrar sees that it has gone."""
        listed = [task for color in model.COLORS for task in self.listed(color)] + self.listed("")
        super().come_back()
        self.tasks = [each for each in self.tasks if each in listed]

    def ended(self, task: Task) -> None:
        told = self.told.get(task.color)
        if told and told.release == task.release and any(each.release != task.release
                                                         for each in self.listed(task.color)):
            told.is_paused = True

    def _repair(self, color: str, told: Told) -> None:
        own = self.listed(color)
        wrong = [each for each in own if each.release != told.release]
        coming = any(each.release == told.release and not each.passes(self.now) for each in own)
        if len(own) < told.replicas:
            self.start(color, told)
        elif len(own) > told.replicas:
            self.tasks.remove(wrong[0] if wrong else own[-1])
        elif wrong and not coming and not told.is_paused:
            self.start(color, told)


class Playbook(Engine):

    def come_back(self) -> None:
        """What a host brings back of another release cannot be told from what is wanted, so here it brings none."""
        lost, current = [each for each in self.tasks if self.is_down(each)], self.running()
        super().come_back()
        there = {each.color: each.release for each in current}
        self.tasks = [each for each in self.tasks if each not in lost
                      or there.get(each.color, each.release) == each.release]

    def play(self, color: str, told: Told, at_most: int) -> None:
        """It gets as far as `at_most` changes."""
        own = self.running(color)
        wrong = [each for each in own if each.release != told.release]
        for each in [*own[told.replicas:], *(each for each in wrong if each not in own[told.replicas:])][:at_most]:
            self.tasks.remove(each)
        while len(self.running(color)) < min(told.replicas, at_most):
            self.start(color, told)
