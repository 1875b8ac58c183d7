"""Writing what people want of a service that is there into KV: counts, holds, tombstones. What would be refused later
is refused here, before anything is written."""

import time
from collections.abc import Iterator
from typing import NamedTuple

from lictor import errors, model
from lictor.adapters import retry
from lictor.adapters.consul.answers import Entry
from lictor.adapters.consul.client import Client
from lictor.planner import breaker, next_state
from lictor.planner.autoscale.words import describe_hold
from lictor.planner.desired import Desired, desired
from lictor.planner.routes import pause
from lictor.planner.routes.pause import Hold
from lictor.planner.service_state import State
from lictor.reconcile import observe, responsibility
from lictor.reconcile.state_store import StateStore
from lictor.spec import service_spec
from lictor.spec.input import problems
from lictor.spec.keys import known_below, services_of
from lictor.spec.service_spec import Spec

_PATIENCE_S = 5.0


class Existing(NamedTuple):
    """A service: its keys by their whole names, what they come to, and the state that lictor keeps."""

    keys: dict[str, Entry]
    desired: Desired
    state: State
    state_index: int  # for compare-and-set


def describe_outlook(client: Client, service: Existing) -> str:
    """Say, behind what was written, why nothing comes of it for now; usually ""."""
    why_nobody = responsibility.read_nobody(client, service.desired, _instances(client, service))
    return f"; but {why_nobody}" if why_nobody else _wait_ahead(client, service)


def _wait_ahead(client: Client, service: Existing) -> str:
    if service.desired.why_held:
        return f"; but on hold: {service.desired.why_held}"
    no_answer = responsibility.read_no_answer(client, service.desired)
    return f"; but {no_answer}" if no_answer else ""


def require_actor(client: Client, service: Existing) -> None:
    """Refuse what no node would carry out."""
    why_nobody = responsibility.read_nobody(client, service.desired, _instances(client, service))
    if why_nobody:
        raise errors.Refused(f"{service.desired.name}: {why_nobody}")


def _instances(client: Client, service: Existing) -> list[model.Instance]:
    return observe.instances(entry for name in service.desired.catalog_names for entry in client.health(name))


def scale(client: Client, prefix: str, name: str, count: str) -> str:
    """Set the desired count: N, or by compare-and-set +N and -N from what is desired now. Returns it, in words."""
    service = existing(client, prefix, name)
    key, spec = f"{prefix}{name}/replicas", service.desired.spec
    assert spec is not None
    if spec.engine == "none":
        raise errors.Refused(f"{name}: its engine is none, so lictor only routes it and has nothing to scale")
    is_relative = count[:1] in ("+", "-")
    try:
        if is_relative and count[1:].isascii() and count[1:].isdigit():
            count = str(service.desired.replicas + int(count))
        target = service_spec.parse_replicas(count, spec.replicas)
    except ValueError as error:
        raise errors.Refused(f"{key}: {error}") from error
    entry = service.keys.get(key)
    require_actor(client, service)
    wait_ahead = _wait_ahead(client, service)  # read before: who is told of a failure after +1 would add another one
    client.put(key, str(target), cas=(entry.modify_index if entry else 0) if is_relative else None)
    return f"{target} desired{wait_ahead or describe_hold(spec)}"


def remove(client: Client, prefix: str, name: str) -> str:
    """Write the tombstone: the node that runs the service drains and removes its containers, each nginx its route.

    Returns what comes of it, in words. If containers run where no node ends them, it is refused.
    """
    service = _known(client, prefix, name)
    instances = _instances(client, service)
    why_nobody = responsibility.read_nobody(client, service.desired, instances)
    if why_nobody and instances:
        raise errors.Refused(f"{name}: {why_nobody}")
    but = f"; but {why_nobody}" if why_nobody else _wait_ahead(client, service)
    client.put(f"{prefix}{name}/removed", "")
    return f"is being removed{but}"


def hold(client: Client, prefix: str, name: str, why: str) -> str:
    """Write a hold; returns what it ends, in words."""
    was_paused = _known(client, prefix, name).desired.is_paused
    write_hold(client, prefix, name, Hold(why))
    return ", and no longer paused" if was_paused else ""


