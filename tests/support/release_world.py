"""A small world for whole releases: containers that start, pass, ail and die, nginx nodes that follow late, and a
reconcile that may be killed between any two of its steps. Nothing runs in it, and its time is a number."""

from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgspec

from lictor import errors, model
from lictor.planner import actions, desired, members, next_state, observation, plan, release
from lictor.planner.autoscale.traffic import SLICE_S, Side
from lictor.planner.canary import key
from lictor.planner.observation import Observation, Observer, Reservation
from lictor.planner.service_state import State
from lictor.spec import service_spec, settings
from lictor.spec.quantities import Duration

from support.scene import NOW, SPEC, read_once

NO_ANSWER = errors.Unavailable("no answer")

IMAGES = ("good", "good", "good", "dies", "never", "smokes", "flaps", "refused", "errs")  # how books:KIND-N behaves
ASKED = 400  # requests in a slice of counts, where any come
SMOKE = "/books"


class Killed(Exception):
    """kill -9 of the reconcile."""


def share_given(state: State, keys: dict[str, bytes], seen: Observation, action: actions.Try) -> State | None:
    """What is remembered after a canary got its share; None: something was changed meanwhile, and it gets none."""
    if state != seen.state or keys.get("canary", b"").decode() != seen.desired.canary_key:
        return None
    keys["canary"] = key.make(action.color, action.share).encode()
    return next_state.tried(seen)


def switched(state: State, keys: dict[str, bytes], seen: Observation, action: actions.Switch) -> State | None:
    """What is remembered after a switch of the colour; None: it was changed meanwhile, and nothing is switched."""
    if action.color != seen.desired.color:
        if state != seen.state:
            return None
        state = next_state.switched(seen)
        keys.pop("canary", None)
    keys["color"] = action.color.encode()
    return state


@dataclass
class Box:
    """A container."""

    id: str
    number: int
    color: str
    image: str
    release: str
    started_at: float
    registered_at: float
    passes_at: float
    dies_at: float
    fails_at: float
    status: str = "running"
    maintenance: str | None = None

    @property
    def name(self) -> str:
        return f"{model.catalog_name('books', self.color)}-{self.number}"

    @property
    def service_id(self) -> str:
        return f"host:{self.name}:8080"

    def works(self, now: float) -> bool:
        return self.status == "running" and self.passes_at <= now < self.fails_at


@dataclass
class Nginx:
    """What one node's nginx lists, by service ID: the id of the container that it sends to."""

    name: str
    alive: bool = True
    listed: dict[str, str] = field(default_factory=dict)
    follows_at: float = 0.0


