"""The planner's rules as tables; nothing runs here."""

from typing import Any

import pytest

from lictor import errors
from lictor.planner import backoff, desired, next_state, observation, plan, self_preservation
from lictor.planner.actions import Act, replaced_by
from lictor.planner.observation import Observer, Reservation
from lictor.planner.service_state import Breaker, Failures, State
from lictor.spec import settings

from support.scene import NOW, SPEC, scene, state_of


def decided(seen: observation.Observation) -> list[str]:
    return [f"{each.kind} {each.container}".strip() for each in plan.plan(seen)]


def why(seen: observation.Observation) -> str:
    return " | ".join(each.reason for each in plan.plan(seen))


@pytest.mark.parametrize(("replicas", "conditions", "expected"), [
    (0, [], []),
    (1, [], ["start books-1"]),
    (2, ["passing", "passing"], []),
    (2, ["passing", "warning"], []),
    (2, ["passing", "maintenance"], ["hold books-2"]),
    (3, ["passing"], ["start books-2", "start books-3"]),
    (3, ["passing", "absent", "passing"], ["start books-2"]),
    (1, ["passing", "passing"], ["drain books-2"]),
    (0, ["passing"], ["drain books-1"]),
    # of a surplus the worst go first, then the newest
    (1, ["passing", "critical", "passing"], ["drain books-2", "drain books-3"]),
    (2, ["unhealthy", "passing", "passing"], ["drain books-1"]),
    (1, ["maintenance", "passing"], ["drain books-1"]),
    # what does not run is a fact: its remains go, and its number is free again
    (2, ["passing", "gone"], ["remove books-2", "start books-2"]),
    (1, ["passing", "gone"], ["remove books-2"]),
    (3, ["gone", "gone", "gone"], [f"remove books-{n}" for n in (1, 2, 3)] + [f"start books-{n}" for n in (1, 2, 3)]),
    # critical is judged: first the grace, then a replacement
    (3, ["passing", "passing", "critical"], ["wait books-3"]),
    (3, ["passing", "passing", "unhealthy"], ["start books-4"]),
    (1, ["unhealthy"], ["start books-2"]),
    # one at a time, and the next only when no other is starting
    (5, ["unhealthy", "passing", "passing", "passing", "unhealthy"], ["start books-6"]),
    (3, ["passing", "critical young", "unhealthy"], ["wait books-2"]),
    # start-up: critical and not registered are no illness yet
    (1, ["critical young"], ["wait books-1"]),
    (1, ["unregistered young"], ["wait books-1"]),
    (0, ["unregistered young"], ["wait books-1"]),
    (0, ["unregistered"], ["remove books-1"]),
    (1, ["unregistered"], ["wait books-1"]),
    # what nginx may still send requests to is not removed because its registration cannot be seen
    (0, ["vanished"], ["wait books-1"]),
    (1, ["vanished"], ["wait books-1"]),
    (1, ["passing", "vanished"], ["wait books-2"]),
    # the last that passes stays, whatever the count says
    (1, ["unhealthy", "unhealthy"], ["hold books-2", "start books-3"]),
    (1, ["unhealthy", "critical young"], ["hold books-1", "wait books-2"]),
])
def test_count_and_illness_decide(replicas: int, conditions: list[str], expected: list[str]) -> None:
    assert decided(scene(replicas, *conditions)) == expected


@pytest.mark.parametrize(("replicas", "conditions", "reserved", "expected"), [
    # the replacement has to pass, then the ill one is drained
    (3, ["passing", "passing", "unhealthy", "critical young"], "3", ["wait books-4"]),
    (3, ["passing", "passing", "unhealthy", "passing"], "3", ["drain books-3"]),
    (1, ["unhealthy", "passing"], "1", ["drain books-1"]),
    (1, ["unhealthy", "critical young"], "1", ["wait books-2"]),
    # of two, the second has to wait until the first is replaced
    (2, ["unhealthy", "unhealthy", "critical young"], "1", ["wait books-3"]),
    (2, ["unhealthy", "unhealthy", "critical"], "1", ["wait books-3"]),
    (2, ["unhealthy", "unhealthy", "passing"], "1", ["drain books-1"]),
    # a replacement that is no better goes itself, the first stays
    (1, ["unhealthy", "unhealthy never"], "1", ["drain books-2"]),
    (3, ["passing", "passing", "unhealthy", "unhealthy never"], "3", ["drain books-4"]),
    # when no one passes, not even the replacement, there has to be another before anybody goes
    (1, ["unhealthy", "unhealthy"], "1", ["hold books-1", "start books-3"]),
    (2, ["maintenance", "unhealthy", "unhealthy"], "2", ["hold books-2", "start books-4", "hold books-1"]),
    (1, ["unhealthy", "unhealthy", "critical young"], "12", ["wait books-3"]),
    (1, ["unhealthy", "unhealthy", "passing"], "12", ["drain books-2", "drain books-1"]),
    (1, ["unhealthy", "unhealthy", "unhealthy never"], "12", ["drain books-3", "hold books-2"]),
    # one that recovered meanwhile makes its replacement a surplus
    (2, ["passing", "passing", "passing"], "1", ["drain books-3"]),
])
def test_a_replacement_has_to_pass_first(replicas: int, conditions: list[str], reserved: str,
                                         expected: list[str]) -> None:
    assert decided(scene(replicas, *conditions, reserved=reserved)) == expected


