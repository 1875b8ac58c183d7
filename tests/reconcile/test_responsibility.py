"""Which node acts for a service, and what is said if none does."""

from collections.abc import Iterable

import pytest

from lictor import model
from lictor.planner.desired import Desired
from lictor.reconcile import actors, responsibility
from lictor.spec.service_spec import Spec


def instance(node: str, container_id: str = "c1") -> model.Instance:
    return model.instance({"Node": {"Node": node}, "Checks": [], "Service": {
        "ID": "books-1", "Service": "books", "Port": 8080, "Meta": {model.META_CONTAINER: container_id}}})


@pytest.mark.parametrize(("engine", "node", "nodes", "lictor_nodes", "instances", "said"), [
    ("docker", "vm1", ["vm1", "vm2"], ["vm1", "vm2"], [instance("vm1")], ""),
    ("docker", "vm1", ["vm2"], ["vm2"], [instance("vm2")],
     "nobody acts: vm1 is not in Consul; its containers run on vm2. If its name has changed, `lictor apply` the spec "
     "with `node: NEW-NAME`"),
    ("docker", "vm1", ["vm2", "vm3"], ["vm2"], [instance("vm3"), instance("vm2")],
     "nobody acts: vm1 is not in Consul; its containers run on vm2, vm3. If"),
    ("docker", "vm1", ["vm2"], [], [], "nobody acts: vm1 is not in Consul. If its name has changed"),
    ("docker", "vm1", ["vm2"], ["vm2"], [instance("vm2", "")], "nobody acts: vm1 is not in Consul. If"),
    ("docker", "vm1", ["vm1", "vm2"], ["vm2"], [instance("vm1")],
     "nobody acts: node vm1 is in Consul without a service `lictor`. Nothing is started, healed or removed until"),
    ("docker", "vm1", ["vm1"], [], [], ""),  # the token may not see the service lictor
    ("docker", "vm1", [], [], [], ""),  # nor the nodes
    ("swarm", "", ["vm2"], ["vm2"], [], ""),
    ("none", "", ["vm2"], ["vm2"], [], ""),
])
def test_nobody_acts_for_a_service_whose_node_is_not_there(
        engine: str, node: str, nodes: list[str], lictor_nodes: list[str], instances: Iterable[model.Instance],
        said: str) -> None:
    spec = Spec(name="books", engine=engine, node=node, image="books:1")
    service = Desired("books", spec, {}, 1, "", "", "", False, ())
    text = responsibility.describe_nobody(service, instances, frozenset(nodes), frozenset(lictor_nodes), {})
    assert text.startswith(said) and bool(text) == bool(said)


@pytest.mark.parametrize(("engine", "node", "acts", "alive", "said"), [
    ("command", "", {"a": {"command": True}, "b": {"command": False}, "c": {"command": False}}, "bc",
     "on hold: node a does not answer"),
    ("swarm", "", {"a": {"swarm": True}, "b": {"swarm": True}, "c": {"swarm": False}}, "c",
     "on hold: nodes a, b do not answer"),
    ("swarm", "", {"a": {"swarm": True}, "b": {"swarm": True}, "c": {"swarm": False}}, "bc", ""),
    ("command", "", {"a": {"command": True}, "b": {"command": False}}, "bc", ""),  # c may act: it told nothing
    ("command", "", {each: {"command": False} for each in "abc"}, "bc", ""),  # nobody acts, which is said instead
    ("command", "", {"a": {"command": True}}, "", ""),  # the token may not see nodes
    ("docker", "a", {}, "bc", "on hold: node a does not answer"), ("docker", "b", {}, "bc", ""),
    ("none", "", {}, "bc", ""),
])
def test_no_node_answers_that_may_act(engine: str, node: str, acts: actors.Acts, alive: str, said: str) -> None:
    service = Desired("books", Spec(name="books", engine=engine, node=node, image="books:1"), {}, 1, "", "", "", False,
                      ())
    assert responsibility.describe_no_answer(service, frozenset("abc"), acts, frozenset(alive)) == said


@pytest.mark.parametrize(("engine", "lictor_nodes", "acts", "said"), [
    ("command", ["a", "b"], {"a": {"command": False}, "b": {"command": False}},
     "nobody acts: no node with lictor (a, b) has [command] in its settings. Nothing is started, healed or removed "
     "until one has"),
    ("webhook", ["a"], {"a": {"command": True, "webhook": False}},
     "nobody acts: no node with lictor (a) has [webhook] in its settings."),
    ("swarm", ["a"], {"a": {"swarm": False}},
     "nobody acts: no node with lictor (a) is a manager of a Swarm. Nothing is started, healed or removed until one "
     "is"),
    ("command", [*"abcdef"], {each: {"command": False} for each in "abcdef"},
     "nobody acts: no node with lictor (a, b, c, d, e, ...) has"),
    ("command", ["a", "b"], {"a": {"command": False}, "b": {"command": True}}, ""),
    ("command", ["a", "b"], {"a": {"command": False}}, ""),  # an older lictor tells nothing
    ("swarm", ["a"], {"a": {"command": False}}, ""),  # its engine could not be asked yet
    ("command", ["a"], {"a": {"command": False}, "gone": {"command": True}},  # which left Consul since
     "nobody acts: no node with lictor (a) has [command]"),
    ("command", [], {"a": {"command": False}}, ""),  # the token may not see the service lictor
    ("none", ["a"], {"a": {"command": False}}, ""),
])
def test_nobody_acts_for_a_scheduler_s_service_if_every_node_said_so(
        engine: str, lictor_nodes: list[str], acts: actors.Acts, said: str) -> None:
    service = Desired("books", Spec(name="books", engine=engine, image="books:1"), {}, 1, "", "", "", False, ())
    text = responsibility.describe_nobody(service, [], frozenset("ab"), frozenset(lictor_nodes), acts)
    assert text.startswith(said) and bool(text) == bool(said)
