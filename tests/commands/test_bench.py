"""The bench judges its figures right, reads wrk right, and a short run of it measures and leaves nothing behind."""

import argparse
import json
from pathlib import Path
from typing import Any, cast

import pytest

from lab.bench import __main__ as bench
from lab.bench import events, latency, limits, load, measuring, storm, template_double
from lab.bench.peers import TEMPLATE
from support import leaving
from support.paths import REPOSITORY

WRK = """Running 2s test @ http://127.0.0.1:8080/books
  1 threads and 32 connections
  Latency Distribution
     50%  812.00us
     99%   {p99}
  10000 requests in 2.00s, 1.96MB read
{trouble}Requests/sec:   4987.61
Transfer/sec:      0.98MB
"""


@pytest.mark.parametrize(("p99", "trouble", "expected"), [
    ("31.93ms", "", load.Load(4987.61, 31.93, 0, 0)),
    ("900.00us", "  Non-2xx or 3xx responses: 3\n", load.Load(4987.61, 0.9, 3, 0)),
    ("1.20s", "  Socket errors: connect 1, read 2, write 0, timeout 4\n", load.Load(4987.61, 1200.0, 7, 2)),
])
def test_what_wrk_prints(p99: str, trouble: str, expected: load.Load) -> None:
    found = load.parse(WRK.format(p99=p99, trouble=trouble))
    assert found._replace(p99_ms=round(found.p99_ms, 6)) == expected


def test_a_load_that_could_not_run_is_an_error() -> None:
    with pytest.raises(ValueError, match="unable to connect"):
        load.parse("unable to connect to 127.0.0.1:8080 Connection refused")


def answers(contender: str, ms: float, size: str = "1 x 3") -> dict[str, Any]:
    return {"contender": contender, "size": size, "first_new_ms": ms, "last_old_ms": ms}


@pytest.mark.parametrize(("rows", "expected"), [
    ([answers("lictor http live", 4.9), answers("consul-template", 40)], {"ms": True, "sooner": True}),
    ([answers("lictor http live", 5.1), answers("consul-template", 40)], {"ms": False, "sooner": False}),
    ([answers("lictor http live", 4.9), answers("consul-template's double", 39)], {"sooner": False}),
    ([answers("lictor http live", 4.9)], {"ms": True, "sooner": None}),
    ([answers("lictor http live", 9.0, "100 x 3")], {
        "1 x 3, http live: first new answer, ms": None, "1 x 3, http live: first new answer, times": None,
        "100 x 3, http live: first new answer, ms": False}),
    ([answers("lictor http reload", 40), answers("lictor script reload", 99), answers("consul-template", 82)],
     {"http reload: first new answer, of": True, "script reload": False}),
    ([answers("lictor http live", 4), answers("lictor http live", 6.1, "1000 x 3")], {
        "of that with one": False, "1000 x 3, http live: first new answer, ms": True}),
    ([answers("lictor http reload", 40, "100 x 3"), {
        **answers("lictor http reload", 159, "1000 x 3"), "nginx_alone_ms": 100.0}], {"nginx -s reload": True}),
    ([answers("lictor http reload", 40, "100 x 3"), {
        **answers("lictor http reload", 161, "1000 x 3"), "nginx_alone_ms": 100.0}], {"nginx -s reload": False}),
    ([answers("lictor http reload", 40, "100 x 3"), answers("lictor http reload", 50, "1000 x 3")],
     {"nginx -s reload": None}),
])
def test_limits_of_latency(rows: list[dict[str, Any]], expected: dict[str, bool | None]) -> None:
    verdicts = [each for each in limits.judge({"latency": rows}) if "first new" in each.what]
    for words, holds in expected.items():
        found, = (each for each in verdicts if (each.what.endswith(", ms") if words == "ms" else words in each.what))
        assert found.holds is holds, found


@pytest.mark.parametrize(("row", "expected"), [
    ({"reloads": 10, "reloading_s": 2.3, "converged_s": 0.0}, [True, True]),
    ({"reloads": 11, "reloading_s": 2.3, "converged_s": 2.1}, [False, False]),
    ({"reloads": 0, "reloading_s": 2.0, "converged_s": None}, [True, False]),
])
def test_limits_of_a_storm(row: dict[str, Any], expected: list[bool | None]) -> None:
    verdicts = limits.judge({"storm": [{"contender": "lictor http reload", "cpu_s": 1.0, **row}]})
    assert [each.holds for each in verdicts] == [*expected, None, None]


@pytest.mark.parametrize(("services", "what", "cpu_s", "expected"), [
    (1000, "sweep", 0.6, True), (1000, "sweep", 0.61, False), (1000, "plan", 1.1, False), (1000, "status", 0.7, False),
    (10_000, "sweep", 3.0, True)])