@pytest.mark.parametrize(("conditions", "replicas", "reserved", "expected"), [
    (["unhealthy"], 1, "", ["confirm books-1"]),
    (["unhealthy", "passing"], 1, "1", ["confirm books-1"]),
    (["passing", "passing"], 1, "", ["confirm books-2"]),
    (["unregistered"], 0, "", ["confirm books-1"]),
    (["passing", "gone"], 2, "", ["remove books-2", "start books-2"]),
])
def test_what_runs_is_touched_only_after_a_consistent_reading(conditions: list[str], replicas: int, reserved: str,
                                                              expected: list[str]) -> None:
    assert decided(scene(replicas, *conditions, reserved=reserved, certain=False)) == expected


@pytest.mark.parametrize(("minimum", "conditions", "expected"), [
    (0, ["passing", "passing", "unhealthy"], ["drain books-3"]),
    (1, ["passing", "passing", "unhealthy"], ["drain books-3"]),
    (2, ["passing", "passing", "unhealthy"], ["hold books-3"]),
    (1, ["passing", "warning", "unhealthy", "draining"], ["wait books-4", "wait books-3"]),
    (0, ["passing", "passing", "absent", "draining"], ["wait books-4", "wait books-3"]),
])
def test_at_the_most_replicas_one_is_replaced_in_place(minimum: int, conditions: list[str],
                                                       expected: list[str]) -> None:
    seen = scene(3, *conditions, spec={"replicas": {"min": minimum, "initial": 3, "max": 3}})
    assert decided(seen) == expected


def test_a_replacement_in_place_asks_for_the_budget_and_a_singleton_is_held() -> None:
    limits = {"replicas": {"min": 0, "initial": 1, "max": 2}}
    assert [replaced_by(each) for each in plan.plan(scene(2, "passing", "unhealthy", spec=limits))
            if isinstance(each, Act)] == ["c2"]
    single = scene(1, "unhealthy", spec={"replicas": {"min": 0, "initial": 1, "max": 1}})
    assert decided(single) == ["hold books-1"] and "replicas.max is 1, so none can be started beside it" in why(single)


@pytest.mark.parametrize(("stood_s", "kind"), [(0, "wait"), (59, "wait"), (60, "drain")])
def test_a_surplus_has_to_stand(stood_s: float, kind: str) -> None:
    for seen in (scene(1, "passing", "passing", state={"surplus_since": NOW - stood_s}),
                 scene(2, "passing", keys={"removed": b""}, state={"surplus_since": NOW - stood_s})):
        assert [each.kind for each in plan.plan(seen)] == [kind]


CROWD = ["passing", "unhealthy", "passing", "passing", "passing"]


@pytest.mark.parametrize(("conditions", "observer", "said"), [
    (["unhealthy", "unhealthy", "passing"], {}, "2 of 3 instances are critical at once"),
    (["unhealthy", "critical", "passing"], {}, "2 of 3 instances are critical at once"),
    (["unhealthy", "unhealthy", "passing", "passing"], {}, ""),  # half is not more than half
    (["unhealthy", "unhealthy"], {}, ""),  # too few to tell
    (["unhealthy", "unhealthy", "passing", "draining"], {}, "2 of 3 instances are critical at once"),
    (CROWD, {"also_failing": ("carts",)}, ""),
    (CROWD, {"also_failing": ("carts", "pay")}, "carts, pay on this node began to fail at the same time"),
    (["unhealthy", "passing"], {"also_failing": ("carts", "pay")}, ""),
    (CROWD, {"nginx_trouble": "no answer"}, "nginx itself fails: no answer"),
    (["unhealthy"], {"nginx_trouble": "no answer"}, "nginx itself fails: no answer"),
    (CROWD, {"agent_age_s": 29.0}, "Consul's agent was started less than 30 s ago"),
    (CROWD, {"agent_age_s": 30.0}, ""),
    (["unhealthy"], {"unreadable_s_ago": 3.0}, "an answer could not be read less than 30 s ago"),
])
def test_the_observer_is_suspected_rather_than_many(conditions: list[str], observer: dict[str, Any],
                                                    said: str) -> None:
    seen = scene(len(conditions) - conditions.count("draining"), *conditions, observer=Observer(**observer))
    found = self_preservation.doubt(seen)
    assert (found.why if found else "") == said
    touched = [each for each in plan.plan(seen) if isinstance(each, Act)]
    assert len(touched) == (0 if said else 1)
    assert said in why(seen)


