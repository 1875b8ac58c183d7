"""What is never planned for a set with state, whatever is seen. The rules are written here once more, from the plain
reports: nothing that the planner calls what it sees is used."""

import re
from random import Random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from lictor.planner.cluster.actions import (
    Act,
    Add,
    Change,
    Drain,
    GiveVote,
    Initiate,
    Leave,
    Restart,
    Start,
    StepDown,
    Stop,
    TakeVote,
)
from lictor.planner.cluster.decide import decide
from lictor.planner.cluster.kept import Kept, Tries
from lictor.planner.cluster.observation import Configuration, Report, Seat, Seen, Slot
from lictor.spec.cluster import KINDS

from support.cluster_table import KNOWN, NOW, seen

ROLES = ("secondary", "secondary", "secondary", "silent", "new", "starting", "removed", "primary")
FLAGS = ("spare", "out", "stopped", "missing", "hidden", "wiped", "gone", "unseen", "seen", "old", "registered",
         "draining", "behind=40", "term=2", "set=B", "release=0", "age=5")
SEEDS = range(3000)


def drawn(random: Random) -> tuple[Seen, Kept]:
    """Draw what is seen and kept: mostly a set that was well, in which some things are otherwise."""
    return _wild(random) if random.random() < 0.2 else _disturbed(random)


def _disturbed(random: Random) -> tuple[Seen, Kept]:
    number, odd = random.randrange(7), random.choice([0.05, 0.1, 0.3])
    primary = random.randrange(1, number + 1) if number else 0
    lines = []
    for each in range(1, number + 1):
        usual = "primary" if each == primary else "secondary"
        role = random.choice(ROLES) if random.random() < odd else usual
        flags = [flag for flag in FLAGS if random.random() < odd / 2]
        is_last = each == primary and random.random() < 0.2
        lines.append(" ".join([str(each), role, *flags, *(["release=0"] if is_last else [])]))
    found = seen(*lines, size=random.randrange(7), kind=random.choice([*KINDS]), is_committed=random.random() < 0.95,
                 certain=random.random() < 0.9, held="x" * (random.random() < 0.05),
                 doubt="x" * (random.random() < 0.05), traces=("x",) * (random.random() < 0.1),
                 release=random.choice(["1", "1", "0"]))
    return found, _kept(random, number)


def _kept(random: Random, number: int) -> Kept:
    def any_of(*values: object) -> object:
        return random.choice(values)

    if random.random() < 0.3:
        return Kept(joining=random.randrange(3))
    if random.random() < 0.4:
        return replace(KNOWN, seated=tuple(range(1, number + 1)))
    return Kept(
        random.choice(["", "A", "A", "B"]), random.choice(["", "", "c1@999000.000", "@0.000"]),
        random.randrange(number + 2), tuple(each for each in range(1, 7) if random.random() < 0.5), random.randrange(3),
        random.randrange(7), random.choice([("1",), (), ("0",), ("0", "1")]),
        {f"db-{each}": NOW - random.choice([5, 300, 4000, -50]) for each in range(1, 7) if random.random() < 0.3},
        random.choice([0.0, NOW - 5, NOW - 100]),
        {"start db-3": Tries(random.randrange(9), NOW - random.choice([5, 400]))} if random.random() < 0.2 else {})


def _wild(random: Random) -> tuple[Seen, Kept]:
    """Draw each source's word by itself, consistent with nothing."""
    numbers = range(1, random.randrange(1, 6))
    configurations = [Configuration(
        tuple(Seat(f"a{each}", random.random() < 0.7) for each in range(1, 7) if random.random() < 0.5),
        random.randrange(4), random.choice([-1, 0, 1, 2]), random.random() < 0.8) for _ in range(2)]
    states = [random.choice(["", "running", "running", "exited", "created", "unknown", "paused", "removing"])
              for _ in numbers]
    slots = tuple(Slot(each, f"db-{each}", f"a{each}", f"c{each}" if state not in ("", "unknown") else "", state,
                       random.choice(["", "0", "1"]), random.choice([0.0, NOW - 5, NOW - 500, NOW + 500]),
                       random.choice(["none", "empty", "used", "used", "unknown"]), random.random() < 0.5,
                       random.choice([0.0, NOW - 5, NOW - 500]), random.choice([None, 0, 3]))
                  for each, state in zip(numbers, states, strict=True))
    reports = {f"db-{each}": Report(
        random.choice(ROLES), random.choice(["", "A", "A", "B"]), random.randrange(3), random.choice(configurations),
        random.choice([0.0, 40.0, float("nan"), float("inf")]),
        {f"a{other}": random.random() < 0.7 for other in numbers if random.random() < 0.6})
        for each in (*numbers, 9) if random.random() < 0.8}
    found = seen(size=random.randrange(5), kind=random.choice([*KINDS]))
    return found._replace(slots=slots, reports=reports), _kept(random, len(numbers))


