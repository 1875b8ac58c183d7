"""Counts become slices: aligned, whole, bounded, and nothing is lost or counted twice."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lictor import errors
from lictor.adapters.consul.client import Client
from lictor.planner.autoscale import traffic
from lictor.planner.autoscale.traffic import Side, Slice, decode
from lictor.routing.traffic import counts, meter, windows
from lictor.routing.traffic.windows import Kept, advance, encode

NOW = 1_700_000_060.0
SLOTS = [1_700_000_000 + at for at in range(0, 60, 10)]


def line(ended_at: float, took_s: float = 0.1, *, name: str = "books", status: int = 200, upstream: str = "") -> str:
    return f"{ended_at:.3f}|{name}|{status}|OK|{took_s:.3f}|{upstream or f'{status}|{took_s:.3f}|0.001'}|"


def counted(*lines: str) -> counts.Counts:
    found: counts.Counts = {}
    counts.count_lines(lines, found)
    return found


def sliced(slots: counts.Slots, *, since: float = 0.0, now: float = NOW) -> list[Slice]:
    return windows.slices(slots, since, now)


def test_a_line_is_counted_in_the_slot_in_which_it_ended_and_begins_where_it_began() -> None:
    found = counted(line(1_700_000_012.5), line(1_700_000_021.0, 2.0), line(1_700_000_023.0, status=500))
    b100, b2000 = traffic.bucket(0.1), traffic.bucket(2.0)
    assert found == {"books": {
        1_700_000_010: {f"a{b100}": 1, "begun": 2, "busy": 100 + 1000},
        1_700_000_020: {f"a{b2000}": 1, "e": 1, "begun": 1, "busy": 1000 + 100}}}
    assert [(each.begun, each.answers, each.errors) for each in sliced(found["books"])[1:3]] == [(2, 1, 0), (1, 1, 1)]


@pytest.mark.parametrize("text", [
    "", "||||||||", "x|books|200|OK|0.100|200|0.100|0.001|", "1700000000.000|../x|200|OK|0.100|200|0.100|0.001|",
    "1700000000.000|books|2000|OK|0.100|200|0.100|0.001|", "1700000000.000|books|200|OK|-0.100|200|0.100|0.001|",
    "1700000000.000|books|200|OK|nan|200|0.100|0.001|", "1700000000.000|books|200|OK|0.100|200|0.100|0.001||more",
])
def test_a_damaged_line_is_left_out(text: str) -> None:
    assert counted(text) == {}


@given(st.text())
def test_whatever_the_log_holds_it_is_read(text: str) -> None:
    counted(*text.splitlines(), text)
    counts.read_dump(f"since 1.000\n{text}")
    counts.read_dump(text)


def test_a_dump_is_read_and_what_is_no_count_is_left_out() -> None:
    text = "since 1699999999.500 1700000009.000 0.000\nbooks 1700000000 open 2\nbooks 1700000000 open 3\n" \
           "books 1700000000 a57 12 begun 13\nbooks 1700000001 a57 1\n" \
           "../etc 1700000000 a57 1\nbooks 1700000000 a57\nbooks 1700000000 a57 -1\nbooks 1700000000 a57 1 a58\n"
    assert counts.read_dump(text) == counts.Counted(1_699_999_999.5, 1_700_000_009.0, {
        "books": {1_700_000_000: {"a57": 12, "begun": 13, "open": 5}}})
    assert counts.read_dump("404 Not Found") is None
    assert counts.read_dump("since 1699999999.500\nbooks 1700000000 a57 12") is None


@pytest.mark.parametrize("what", ["a241", "a", "x1", "a-1", "-a1", "begun", "1", "e5", "l5"])
def test_what_is_no_answer_counts_none(what: str) -> None:
    assert sliced({SLOTS[0]: {what: 3}})[0].answers == 0


def test_only_slots_that_are_over_and_were_counted_from_their_begin_are_told() -> None:
    found = sliced({}, since=SLOTS[1] + 0.1, now=NOW + 9.9)
    assert [each.at for each in found] == SLOTS[2:]
    assert all(each == Slice(each.at, 10.0) for each in found)  # no request is data too


def test_each_count_has_its_field_and_nginx_own_answers_are_no_load() -> None:
    found, = sliced({SLOTS[5]: {"begun": 5, "a10": 3, "a11": 1, "e": 1, "u": 6, "c": 7, "w": 4, "retries": 2,
                                "busy": 1234}}, since=SLOTS[5])
    assert found == Slice(SLOTS[5], 10.0, {10: 3, 11: 1}, errors=1, unanswered=6, cut=7, begun=5, busy_s=1.234,
                          retries=2, upgrades=4)
    assert counted(line(1_700_000_012.5, status=413, upstream="-|-|-"))["books"] == {}


def test_the_sides_of_a_slice_are_told_apart_and_are_in_the_whole_too() -> None:
    canary = "|10.0.1.1:80| 10.0.1.1:80 "
    found = counted(line(1_700_000_052.5) + canary, line(1_700_000_052.5) + "|10.0.0.1:80| 10.0.1.1:80 ",
                    line(1_700_000_053.5, status=500) + canary, line(1_700_000_054.5) + "|10.0.0.1:80|",
                    line(1_700_000_055.5), line(1_700_000_056.0) + "|10.0.1.1:80", line(1_700_000_056.0) + "|a|b|c")
    number = traffic.bucket(0.1)
    assert found["books"][SLOTS[5]] == {f"a{number}": 4, "e": 1, "begun": 5, "busy": 500, f"na{number}": 1,
                                           f"ba{number}": 1, "ne": 1}
    dumped = counts.read_dump(f"since 1.000 2.000 0.000\nbooks {SLOTS[5]} na{number} 1 be 1 na{number} 2\n")
    assert dumped and dumped.by_name == {"books": {SLOTS[5]: {f"na{number}": 3, "be": 1}}}
    part, = windows.slices(found["books"], SLOTS[5], NOW)
    assert part.times == {number: 4} and part.errors == 1 and (part.canary, part.live) == (
        Side({number: 1}, 1), Side({number: 1}))
    assert decode(encode([part])) == [part]


def test_a_slice_tells_whether_a_canary_was_counted_apart_though_nothing_came_to_it() -> None:
    for by_side, canary in ((False, None), (True, Side())):
        kept = advance(None, {SLOTS[5]: {"begun": 1, "a10": 1}}, 0.0, NOW - 60)
        later = advance(kept, {SLOTS[5]: {"begun": 1, "a10": 1}}, 0.0, NOW, by_side=by_side)
        assert later.slices and all(each.canary == each.live == canary for each in later.slices)


def test_a_slot_with_every_count_there_is_can_be_read() -> None:
    kinds = [f"{kind}{number}" for kind in ("a", "l", "na", "ba") for number in range(traffic.LAST_BUCKET + 1)]
    kinds += ["ne", "be", "e", "u", "c", "w", "begun", "retries", "busy"]
    found = counts.read_dump(f"since 1.000 2.000 0.000\nbooks {SLOTS[0]} {' 7 '.join(kinds)} 7\n")
    assert found and len(found.by_name["books"][SLOTS[0]]) == len(kinds)


def test_requests_in_progress_count_from_their_begin_on() -> None:
    found = sliced({SLOTS[2]: {"begun": 4, "open": 4}, SLOTS[4]: {"begun": 2, "open": 2}})  # none has ended
    assert [each.busy_s for each in found] == [0, 0, 20, 40, 50, 60]
    ended = sliced({SLOTS[2]: {"begun": 4}})  # and those of a worker that died are gone
    assert [each.busy_s for each in ended] == [0] * 6
    assert [each.busy_s for each in sliced({0: {"open": 1}})] == [10] * 6  # however long ago


def test_the_time_in_progress_is_in_the_slots_in_which_it_was() -> None:
    found = counted(line(1_700_000_042.0, 25.0), line(1_700_000_029.0, 100.0))["books"]
    assert [round(each.busy_s, 3) for each in sliced(found)] == [10, 10 + 3, 9 + 10, 10, 2, 0]


def test_slices_are_kept_for_six_minutes_and_the_last_ones_are_counted_anew() -> None:
    old = [Slice(float(at), 10.0, begun=1) for at in range(SLOTS[0] - 600, SLOTS[0] + 20, 10)]
    kept = advance(Kept(0.0, old), {SLOTS[1]: {"begun": 7, "a10": 7}}, 0.0, NOW)
    assert [each.at for each in kept.slices] == [NOW - 360 + at for at in range(0, 360, 10)]
    assert [each.begun for each in kept.slices[-7:]] == [1, 0, 7, 0, 0, 0, 0]


def test_a_service_is_measured_from_the_first_look_on_and_a_gap_stays_one() -> None:
    first = advance(None, {SLOTS[0]: {"begun": 7}}, 0.0, NOW - 35)
    assert first == Kept(NOW - 35)
    later = advance(first, {}, 0.0, NOW)
    assert [each.at for each in later.slices] == SLOTS[3:]
    after_a_gap = advance(later, {}, NOW + 103, NOW + 125)
    assert [each.at for each in after_a_gap.slices] == [*SLOTS[3:], NOW + 110]


def test_a_clock_that_was_set_back_keeps_nothing_that_is_to_come() -> None:
    kept = Kept(NOW - 1000, [Slice(at, 10.0) for at in (NOW - 30, NOW + 600)])
    assert all(each.at <= NOW - 10 for each in advance(kept, {}, 0.0, NOW).slices)
    assert advance(Kept(NOW + 1000), {}, 0.0, NOW).since == NOW


@given(st.lists(st.tuples(st.integers(1, 5999), st.integers(0, 20_000),
                          st.sampled_from([200, 404, 500, 499, 413, 101])), max_size=60))
def test_nothing_is_lost_or_counted_twice(requests: list[tuple[int, int, int]]) -> None:
    """All begin and end within the slots; the time in progress is right but for the buckets and the middles."""
    began = SLOTS[0] - 600
    lines, busy_s = [], 0.0
    for at, took, status in requests:
        took_s = 0.0 if status == 413 else min(took, 10 * at - 1) / 1000
        ended_at = SLOTS[0] + at / 100
        upstream = "-|-|-" if status == 413 else ""
        lines.append(line(ended_at, took_s, status=status, upstream=upstream))
        busy_s += took_s if status not in (413, 101) else 0
    slots = counted(*lines).get("books", {})
    total = traffic.add(sliced(slots, since=began, now=NOW))
    kinds = [status for _, _, status in requests]
    assert total.answers == kinds.count(200) + kinds.count(404)
    assert (total.errors, total.cut, total.upgrades) == (kinds.count(500), kinds.count(499), kinds.count(101))
    assert total.begun == len(kinds) - kinds.count(413) - kinds.count(101)
    assert total.busy_s == pytest.approx(busy_s, abs=0.002 * len(kinds) + 1e-6)


@given(st.lists(st.builds(
    Slice, at=st.integers(0, 100).map(lambda n: 10.0 * n), seconds=st.just(10.0),
    times=st.dictionaries(st.integers(0, 240), st.integers(0, 10**9), max_size=241), errors=st.integers(0, 10**9)),
    unique_by=lambda each: each.at, max_size=40))
def test_the_key_is_bounded_and_read_again(slices: list[Slice]) -> None:
    value = encode(slices)
    found = decode(value)
    in_order = sorted(slices, key=lambda each: each.at)
    assert len(value) <= windows.MOST_BYTES
    assert found == in_order[len(in_order) - len(found):]
    assert len(found) == len(slices) or len(value) > windows.MOST_BYTES - 5000


def test_the_oldest_go_where_there_are_too_many_buckets() -> None:
    slices = [Slice(10.0 * at, 10.0, dict.fromkeys(range(241), 1_000_000)) for at in range(36)]
    found = decode(encode(slices))
    assert found and 15 < len(found) < 36 and found[-1].at == 350.0


@given(st.lists(st.tuples(st.integers(1, 20_000), st.integers(0, 9)), min_size=20, max_size=400),
       st.sampled_from([0.5, 0.95, 0.99]))
def test_percentiles_of_nodes_with_uneven_shares_are_those_of_all_requests(requests: list[tuple[int, int]],
                                                                           share: float) -> None:
    """Nodes have 70, 20 and 10 of 100 requests; each value is told and read again."""
    nodes: list[list[str]] = [[], [], []]
    for took_ms, at in requests:
        nodes[(at > 6) + (at > 8)].append(line(1_700_000_035.0, took_ms / 1000))
    slices = [each for lines in nodes for each in decode(encode(sliced(counted(*lines).get("books", {}))))]
    exact_s = sorted(took_ms for took_ms, _ in requests)[math.ceil(share * len(requests) - 1e-9) - 1] / 1000
    assert traffic.percentile(traffic.add(slices).times, share) == pytest.approx(exact_s, rel=0.05)


@pytest.mark.parametrize(("failure", "tries"), [
    (errors.Unavailable("no leader"), 1), (errors.Refused("permission denied"), 204)])  # 4 transactions, then each key
def test_a_consul_that_does_not_answer_is_asked_once(monkeypatch: pytest.MonkeyPatch, failure: errors.LictorError,
                                                     tries: int) -> None:
    """Two hundred services are several transactions, and the check has ten seconds."""
    asked = list[str]()

    def fail(what: str) -> Any:
        def ask(*_: Any) -> None:
            asked.append(what)
            raise failure
        return ask

    client = Client.connect(environ={})
    for name in ("commit", "put", "delete"):
        monkeypatch.setattr(client, name, fail(name))
    values = {f"s{number}": b"x" * 2500 for number in range(200)}
    assert {*meter._tell(client, "node-1", values)} == {failure} and len(asked) == tries
    asked.clear()
    assert [*meter._forget(client, "/nowhere", "node-1", ["a", "b"])] == [failure] * (1 if tries == 1 else 2)


def test_nodes_are_added_slot_by_slot() -> None:
    lines = [line(1_700_000_000 + n / 10, 0.01 * (1 + n % 7)) for n in range(1, 400)]
    whole = sliced(counted(*lines)["books"])
    parts: list[Any] = [sliced(counted(*lines[n::3])["books"]) for n in range(3)]
    added = traffic.add(each for part in parts for each in part)
    one = traffic.add(whole)
    assert (added.times, added.begun, added.seconds) == (one.times, one.begun, one.seconds)
    assert added.busy_s == pytest.approx(one.busy_s, abs=0.01)


_COUNTED = st.dictionaries(st.sampled_from(["a3", "a57", "e", "u", "c", "retries", "begun"]), st.integers(1, 50))


@given(st.lists(st.tuples(st.dictionaries(st.sampled_from(SLOTS), _COUNTED), st.integers(-400, 400)), max_size=12))
def test_totals_never_go_back_whatever_becomes_of_the_counts_and_of_the_clock(
        readings: list[tuple[counts.Slots, int]]) -> None:
    """A total that goes back looks to Prometheus as if all of it had come anew."""
    kept: Kept | None = None
    before = windows.Totals()
    for slots, moved_s in readings:
        kept = advance(kept, slots, 0.0, NOW + moved_s)
        now = kept.totals
        assert all(now.times.get(number, 0) >= count for number, count in before.times.items())
        assert all(getattr(now, field) >= getattr(before, field) for field in windows._SUMMED)
        before = now


def test_totals_hold_each_request_once_as_slices_come_are_read_again_and_go() -> None:
    kept, slots = Kept(NOW - 100), dict[int, dict[str, int]]()
    for at in range(0, 1000, 10):
        slots = {**{slot: each for slot, each in slots.items() if slot > NOW + at - 60},
                 counts.slot_of(NOW) + at: {"a57": 2, "e": 1, "retries": 3}}
        for later in (10, 15):  # twice in a slot
            kept = advance(kept, slots, NOW - 100, NOW + at + later)
    assert len(kept.slices) < 40
    assert kept.totals == windows.Totals({57: 2 * 100}, errors=100, retries=300)
