"""What the planner never does, whatever it is shown. Its rules are written here once more, from the plain observation:
nothing that the planner calls the things it sees is used."""

import gc
import re
from collections.abc import Callable, Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lictor.model import Container, Instance
from lictor.planner import next_state, observation_codec, plan
from lictor.planner.actions import (
    KINDS_OF_ACTS,
    Act,
    Drain,
    Order,
    Recall,
    Remove,
    Start,
    Stop,
    Switch,
    Try,
    replaced_by,
)
from lictor.planner.observation import Observation

from support import disorder
from support.examples import at_least
from support.scene import NOW

RANDOMS = st.randoms(use_true_random=False)
SEEDS = range(4000)

class Facts:
    """An observation, looked at without the planner. It is decided upon with what it adds to the memory."""

    def __init__(self, drawn: Observation, seed: int | None = None) -> None:
        self.seed, self.drawn = seed, drawn
        self.seen = seen = drawn._replace(state=next_state.advance(drawn))
        self.actions = plan.plan(seen)
        self.acts = [each for each in self.actions if isinstance(each, Act)]
        self.gone = {each.id for each in seen.containers if each.status in ("created", "exited", "dead")}
        self.own = [each for each in seen.containers if seen.desired.removed or each.color == seen.desired.color]
        self.others = [each for each in seen.containers if each not in self.own and each.status != "removing"]
        self.running = [each for each in self.own if each.id not in self.gone and each.status != "removing"]
        self.standing = [each for each in self.running if not self.is_draining(each) or self.is_docker_s(each)]
        self.ends = [each for each in self.acts if isinstance(each, Drain | Stop | Remove)]
        self.taken = [each for each in self.running if each.id in [act.member.container.id for act in self.ends]]
        # Whole releases are followed in test_whole_releases; here they are only kept from what nobody may ever do.
        self.releases = seen.state.release.rollout or seen.state.release.failed or any(
            each.release != seen.desired.release for each in self.standing)
        self.target = 0 if seen.desired.removed else seen.desired.replicas
        self.kept = [each for each in self.running if each not in self.taken]
        self.ill = [each for each in self.standing if self.is_critical(each) and (
            each.id in seen.state.healing.passed_once or not is_young(each))]

    def __repr__(self) -> str:  # what a failure shows
        return f"Facts({self.seed}, {self.seen}, {self.actions})"

    def registrations(self, container: Container) -> list[Instance]:
        return [each for each in self.seen.instances if each.container_id == container.id]

    def is_docker_s(self, container: Container) -> bool:
        return container.status in ("paused", "restarting")

    def is_draining(self, container: Container) -> bool:
        marks = [disorder.DRAIN_MARK.fullmatch(each.maintenance or "") for each in self.registrations(container)]
        return any(marks)

    def is_critical(self, container: Container) -> bool:
        """Not in maintenance, and one registration of it says so."""
        there = self.registrations(container)
        return container.status == "running" and any(each.status == "critical" for each in there) and all(
            each.maintenance is None for each in there)

    def passes(self, container: Container) -> bool:
        there = self.registrations(container)
        return container.status == "running" and (bool(there) or not has_port(self.seen)) and all(
            each.status != "critical" and each.maintenance is None for each in there)

    def is_listed(self, container: Container) -> bool:
        return any((each.node, each.service_id) in self.seen.serving for each in self.registrations(container))

    def act_on(self, container: Container) -> Drain | Stop | Remove:
        (found,) = [each for each in self.ends if each.member.container.id == container.id]
        return found

    def reserved(self, service: str, per_s: float) -> int:
        return sum(NOW - per_s < each.at <= NOW and each.service in (service, each.service if not service else "")
                   for each in self.seen.reservations)


def never_below_the_least_nor_the_last(f: Facts) -> None:
    """Of those that pass, enough stay; and of those that an nginx lists and whose checks pass, one that runs."""
    if not f.target:
        return
    assert f.seen.desired.spec is not None
    passing = [each for each in f.standing if f.passes(each)]
    if any(each in f.taken for each in passing):
        assert sum(each in f.kept for each in passing) >= max(f.seen.desired.spec.replicas.min, 1)
    taken_ill = [each for each in f.taken if each in f.standing and each not in passing]
    if not f.releases and taken_ill and len([each for each in f.standing if each in f.kept]) < f.target:  # in place
        assert len(passing) - 1 >= f.seen.desired.spec.replicas.min
    removed = [each for each in f.taken if f.act_on(each).kind == "remove"]
    if any(f.is_listed(each) and any(it.status != "critical" for it in f.registrations(each)) for each in removed):
        assert any(f.is_listed(each) for each in f.running if each not in removed)


