"""Observations of every kind for the planner's properties: mostly orderly ones, so that there is something to decide,
and then, in most of them, some disorder. Drawn from a `Random`: hypothesis's own, or one with a seed."""

import re
from random import Random
from typing import Any

import msgspec

from lictor.model import Container, Instance
from lictor.planner import desired
from lictor.planner.observation import DRAINING, Observation, Observer, Reservation
from lictor.planner.service_state import Breaker, Failures
from lictor.spec import settings
from lictor.spec.quantities import Duration

from support.scene import NOW, SPEC, fields_of, state_of

STATUSES = ("running", "paused", "restarting", "created", "exited", "dead", "removing")
WORDS = {"passing": 50, "unhealthy": 22, "critical": 3, "never": 6, "young": 3, "gone": 5, "draining": 7, "late": 4,
         "maintenance": 2, "vanished": 2, "unregistered": 3}
MARKS = (None, "", "by hand", DRAINING + "0: x", f"{DRAINING}{int(NOW) - 5}: x", DRAINING + "999999999999: x",
         DRAINING + "²: x", DRAINING + "soon")
DRAIN_MARK = re.compile(r"lictor: draining since [0-9]{1,12}: .*", re.DOTALL)
TIMES = (0.0, NOW - 86_000, NOW - 2000, NOW - 700, NOW - 45, NOW - 1, NOW, NOW + 40, NOW + 1e9)


def orderly(r: Random) -> Observation:
    """One container for each word, as real runs have them."""
    least = r.choice((0, 0, 1, 2))
    target = max(least, r.choice((0, 1, 1, 2, 3, 3, 4, 5)))
    most = target + r.choice((0, 0, 1, 1, 3, 3)) or 1
    spec = {**SPEC, "replicas": {"min": least, "initial": least, "max": most}, "drain": r.choice(("0s", "30s")),
            "heal": {"grace": r.choice(("0s", "10s")), "budget": r.choice((0, 1, 3, 3, 3)), "per": "10m"}}
    if r.random() < 0.05:
        spec = {key: value for key, value in spec.items() if key not in ("port", "check")}
    if r.random() < 0.1:
        spec["release"] = {"strategy": "blue-green"}
    remembered = state_of(spec=r.choice((None, spec)), replicas=r.choice((None, target)), live=spec,
                          live_is_proven=True,
                          surplus_since=r.choice((0.0, NOW - 30, NOW - 1000, NOW - 1000, NOW - 1000)))
    wanted = desired.desired("books", _keys(r, spec, target), remembered)
    words = r.choices(tuple(WORDS), tuple(WORDS.values()), k=max(target + r.choice((-1, 0, 0, 0, 0, 1, 1, 1, 2)), 0))
    if r.random() < 0.5:  # most of them pass: else nearly everything is held by suspicion
        words = ["passing" if number % 2 else word for number, word in enumerate(words)]
    if target and r.random() < 0.05:
        words = ["unhealthy"] * (target + r.choice((0, 1)))
    seen = Observation(NOW, wanted, state=remembered, certain=r.random() < 0.85)
    for number, word in enumerate(words, start=1):
        seen = _with(r, seen, number, word)
    return seen._replace(
        serving=frozenset((each.node, each.service_id) for each in seen.instances if r.random() < 0.5),
        in_flight={each.id: r.choice((0, 0, 3, None)) for each in seen.containers},
        idle_reads={each.id: r.choice((0, 2, 3, 9)) for each in seen.containers},
    )


def anything(r: Random) -> Observation:
    """An orderly one, with as much disorder as comes."""
    seen = orderly(r)
    for _ in range(r.choice((0, 0, 1, 1, 2, 3, 5))):
        seen = r.choice((_odd_container, _odd_instance, _odd_memory, _odd_surroundings))(r, seen)
    return seen


def _keys(r: Random, spec: dict[str, Any], target: int) -> dict[str, bytes]:
    keys = {"spec": msgspec.json.encode(spec), "replicas": str(target).encode()}
    odd = r.random()
    if odd < 0.06:
        keys["removed"] = b""
    elif odd < 0.10:
        keys["hold"] = b"until Monday"
    elif odd < 0.13:
        del keys["spec"]
    elif odd < 0.16:
        keys["spec"] = r.choice((b"", b"{}", b'{"name": "carts"}', b"[" * 5000))
    elif odd < 0.20:
        keys["replicas"] = r.choice((b"", b"-1", b"99", b"many"))
    elif odd < 0.22:
        keys = {}
    elif odd < 0.24:
        keys["image"] = b"books:2"
    return keys


