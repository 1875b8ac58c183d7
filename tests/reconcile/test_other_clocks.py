"""Times that another node noted by its own clock: no wait of this node is over at once by them, and none is endless.

Two nodes look at one service in turn. Their clocks differ, and Consul's values are all that they know of each other.
"""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from lictor.adapters import clock
from lictor.model import clock_offset_s
from lictor.planner import breaker, next_state, service_state
from lictor.planner.observation import Observation, Reservation, drain_mark, drain_text
from lictor.planner.service_state import Breaker, Failures, LastOrder, Rollout, State, shifted
from lictor.reconcile.other_clocks import OtherClocks

from support import scheduled_scene
from support.scene import NOW, scene, state_of

HOUR, YEARS = 3600.0, 10 * 365 * 86_400.0
SKEWS = (0.0, -3 * HOUR, 2 * HOUR, YEARS, 500 - NOW)
ROLLING = {"release": {"strategy": "rolling", "healthy_for": "20s", "deadline": "60s"}}


class Fleet:
    """One key of Consul's, and the true time. Each node reads and writes with the clock that it has."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **skews: float) -> None:
        self.folder, self.skews, self.now, self.index, self.value, self.writer = folder, skews, NOW, 7, b"{}", ""
        self.sets: dict[str, tuple[float, float]] = {}  # when a node's clock was set, by itself, and by how much
        monkeypatch.setattr("time.time", lambda: self.now + self.skews[self.writer])
        monkeypatch.setattr(clock, "uptime_s", lambda: self.now - NOW + HOUR)

    def set_clock(self, node: str, by_s: float) -> None:
        self.skews[node] += by_s
        self.sets[node] = self.now + self.skews[node], by_s

    def clocks(self, node: str) -> OtherClocks:
        self.writer = node
        (self.folder / node).mkdir(exist_ok=True)
        return OtherClocks(str(self.folder / node), node)

    def read(self, node: str) -> State:
        return self.clocks(node).translated(service_state.decode(self.value), self.index)

    def write(self, node: str, state: State) -> None:
        self.value, self.index = service_state.encode(self.clocks(node).signed(state)), self.index + 1

    def look(self, node: str) -> None:
        """Note what a sweep does."""
        self.clocks(node).note_look(clock.uptime_s(), self.index)

    def step(self, node: str, seen: Observation) -> list[str]:
        """Plan at the true time by a node's clock; containers are of the node that looks."""
        skew_s, state = self.skews[node], self.read(node)
        own = tuple(each._replace(started_at=each.started_at and each.started_at + skew_s) for each in seen.containers)
        set_at, set_by = self.sets.get(node, (0.0, 0.0))
        after, actions = next_state.step(seen._replace(now=self.now + skew_s, state=state, containers=own,
                                                       clock_set_at=set_at, clock_set_by=set_by))
        if after != state:
            self.write(node, after)
        self.look(node)
        return [each.kind for each in actions]


def begun() -> Observation:
    """A release that began 5 s ago, of which no instance is there yet."""
    seen = scene(1, "passing", spec=ROLLING, keys={"image": b"books:2"})
    release = replace(seen.state.release, rollout=Rollout(seen.desired.release, NOW - 5, moved_at=NOW - 5),
                      live_release="live", live={**(seen.state.release.live or {}), "image": "books:0"})
    containers = tuple(each._replace(release="live") for each in seen.containers)
    return seen._replace(containers=containers).with_state(release=release)


# Values that a node wrote just now, the act that each waits for ("failed": the release's end), and how long at most.
WAITS: dict[str, tuple[Observation, str, float]] = {
    "grace": (scene(1, "critical", state={"critical_since": {"c1": NOW - 5}}), "start", 10),
    "surplus": (scene(1, "passing", "passing", state={"surplus_since": NOW - 5}), "drain", 60),
    "back-off": (scene(1, state={"failures": {"1": Failures(9, NOW - 5)}}), "start", 300),
    "breaker": (scene(2, "unhealthy", "passing", state={"breaker": Breaker(NOW - 5, "x")}), "start", 1800),
    "trust": (scene(1, "unhealthy", state={"trusted_since": NOW - 5}), "start", 10),
    "release": (begun(), "failed", 60),
    "order": (scheduled_scene.world("books:1", 2, (scheduled_scene.group("blue", 2, "books:1", "a"),), "a blue passing",
                                    remembers=False, state={"last_orders": {"blue": LastOrder(
                                        2, scheduled_scene.release_of("books:1"), NOW - 5)}}), "scale", 60),
    "keep": (scheduled_scene.world("books:1", 1, (scheduled_scene.group("blue", 1, "books:1", "a"),
                                                  scheduled_scene.group("green", 0, "books:0")), "a blue passing",
                                   state={"switched_at": NOW - 5}), "retire", 600),
}