class Facts:
    """What was seen, looked at without the planner, and what it decided."""

    def __init__(self, found: Seen, kept: Kept) -> None:
        self.seen, self.kept, self.made = found, kept, decide(found, kept)
        self.act = self.made.action if isinstance(self.made.action, Act) else None
        self.slots = {slot.number: slot for slot in found.slots}
        self.by_address = {slot.address: slot for slot in found.slots}
        names = {slot.name for slot in found.slots}
        self.reports = {name: each for name, each in found.reports.items() if name in names and each.set_id}

    def __repr__(self) -> str:  # what a failure shows
        return f"Facts({self.seen}, {self.kept}, {self.made})"

    def supporters(self, primary: Report) -> set[str]:
        """The voters' addresses that are well by their own word, and of one mind with a primary."""
        return {seat.address for seat in primary.configuration.seats if seat.votes and self._supports(seat, primary)}

    def _supports(self, seat: Seat, primary: Report) -> bool:
        slot = self.by_address.get(seat.address)
        report = self.reports.get(slot.name) if slot else None
        return bool(report) and report is not None and (
            report is primary or report.role == "secondary" and primary.peers.get(seat.address) is not False) and (
            report.set_id == primary.set_id and report.term == primary.term
            and report.configuration.seats == primary.configuration.seats
            and report.configuration.version == primary.configuration.version
            and report.behind <= self.seen.traits.most_behind)

    def leaders(self) -> list[Report]:
        """The primaries that a majority of their own voters supports."""
        return [each for each in self.reports.values() if each.role == "primary"
                and is_majority(self.supporters(each), each.configuration.seats)]


def is_majority(supporters: set[str], seats: tuple[Seat, ...]) -> bool:
    voters = [seat.address for seat in seats if seat.votes]
    return 2 * len(supporters & {*voters}) > len(voters)


def check(facts: Facts) -> str:
    """Check all rules; returns the kind of the act."""
    made, act = facts.made, facts.act
    assert re.fullmatch(r"[a-z ]+: .*\.(?: .*)?", made.reason, re.DOTALL) and len(made.reason) < 2000, facts
    assert msgspec.json.decode(msgspec.json.encode(made.kept), type=Kept) == made.kept
    assert decide(facts.seen, facts.kept) == made
    if act is None:
        return made.action.kind if made.action else "nothing"
    assert facts.seen.certain and not facts.seen.held and not facts.seen.doubt, facts
    assert b"force" not in msgspec.json.encode(replace(act, reason="")) and act.kind not in made.kept.tries
    assert f"{act.kind} {act.container}" in made.kept.tries, facts
    _check_starts(facts, act)
    _check_initiation(facts, act)
    _check_changes(facts, act)
    _check_ends(facts, act)
    return act.kind


def _check_starts(facts: Facts, act: Act) -> None:
    """A blank volume is a newcomer's; a member with a vote is started with its data, and never beside itself."""
    if not isinstance(act, Start):
        return
    slot = facts.slots[act.number]
    assert slot.status in ("", "exited", "created", "dead"), facts
    assert act.is_blank == (slot.volume in ("none", "empty")), facts
    if act.is_blank:
        assert not any(seat.votes and seat.address == slot.address for leader in facts.leaders()
                       for seat in leader.configuration.seats), facts


def _check_initiation(facts: Facts, act: Act) -> None:
    """Nothing says that a set exists: no member, no state, no record, no other volume or container."""
    if not isinstance(act, Initiate):
        return
    assert not facts.reports and not facts.kept.set_id and not facts.kept.seated and not facts.seen.traces, facts
    for slot in facts.seen.slots:
        if slot.number != act.number:
            assert slot.volume in ("none", "empty") and not slot.container_id and not slot.status, facts
    slot = facts.slots[act.number]
    assert facts.kept.joining == act.number or slot.volume in ("none", "empty"), facts
    assert facts.kept.founder in ("", slot.incarnation) or slot.status in ("", "created"), facts


def _check_changes(facts: Facts, act: Act) -> None:
    """One seat differs from a leader's committed configuration; a majority of healthy voters is there afterwards."""
    if not isinstance(act, Change):
        return
    leaders = [each for each in facts.leaders() if each.configuration == act.basis]
    assert leaders and act.basis.is_committed, facts
    supporters, seats = facts.supporters(leaders[0]), {seat.address: seat for seat in act.basis.seats}
    assert (act.address in seats) is not isinstance(act, Add), facts
    if isinstance(act, Leave):
        seats.pop(act.address)
        assert facts.reports.get(act.container) is not leaders[0], facts
    else:
        seats[act.address] = Seat(act.address, isinstance(act, GiveVote))
    if isinstance(act, GiveVote):
        assert facts.reports[act.container].role == "secondary", facts
        supporters |= {act.address}
    assert is_majority(supporters, tuple(seats.values())), facts


def _check_ends(facts: Facts, act: Act) -> None:
    """What the committed configuration of a majority names is not ended, but for a restart that leaves a majority."""
    slot, leaders = facts.slots[act.number], facts.leaders()
    naming = [each for each in leaders if slot.address in {seat.address for seat in each.configuration.seats}]
    if isinstance(act, Stop | Drain):
        assert leaders and any(each.configuration.is_committed for each in leaders) and not naming, facts
    if isinstance(act, StepDown):
        assert naming and len(facts.supporters(naming[0])) > 1, facts
    if isinstance(act, Restart):
        for each in naming:
            voters = {seat.address for seat in each.configuration.seats if seat.votes}
            assert voters == {slot.address} or is_majority(
                facts.supporters(each) - {slot.address}, each.configuration.seats), facts
        if not naming:
            assert act.number == facts.made.kept.joining and not facts.made.kept.founder or leaders, facts


@settings(max_examples=200)
@given(st.randoms(use_true_random=False))
def test_from_any_observation_whatever(random: Random) -> None:
    check(Facts(*drawn(random)))


def test_from_thousands_of_observations_in_which_each_act_occurs() -> None:
    kinds = {check(Facts(*drawn(Random(seed)))) for seed in SEEDS}
    acts = (Start, Restart, Drain, Stop, Initiate, StepDown, Add, GiveVote, TakeVote, Leave)
    assert kinds == {"hold", "wait", "confirm", "nothing", *(act.__name__.lower() for act in acts)}
