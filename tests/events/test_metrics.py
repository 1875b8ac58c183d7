"""The metrics: promtool finds nothing to say, hostile names stay values, and each alert of the examples rings when, and
only when, it is to."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from lictor.adapters import files, heartbeat, tally
from lictor.events import timer
from lictor.events.metrics import exposition, seen
from lictor.events.metrics.seen import Seen, Service
from lictor.planner.autoscale import traffic
from lictor.planner.autoscale.traffic import Slice
from lictor.planner.summary.service import Severity
from lictor.routing.live_peers import Waits
from lictor.routing.traffic.windows import Kept
from lictor.spec.settings import Metrics, Settings

from support import pages
from support.paths import REPOSITORY

BOARD = REPOSITORY / "examples" / "grafana" / "lictor.json"
RULES = REPOSITORY / "examples" / "prometheus" / "lictor-rules.yml"
WELL = Service(2, 2, Severity.WELL, False, False, False, False)


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    for folder in ("routes", "peers", "traffic", "locks"):
        os.mkdir(tmp_path / folder)
    tally.keep(str(tmp_path))
    yield Settings(state_dir=str(tmp_path), metrics=Metrics("127.0.0.1:8898", textfile=f"{tmp_path}/lictor.prom"))
    tally.keep("")


def put(settings: Settings, found: Seen) -> None:
    files.write_atomic(f"{settings.state_dir}/metrics.json", msgspec.json.encode(found).decode())


def values(settings: Settings) -> dict[str, float]:
    """All samples, as Prometheus writes them."""
    found = {}
    for family in text_string_to_metric_families(exposition.text(settings)):
        for each in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(each.labels.items()))
            found[f"{each.name}{{{labels}}}" if labels else each.name] = each.value
    return found


def checked(text: str) -> str:
    """What promtool has to say."""
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr if done.returncode == 0 else f"{done.returncode}: {done.stdout}{done.stderr}"


def test_a_node_on_which_nothing_has_run_tells_that_no_sweep_has_ended(settings: Settings) -> None:
    found = values(settings)
    assert found["lictor_last_sweep_timestamp_seconds"] == 0 and found["lictor_nginx_up"] == 0
    assert not [name for name in found if name.startswith(("lictor_registrar", "lictor_service", "lictor_counters"))]
    assert found["lictor_reloads_total{outcome=rolled_back}"] == 0
    assert checked(exposition.text(settings)) == ""


def test_metrics_are_what_the_sweep_saw_and_the_totals_say(settings: Settings) -> None:
    put(settings, Seen("node-1", 0.25, True, 3, {
        "books": WELL, "shop": Service(4, 1, Severity.FAILED, True, True, True, True)},
        {"shop": Waits(7, 2, 1)}))
    timer.record(settings, timer.Summary(1000.0, "", 2, [], ["shop: refused"], ["a", "b"], []))
    for _ in range(2):
        tally.count("actions", "books", "start", "done")
    tally.count("releases", "books", "failed")
    tally.time_taken("confirmed", 0.3)
    times = {traffic.bucket(each): 10 for each in (0.004, 0.2, 30.0)}
    files.write_json(f"{settings.state_dir}/routes/books.json", {
        "name": "books", "service": "books", "traffic": "healthy", "node": "node-1",
        "empty_ok": False, "removed": False, "measure": True, "routes": [
            {"host": "", "path": "/", "match": "prefix", "aliases": [], "options": {}}]})
    kept = Kept(1000.0, [Slice(1000.0, 10.0, times, errors=2, unanswered=1, cut=4, retries=5)])
    files.write_atomic(f"{settings.state_dir}/traffic/books.json", msgspec.json.encode(kept).decode())
    found = values(settings)
    for name, value in {
        "lictor_build_info{node=node-1,version=0.1.0}": 1, "lictor_last_sweep_timestamp_seconds": 1000,
        "lictor_last_sweep_failed": 0, "lictor_last_sweep_duration_seconds": 0.25, "lictor_nginx_up": 1,
        "lictor_sweep_lines{kind=problem}": 1, "lictor_sweep_lines{kind=pending}": 2, "lictor_budget_used": 3,
        "lictor_budget_limit": 5, "lictor_service_desired_instances{service=shop}": 4,
        "lictor_service_passing_instances{service=shop}": 1, "lictor_service_held{service=shop}": 1,
        "lictor_service_state{service=books,state=well}": 1, "lictor_service_state{service=shop,state=well}": 0,
        "lictor_service_state{service=shop,state=failed}": 1, "lictor_service_breaker_open{service=shop}": 1,
        "lictor_service_release_running{service=shop}": 1, "lictor_service_release_failed{service=shop}": 1,
        "lictor_waits_total{outcome=served,service=shop}": 7, "lictor_waits_total{outcome=refused,service=shop}": 2,
        "lictor_waits_total{outcome=left,service=shop}": 1,
        "lictor_actions_total{kind=start,outcome=done,service=books}": 2,
        "lictor_releases_total{outcome=failed,service=books}": 1,
        "lictor_event_to_confirmed_seconds_bucket{le=0.25}": 0, "lictor_event_to_confirmed_seconds_bucket{le=0.5}": 1,
        "lictor_event_to_confirmed_seconds_sum": 0.3,
        "lictor_requests_total{outcome=answered,service=books}": 30,
        "lictor_requests_total{outcome=error,service=books}": 2,
        "lictor_requests_total{outcome=unanswered,service=books}": 1,
        "lictor_requests_total{outcome=cut,service=books}": 4, "lictor_retries_total{service=books}": 5,
        "lictor_response_duration_seconds_bucket{le=0.005,service=books}": 10,
        "lictor_response_duration_seconds_bucket{le=0.1,service=books}": 10,
        "lictor_response_duration_seconds_bucket{le=0.25,service=books}": 20,
        "lictor_response_duration_seconds_bucket{le=10.0,service=books}": 20,
        "lictor_response_duration_seconds_bucket{le=+Inf,service=books}": 30,
        "lictor_response_duration_seconds_count{service=books}": 30,
    }.items():
        assert found[name] == value, name
    assert found["lictor_response_duration_seconds_sum{service=books}"] == pytest.approx(302, rel=0.03)
    assert checked(exposition.text(settings)) == ""


def test_the_handbook_names_each_metric(settings: Settings) -> None:
    put(settings, Seen("node-1", 0.25, True, 3, {"books": WELL}))
    tally.count("reloads", "confirmed")
    heartbeat.write(settings.state_dir, heartbeat.make(set()))
    names = {line.split()[2] for line in exposition.text(settings).splitlines() if line.startswith("# TYPE ")}
    told = [row[0] for row in pages.table(REPOSITORY / "docs" / "metrics.md", "## Prometheus")]
    assert set(re.findall(r"lictor_\w+", " ".join(told))) == names
    used = re.findall(r"lictor_\w+", RULES.read_text() + BOARD.read_text())
    assert {re.sub("_bucket$", "", each) for each in used} - {"lictor_rules"} <= names


def test_a_sweep_writes_the_textfile_and_one_that_cannot_goes_on(settings: Settings) -> None:
    summary = timer.Summary(1000.0, "", 2, [], [], [], [])
    timer.record(settings, summary)
    assert settings.metrics
    assert "lictor_last_sweep_timestamp_seconds 1000.0\n" in Path(settings.metrics.textfile).read_text()
    assert os.stat(settings.metrics.textfile).st_mode & 0o777 == 0o644
    away = settings._replace(metrics=Metrics(textfile="/nowhere/lictor.prom"))
    timer.record(away, summary._replace(at=2000.0))
    again = timer.read(settings)
    assert again and again.at == 2000


def test_a_hostile_name_is_a_value_and_nothing_else(settings: Settings) -> None:
    name = 'a"} 7\nlictor_last_sweep_failed{x="'
    put(settings, Seen(name, 0.1, True, 0, {name: WELL}))
    assert values(settings)["lictor_last_sweep_failed"] == 0
    assert checked(exposition.text(settings)) == ""


@pytest.mark.parametrize("text", ["", "{", "[]", '{"node": 5}', '{"services": {"books": {}}}', "[" * 10_000])
def test_what_cannot_be_read_is_nothing(settings: Settings, text: str) -> None:
    Path(settings.state_dir, "metrics.json").write_text(text)
    assert seen.read(settings) is None and values(settings)["lictor_nginx_up"] == 0


# By alert: the series that make it ring, as promtool writes them, by their names.
ALERTS: dict[str, dict[str, str]] = {
    "LictorDown": {'up{job="lictor", instance="a"}': "0x200"},
    "LictorSweepStale": {'lictor_last_sweep_timestamp_seconds{instance="a"}': "0+15x40 600x160"},
    "LictorSweepFails": {'lictor_last_sweep_failed{instance="a"}': "1x200"},
    "LictorNginxDown": {'lictor_nginx_up{instance="a"}': "0x200"},
    "LictorRegistrarSilent": {'lictor_registrar_heartbeat_timestamp_seconds{instance="a"}': "0+15x40 600x160"},
    "LictorServiceFailed": {'lictor_service_state{service="books", state="failed", instance="b"}': "1x200"},
    "LictorServiceShort": {'lictor_service_passing_instances{service="books", instance="a"}': "1x200"},
    "LictorServiceUnserved": {'lictor_service_serving_instances{service="books", instance="a"}': "0x200"},
    "LictorReleaseFailed": {'lictor_service_release_failed{service="books", instance="a"}': "1x200"},
    "LictorBreakerOpen": {'lictor_service_breaker_open{service="books", instance="a"}': "1x200"},
    "LictorBudgetSpent": {'lictor_budget_used{instance="a"}': "5x200"},
    "LictorReloadsRolledBack": {'lictor_reloads_total{outcome="rolled_back", instance="a"}': "0x130 1x70"},
    "LictorActionsFail": {
        'lictor_actions_total{service="books", kind="start", outcome="failed", instance="a"}': "1+0.25x200"},
    "LictorErrors": {'lictor_requests_total{service="books", outcome="error", instance="a"}': "0+10x200"},
    "LictorSlowToConfirm": {'lictor_event_to_confirmed_seconds_bucket{le="5.0", instance="a"}': "0x200",
                            'lictor_event_to_confirmed_seconds_bucket{le="10.0", instance="a"}': "0+1x200",
                            'lictor_event_to_confirmed_seconds_bucket{le="+Inf", instance="a"}': "0+1x200"},
    "LictorCountersLost": {'lictor_counters_since_timestamp_seconds{instance="a"}': "5x60 900x140"},
}
ALL_WELL = {
    'up{job="lictor", instance="a"}': "1x200", 'lictor_last_sweep_timestamp_seconds{instance="a"}': "0+15x200",
    'lictor_last_sweep_failed{instance="a"}': "0x200", 'lictor_nginx_up{instance="a"}': "1x200",
    'lictor_registrar_heartbeat_timestamp_seconds{instance="a"}': "0+15x200",
    'lictor_service_state{service="books", state="failed", instance="b"}': "0x200",
    'lictor_service_state{service="books", state="well", instance="b"}': "1x200",
    'lictor_service_desired_instances{service="books", instance="a"}': "2x200",
    'lictor_service_passing_instances{service="books", instance="a"}': "2x200",
    'lictor_service_serving_instances{service="books", instance="a"}': "2x200",
    'lictor_service_release_failed{service="books", instance="a"}': "0x200",
    'lictor_service_breaker_open{service="books", instance="a"}': "0x200",
    'lictor_budget_used{instance="a"}': "0x200", 'lictor_budget_limit{instance="a"}': "5x200",
    'lictor_reloads_total{outcome="rolled_back", instance="a"}': "0x200",
    'lictor_actions_total{service="books", kind="start", outcome="failed", instance="a"}': "1x200",
    'lictor_requests_total{service="books", outcome="answered", instance="a"}': "0+100x200",
    'lictor_requests_total{service="books", outcome="error", instance="a"}': "0+1x200",
    'lictor_event_to_confirmed_seconds_bucket{le="5.0", instance="a"}': "0+1x200",
    'lictor_event_to_confirmed_seconds_bucket{le="10.0", instance="a"}': "0+1x200",
    'lictor_event_to_confirmed_seconds_bucket{le="+Inf", instance="a"}': "0+1x200",
    'lictor_counters_since_timestamp_seconds{instance="a"}': "5x200",
}


def test_each_alert_of_the_examples_rings_when_it_is_to_and_alone(tmp_path: Path) -> None:
    """In simulated time, by promtool itself."""
    def case(series: dict[str, str], samples: list[dict[str, Any]], name: str) -> dict[str, Any]:
        return {"name": name, "interval": "15s",
                "input_series": [{"series": each, "values": given} for each, given in series.items()],
                "promql_expr_test": [{"expr": 'count by (alertname) (ALERTS{alertstate="firing"})', "eval_time": "40m",
                                      "exp_samples": samples}]}

    cases = [case(ALL_WELL, [], "well"), *(
        case({**ALL_WELL, **series}, [{"labels": f'{{alertname="{alert}"}}', "value": 1}], alert)
        for alert, series in ALERTS.items())]
    path = tmp_path / "tests.yml"
    path.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "15s", "tests": cases}))
    done = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    rules = [line.split()[-1] for line in RULES.read_text().splitlines() if "- alert:" in line]
    assert rules == list(ALERTS), "an alert has no case"
    assert RULES.read_text().count("Do: ") == len(rules), "an alert says what to do"