def step_s(longest_s: float) -> float:
    """The time between two looks, so that a long wait does not take long here."""
    return max(5.0, longest_s / 10)


@pytest.mark.parametrize(("when", "skew_s"), [  # when the other node's clock was set, or that this node is a new one
    *(("before", skew_s) for skew_s in SKEWS), ("new node", -3 * HOUR), ("new node", 2 * HOUR),
    ("meanwhile", -3 * HOUR), ("meanwhile", 2 * HOUR), ("meanwhile", YEARS)])
@pytest.mark.parametrize("name", WAITS)
def test_a_wait_that_a_node_with_another_clock_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str,
                                                    skew_s: float, when: str) -> None:
    """It began elsewhere, both nodes go on to look each 15 s, and the acts of both are of its right time."""
    seen, act, longest_s = WAITS[name]
    fleet, seen_at = Fleet(tmp_path, monkeypatch, here=0.0, there=0.0), list[float]()
    if when != "new node":
        fleet.look("here")
    if when != "meanwhile":
        fleet.skews["there"] = skew_s
    fleet.write("there", shifted(seen.state, fleet.skews["there"]))
    while not seen_at and fleet.now < NOW + 2 * longest_s + 60:
        if when == "meanwhile" and fleet.now == NOW + 5:
            fleet.set_clock("there", skew_s)
        for node in ("here", "there"):
            kinds = fleet.step(node, seen)
            if act in kinds or act == "failed" and fleet.read(node).release.failed:
                seen_at.append(fleet.now - NOW)
        fleet.now += 5 if fleet.now < NOW + 10 else step_s(longest_s)
    assert seen_at and 0.7 * longest_s - 5 <= seen_at[0] <= longest_s + 2 * step_s(longest_s) + 20, seen_at


@pytest.mark.parametrize("value", [-5.0, 0.0, 1e308])
@pytest.mark.parametrize("name", WAITS)
def test_a_time_that_no_clock_noted_counts_as_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str,
                                                  value: float) -> None:
    seen, act, longest_s = WAITS[name]
    if value == 0.0 and name in ("surplus", "trust", "keep"):
        return  # says that there is none
    fleet = Fleet(tmp_path, monkeypatch, here=0.0)
    table = msgspec.json.encode(seen.state).replace(b"999995.0", repr(value).encode())
    assert table != msgspec.json.encode(seen.state)
    fleet.value, seen_at = table, 0.0
    while not seen_at and fleet.now < NOW + 2 * longest_s + 60:
        kinds = fleet.step("here", seen)
        fleet.now += step_s(longest_s)
        if act in kinds or act == "failed" and fleet.read("here").release.failed:
            seen_at = fleet.now - NOW
    assert 0.7 * longest_s <= seen_at <= longest_s + 2 * step_s(longest_s)


@pytest.mark.parametrize("text", [
    b'{"breaker": {"opened_at": NaN, "why": ""}}', b'{"trust": {"trusted_since": 1e999}}'])
def test_a_state_with_what_is_no_number_is_a_fresh_one(text: bytes) -> None:
    assert service_state.decode(text) == State()


@pytest.mark.parametrize(("known_s", "at", "earliest", "offset_s"), [
    (0.0, 95.0, 90.0, 0.0), (0.0, 89.0, 90.0, 0.0), (0.0, 104.0, 90.0, 0.0),  # of that time, or nearly
    (0.0, 80.0, 0.0, 0.0),  # older than the last look: nothing speaks against it
    (0.0, 80.0, 90.0, 20.0), (0.0, 300.0, 90.0, -200.0), (0.0, 300.0, 0.0, -200.0), (0.0, -7.0, 0.0, 107.0),
    (20.0, 75.0, 90.0, 20.0), (20.0, 10.0, 0.0, 20.0),  # known: it still fits
    (20.0, 95.0, 90.0, 0.0), (-200.0, 95.0, 90.0, 0.0),  # the clock was put right
    (20.0, 40.0, 90.0, 60.0)])  # set once more
def test_how_far_another_clock_is_from_this_one(known_s: float, at: float, earliest: float, offset_s: float) -> None:
    assert clock_offset_s(known_s, at, earliest, 100.0) == offset_s