def _with(r: Random, seen: Observation, number: int, word: str) -> Observation:
    container_id, service_id, state, wanted = f"c{number}", f"s{number}", fields_of(seen.state), seen.desired
    started_at = NOW - (r.choice((5, 59)) if word == "young" else r.choice((61, 700, 5000)) + number)
    status = r.choice(("exited", "dead", "created")) if word == "gone" else "running"
    container = Container(container_id, f"{wanted.catalog_name}-{number}", "books", number, wanted.color, "books:1",
                          wanted.release, status, started_at, started_at, 137 if word == "gone" else None)
    seen = seen._replace(containers=(*seen.containers, container))
    if word not in ("never", "young", "unregistered"):
        state["passed_once"] = [*state["passed_once"], container_id]
    if word == "gone":
        state["counted_dead"] = [container_id]
        state["failures"] = {**state["failures"], str(number): Failures(r.choice((1, 3, 7)), NOW - r.choice((1, 100)))}
    if word in ("unhealthy", "never"):
        state["critical_since"] = {**state["critical_since"], container_id: NOW - 20 - number}
        if r.random() < 0.5:
            at = NOW - r.choice((20, 300, 900))
            seen = seen._replace(reservations=(*seen.reservations, Reservation("books", container_id, at)))
    if word not in ("gone", "vanished", "unregistered"):
        since_s = {"draining": 1, "late": 31}.get(word)
        mark = f"{DRAINING}{int(NOW) - since_s}: scale" if since_s else "by hand" if word == "maintenance" else None
        health = r.choice(("passing", "passing", "warning")) if word in (
            "passing", "draining", "late", "maintenance") else "critical"
        seen = seen._replace(instances=(*seen.instances, Instance(
            "node-1", service_id, wanted.catalog_name, "127.0.0.1", 32000 + number, health, True, mark, container_id)))
    return seen._replace(state=state_of(**state))


def _odd_container(r: Random, seen: Observation) -> Observation:
    container_id = f"c{len(seen.containers) + 1}"
    extra = Container(container_id, "books-9", "books", 9, "", "books:0", "", "running", NOW, 0.0, None)
    there = list(seen.containers) or [extra]
    at = r.randrange(len(there))
    change: dict[str, Any] = r.choice((
        {"status": r.choice(STATUSES)}, {"started_at": r.choice(TIMES)}, {"number": r.choice((-1, 0, 1, 2, 10**9))},
        {"color": r.choice(("", "blue", "green", "red"))}, {"release": "other"}))
    there[at] = there[at]._replace(**change)
    if r.random() < 0.2 and extra.id not in [each.id for each in there]:
        there.append(extra)
    return seen._replace(containers=tuple(there))


def _odd_instance(r: Random, seen: Observation) -> Observation:
    ids = [each.id for each in seen.containers]
    stray = Instance("node-2", "stray", "books", "", 0, "passing", True, None, r.choice(("", "gone", *ids)))
    there = list(seen.instances) or [stray]
    at = r.randrange(len(there))
    act = r.randrange(4)
    if act == 0:
        del there[at]
    elif act == 1:
        there = []
    elif act == 2:
        there[at] = there[at]._replace(**r.choice((
            {"status": r.choice(("passing", "warning", "critical", "maintenance", ""))}, {"node": "node-2"},
            {"maintenance": r.choice(MARKS)}, {"node_alive": False}, {"container_id": r.choice(("", "gone", *ids))})))
    else:
        twin = there[at]._replace(service_id="twin", status=r.choice(("passing", "critical")),
                                  maintenance=r.choice(MARKS))
        there += [stray, twin] if r.random() < 0.5 else [twin]
    return seen._replace(instances=tuple(there))


def _odd_memory(r: Random, seen: Observation) -> Observation:
    ids = [each.id for each in seen.containers]
    some = [each for each in ids if r.random() < 0.5]
    change: dict[str, Any] = r.choice((
        {"critical_since": {each: r.choice(TIMES) for each in some}, "trusted_since": r.choice(TIMES)},
        {"passed_once": some}, {"counted_dead": some},
        {"failures": {r.choice(("1", "2", "5", "x")): Failures(r.choice((-1, 1, 7, 2**70)), r.choice(TIMES))}},
        {"surplus_since": r.choice(TIMES)}, {"doubt": "2 of 3 instances are critical at once"},
        {"breaker": Breaker(r.choice(TIMES), "its budget is spent", r.choice(TIMES))}, {"causes": ["held"]},
        {"live": r.choice((None, {}, {"port": None}, {"environment": 5})), "live_is_proven": r.random() < 0.5},
        {"refused": ["services/books/spec: is no JSON"], "replicas": r.choice((-5, 10**9))}))
    return seen._replace(state=state_of(**{**fields_of(seen.state), **change}))


def _odd_surroundings(r: Random, seen: Observation) -> Observation:
    age_s = r.choice((0.0, 12.0, 29.9, 30.0, 1e6))
    others = tuple(Reservation(r.choice(("books", "carts")), r.choice(("c1", "c2", "x")), r.choice(TIMES))
                   for _ in range(r.randrange(8)))
    change: dict[str, Any] = r.choice((
        {"observer": Observer(agent_age_s=age_s)}, {"observer": Observer(unreadable_s_ago=age_s)},
        {"observer": Observer(nginx_trouble="no answer")},
        {"observer": Observer(also_failing=("carts", "pay")[:r.randrange(3)])},
        {"reservations": others}, {"reservations": (*seen.reservations, *others)},
        {"rules": settings.Heal(r.randrange(3), *(Duration(r.choice(s)) for s in ((1, 60), (0, 600), (0, 600))))},
        {"serving": frozenset()}, {"in_flight": {}, "idle_reads": {}}, {"certain": not seen.certain}))
    return seen._replace(**change)
