"""How far a release is: from what Consul shows to words and outcomes."""

from typing import Any

import msgspec
import pytest

from lictor import model
from lictor.cli import release_progress
from lictor.cli.release_progress import Outcome, Request, Snapshot
from lictor.planner import desired
from lictor.planner.autoscale.traffic import Side
from lictor.planner.service_state import Breaker, Failure, Failures, Rollout, State, Trial
from lictor.reconcile.status.instances import Condition

from support.scene import SPEC, state_of

BLUE_GREEN = {"release": {"strategy": "blue-green", "smoke": "/books"}}


def wanted(image: str, spec: dict[str, Any] | None = None, **keys: bytes) -> desired.Desired:
    text = msgspec.json.encode({**SPEC, **(spec or {})})
    return desired.desired("books", {"spec": text, "image": image.encode(), **keys}, State())


NEW, OLD = wanted("books:2").release, wanted("books:1").release
REQUEST = Request("books", "books:2", NEW, "", 0, 60.0)
TRIAL = Trial(0.1, 1.0, 2.0, canary=Side({60: 9}, 3))
FAILED = Failure(NEW, "books:2", "it\x1b died", 1.0)


def snapshot(entries: list[dict[str, Any]] | None = None, now: desired.Desired | None = None,
           **remembered: Any) -> Snapshot:
    stored = state_of(**{"live_release": OLD, "live": {"image": "books:1"}, "live_is_proven": True, **remembered})
    return Snapshot(now or wanted("books:2"), stored, [*map(model.instance, entries or [])])


def entry(service: str, image: str, *, number: int = 1, status: str = "passing", alive: bool = True,
          maintenance: str | None = None) -> dict[str, Any]:
    checks = [{"CheckID": "serfHealth", "Status": "passing" if alive else "critical"},
              {"CheckID": "c", "ServiceID": f"s{number}", "Status": status, "Output": f"{status}\n\x1b"}]
    if maintenance is not None:
        checks.append({"CheckID": f"_service_maintenance:s{number}", "ServiceID": f"s{number}", "Status": "critical",
                       "Notes": maintenance})
    return {"Node": {"Node": "node-1", "Address": "10.0.0.1"}, "Checks": checks, "Service": {
        "ID": f"s{number}", "Service": service, "Port": 80, "Meta": {"lictor-image": image} if image else None}}


@pytest.mark.parametrize(("given", "kind", "why"), [
    (snapshot(), None, ""),
    (snapshot(live_release=NEW), "done", ""),
    (snapshot(live_release=NEW, live_is_proven=False), None, ""),  # a first one, in force before it passes
    (snapshot(now=wanted("books:2", {"replicas": 0}), live_release=wanted("books:2", {"replicas": 0}).release,
              live_is_proven=False), "done", ""),
    (snapshot(live_release=NEW, rollout=Rollout(OLD, 1.0)), None, ""),  # what it replaces has not been given up yet
    (snapshot(failed=FAILED), "failed", "it? died. books:1 runs on"),
    (snapshot(failed=FAILED, rollout=Rollout(NEW, 1.0)), None, ""),
    (snapshot(failed=msgspec.structs.replace(FAILED, release=OLD)), None, ""),
    (snapshot(now=wanted("books:3")), "superseded", "books:3 is desired now"),
    (snapshot(now=wanted("books:2", {"user": "me"})), "superseded", "the spec makes another release of books:2 now"),
    (snapshot(now=wanted("books:2", removed=b"")), "superseded", "the service is being removed"),
])
def test_outcome(given: Snapshot, kind: str | None, why: str) -> None:
    found = release_progress.decide_outcome(REQUEST, given)
    assert found == (Outcome(kind, why) if kind else None)


@pytest.mark.parametrize(("given", "said"), [
    (snapshot(), "waiting: node-1 has to begin"),
    (snapshot(now=wanted("books:2", hold=b"Monday")), "on hold: the hold key is set (Monday)"),
    (snapshot(doubt="most are critical"), "on hold: most are critical"),
    (snapshot(breaker=Breaker(1.0, "3 were replaced")), "the breaker is open: 3 were replaced"),
    (snapshot(rollout=Rollout(OLD, 1.0)), "waiting: another release has to end first"),
    (snapshot(rollout=Rollout(NEW, 1.0))._replace(awaited="db has no member yet"), "waiting: db has no member yet"),
    (snapshot(rollout=Rollout(NEW, 1.0, most=1))._replace(awaited="db has no member yet"), "0 of 1 new instances pass"),
    (snapshot([entry("books", "books:2"), entry("books", "books:1", number=2)], rollout=Rollout(NEW, 1.0)),
     "1 of 1 new instances pass"),
    (snapshot(rollout=Rollout(NEW, 1.0, trouble="no such image")),
     "0 of 1 new instances pass. failing: no such image"),
    (snapshot(rollout=Rollout(NEW, 1.0, 2.0)), "all new instances pass, and have to for 3 s"),
    (snapshot(now=wanted("books:2", BLUE_GREEN), rollout=Rollout(NEW, 1.0, 2.0)),
     "all new instances pass, and have to for 3 s. Then /books has to answer"),
    (snapshot(now=wanted("books:2", BLUE_GREEN), rollout=Rollout(NEW, 1.0, 2.0, trial=TRIAL)),
     "canary of 10%: green got 12 requests, 25.00% errors (3), typically 18 ms; blue got no request"),
    (snapshot(live_release=NEW), "books:2 is live"),
    (snapshot(live_release=NEW, live_is_proven=False, failures={"1": Failures(2, 1.0, "it ended")}),
     "0 of 1 instances of the first release pass. failing: it ended"),
])
def test_stage(given: Snapshot, said: str) -> None:
    assert release_progress.describe_stage(REQUEST, given) == said


