"""A small world with an engine that is told only how many there should be, for whole releases: nodes that die and come
back, a worker that looks but cannot tell, containers that nobody asked for, and a reconcile that takes time and may be
killed between any two of its steps. Nothing runs in it, and its time is a number."""

from random import Random
from typing import Any

import msgspec

from lictor import model
from lictor.planner import actions, desired, next_state, plan, release, scheduled
from lictor.planner.observation import Observation, SchedulerView
from lictor.planner.service_state import LastOrder, State
from lictor.reconcile import scheduler_view
from lictor.spec import service_spec, settings
from lictor.spec.quantities import Duration

from support.release_world import NO_ANSWER, Killed, switched
from support.scene import NOW, read_once
from support.scheduled_engine import Playbook, Swarm, Told

IMAGES = ("good", "good", "good", "dies", "never", "smokes", "refused")  # how books:KIND-N behaves
_SPEC: dict[str, Any] = {
    "name": "books", "image": "books:good-0", "port": 8080, "check": {"http": "/health"}, "drain": "4s",
    "replicas": {"min": 0, "initial": 2, "max": 5}, "heal": {"grace": "6s", "budget": 99, "per": "1m"}}


class CountedWorld:
    """`r` draws everything that comes by chance."""

    def __init__(self, r: Random) -> None:
        self.r, self.now, self.state = r, NOW, State()
        self.engine = r.choice((Swarm, Playbook))(r)
        self.target, self.strategy = r.choice((1, 2, 3)), r.choice(service_spec.STRATEGIES)
        self.spec: dict[str, Any] = {
            **_SPEC, "engine": "swarm" if self.remembers else "command",
            "release": {"strategy": self.strategy, "healthy_for": "2s", "deadline": "15s", "keep": "20s",
                        "smoke": r.choice(("", "/books"))}}
        self.keys = {"spec": msgspec.json.encode(self.spec)}
        self.scale(self.target)
        self.surplus_after_s = r.choice((8.0, 20.0))  # a release has 15 s
        self.listed: set[str] = set()  # what nginx sends to
        self.kill_chance = self.fail_chance = self.long_chance = 0.0
        self.actions: tuple[actions.Action, ...] = ()
        self.log: list[str] = []

    @property
    def remembers(self) -> bool:
        return isinstance(self.engine, Swarm)

    @property
    def color(self) -> str:
        return self.keys.get("color", b"").decode() or ("blue" if self.strategy == "blue-green" else "")

    @property
    def is_wanted(self) -> bool:
        return self.target > 0 and "removed" not in self.keys

    @property
    def is_at_rest(self) -> bool:
        """Nothing is done or waited for, and all that runs is of one release, in the live colour, and served."""
        running = self.engine.running()
        return ({each.kind for each in self.actions} <= {"hold"} and len(running) == self.target
                and not self.state.release.rollout and self.listed == {each.id for each in running}
                and {(each.color, each.release) for each in running} <= {(self.color, self.state.release.live_release)})

    def scale(self, target: int) -> None:
        self.target = target
        self.keys["replicas"] = str(target).encode()

    def release(self, image: str) -> None:
        self.keys["image"] = image.encode()
        self.note(f"asks for {image}")

    def remove(self) -> None:
        self.keys["removed"] = b""
        self.note("removes it")

    def apply(self) -> None:
        self.keys.pop("removed", None)
        self.note("applies it again")

    def note(self, text: str) -> None:
        self.log.append(f"{self.now - NOW:g} {text}")

    def tick(self) -> None:
        self.now += 1
        self.engine.tick(self.now)
        if self.r.random() < 0.7:
            fit = {each.id for each in self.engine.running(self.color) if each.passes(self.now)}
            self.listed = (fit or self.listed) & {each.id for each in self.engine.tasks} if self.is_wanted else set()

    def look_on(self) -> None:
        """A worker of the Swarm reconciles: it can end an ill task of its own, and writes down what it sees."""
        if self.remembers and self.engine.down_since is None:
            seen = self.observed(certain=True, teller=False)
            assert not {each.kind for each in plan.plan(seen)} & {"scale", "redeploy", "retire", "switch"}
            self.state = seen.state

    def reconcile(self) -> None:
        """One step of the loop in `reconcile`, which a kill may end anywhere."""
        try:
            seen = self.observed(certain=False)
            if any(each.kind == "confirm" for each in plan.plan(seen)):
                seen = self.observed(certain=True)
            self.actions = plan.plan(seen)
            self._maybe_killed()
            if seen.desired.removed and not seen.containers and scheduled.is_over(seen):
                self.state = State()
                return
            self.state = seen.state
            for each in self.actions:
                if isinstance(each, actions.Act):
                    self._maybe_killed()
                    self.note(f"{each.kind} {each.container} {each.reason}")
                    if not self._act(seen, each):
                        break
        except Killed:
            self.note("killed")

    def observed(self, *, certain: bool, teller: bool = True) -> Observation:
        wanted = read_once(self.keys, self.state)
        instances = tuple(model.Instance(
            each.node, f"s-{each.id}", model.catalog_name("books", each.color), "10.0.0.1", 32000,
            "passing" if each.passes(self.now) else "critical", not self.engine.is_down(each), None, each.id)
            for each in self.engine.tasks if self.now >= each.registered_at)
        scheduler = self._scheduler(wanted, instances, teller)
        containers = scheduler_view.containers(wanted, self.state, scheduler, instances, self.now)
        others = {each.id for each in self.engine.tasks if each.color != wanted.color}
        seen = Observation(self.now, wanted, tuple(containers), instances, state=self.state, certain=certain,
                           rules=settings.Heal(99, Duration(60), Duration(self.surplus_after_s), Duration(5)),
                           scheduler=scheduler,
                           behind=(("node-1", True),) if others & self.listed else ())
        if certain and self.spec["release"]["smoke"] and self.state.release.rollout:
            seen = seen._replace(smoke={each.container.id: self._smoke(each.container.id)
                                        for each in release.new_members(seen) if each.passes})
        return seen._replace(state=next_state.advance(seen))

    def _scheduler(self, wanted: desired.Desired, instances: tuple[model.Instance, ...], teller: bool) -> SchedulerView:
        """As `scheduler_view.Engines` has it."""
        if teller and isinstance(self.engine, Swarm):
            groups = [self._group(self.engine, color, told) for color, told in sorted(self.engine.told.items())]
            return SchedulerView("node-1", True, True, True, tuple(groups))
        asked = scheduler_view.remembered_groups(wanted, self.state, instances)
        return SchedulerView("node-1" if teller else "node-2", teller, self.remembers, False, tuple(asked))

    @staticmethod
    def _group(engine: Swarm, color: str, told: Told) -> model.Group:
        ids = tuple(each.id for each in engine.listed(color) if each.release == told.release)
        return model.Group("books", color, told.replicas, told.release, told.image, ids,
                           "update paused" if told.is_paused else "", told.is_paused)

    def _smoke(self, task_id: str) -> str:
        return next("answers 500" if "smokes" in each.image else "" for each in self.engine.tasks
                    if each.id == task_id)

    def _maybe_killed(self) -> None:
        if self.r.random() < self.kill_chance:
            raise Killed

    def _act(self, seen: Observation, action: actions.Act) -> bool:
        """As `act` does it; whether the next one may follow."""
        match action:
            case actions.Switch():
                after = switched(self.state, self.keys, seen, action)
                self.state = after or self.state
                return after is not None
            case actions.End():
                self.engine.tasks = [each for each in self.engine.tasks if each.id != action.member.container.id]
                return True
            case actions.Retire():
                self._assert_unlisted(action.color)
                return self._retire(action)
            case actions.Scale() | actions.Redeploy():
                if isinstance(action, actions.Scale) and not action.replicas:
                    self._assert_unlisted(action.color)
                return self._order(seen, action)
        raise AssertionError(action)

    def _assert_unlisted(self, color: str) -> None:
        assert not self.listed & {each.id for each in self.engine.running(color)} or not self.is_wanted

    def _order(self, seen: Observation, action: actions.Scale | actions.Redeploy) -> bool:
        told = self._told(seen, action)
        if not self.remembers:
            self.state = next_state.order_given(
                self.state, action.color, next_state.order_begun(seen.state, action, told.image, self.now))
        if not self._tell(action, told):
            return False
        self._maybe_killed()
        done = LastOrder(action.replicas, action.release, self.now, image=told.image)
        self.state = next_state.order_given(self.state, action.color, done)
        return True

    def _told(self, seen: Observation, action: actions.Scale | actions.Redeploy) -> Told:
        wanted, state = seen.desired, seen.state.release
        assert wanted.spec
        known = {state.previous_release: state.previous, wanted.release: wanted.table}
        spec = service_spec.parse_spec(known.get(action.release) or state.live, "live")
        return Told(action.replicas, spec.image, action.release)

    def _tell(self, action: actions.Scale | actions.Redeploy, told: Told) -> bool:
        """It takes its time, breaks off, or refuses what it is told."""
        if "refused" in told.image and told.replicas:
            rollout = self.state.release.rollout
            is_new = rollout and rollout.release == action.release
            self.state = (next_state.release_failed(self.state, "refused", told.image, self.now) if is_new
                          else next_state.order_failed(self.state, action.color, NO_ANSWER, self.now))
            return False
        is_half = self.r.random() < self.fail_chance
        if isinstance(self.engine, Swarm):
            if not is_half:
                self.engine.told[action.color] = told
        else:
            if self.r.random() < self.long_chance:
                for _ in range(self.r.choice((3, 20))):
                    self.tick()
            self.engine.play(action.color, told, self.r.choice((0, 1, 2)) if is_half else 99)
            if is_half:
                self._maybe_killed()
        if is_half:
            self.state = next_state.order_failed(self.state, action.color, NO_ANSWER, self.now)
        return not is_half

    def _retire(self, action: actions.Retire) -> bool:
        if self.r.random() < self.fail_chance:
            self.state = next_state.order_failed(self.state, action.color, NO_ANSWER, self.now)
            return False
        self.engine.told.pop(action.color, None)
        self.engine.tasks = [each for each in self.engine.tasks
                             if each.color != action.color or self.engine.is_down(each)]
        self._maybe_killed()
        none = None if self.remembers else LastOrder(0, action.release, self.now)
        self.state = next_state.order_given(self.state, action.color, none)
        return True