def write_hold(client: Client, prefix: str, name: str, wish: Hold) -> None:
    """Write the hold key of a service that was read before."""
    try:
        why = wish.why.encode()
    except UnicodeEncodeError as error:
        raise errors.Refused(f"WHY is {wish.why!r}; it must be UTF-8") from error
    if not wish.pause and pause.parse(wish.why).pause:
        raise errors.Refused(f"WHY is {wish.why[:100]!r}, which asks for a pause; it must be words (--pause does that)")
    client.put(f"{prefix}{name}/hold", pause.encode(wish) if wish.pause else why)


def resume(client: Client, prefix: str, name: str) -> list[str]:
    """End a hold, close the breaker and end the back-off; returns what was ended, in words.

    What the service has used of the budget is given back.
    """
    service = _known(client, prefix, name)
    is_held = f"{prefix}{name}/hold" in service.keys
    if is_held:
        client.delete(f"{prefix}{name}/hold")
    ended = retry.unavailable(lambda: _start_afresh(client, name), timeout_s=_PATIENCE_S)  # a sweep may write it too
    ended_holds = ["no longer held"] * is_held + ["no longer paused"] * service.desired.is_paused
    return [*ended_holds, *ended]


def _start_afresh(client: Client, name: str) -> list[str]:
    states = StateStore(client)
    state, index = states.read(name)
    backs_off = bool(state.healing.failures or state.release.order_failures)
    if not state.breaker and not backs_off:
        return []
    _give_back(client, name)
    states.write(name, next_state.afresh(state), index)
    return [*(["the breaker is closed"] if state.breaker else []),
            *(["starts back off no more"] if backs_off else [])]


def _give_back(client: Client, name: str) -> None:
    entry = client.get(breaker.KEY)
    if entry:
        left = [reservation for reservation in breaker.decode(entry.value) if reservation.service != name]
        client.put(breaker.KEY, breaker.encode(left, time.time()), cas=entry.modify_index)


def existing(client: Client, prefix: str, name: str) -> Existing:
    """Read a service; raises Refused if there is none, or none with a sound spec."""
    service = _known(client, prefix, name)
    if service.desired.spec is None:
        raise errors.Refused("; ".join(service.desired.problems) or f"{prefix}{name}/spec is missing")
    return service


def _known(client: Client, prefix: str, name: str) -> Existing:
    """Read a service; raises Refused if there is none. Even without a sound spec it can be held, and removed."""
    if not model.is_name(name):
        raise errors.Refused(f"{name[:100]!r} is no service's name; {model.NAME_RULE}")
    service = read_service(client, prefix, name)
    if service.desired.removed or service.desired.spec is None and f"{prefix}{name}/spec" not in service.keys:
        alike = problems.find_alike(name, services_of(client.keys(prefix), prefix) - {name})
        meant = f"did you mean {alike}? `lictor status`" if alike else "`lictor status`"
        raise errors.Refused(f"there is no service {name!r}; {meant} lists them, `lictor apply FILE` makes one")
    return service


def read_service(client: Client, prefix: str, name: str) -> Existing:
    """Read a service as it stands, whatever is wrong with it."""
    return interpret(prefix, name, client.tree(f"{prefix}{name}/", known_below(prefix)), *StateStore(client).read(name))


def interpret(prefix: str, name: str, keys: dict[str, Entry], state: State, state_index: int) -> Existing:
    """Find out what keys come to, those of other services among them left out."""
    own = f"{prefix}{name}/"
    keys = {key: entry for key, entry in keys.items() if key.startswith(own)}
    values = {key.removeprefix(own): entry.value for key, entry in keys.items()}
    return Existing(keys, desired(name, values, state, prefix), state, state_index)


def find_moves(old: Spec, new: Spec) -> Iterator[tuple[str, str, str]]:
    """Find differences in what names a service's containers, or says which node runs them: key, old and new value.

    Such a change under running containers would leave no node to end them.
    """
    for key, before, after in (("name", old.name, new.name), ("engine", old.engine, new.engine),
                               ("node", old.node, new.node),
                               ("release.strategy", old.release.strategy, new.release.strategy)):
        if before != after:
            yield key, before, after
