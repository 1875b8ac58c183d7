"""What is shown of services is that of the summary, whatever is missing or damaged; charts are within their bounds."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lictor.events.page import charts, view
from lictor.events.page.snapshot import Node, Snapshot
from lictor.events.page.templates import Pages
from lictor.planner.autoscale import traffic
from lictor.planner.autoscale.traffic import Slice
from lictor.planner.desired import desired
from lictor.planner.service_state import Failure, Release, Rollout, State
from lictor.planner.summary.facts import gather
from lictor.planner.summary.service import Severity
from lictor.reconcile.status import status_report
from lictor.reconcile.status.status_report import UNKNOWN, Details, Status

SPEC = {"name": "books", "image": "books:2", "port": 8080, "node": "node-1", "replicas": 2}


def details(state: State) -> Details:
    wanted = desired("books", {"spec": json.dumps(SPEC).encode()}, state)
    return Details(gather(time.time(), wanted, state, []), [])


def snapshot(*rows: Status, **fields: Any) -> Snapshot:
    return Snapshot(1, 1000.0, "node-1", [*rows], **{
        "details": {}, "unrouted": [], "pending": [], "nodes": [], "traffic": {}, **fields})


def test_the_page_says_what_the_summary_says() -> None:
    found = details(State())
    row = status_report.make_row(found.facts, [])
    shown, = view.list_services(snapshot(row, details={"books": found}, pending=[
        "books: on hold: 2 of 2 are critical", "bookshelf: waits", "books-2: waits"]))
    assert (shown["severity"], shown["says"]) == (row.severity, row.says)
    assert shown["why_desired"] == "spec's initial count is 2" and shown["desired"] == 2
    assert shown["not_done"] == ["on hold: 2 of 2 are critical"]
    assert json.loads(json.dumps(shown)) == shown  # plain values only


def test_a_release_is_shown_as_far_as_it_has_come() -> None:
    release = details(State()).facts.desired.release
    under_way = State(release=Release(live={"image": "books:1"}, live_release="x", switched_at=7.0,
                                      previous={"image": "books:0"}, rollout=Rollout(release, 100.0, most=1)))
    failed = State(release=Release(live={"image": "books:1"}, live_release="x", failed=Failure(
        release, "books:2", "it exits at once", 5.0)))
    shown = [view.list_services(snapshot(Status("books"), details={"books": details(state)}))[0]["release"]
             for state in (under_way, failed, State(release=Release(live={"image": 5}, live_release="x")))]
    assert shown[0] == {"live": "books:1", "since": 7.0, "previous": "books:0", "failed": "", "under_way": {
        "image": "books:2", "began_at": 100.0, "instances": 1, "of": 2, "is_passing": False}}
    assert shown[1]["failed"] == "it exits at once. books:1 runs on" and shown[1]["under_way"] is None
    assert shown[2]["live"] == ""


@pytest.mark.parametrize("record", [
    {"at": 0.0, "outcome": "damaged", "id": 1}, {"at": 5, "outcome": ["x"], "id": 1, "kind": {"a": 1}, "ms": 7},
    {"at": 5, "outcome": "done", "id": 1, "reason": "\x1b[31m\u202ered\nline", "detail": "x" * 100_000},
])
def test_a_damaged_record_is_shown_as_text(record: dict[str, Any]) -> None:
    shown = view.show_service(snapshot(Status("books")), Status("books"), [record])
    text = Pages().render("page-service.html.j2", asked="node-1", failure="", service_counts={}, node_counts={},
                          service=shown, name="books").decode()
    assert len(text) < 20_000 and "\u202e" not in text and "\x1b" not in text


def test_the_row_for_keys_of_no_service_is_no_page_of_its_own() -> None:
    given = snapshot(Status(UNKNOWN, says="not read", problems=["a key"]))
    assert view.find_row(given, UNKNOWN) is None
    text = Pages().render("page-services.html.j2", asked="node-1", failure="it <is> away", service_counts={"failed": 1},
                          node_counts={}, services=view.list_services(given), unrouted=["a"] * 25).decode()
    assert "keys of no service" in text and "/services/" not in text and "and 5 more" in text
    assert "Not of now: it &lt;is&gt; away" in text


@pytest.mark.parametrize(("routes", "in_the_list", "alone"), [
    ([], "", '<dt>Route</dt><dd><span class="code">none</span>'),
    (["/a"], '<span class="code" title="/a">/a</span>', '<dt>Route</dt><dd><span class="code">/a</span>'),
    (["/a", "a.example/", "b.example/"], '<span class="code" title="/a, a.example/, b.example/">/a +2</span>',
     '<dt>Routes</dt><dd><span class="code">/a, a.example/, b.example/</span>'),
    (["/<b>", "/\"c"], '<span class="code" title="/&lt;b&gt;, /&#34;c">/&lt;b&gt; +1</span>',
     '<dt>Routes</dt><dd><span class="code">/&lt;b&gt;, /&#34;c</span>'),
])
def test_the_list_shows_the_first_route_and_how_many_more_and_a_service_shows_all(
        routes: list[str], in_the_list: str, alone: str) -> None:
    row = Status("books", routes=routes)
    given = snapshot(row)
    common: dict[str, Any] = {"asked": "node-1", "failure": "", "service_counts": {}, "node_counts": {}}
    services = view.list_services(given)
    assert services[0]["routes"] == routes
    text = Pages().render("page-services.html.j2", **common, services=services, unrouted=[]).decode()
    assert in_the_list in text and ('class="code"' in text) == bool(routes)
    assert alone in Pages().render("page-service.html.j2", **common, service=view.show_service(given, row, []),
                                   name="books").decode()


def test_states_are_counted_the_worst_first() -> None:
    assert [*view.count_states(["well", "failed", "well", "working"]).items()] == [
        ("failed", 1), ("working", 1), ("well", 2)]
    node = Node("node-1", True, "well", "none", "unknown", "unknown", [])
    assert view.list_nodes(snapshot(nodes=[node])) == [node._asdict()]
    assert {each.value for each in Severity} == set(view.count_states(["failed", "attention", "working", "well"]))


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e9)), max_size=80))
def test_a_chart_stays_within_its_bounds_and_a_gap_is_one(values: list[float | None]) -> None:
    drawn = charts.draw(values)
    points = [point.split(",") for line in drawn.lines for point in line.split()]
    assert len(points) == sum(value is not None for value in values[-36:])
    assert all(0 <= float(x) <= charts.WIDTH and 0 <= float(y) <= charts.HEIGHT for x, y in points)


def test_traffic_is_summed_up_by_the_newest_minute() -> None:
    slices = [Slice(float(at), 10.0, {traffic.bucket(0.1): 10}, errors=1, begun=12) for at in range(0, 400, 10)]
    found = charts.describe(slices)
    assert found and found["rate"] == 1.2 and found["error_share"] == pytest.approx(1 / 11, abs=1e-3)
    assert found["p95_s"] == pytest.approx(0.1, rel=0.03) and len(found["slices"]) == 36
    assert charts.describe([]) is None and charts.describe(slices[:1])["p95_s"] is None  # type: ignore[index]