def test_blindness_keeps_a_surplus_too_but_suspicion_does_not() -> None:
    young = Observer(agent_age_s=1.0)
    assert decided(scene(1, "passing", "passing", observer=young)) == ["wait books-2"]
    removed = scene(2, "passing", "passing", keys={"removed": b""}, observer=young)
    assert decided(removed) == ["wait books-2", "wait books-1"]
    assert decided(scene(3, "unhealthy", "unhealthy", "passing", "passing")) == ["drain books-2"]


def test_a_node_that_consul_takes_for_dead_judges_nobody() -> None:
    seen = scene(2, "passing", "unhealthy", "passing")
    dead = seen._replace(instances=tuple(each._replace(node_alive=False) for each in seen.instances))
    assert {each.kind for each in plan.plan(dead)} == {"hold"} and "serfHealth" in why(dead)


def test_registrations_that_cannot_be_seen_hold_everything() -> None:
    seen = scene(1, "vanished", "vanished", "unregistered")
    assert {each.kind for each in plan.plan(seen)} <= {"wait", "hold"}


def test_a_doubt_is_remembered_until_a_consistent_reading_gives_no_reason() -> None:
    held = {"doubt": "2 of 3 instances are critical at once"}
    one_is_left = scene(3, "passing", "passing", "unhealthy", state=held, certain=False)
    assert decided(one_is_left) == ["hold books-3", "confirm"]
    assert decided(scene(3, "passing", "passing", "passing", state=held, certain=False)) == ["confirm"]
    assert decided(scene(3, "passing", "passing", "passing", state=held)) == []


@pytest.mark.parametrize(("most", "expected"), [(2, ["drain books-1"]), (3, ["start books-3"])])
def test_one_that_became_ill_like_the_one_it_replaces_is_replaced_too(most: int, expected: list[str]) -> None:
    seen = scene(1, "unhealthy", "unhealthy", reserved="1", spec={"replicas": {"min": 0, "max": most}})
    acts = [f"{each.kind} {each.container}" for each in plan.plan(seen) if isinstance(each, Act)]
    assert acts == expected


def test_nobody_makes_room_where_the_breaker_is_open() -> None:
    seen = scene(1, "unhealthy", "unhealthy", reserved="1", spec={"replicas": {"min": 0, "max": 2}},
                 state={"breaker": Breaker(NOW - 5, "its budget is spent")})
    assert not [each for each in plan.plan(seen) if isinstance(each, Act)]


def test_one_that_is_well_and_drains_comes_back_for_one_that_is_ill() -> None:
    seen = scene(1, "unhealthy", "draining passing", serving=frozenset({("node-1", "s1")}), in_flight={"c2": 1},
                 spec={"replicas": {"min": 0, "max": 2}})
    well = [each._replace(status="passing") if each.service_id == "s2" else each for each in seen.instances]
    assert "undrain books-2" in decided(seen._replace(instances=tuple(well)))


def test_the_last_that_an_nginx_lists_is_of_use_when_one_of_its_registrations_passes() -> None:
    seen = scene(1, "draining late", spec={"drain": "5s"}, serving=frozenset({("node-1", "s1")}))
    stray = seen.instances[0]._replace(service_id="twin", maintenance=f"lictor: draining since {int(NOW) - 9}: x")
    well = seen.instances[0]._replace(status="passing")
    assert "wait books-1" in decided(seen._replace(instances=(well, stray)))
    assert "remove books-1" in decided(seen)


def reserved(count: int, *, service: str = "books", ago_s: float = 30) -> tuple[Reservation, ...]:
    return tuple(Reservation(service, f"x{number}", NOW - ago_s) for number in range(count))


