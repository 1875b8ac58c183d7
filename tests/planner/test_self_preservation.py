"""Which other services count as failing at the same time; that and what follows from it are tables in test_plan.py."""

import pytest

from lictor.planner import self_preservation
from lictor.planner.service_state import State

from support.scene import NOW, SPEC, scene, state_of

ILL = scene(3, "passing", "passing", "unhealthy")  # since NOW - 19.7


def failing(*since: float, node: str = "node-1") -> State:
    return state_of(spec={**SPEC, "node": node}, critical_since={f"x{at}": at for at in since})


@pytest.mark.parametrize(("states", "expected"), [
    ({}, ()),
    ({"books": failing(NOW - 20)}, ()),  # it is this service itself
    ({"carts": failing(NOW - 20), "pay": failing(NOW - 1)}, ("carts", "pay")),
    ({"carts": failing()}, ()),
    ({"carts": failing(NOW - 20, node="node-2")}, ()),
    ({"carts": failing(NOW - 300)}, ()),  # it has been failing for long: that is no sign of a common cause
    ({"carts": failing(NOW - 300, NOW - 25)}, ("carts",)),
    ({"carts": state_of(critical_since={"x": NOW})}, ()),  # whose node it is cannot be told
])
def test_who_began_to_fail_at_about_the_same_time(states: dict[str, State], expected: tuple[str, ...]) -> None:
    assert self_preservation.failing_too(ILL, states, "node-1") == expected


def test_who_is_well_compares_with_nobody() -> None:
    assert self_preservation.failing_too(scene(3, *["passing"] * 3), {"carts": failing(NOW)}, "node-1") == ()


def test_services_that_are_ill_one_after_the_other_are_not_suspected_for_ever() -> None:
    """After a doubt has ended, each is still compared by when it began to fail."""
    states = {"carts": failing(NOW - 100), "pay": failing(NOW - 200)}
    held = ILL._replace(state=scene(3, "passing", "passing", "unhealthy", state={"trusted_since": NOW - 1}).state)
    assert self_preservation.failing_too(held, states, "node-1") == ()