class World:
    """`r` draws everything that comes by chance."""

    def __init__(self, r: Random) -> None:
        self.r, self.now, self.state, self.made = r, NOW, State(), 0
        self.least = r.choice((0, 1, 1, 2))
        self.target = max(self.least, r.choice((1, 2, 2, 3)))
        self.most = self.target + r.choice((0, 1, 1, 3))
        self.strategy = r.choice(service_spec.STRATEGIES)
        self.spec: dict[str, Any] = {
            **SPEC, "image": "books:good-0", "drain": "6s", "heal": {"grace": "4s", "budget": 99, "per": "1m"},
            "replicas": {"min": self.least, "initial": self.target, "max": self.most},
            "release": {"strategy": self.strategy, "healthy_for": "2s", "deadline": "15s", "keep": "20s",
                        "smoke": r.choice(("", SMOKE))}}
        self.asked = r.choice((0, ASKED, ASKED, ASKED))
        if self.strategy == "blue-green" and r.random() < 0.5:
            self.spec |= {"route": {"path": SMOKE}}
            self.spec["release"] |= {"canary": "10%", "for": "20s"}
        self.keys = {"spec": msgspec.json.encode(self.spec), "replicas": str(self.target).encode()}
        self.boxes: list[Box] = []
        self.reservations: list[Reservation] = []
        self.nginxes = [Nginx(f"node-{number}") for number in range(1, r.choice((2, 3, 4)))]
        self.idle_reads: dict[str, int] = {}
        self.blind_until = self.hurt_until = self.kill_chance = 0.0
        self.leapt_until = 0.0  # its clock was set forward
        self.clock_error_s = 0.0  # of the host's clock, by which lictor and Docker go
        self.actions: tuple[actions.Action, ...] = ()
        self.acted: list[tuple[float, actions.Act]] = []
        self.log: list[str] = []

    @property
    def color(self) -> str:
        return self.keys.get("color", b"").decode() or ("blue" if self.strategy == "blue-green" else "")

    @property
    def canary(self) -> str:
        """The colour that has a share of the requests; "?": none has."""
        return self.keys.get("canary", b"?").decode().partition(" ")[0]

    @property
    def clock(self) -> float:
        return self.now + self.clock_error_s

    @property
    def is_at_rest(self) -> bool:
        """Nothing is done or waited for, nothing is kept any more, no canary, and every nginx is up to date."""
        kinds = {each.kind for each in self.actions}
        fit = {box.service_id: box.id for box in self.boxes if box.color == self.color and self.is_fit(box)}
        is_released = not self.state.release.rollout and "canary" not in self.keys
        return kinds <= {"hold"} and is_released and len(self.boxes) == self.target and all(
            nginx.listed == fit for nginx in self.nginxes)

    def tick(self, seconds: float = 1.0) -> None:
        self.now += seconds
        for box in self.boxes:
            if box.status == "running" and self.now >= box.dies_at:
                box.status = "exited"
        for nginx in self.nginxes:
            if nginx.alive and self.now >= nginx.follows_at:
                self.follow(nginx)
                nginx.follows_at = self.now + self.r.choice((1, 1, 1, 2, 4))

    def follow(self, nginx: Nginx) -> None:
        """List who is fit, in the live colour; the last ones stay when nobody is."""
        fit = {box.service_id: box.id for box in self.boxes if box.color == self.color and self.is_fit(box)}
        if fit or not self.target:
            nginx.listed = fit | {box.service_id: box.id for box in self.boxes
                                  if box.color == self.canary and self.is_fit(box)}

    def is_registered(self, box: Box) -> bool:
        return box.status == "running" and self.now >= box.registered_at

    def is_fit(self, box: Box) -> bool:
        return self.is_registered(box) and box.maintenance is None and box.works(self.now)

    def reconcile(self) -> None:
        """One step of the loop in `reconcile`, which a kill may end anywhere."""
        try:
            seen = self._settled()
            self._maybe_killed()
            self.state = seen.state
            for each in self.actions:
                if isinstance(each, actions.Act):
                    self._maybe_killed()
                    if not self._act(seen, each):
                        break
        except Killed:
            self.idle_reads = {}
            self.log.append(f"{self.now - NOW:g} killed")

    def _maybe_killed(self) -> None:
        if self.r.random() < self.kill_chance:
            raise Killed

    def _settled(self) -> Observation:
        seen = self.observed(certain=False)
        if any(each.kind == "confirm" for each in plan.plan(seen)):
            seen = self.observed(certain=True)
        self.actions = plan.plan(seen)
        return seen

    def observed(self, *, certain: bool) -> Observation:
        wanted = read_once(self.keys, self.state)
        containers = tuple(model.Container(
            box.id, box.name, "books", box.number, box.color, box.image, box.release, box.status, box.started_at,
            box.started_at, None if box.status == "running" else 1) for box in self.boxes)
        instances = tuple(model.Instance(
            "node-1", box.service_id, model.catalog_name("books", box.color), "127.0.0.1", 32000 + box.number,
            "passing" if box.works(self.now) else "critical", True, box.maintenance, box.id)
            for box in self.boxes if self.is_registered(box))
        seen = Observation(self.clock, wanted, containers, instances, state=self.state, certain=certain,
                           rules=settings.Heal(99, Duration(60), Duration(8), Duration(5)),
                           reservations=tuple(self.reservations),
                           observer=Observer(agent_age_s=0.0 if self.now < self.blind_until else None))
        everyone = (*members.members(seen), *members.candidates(seen))
        draining = [each.container.id for each in everyone if each.condition == "draining"]
        self.idle_reads = {each: self.idle_reads.get(each, 0) + 1 for each in draining if self.r.random() < 0.9}
        others = {each.service_id for each in instances if each.service != wanted.catalog_name}
        seen = seen._replace(
            serving=frozenset(("node-1", each) for nginx in self.nginxes if nginx.alive for each in nginx.listed),
            behind=tuple((nginx.name, nginx.alive) for nginx in self.nginxes if others & nginx.listed.keys()),
            in_flight={each: 0 if each in self.idle_reads else 2 for each in draining},
            idle_reads=dict(self.idle_reads))
        if certain and self.spec["release"]["smoke"] and self.state.release.rollout:
            seen = seen._replace(smoke={each.container.id: "answers 500" if "smokes" in each.container.image else ""
                                        for each in release.new_members(seen) if each.passes})
        seen = seen._replace(counted=self._counted())
        return seen._replace(state=next_state.advance(seen))

    def _counted(self) -> observation.Counted | None:
        """What nginx has counted in the last slice that is over, of a canary."""
        rollout = self.state.release.rollout
        if not rollout or not rollout.trial:
            return None
        until, errs = self.clock // SLICE_S * SLICE_S, any("errs" in box.image for box in self.boxes)
        errors = self.asked // 10 if errs else 0
        sides = (Side({60: self.asked - errors} if self.asked else {}, errors), Side({60: 9 * self.asked}))
        return observation.Counted(until, *sides) if until - SLICE_S >= rollout.trial.counted_until else (
            observation.Counted(rollout.trial.counted_until))

    def _act(self, seen: Observation, action: actions.Act) -> bool:
        """Whether it could be done, and the next one may follow."""
        self.acted.append((self.now, action))
        self.log.append(f"{self.now - NOW:g} {action.kind} {action.container}: {action.reason}")
        if actions.replaced_by(action):
            self.reservations.append(Reservation("books", actions.replaced_by(action), self.clock))
        match action:
            case actions.Start():
                return self._start(seen, action)
            case actions.Switch():
                after = switched(self.state, self.keys, seen, action)
                self.state = after or self.state
                return after is not None
            case actions.Try():
                after = share_given(self.state, self.keys, seen, action)
                self.state = after or self.state
                return after is not None
            case actions.Recall():
                self.keys.pop("canary", None)
            case actions.Drain(member):
                self._box(member).maintenance = f"{observation.DRAINING}{int(self.clock)}: {action.reason}"
            case actions.Admit(member) | actions.Undrain(member):
                self._box(member).maintenance = None
            case actions.Stop(member):
                self._box(member).status = "exited"
            case actions.Remove(member):
                self.boxes.remove(self._box(member))
        return True

    def _box(self, member: members.Member) -> Box:
        return next(each for each in self.boxes if each.id == member.container.id)

    def _start(self, seen: Observation, action: actions.Start) -> bool:
        """As `act` and the engine do it: from what is asked for, or else from what is live."""
        wanted, live = seen.desired, seen.state.release.live
        assert wanted.spec
        spec = wanted.spec if action.release == wanted.release else service_spec.parse_spec(live, "live")
        rollout = self.state.release.rollout
        if "refused" in spec.image:
            is_new = rollout and rollout.release == action.release
            self.state = (next_state.release_failed(self.state, "refused", spec.image, self.clock) if is_new
                          else next_state.start_failed(self.state, action.number, NO_ANSWER, self.clock))
            return False
        made_from = desired.fingerprint(spec)
        there = next((each for each in self.boxes if each.name == action.container), None)
        if there and (there.status == "running" or there.release != made_from):
            return False  # its name is taken
        self.boxes = [each for each in self.boxes if each is not there]
        self.made += not there
        gated = (action.release == wanted.release and seen.state.release.rollout and spec.release.smoke
                 and not action.color)
        registered_at = self.now + self.r.choice((0, 1, 2))
        passes_at = registered_at + self.r.choice((0, 1, 1, 3, 6)) + (1e9 if "never" in spec.image else 0)
        self.boxes.append(Box(
            there.id if there else f"c{self.made}", action.number, action.color, spec.image, made_from, self.clock,
            registered_at, passes_at, dies_at=self.now + self.r.randrange(1, 3) if "dies" in spec.image else 1e12,
            fails_at=passes_at + 1 if "flaps" in spec.image else 1e12, maintenance=model.JOINING if gated else None))
        return True