@pytest.mark.parametrize(("reservations", "kind", "said"), [
    (reserved(2), "start", ""),
    (reserved(3), "hold", "its budget is spent: 3 of 3 replaced within 10 min"),
    (reserved(3, ago_s=600), "start", ""),
    (reserved(3, ago_s=-5), "hold", "its budget is spent"),  # a clock that was wrong
    (reserved(9, ago_s=-1e6), "start", ""),
    (reserved(4, service="carts"), "start", ""),
    (reserved(5, service="carts"), "hold", "the fleet's budget is spent: 5 of 5 replaced within 10 min"),
])
def test_the_budget_limits_what_is_replaced(reservations: tuple[Reservation, ...], kind: str, said: str) -> None:
    seen = scene(3, "passing", "passing", "unhealthy", reservations=reservations)
    assert [each.kind for each in plan.plan(seen)] == [kind] and said in why(seen)


def test_what_dies_needs_no_budget() -> None:
    seen = scene(3, "passing", "passing", "gone", reservations=reserved(9), state={"breaker": Breaker(NOW, "x")})
    assert decided(seen) == ["remove books-3", "start books-3"]


@pytest.mark.parametrize(("opened_s_ago", "tried_s_ago", "kind"), [
    (10, None, "hold"), (1799, None, "hold"), (1800, None, "start"), (4000, 1799, "hold"), (4000, 1800, "start"),
    (1800, -1e6, "start"),
])
def test_an_open_breaker_allows_one_try_every_half_hour(opened_s_ago: float, tried_s_ago: float | None,
                                                        kind: str) -> None:
    tries = reserved(1, ago_s=tried_s_ago) if tried_s_ago else ()
    seen = scene(3, "passing", "passing", "unhealthy", reservations=tries,
                 state={"breaker": Breaker(NOW - opened_s_ago, "its budget is spent")})
    assert [each.kind for each in plan.plan(seen)] == [kind]


def test_what_was_refused_of_one_number_keeps_no_lower_one_from_its_restart() -> None:
    """As with a fixed name in a compose file: there can be one, and that one has to come back when it ends."""
    refused = {"failures": {"2": Failures(2, NOW - 5, "there can be one only", True)}}
    assert decided(scene(2, "gone", state=refused)) == ["remove books-1", "start books-1", "hold books-2"]
    assert decided(scene(3, "passing", state=refused)) == ["hold books-2"]


def test_a_start_that_was_refused_is_one_hold_for_all_and_no_back_off_of_each() -> None:
    """What a compose file with a `container_name` says to three replicas, say."""
    twice = "Conflict. The name /books is in use.\n" * 20
    state = next_state.start_failed(State(), 2, errors.Refused(twice), NOW - 5)
    seen = scene(3, "passing", state={"failures": state.healing.failures})
    (hold,) = plan.plan(seen)
    assert hold.kind == "hold" and hold.container == "books-2" and "is tried again every 5 min" in hold.reason
    assert len(hold.reason) < 500 and "\n" not in hold.reason
    assert decided(seen._replace(now=NOW + 300)) == ["start books-2", "start books-3"]
    assert next_state.causes(seen)["gave up 2"].startswith("refused: books-2 failed 2 times: Conflict.")
    assert backoff.trouble(state) == f"refused: {' '.join(twice.split())[:300]}"
    assert decided(seen._replace(state=next_state.afresh(seen.state))) == ["start books-2", "start books-3"]
    dying = scene(2, "passing", state={"failures": {"2": Failures(3, NOW - 5, "books-2 is exited with exit code 3")}})
    assert why(dying).startswith("backing off: it failed 3 times: books-2 is exited with exit code 3. Would start")


def test_fleet_and_service_budgets_are_settings() -> None:
    seen = scene(3, "passing", "passing", "unhealthy", reservations=reserved(3), spec={
        "heal": {"grace": "10s", "budget": 4, "per": "1h"}}, rules=settings.Heal(budget=3))
    assert "the fleet's budget is spent: 3 of 3" in why(seen)
    assert decided(seen._replace(rules=settings.Heal(budget=4))) == ["start books-4"]