def never_above_the_most(f: Facts) -> None:
    starts = [each for each in f.acts if isinstance(each, Start) and each.color == f.seen.desired.color]
    there = [each for each in f.own if each.id not in f.gone]
    if starts:
        assert f.seen.desired.spec and len(there) + len(starts) <= f.seen.desired.spec.replicas.max
        surge = 1 if f.releases else 0
        assert sum(not each.replaces for each in starts) <= max(f.target - len(f.standing), surge)
    names = [each.container for each in starts]
    assert len(set(names)) == len(names) and all(each.number > 0 for each in starts)
    assert not set(names) & {f"{f.seen.desired.catalog_name}-{each.number}" for each in there}


def never_past_the_budget(f: Facts) -> None:
    replacing = [replaced_by(each) for each in f.acts if replaced_by(each)]
    for each in replacing:
        assert f.seen.desired.spec and [each] == replacing
        assert each in [ill.id for ill in f.ill]
        assert f.reserved("books", f.seen.desired.spec.heal.per) < f.seen.desired.spec.heal.budget
        assert f.reserved("", f.seen.rules.per_s) < f.seen.rules.budget
        if f.seen.state.breaker:
            assert NOW - f.seen.state.breaker.opened_at >= 1800 and not f.reserved(
                "books", min(NOW - f.seen.state.breaker.opened_at, 1800))


def never_on_what_cannot_be_believed(f: Facts) -> None:
    wanted, observer, trust_s = f.seen.desired, f.seen.observer, f.seen.rules.trust_after_s
    if wanted.why_held or wanted.spec is None and not wanted.removed:
        assert {each.kind for each in f.actions} <= {"hold"}
    blind = any(age_s is not None and age_s < trust_s for age_s in (observer.agent_age_s, observer.unreadable_s_ago))
    lost = [each for each in f.running if each.id in f.seen.state.healing.passed_once and has_port(f.seen)]
    nothing_seen = lost and not any(f.registrations(each) for each in f.own)
    if blind or nothing_seen or not f.seen.certain:
        assert all(f.is_draining(each) for each in f.taken)
        assert not any(replaced_by(each) for each in f.acts)


def never_many_at_once_by_judgement(f: Facts) -> None:
    watched = [each for each in f.standing if f.registrations(each) and each.status == "running"]
    crowd = min(f.target, len(watched)) >= 3
    if f.ill and (f.seen.observer.nginx_trouble or crowd and (
            2 * len(f.ill) > len(watched) or len(f.seen.observer.also_failing) >= 2)):
        assert not any(replaced_by(each) for each in f.acts)
        assert f.seen.state.trust.doubt
        assert f.releases or len([each for each in f.taken if each in f.standing]) <= (
            max(len(f.standing) - f.target, 0) if stood(f) else 0)


def never_one_that_nothing_speaks_against(f: Facts) -> None:
    """Whoever is drained is a surplus that stood, or ill for its grace and replaced, or is to be replaced in place."""
    taken = [each for each in f.taken if each in f.standing]
    if f.releases:
        assert f.seen.desired.color or not f.seen.state.release.rollout or not [
            each for each in taken if each.release == f.seen.desired.release]
        return
    in_place = [each for each in taken if replaced_by(f.act_on(each))]
    assert len(taken) - len(in_place) <= max(len(f.standing) - f.target, 0)
    assert f.seen.desired.spec or not taken
    for each in taken:
        grace_s = f.seen.desired.spec.heal.grace if f.seen.desired.spec else 0
        judged = each in f.ill and NOW - f.seen.state.healing.critical_since.get(each.id, NOW) >= grace_s
        passed_once = f.seen.state.healing.passed_once
        known = each.id in [it.container_id for it in f.seen.reservations] or each.id not in passed_once
        assert judged and (known or each in in_place) or len(f.standing) > f.target and stood(f)


