"""What doctor says of the sets on a node: who does not reach whom; one member's failure hides no other's."""

from types import SimpleNamespace
from typing import Any

import pytest

from lictor import errors
from lictor.cli.setup import findings, set_tests
from lictor.cli.setup.findings import Finding
from lictor.planner.cluster.decide import decide
from lictor.planner.cluster.observation import Link
from lictor.reconcile import observe
from lictor.reconcile.cluster import seeds
from lictor.reconcile.cluster.look import Look
from lictor.reconcile.cluster.record import Record, Stored
from lictor.spec.cluster import Place
from lictor.spec.settings import Settings

from support.cluster_table import BLANK, KNOWN, seen

UP, LOST = Link(True), Link(False, "its connection is lost")
ALL = ("1 primary", "2 secondary", "3 secondary")


class Told:
    """A kind whose members tell what stands in a table."""

    def __init__(self, table: dict[str, Any]) -> None:
        self.table = table

    def ask_links(self, member: str, address: str) -> dict[str, Link]:
        assert member == f"client of {address}"
        found = self.table.get(address, dict.fromkeys({"a1", "a2", "a3"} - {address}, UP))
        if isinstance(found, Exception):
            raise found
        return dict(found)


def examined(monkeypatch: pytest.MonkeyPatch, lines: tuple[str, ...], table: dict[str, Any], **changes: Any) -> Finding:
    observed, kept = seen(*lines, **changes), KNOWN if lines else BLANK
    places = {slot.number: Place("etcd", "", f"client of {slot.address}", slot.address, {}) for slot in observed.slots}
    kind: Any = Told(table)
    look = Look(observed, Stored(Record(kept=kept), 1), decide(observed, kept), places, {}, kind, seeds.Told("", None))
    monkeypatch.setattr(observe, "one", lambda *_: SimpleNamespace(look=look))
    monkeypatch.setattr(set_tests, "_list_sets", lambda _: ["db"])
    client: Any = SimpleNamespace(agent=lambda: SimpleNamespace(name="node-1"))
    [test] = set_tests.list_tests(Settings(), client)
    assert (test.name, test.needs) == ("set db", "Docker")
    return findings.find(test, None)


@pytest.mark.parametrize(("lines", "table", "ok", "says"), [
    (ALL, {}, True, "each of 3 members says that it reaches the others, at the addresses of the configuration"),
    (("1 primary",), {}, True, "it has one member, and no other to reach"),
    (ALL, {"a1": {"a2": UP, "a3": LOST}}, False, "db-1 does not reach db-3 at a3: its connection is lost"),
    (ALL, {"a1": {"a2": UP, "a3": Link(None, "why")}}, None,
     "not known: db-1 does not tell whether db-3 is reached at a3: why"),
    (ALL, {"a1": errors.Unavailable("no  answer."), "a2": {"a1": UP, "a3": LOST}}, False,
     "db-1 gives no answer: no answer; db-2 does not reach db-3 at a3: its connection is lost"),
    (ALL, {"a2": RecursionError("deep")}, False, "db-2 gives no answer: RecursionError('deep')"),
    (ALL, {"a2": {"a1": UP}, "a3": {"a1": LOST, "a2": UP}}, False,
     "db-3 does not reach db-1 at a1: its connection is lost; not known: db-2 does not tell whether db-3 is reached"),
    (("1 primary", "2 secondary", "3 silent"), {"a1": {"a2": UP, "a3": LOST}}, False,
     "db-3 gives no answer: refused; db-1 does not reach db-3 at a3"),
    (("1 primary", "2 secondary", "3 silent stopped"), {}, False, "db-3 gives no answer: its container is exited"),
    (("1 primary", "2 secondary", "3 silent gone"), {}, False, "db-3 gives no answer: its container is not there"),
    (("1 silent", "2 silent", "3 silent"), {}, False, "db-1 gives no answer: its container is running"),
    (("1 primary", "2 secondary", "3 silent out"), {"a1": {"a2": UP}}, True, "each of 2 members"),  # no member yet
])
def test_who_does_not_reach_whom_is_named(monkeypatch: pytest.MonkeyPatch, lines: tuple[str, ...],
                                          table: dict[str, Any], ok: bool | None, says: str) -> None:
    found = examined(monkeypatch, lines, table, silences={"db-3": "refused"} if lines[-1] == "3 silent" else {})
    assert (found.ok, says in found.detail) == (ok, True), found
    assert ("firewall" in found.remedy and "key file" in found.remedy) == (ok is False)


def test_a_set_that_is_not_made_yet_is_not_called_well(monkeypatch: pytest.MonkeyPatch) -> None:
    found = examined(monkeypatch, (), {})
    assert (found.ok, found.detail) == (None, "not tested: no member says that it belongs to a set, and none is known")


@pytest.mark.parametrize(("failure", "says"), [
    (errors.Refused("env_file: no"), "env_file: no"), (KeyError("x"), "unreadable: KeyError('x')")])
def test_a_set_that_cannot_be_read_is_a_finding(monkeypatch: pytest.MonkeyPatch, failure: Exception,
                                                says: str) -> None:
    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(observe, "one", fail)
    with pytest.raises(errors.LictorError, match="^" + says.replace("(", r"\(").replace(")", r"\)")):
        set_tests._test(SimpleNamespace(), "db")  # type: ignore[arg-type]


def test_without_consul_the_sets_are_not_known() -> None:
    def fail() -> None:
        raise errors.Unavailable("refused")

    client: Any = SimpleNamespace(agent=fail)
    [test] = set_tests.list_tests(Settings(), client)
    assert findings.find(test, None) == Finding("sets", False, "refused", test.remedy) and test.needs == "Consul"