@pytest.mark.parametrize(("fields", "condition", "expected"), [
    ({"in_flight": {"c2": 0}, "idle_reads": {"c2": 3}}, "draining", "remove"),
    ({"in_flight": {"c2": 0}, "idle_reads": {"c2": 2}}, "draining", "wait"),
    ({"in_flight": {"c2": 1}, "idle_reads": {}}, "draining", "wait"),
    ({"in_flight": {"c2": None}, "idle_reads": {}}, "draining", "wait"),
    ({"in_flight": {"c2": 0}, "idle_reads": {"c2": 3}, "serving": frozenset({("node-1", "s2")})}, "draining", "wait"),
    ({"in_flight": {"c2": 1}, "serving": frozenset({("node-1", "s1"), ("node-1", "s2")})}, "draining late", "remove"),
    # the last one that an nginx lists, and that is well, is not taken from it, as long as the service is wanted
    ({"in_flight": {"c2": 1}, "serving": frozenset({("node-1", "s2"), ("node-1", "s9")})}, "passing draining late",
     "wait"),
    ({"in_flight": {"c2": 1}, "serving": frozenset({("node-1", "s2")})}, "passing draining late", "wait"),
    ({"in_flight": {"c2": 1}, "serving": frozenset({("node-1", "s2")})}, "draining late", "remove"),
])
def test_a_drain_ends_when_idle_and_listed_by_no_nginx_or_at_its_deadline(
        fields: dict[str, Any], condition: str, expected: str) -> None:
    assert decided(scene(1, "passing", condition, **fields)) == [f"{expected} books-2"]


def test_of_two_that_drain_and_are_all_that_an_nginx_lists_one_stays() -> None:
    listed = frozenset({("node-1", "s1"), ("node-1", "s2")})
    seen = scene(1, "passing draining late", "passing draining late", "gone", serving=listed)
    assert decided(seen) == ["remove books-3", "wait books-2", "undrain books-1"]


def test_a_drain_is_taken_back_when_the_instance_is_wanted_again_and_well() -> None:
    assert decided(scene(2, "passing", "passing draining")) == ["undrain books-2"]
    assert decided(scene(2, "passing", "draining")) == ["wait books-2", "start books-3"]
    assert decided(scene(1, "passing", "passing draining")) == ["wait books-2"]


def test_a_start_in_the_future_is_no_start_up_for_ever() -> None:
    seen = scene(1, "unhealthy never")._replace(clock_set_at=NOW - 61)
    assert decided(seen._replace(containers=(seen.containers[0]._replace(started_at=NOW + 1e6),))) == ["start books-2"]


@pytest.mark.parametrize(("count", "earliest_s", "latest_s"), [
    (1, 0, 0), (2, 7.5, 10), (3, 15, 20), (4, 30, 40), (7, 225, 300), (5000, 225, 300),
])
def test_starts_back_off_after_deaths(count: int, earliest_s: float, latest_s: float) -> None:
    waits = [backoff.retry_at("books", f"{number}", Failures(count, NOW)) - NOW for number in range(50)]
    assert earliest_s <= min(waits) <= max(waits) <= latest_s
    assert count == 1 or len(set(waits)) > 40  # they do not all come back together


def test_one_that_keeps_dying_does_not_delay_the_others() -> None:
    seen = scene(3, "gone", "gone", "passing", state={"failures": {"1": Failures(4, NOW)}})
    assert decided(seen) == ["remove books-1", "remove books-2", "wait books-1", "start books-2"]


@pytest.mark.parametrize("keys", [{"hold": b""}, {"hold": b"until Monday"}])
def test_hold_explains_and_touches_nothing(keys: dict[str, bytes]) -> None:
    (action,) = plan.plan(scene(2, "passing", keys=keys, certain=False))
    assert action.kind == "hold" and "on hold: the hold key is set (" in action.reason
    assert action.reason.endswith("Would start books-2 (replicas key is 2, 1 run).")


def test_without_a_spec_or_a_tombstone_nothing_is_touched() -> None:
    remembered = state_of(spec=SPEC, replicas=1)
    seen = scene(1, "passing", "passing")._replace(desired=desired.desired("books", {}, remembered))
    assert {each.kind for each in plan.plan(seen)} == {"hold"}


def test_a_tombstone_drains_all() -> None:
    assert decided(scene(2, "passing", "unhealthy", keys={"removed": b""})) == ["drain books-2", "drain books-1"]


@pytest.mark.parametrize("mark", ["²: x", "lunch", f"{'9' * 400}: x", "-1: x", "1"])
def test_a_draining_mark_that_is_not_ours_is_some_maintenance(mark: str) -> None:
    seen = scene(0, "passing")
    marked = seen._replace(instances=(seen.instances[0]._replace(maintenance=f"{observation.DRAINING}{mark}"),))
    assert decided(marked) == ["drain books-1"]


def test_a_tombstone_drains_the_other_colour_too() -> None:
    seen = scene(2, "passing", "passing", keys={"removed": b""})
    first, second = seen.containers
    coloured = seen._replace(containers=(first, second._replace(color="green")))
    assert decided(coloured) == ["drain books-2", "drain books-1"]