def never_what_runs_without_a_drain(f: Facts) -> None:
    for each in f.taken:
        act = f.act_on(each)
        if isinstance(act, Drain):
            assert act.member.instance
            assert act.member.instance.service_id in [it.service_id for it in f.registrations(each)]
        elif f.is_draining(each):
            since = max(float(it.maintenance.split()[3].strip(":")) for it in f.registrations(each) if it.maintenance)
            idle_reads = f.seen.idle_reads.get(each.id, 0) if f.seen.in_flight.get(each.id) == 0 else 0
            idle = not f.is_listed(each) and idle_reads >= 3
            assert idle or f.seen.desired.spec and NOW - min(since, NOW) >= f.seen.desired.spec.drain
        elif f.releases:
            assert not f.passes(each) or not f.registrations(each)
        else:
            assert not f.registrations(each) and f.seen.certain and stood(f)
            assert not has_port(f.seen) or each.id not in f.seen.state.healing.passed_once and not is_young(each)


def never_two_acts_on_one_nor_on_others(f: Facts) -> None:
    touched = [each.member.container.id for each in f.acts
               if not isinstance(each, Start | Switch | Try | Recall | Order)]
    assert len(set(touched)) == len(touched)
    assert set(touched) <= f.gone | {each.id for each in (*f.running, *f.others)}
    assert all(each.reason and each.kind in (*KINDS_OF_ACTS, "confirm", "wait", "hold") for each in f.actions)


def never_on_a_paused_container(f: Facts) -> None:
    assert not [each for each in f.taken if each.status == "paused"]


def never_silent_about_what_is_not_as_desired(f: Facts) -> None:
    if not f.actions:
        assert len(f.running) == f.target and not f.ill


def never_a_start_nor_room_for_one_without_a_set_that_it_names(f: Facts) -> None:
    """If nothing can be started, nothing goes for its sake; all else goes on."""
    releases = {f.seen.desired.release, f.seen.state.release.live_release, *(each.release for each in f.own)}
    acts = [each for each in plan.plan(f.seen._replace(awaited=dict.fromkeys(releases, "db has no member yet")))
            if isinstance(each, Act)]
    assert not [each for each in acts if isinstance(each, Start) or replaced_by(each)]
    assert [each for each in acts if each not in f.acts] == []


def never_undone_without_state_cause_and_consequence(f: Facts) -> None:
    for each in f.actions:
        if not isinstance(each, Act):
            assert re.fullmatch(r"[a-z ]+: .+[.]", each.reason, re.DOTALL), each.reason
            assert not each.action or f". Would {each.action.kind} {each.action.container}" in each.reason


def remembering_twice_changes_nothing(f: Facts) -> None:
    assert next_state.advance(f.seen) == f.seen.state


def the_order_of_what_is_read_does_not_matter(f: Facts) -> None:
    turned = f.seen._replace(containers=f.seen.containers[::-1], instances=f.seen.instances[::-1],
                             reservations=f.seen.reservations[::-1])
    assert next_state.advance(turned) == f.seen.state and plan.plan(turned) == f.actions


def a_memory_settles(f: Facts) -> None:
    """What stays as it is leads to no writing for ever."""
    state = f.seen.state
    for later_s in (700, 1400, 2100, 2115):
        before, state = state, next_state.advance(f.seen._replace(now=NOW + later_s, state=state))
    assert state == before


def a_record_decides_the_same(f: Facts) -> None:
    """The state before it is recorded, so that all of the decision is made again: also what operators are told."""
    loaded = observation_codec.load(observation_codec.unpack(observation_codec.pack(f.drawn)))
    state, actions = next_state.step(loaded)
    assert actions == f.actions
    assert next_state.causes(loaded._replace(state=state)) == next_state.causes(f.seen)