@pytest.mark.parametrize(("given", "condition", "detail"), [
    (entry("books", "books:2"), "passes", ""),
    (entry("books", "books:2", status="critical"), "critical", "critical"),
    (entry("books", "books:2", status="warning"), "warning", "warning"),
    (entry("books", "books:2", maintenance="by hand"), "in maintenance", "by hand"),
    (entry("books", "books:2", maintenance=model.PAUSED), "paused", "until `docker unpause`"),
    (entry("books", "books:2", alive=False), "on a node that does not answer", ""),
])
def test_what_an_instance_waits_for(given: dict[str, Any], condition: str, detail: str) -> None:
    assert release_progress.find_new_instances(REQUEST, snapshot([given])) == (
        Condition("s1", "node-1", condition, detail),
    )


def test_new_are_those_of_the_new_image_and_before_the_switch_of_the_other_colour() -> None:
    entries = [entry("books-blue", "books:1"), entry("books-blue", "books:2", number=2),
               entry("books-green", "books:2", number=3), entry("books-green", "books:1", number=4),
               entry("books-green", "", number=5)]
    before = snapshot(entries, wanted("books:2", BLUE_GREEN), rollout=Rollout(NEW, 1.0))
    assert [each.service_id for each in release_progress.find_new_instances(REQUEST, before)] == ["s3"]
    after = snapshot(entries, wanted("books:2", BLUE_GREEN, color=b"green"), live_release=NEW)
    assert [each.service_id for each in release_progress.find_new_instances(REQUEST, after)] == ["s3"]


@pytest.mark.parametrize(("changes", "engine", "named"), [
    ({}, "docker", ["s2 on node-1 (books:1)"]),
    ({"image": ""}, "docker", ["s2 on node-1 (of an image that is unknown)"]),
    ({"image": "books:2"}, "docker", []), ({"maintenance": "draining"}, "docker", []), ({"alive": False}, "docker", []),
    ({"status": "critical"}, "docker", []), ({"service": "books-green"}, "docker", []), ({}, "command", []),
])
def test_what_serves_beside_a_live_release_is_named(changes: dict[str, Any], engine: str, named: list[str]) -> None:
    other = entry(**{"service": "books", "image": "books:1", "number": 2, **changes})
    spec = {"engine": engine} | ({"node": ""} if engine == "command" else {})
    given = snapshot([entry("books", "books:2"), other], wanted("books:2", spec), live_release=NEW)
    assert release_progress.find_foreign(REQUEST, given, frozenset()) == tuple(named)


def test_a_stranger_of_the_same_image_is_named_too() -> None:
    given = snapshot([entry("books", "books:2"), entry("books", "books:2", number=2)], wanted("books:2"),
                     live_release=NEW)
    known = {("node-1", "s2", given.instances[1].container_id)}
    assert release_progress.find_foreign(REQUEST, given, known) == ("s2 on node-1 (books:2)",)


def test_last_words_are_of_this_release_and_tell_who_has_not_ended() -> None:
    def record(number: int, kind: str, container: str, outcome: str = "done", detail: str = "") -> dict[str, Any]:
        return {"id": number, "kind": kind, "container": container, "outcome": outcome, "detail": detail}

    records = [
        record(5, "remove", "books-green-1", detail="of an earlier one"), record(11, "start", "books-green-1"),
        record(12, "start", "books-blue-4"), record(13, "start", "books-green-2"), record(14, "start", "books-green-3"),
        record(15, "start", "books-green-4", "failed", "no such image"),
        record(16, "remove", "books-green-1", detail="no database\n"), record(17, "remove", "books-green-2", "started"),
        record(18, "stop", "books-green-3"), record(19, "redeploy", "", "failed", "the playbook's last line"),
        {"id": 0, "outcome": "damaged"},
    ]
    assert release_progress.find_last_words(records, 10, "books-green") == (
        {"books-green-4": "no such image", "books-green-1": "no database", "redeploy": "the playbook's last line"},
        ["books-green-2"])