@pytest.mark.parametrize("skew_s", SKEWS)
def test_budget_and_drains_count_by_the_clock_of_who_wrote_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                                skew_s: float) -> None:
    fleet = Fleet(tmp_path, monkeypatch, here=0.0, there=skew_s)
    fleet.look("here")
    fleet.write("there", State())
    fleet.read("here")
    clocks, seen = fleet.clocks("here"), scene(3, "unhealthy", "passing", "passing")
    for age_s, counts in ((30.0, True), (HOUR, False)):
        spent = [Reservation("books", f"x{number}", NOW + skew_s - age_s, "there") for number in range(9)]
        found = [clocks.reservation(each) for each in breaker.decode(breaker.encode(spent, NOW + skew_s))]
        assert (breaker.obstacle(seen._replace(reservations=tuple(found))) is not None) is counts
        assert {each.node for each in found} == {"here"}  # who writes them again
    marked = seen.instances[0]._replace(node="there", maintenance=drain_text(NOW + skew_s - 30, "scale"))
    mark = drain_mark(clocks.instance(marked))
    assert mark and abs(mark[0] - (NOW - 30)) <= 5 and mark[1] == "scale"
    own = seen.instances[0]._replace(node="here", maintenance=drain_text(NOW - 30, "scale"))
    assert clocks.instance(own) == own and clocks.instance(seen.instances[1]) == seen.instances[1]


def test_a_clock_that_is_put_right_is_believed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    fleet = Fleet(tmp_path, monkeypatch, here=0.0, there=-3 * HOUR)
    for skew_s in (-3 * HOUR, 0.0):
        fleet.skews["there"] = skew_s
        fleet.look("here")
        fleet.now += 15
        fleet.write("there", state_of(switched_at=fleet.now + skew_s - 60))
        for _ in range(2):
            assert abs(fleet.read("here").release.switched_at - (fleet.now - 60)) <= 15
        assert fleet.clocks("here").offset_s("there") == -skew_s
    assert [line.split(" reason")[0] for line in capsys.readouterr().err.splitlines()] == [
        "action=clock node=there outcome=differs by_s=-10800", "action=clock node=there outcome=agrees by_s=0"]


@pytest.mark.parametrize("damage", [
    "", "[]", "{", '{"boot": 1}', "[" * 9999, '{"boot": "x", "uptime_s": 1, "at": 1, "index": "7", "offsets": {}}',
    '{"boot": "", "uptime_s": 1, "at": 1, "index": 7, "offsets": [1]}'])
def test_without_a_sound_note_the_newest_of_another_node_counts_as_of_now(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    fleet = Fleet(tmp_path, monkeypatch, here=0.0, there=-3 * HOUR)
    fleet.clocks("here")
    (tmp_path / "here" / "other_clocks.json").write_text(damage)
    for wrote_s_ago in (60.0, 0.0, 30.0):  # whichever state is read first
        state = replace(state_of(switched_at=NOW - 4 * HOUR), written=service_state.Written(
            "there", NOW - 3 * HOUR - wrote_s_ago))
        fleet.clocks("here").translated(state, 8)
    assert fleet.clocks("here").offset_s("there") == 3 * HOUR
    assert fleet.clocks("here").translated(state, 8).release.switched_at == NOW - HOUR


def test_after_a_start_of_the_machine_the_last_look_still_counts(tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet(tmp_path, monkeypatch, here=0.0, there=-3 * HOUR)
    fleet.look("here")
    monkeypatch.setattr(clock, "boot_id", lambda: "another")
    fleet.now += 60
    fleet.write("there", state_of(switched_at=fleet.now - 4 * HOUR))
    assert fleet.read("here").release.switched_at == fleet.now - HOUR


def test_every_time_of_a_state_is_moved_and_nothing_else() -> None:
    full = replace(state_of(
        rollout=Rollout("r", 1.0, 2.0, 3, 4.0), failed=service_state.Failure("r", "i", "w", 5.0, 6.0),
        last_orders={"": LastOrder(7, "r", 8.0)}, order_failures={"": Failures(9, 10.0)}, switched_at=11.0,
        live={"at": 12.0}, critical_since={"a": 13.0}, failures={"1": Failures(14, 15.0)}, surplus_since=16.0,
        trusted_since=17.0, by_node={"n": 18.0, "m": 0.0}), breaker=Breaker(19.0, "w", 0.0))
    before, after = numbers(full), numbers(shifted(full, 100.0))
    times = {1, 2, 4, 5, 6, 8, 10, 11, 13, 15, 16, 17, 18, 19}
    assert after == [each + 100 if each in times else each for each in before]
    assert times | {3, 7, 9, 12, 14} == {each for each in before if each}


def numbers(record: Any) -> list[float]:
    """All numbers in a record, in their order."""
    if isinstance(record, msgspec.Struct):
        record = msgspec.structs.asdict(record)
    values = record.values() if isinstance(record, dict) else record if isinstance(record, list) else ()
    return ([record] if type(record) in (int, float) else []) + [each for value in values for each in numbers(value)]
