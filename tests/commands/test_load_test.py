"""The load test of the autoscaler judges right, and a short run of it on the real programs leaves nothing behind."""

import json
import math
from pathlib import Path

import pytest

from lab.autoscale import open_load, real, verdict
from lab.autoscale.image import Image
from lab.autoscale.open_load import Request
from lab.autoscale.verdict import Count, Phases
from lab.bench.limits import Verdict
from support import leaving
from support.paths import REPOSITORY

IMAGE, TARGET_S = Image(4, 0.2), 0.6  # an instance answers 20 a second
PHASES = Phases(8.0, 32.0, 100.0, 900.0, 1500.0)


@pytest.mark.parametrize(("rate", "at_once", "target_s", "expected"), [
    (8.0, 4, 0.6, 1),
    (19.9, 4, 0.6, 2),  # one would answer all, but too late
    (20.0, 4, 60.0, 2),  # as many as one can answer: the line grows for ever
    (32.0, 4, 0.6, 2),
    (48.0, 4, 0.6, 3),
    (96.0, 4, 0.6, 5),  # the more there are, the fewer wait
    (32.0, 4, 0.21, 3),  # next to none may wait
    (2.0, 1, 0.6, 1),
    (4.0, 1, 0.6, 2),  # the same use as 16 of four at once, but the line is longer
])
def test_the_need_follows_from_the_image(rate: float, at_once: int, target_s: float, expected: int) -> None:
    assert verdict.needed(rate, Image(at_once, 0.2), target_s) == expected


def requests(late_until: float = 0.0, *, every_s: float = 0.25, late: float = 2.0) -> list[Request]:
    """Requests from 0 to 1500 s; those from the step up until then take too long."""
    return [Request(at, late if PHASES.up_at <= at < late_until else 0.2)
            for at in (number * every_s for number in range(int(1500 / every_s)))]


@pytest.mark.parametrize(("found", "expected"), [
    (requests(), 0.0),
    (requests(late_until=102.0), 0.0),  # so few of a minute's
    (requests(late_until=140.0), 40.0),
    (requests(late_until=160.0), 60.0),
    (requests(late_until=162.0), 60.0),
    (requests(late_until=164.0), 65.0),
    (requests(late_until=900.0), math.inf),
    ([*requests(), *(Request(500.0 + number / 100, 2.0) for number in range(100))], 405.0),  # back, and late again
    ([], math.inf),
])
def test_seconds_until_the_percentile_is_back(found: list[Request], expected: float) -> None:
    assert verdict.back_within_s(found, PHASES, TARGET_S) == expected


@pytest.mark.parametrize(("counts", "surplus", "down_s", "moves"), [
    ([Count(0, 1, 1), Count(110, 2, 1), Count(120, 2, 2), Count(1200, 1, 2), Count(1270, 1, 1)], 0, 370.0, 0),
    ([Count(0, 1, 1), Count(110, 4, 1), Count(120, 4, 4), Count(500, 3, 4), Count(560, 3, 3), Count(1200, 1, 1)],
     2, 300.0, 1),
    ([Count(0, 3, 3), Count(110, 2, 2), Count(1000, 3, 3)], 2, 100.0, 0),  # too many at x1 count too
    ([Count(0, 1, 1), Count(110, 2, 2), Count(1200, 1, 1), Count(1300, 2, 2)], 0, math.inf, 0),  # up again
    ([Count(0, 1, 1), Count(110, 2, 2), Count(120, 2, 3), Count(130, 2, 2), Count(950, 1, 1)], 1, 50.0, 0),
])
def test_counts(counts: list[Count], surplus: int, down_s: float, moves: int) -> None:
    assert verdict.surplus(counts, PHASES, 1, 2) == surplus
    assert verdict.down_within_s(counts, PHASES) == down_s
    assert verdict.moves(counts, PHASES.down_at - PHASES.steady_s, PHASES.down_at) == moves


def test_each_claim_has_its_verdict() -> None:
    counts = [Count(0, 1, 1), Count(110, 2, 2), Count(1200, 1, 1)]
    found = verdict.judge(requests(late_until=140.0), counts, PHASES, IMAGE, TARGET_S)
    assert [each.value for each in found] == [40.0, 0, 300.0, 0, 0] and all(each.holds for each in found)
    failing = [*requests(late_until=300.0), Request(600.0, 0.1, "status 502")]
    found = verdict.judge(failing, [*counts[:1], Count(400, 4, 4)], PHASES, IMAGE, TARGET_S)
    assert [each.value for each in found] == [200.0, 2, math.inf, 1, 1] and not any(each.holds for each in found)


def test_a_verdict_is_a_line() -> None:
    assert real.describe(Verdict("failed requests of 7", 0, at_most=0)) == "holds  failed requests of 7: 0 (at most 0)"
    assert real.describe(Verdict("seconds", math.inf, at_most=60)) == "FAILS  seconds: never (at most 60)"


@pytest.mark.parametrize(("answer", "failure"), [
    (b'HTTP/1.1 200 OK\r\nServer: x\r\n\r\n{"instance": "queue-1"}', ""),
    (b"HTTP/1.1 502 Bad Gateway\r\n\r\n<html>", "status 502"),
    (b"HTTP/1.1 200 OK\r\n\r\n<html>", "no answer of an instance: b'<html>'"),
    (b"HTTP/1.1 200 OK\r\n\r\n", "no answer of an instance: b''"),
    (b"", "no answer: b''"),
])
def test_each_answer_that_is_no_instances_is_a_failure(answer: bytes, failure: str) -> None:
    assert open_load.judge(answer) == failure


@pytest.mark.daemons
def test_a_short_run_on_the_real_programs_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    code, output = leaving.run(REPOSITORY / "scripts/bench", "autoscale", "--real", "--quick", "--json", path,
                               timeout_s=240, outside=True)  # where its Docker may run
    assert code in (0, 1), output  # so short a run need not hold
    figures = json.loads(path.read_text())
    assert len(figures["limits"]) == 5 and figures["limits"][-1]["holds"], output
    assert len(figures["requests"]) > 500 and figures["rows"], output
    assert any(row["nginx_p95_s"] for row in figures["rows"]), output
    for word in ("p95", "the target is", "failed requests"):
        assert word in output