def test_limits_of_many_services(services: int, what: str, cpu_s: float, *, expected: bool) -> None:
    found, = limits.judge({"scale": [{"services": services, "what": what, "cpu_s": cpu_s}]})
    assert found.holds is expected


@pytest.mark.parametrize(("way", "measured", "beside", "expected"), [
    ("reload", 0.98, 0.99, [True, True, None, None]), ("live", 0.979, 0.989, [None, None, False, False]),
    ("log", 0.5, 0.5, [None] * 4)])
def test_limits_of_measuring(way: str, measured: float, beside: float, expected: list[bool | None]) -> None:
    rows = [{"way": way, "service": service, "throughput": ratio}
            for service, ratio in ((measuring.MEASURED, measured), (measuring.BESIDE, beside))]
    assert [each.holds for each in limits.judge({"measuring": rows})] == expected


def test_limits_of_churn_and_releases() -> None:
    """A connection that a reload ends is no failed request, and in live mode there is no reload."""
    churn = [{"contender": "lictor http live", "failed": 0, "cut": 1}, {"contender": "lictor http reload", "failed": 0,
                                                                      "cut": 9}]
    assert [each.holds for each in limits.judge({"churn": churn})] == [True, True, False]
    found = limits.judge({"releases": [{"mode": "live", "strategy": "rolling", "failed": failed} for failed in (0, 1)]})
    assert [each.holds for each in found] == [True, False]


def test_limits_of_the_page() -> None:
    found = limits.judge({"page": [{"services": 500, "first_s": 1.1, "open_s": 0.5, "change_s": 2.0}]})
    assert [each.holds for each in found] == [False, True, True]


def test_limits_of_waiting_requests() -> None:
    found = limits.judge({"waiting": [{"waiting": 1000, "memory_mb": 31.0, "p99": 1.05}]})
    assert [each.holds for each in found] == [False, True]


def test_figures_never_seen_are_counted_and_do_not_count_as_quick() -> None:
    assert latency.summary({"file_ms": [3.0, None, 1.0, 2.0]}) == {
        "file_ms": 2.0, "file_p95_ms": 3.0, "file_ms_not_seen": 1}
    assert latency.summary({"file_ms": [None]}) == {"file_ms": None, "file_p95_ms": None, "file_ms_not_seen": 1}


@pytest.mark.parametrize(("values", "expected"), [
    ([5.0], 5.0), ([float(number) for number in range(1, 21)], 19.0), ([float(number) for number in range(100)], 94.0)])
def test_percentile(values: list[float], expected: float) -> None:
    assert latency.percentile(values, 95) == expected


def entry(address: str, port: int, node_address: str = "") -> dict[str, Any]:
    return {"Node": {"Address": node_address}, "Service": {"Address": address, "Port": port}}


@pytest.mark.parametrize(("entries", "lines"), [
    ([entry("10.0.0.2", 80), entry("", 8080, "10.0.0.1")],
     ["    server 10.0.0.1:8080 max_fails=0;", "    server 10.0.0.2:80 max_fails=0;"]),
    ([], ["    server 127.0.0.1:9 down;"]),
])
def test_the_double_renders_the_template_as_consul_template_does(entries: list[dict[str, Any]],
                                                                 lines: list[str]) -> None:
    contents = TEMPLATE.replace("NAME", "books")
    assert template_double.rendered(contents, entries) == "\n".join(["upstream lictor_books {", *lines, "}", ""])


def test_what_fails_does_not_take_the_other_figures_with_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(*_: object) -> None:
        raise AssertionError("handlers are still at work")

    rows = [{"what": "unchanged", "ratio": 1.5}]
    monkeypatch.setattr(storm, "measure", fails)
    monkeypatch.setattr(events, "measure", lambda *_: rows)
    arguments = argparse.Namespace(part=["storm", "events"], only=None, quick=True, rounds=None, size=None)
    parts, _, failed = bench.measured(str(tmp_path), arguments, cast(Any, None))
    assert parts == {"events": rows} and failed == ["storm: handlers are still at work"]


@pytest.mark.daemons
def test_a_short_run_measures_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    code, output = leaving.run(REPOSITORY / "scripts/bench", "latency", "--quick", "--size", "1x3", "--rounds", 1,
                               "--only", "script", "--json", path, timeout_s=240)
    assert code in (0, 1), output
    figures = json.loads(path.read_text())
    rows = {row["contender"]: row for row in figures["parts"]["latency"]}
    assert {"lictor script reload", "plain script"} <= rows.keys(), output
    for row in rows.values():
        assert all(row[key] is not None for key in ("file_ms", "first_new_ms", "last_old_ms")), row
    assert figures["limits"] and any("consul-template" in line for line in figures["not_measured"])
