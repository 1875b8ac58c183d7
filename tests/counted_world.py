"""A small world with an engine that is told only how many there should be, for whole releases: it updates in place one
by one, repairs or does not, forgets or does not, does things by halves; and a reconcile that may be killed between any
two of its steps. Nothing runs in it, and its time is a number."""

import itertools
from dataclasses import dataclass
from random import Random
from typing import Any

import msgspec

from lictor import config, counting, desired, memory, model, plan, policy, release
from lictor.observation import Counts, Observation
from lictor.state import State
from scene import NOW
from world import Killed, switched

IMAGES = ("good", "good", "good", "dies", "never", "smokes")  # how books:KIND-N behaves
_SPEC: dict[str, Any] = {
    "name": "books", "image": "books:good-0", "port": 8080, "check": {"http": "/health"}, "drain": "4s",
    "replicas": {"min": 0, "initial": 2, "max": 5}, "heal": {"grace": "6s", "budget": 99, "per": "1m"}}


@dataclass
class Task:
    id: str
    color: str
    image: str
    release: str
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


class CountedWorld:
    """`r` draws everything that comes by chance. One that remembers is as Swarm, one that forgets as a playbook."""

    def __init__(self, r: Random) -> None:
        self.r, self.now, self.state = r, NOW, State()
        self.remembers, self.target = r.random() < 0.5, r.choice((1, 2, 3))
        self.strategy = r.choice(policy.STRATEGIES)
        self.spec: dict[str, Any] = {
            **_SPEC, "engine": "swarm" if self.remembers else "command",
            "release": {"strategy": self.strategy, "healthy_for": "2s", "deadline": "15s", "keep": "20s",
                        "smoke": r.choice(("", "/books"))}}
        self.keys = {"spec": msgspec.json.encode(self.spec), "replicas": str(self.target).encode()}
        self.tasks: list[Task] = []
        self.told: dict[str, Told] = {}
        self.listed: set[str] = set()  # what nginx sends to
        self.kill_chance = self.fail_chance = 0.0
        self.actions: tuple[plan.Action, ...] = ()
        self.log: list[str] = []
        self._ids = itertools.count()

    @property
    def color(self) -> str:
        return self.keys.get("color", b"").decode() or ("blue" if self.strategy == "blue-green" else "")

    @property
    def is_at_rest(self) -> bool:
        """Nothing is done or waited for, and all that runs is what is wanted."""
        return ({each.kind for each in self.actions} <= {"hold"} and len(self.tasks) == self.target
                and not self.state.rollout and self.listed == {each.id for each in self.tasks}
                and not any(each.release != told.release for each in self.tasks for told in self.told.values()
                            if told.replicas))

    def fit(self) -> set[str]:
        return {each.id for each in self.tasks if each.color == self.color and each.passes(self.now)}

    def tick(self) -> None:
        self.now += 1
        for each in [each for each in self.tasks if self.now >= each.dies_at]:
            self.tasks.remove(each)
            told = self.told.get(each.color)
            if self.remembers and told and told.release == each.release and any(
                    other.release != each.release for other in self.tasks if other.color == each.color):
                told.is_paused = True
        if self.remembers:
            for color, told in self.told.items():
                self._repair(color, told)
        if self.r.random() < 0.7:
            self.listed = self.fit() or self.listed if self.target else set()

    def reconcile(self) -> None:
        """One step of the loop in `reconcile`, which a kill may end anywhere."""
        try:
            seen = self.observed(certain=False)
            if any(each.kind == "confirm" for each in plan.plan(seen)):
                seen = self.observed(certain=True)
            self.actions = plan.plan(seen)
            self._maybe_killed()
            self.state = seen.state
            for each in self.actions:
                if each.kind in plan.ACTS:
                    self._maybe_killed()
                    self.log.append(f"{self.now - NOW:g} {each.kind} {each.container} {each.number} {each.reason}")
                    if not self._act(seen, each):
                        break
        except Killed:
            self.log.append(f"{self.now - NOW:g} killed")

    def observed(self, *, certain: bool) -> Observation:
        wanted = desired.desired("books", self.keys, self.state)
        instances = tuple(model.Instance("node-1", f"s-{each.id}", model.catalog_name("books", each.color), "10.0.0.1",
                                         32000, "passing" if each.passes(self.now) else "critical", True, None, each.id)
                          for each in self.tasks if self.now >= each.registered_at)
        groups = [self._group(color, told) for color, told in sorted(self.told.items())] if self.remembers else [
            model.Group("books", color, each.replicas, each.release, "", None)
            for color, each in sorted(self.state.asked.items())]
        counts = Counts("node-1", True, self.remembers, self.remembers, tuple(groups))
        containers = counting.containers(wanted, self.state, counts, instances, self.now)
        others = {each.id for each in self.tasks if each.color != wanted.color}
        seen = Observation(self.now, wanted, tuple(containers), instances, state=self.state, certain=certain,
                           rules=config.Heal(99, 60.0, 8.0, 5.0), counts=counts,
                           behind=(("node-1", True),) if others & self.listed else ())
        if certain and self.spec["release"]["smoke"] and self.state.rollout:
            seen = seen._replace(smoke={each.container.id: self._smoke(each.container.id)
                                        for each in release.newcomers(seen) if each.passes})
        return seen._replace(state=memory.remember(seen))

    def _smoke(self, task_id: str) -> str:
        return next("answers 500" if "smokes" in each.image else "" for each in self.tasks if each.id == task_id)

    def _group(self, color: str, told: Told) -> model.Group:
        ids = tuple(each.id for each in self.tasks if each.color == color and each.release == told.release)
        return model.Group("books", color, told.replicas, told.release, told.image, ids,
                           "update paused" if told.is_paused else "", told.is_paused)

    def _repair(self, color: str, told: Told) -> None:
        """As Swarm: as many as it was told, and of others one at a time, the new one first."""
        own = [each for each in self.tasks if each.color == color]
        wrong = [each for each in own if each.release != told.release]
        coming = any(each.release == told.release and not each.passes(self.now) for each in own)
        if len(own) < told.replicas:
            self.tasks.append(self._task(color, told))
        elif len(own) > told.replicas:
            self.tasks.remove(wrong[0] if wrong else own[-1])
        elif wrong and not coming and not told.is_paused:
            self.tasks.append(self._task(color, told))

    def _play(self, color: str, told: Told, count: int) -> None:
        """As a playbook that gets as far as `count` changes."""
        own = [each for each in self.tasks if each.color == color]
        for each in [*own[told.replicas:], *(each for each in own if each.release != told.release)][:count]:
            if each in self.tasks:
                self.tasks.remove(each)
        while sum(each.color == color for each in self.tasks) < min(told.replicas, count):
            self.tasks.append(self._task(color, told))

    def _task(self, color: str, told: Told) -> Task:
        registered_at = self.now + self.r.choice((0, 1, 2))
        passes_at = registered_at + (1e9 if "never" in told.image else self.r.choice((0, 0, 1, 3)))
        dies_at = self.now + self.r.choice((1, 2, 3)) if "dies" in told.image else 1e12
        return Task(f"t{next(self._ids)}", color, told.image, told.release, registered_at, passes_at, dies_at)

    def _maybe_killed(self) -> None:
        if self.r.random() < self.kill_chance:
            raise Killed

    def _act(self, seen: Observation, action: plan.Action) -> bool:
        """As `act` does it; whether the next one may follow."""
        if action.kind == "switch":
            after = switched(self.state, self.keys, seen, action)
            self.state = after or self.state
            return after is not None
        if action.kind in ("retire", "scale") and not action.number:
            assert not self.listed & {each.id for each in self.tasks if each.color == action.color}
        if action.kind == "end":
            self.tasks = [each for each in self.tasks if each.id != action.container_id]
            return True
        if action.kind == "retire":
            return self._retire(action)
        if not self.remembers:
            self.state = memory.asked(self.state, action.color, memory.begun(seen.state, action, self.now))
        if not self._tell(action, self._told(seen, action)):
            self.state = memory.failed(self.state, 0, self.now)
            return False
        self._maybe_killed()
        done = memory.Asked(action.number, action.release, self.now)
        self.state = memory.asked(self.state, action.color, done)
        return True

    def _told(self, seen: Observation, action: plan.Action) -> Told:
        wanted = seen.desired
        assert wanted.spec
        known = {seen.state.previous_release: seen.state.previous, wanted.release: wanted.table}
        spec = policy.parse_spec(known.get(action.release) or seen.state.live, "live")
        return Told(action.number, spec.image, action.release)

    def _tell(self, action: plan.Action, told: Told) -> bool:
        is_half = self.r.random() < self.fail_chance
        if self.remembers:
            if is_half:
                return False
            self.told[action.color] = told
        else:
            self._play(action.color, told, self.r.choice((0, 1, 2)) if is_half else 99)
            if is_half:
                self._maybe_killed()
        return not is_half

    def _retire(self, action: plan.Action) -> bool:
        if self.r.random() < self.fail_chance:
            self.state = memory.failed(self.state, 0, self.now)
            return False
        self.told.pop(action.color, None)
        self.tasks = [each for each in self.tasks if each.color != action.color]
        self._maybe_killed()
        self.state = memory.asked(self.state, action.color, None)
        return True