MATTERS: dict[str, Callable[[Facts], object]] = {
    "a replacement": lambda f: any(isinstance(each, Start) and each.replaces for each in f.acts),
    "a drain in place": lambda f: any(isinstance(each, Drain) and each.replaces for each in f.acts),
    "a drain after a replacement": lambda f: any(isinstance(each, Drain) and "critical for" in each.reason
                                                 and not each.replaces for each in f.acts),
    "a drain of a surplus": lambda f: any(each.kind == "drain" and "key is" in each.reason for each in f.acts),
    "a removal after a drain": lambda f: any(each.reason.startswith("drained") for each in f.acts),
    "a removal without a drain": lambda f: any(f.act_on(each).kind == "remove" and each in f.standing
                                               for each in f.taken),
    "a confirmation": lambda f: any(each.kind == "confirm" and each.container for each in f.actions),
    "an open breaker": lambda f: told(f, "the breaker is open"),
    "a doubt": lambda f: told(f, "critical at once"),
    "blindness": lambda f: told(f, "s ago. Would drain"),
    "a spent budget": lambda f: f.seen.state.breaker and f.seen.state.breaker.opened_at == NOW,
    "no spec": lambda f: told(f, "there is no spec") or told(f, "its spec cannot be read"),
    "a last one that is listed": lambda f: told(f, "it is the last that an nginx lists"),
    "no room above": lambda f: told(f, "replicas.max is"),
    "a back-off": lambda f: told(f, "backing off"),
    "nothing to do": lambda f: not f.actions and f.target,
    "nobody passes, and one more is started": lambda f: told(f, "to replace") and not any(
        f.passes(each) for each in f.standing) and len(f.standing) > f.target,
}

RULES = (
    never_below_the_least_nor_the_last, never_above_the_most, never_past_the_budget, never_on_what_cannot_be_believed,
    never_many_at_once_by_judgement, never_one_that_nothing_speaks_against, never_what_runs_without_a_drain,
    never_two_acts_on_one_nor_on_others, never_on_a_paused_container, never_silent_about_what_is_not_as_desired,
    never_a_start_nor_room_for_one_without_a_set_that_it_names,
    never_undone_without_state_cause_and_consequence, remembering_twice_changes_nothing,
    the_order_of_what_is_read_does_not_matter, a_memory_settles, a_record_decides_the_same)

# These decide several times upon each observation: every n-th has to do. Every one has been decided upon once already.
SLOW_RULES: dict[Callable[[Facts], None], int] = {
    a_memory_settles: 4, a_record_decides_the_same: 4, never_a_start_nor_room_for_one_without_a_set_that_it_names: 4}


def stood(f: Facts) -> bool:
    since = f.seen.state.healing.surplus_since
    return NOW - (since or NOW) >= f.seen.rules.surplus_after_s


def told(f: Facts, text: str) -> bool:
    return any(text in each.reason for each in f.actions)


def is_young(container: Container) -> bool:
    return container.started_at > NOW - 60


def has_port(seen: Observation) -> bool:
    return (seen.state.release.live or seen.desired.table or {}).get("port") is not None


@given(RANDOMS)
@settings(max_examples=at_least(100))  # beside the many below, for a failure that is as small as can be
def test_whatever_is_seen(random: Random) -> None:
    facts = Facts(disorder.anything(random))
    for rule in RULES:
        rule(facts)


@pytest.fixture(scope="module")
def many() -> Iterator[list[Facts]]:
    found = [Facts(disorder.anything(Random(seed)), seed) for seed in SEEDS]
    gc.freeze()  # else they are looked through again and again, at twice the cost of the rules
    yield found
    gc.unfreeze()


@pytest.mark.parametrize("rule", RULES)
def test_whatever_is_seen_of_many(rule: Callable[[Facts], None], many: list[Facts]) -> None:
    for facts in many[::SLOW_RULES.get(rule, 1)]:
        rule(facts)


@pytest.mark.parametrize(("what", "at_least"), [
    ("a replacement", 60), ("a drain in place", 5), ("a drain after a replacement", 60), ("a drain of a surplus", 60),
    ("a removal after a drain", 60), ("a removal without a drain", 5), ("a confirmation", 60), ("an open breaker", 20),
    ("a doubt", 60), ("blindness", 15), ("a spent budget", 30), ("no spec", 60), ("a last one that is listed", 30),
    ("no room above", 10), ("a back-off", 10), ("nothing to do", 200), ("nobody passes, and one more is started", 3)])
def test_it_comes_to_that_often_enough(what: str, at_least: int, many: list[Facts]) -> None:
    """A rule that is never put to the test says nothing."""
    assert sum(bool(MATTERS[what](each)) for each in many) >= at_least
