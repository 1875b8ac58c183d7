"""Pausing a service: refused if somebody would not carry it out, written to its hold key, and followed until each nginx
has confirmed it and nothing is in flight at its instances."""

import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from lictor import errors
from lictor.adapters import retry
from lictor.cli import service_keys
from lictor.planner.desired import read_text
from lictor.planner.routes import pause
from lictor.planner.routes.pause import Hold, Pause
from lictor.reconcile import conditions
from lictor.reconcile.context import Context
from lictor.routing import announce, paused

_EVERY_S = 0.25
_PATIENCE_S = 5.0


class Asked(NamedTuple):
    """A pause that was written."""

    name: str
    pause: Pause
    wait_s: float  # the shortest wait of its routes
    nodes: frozenset[str]  # that answer, and have to confirm it
    lost: list[str]  # that do not answer, and whose nginx may serve all the same


class Progress(NamedTuple):
    """What one look found."""

    held: Mapping[str, tuple[int, int]]  # by node: how many requests wait, and how many are in flight
    missing: list[str]  # nodes that have not confirmed it
    is_standing: bool  # the key still asks for it

    @property
    def in_flight(self) -> int:
        return sum(in_flight for _, in_flight in self.held.values())

    @property
    def is_done(self) -> bool:
        return not self.missing and not self.in_flight


def ask(context: Context, name: str, why: str | None, for_s: float) -> Asked:
    """Write the pause; raises Refused for one that would not be carried out. Without `why`, that of a hold stays."""
    client, prefix = context.client, context.settings.prefix
    service = service_keys.existing(client, prefix, name)
    spec = service.desired.spec
    assert spec
    obstacle = pause.find_obstacle(spec)
    if obstacle:
        raise errors.Refused(f"{prefix}{name}/spec: {obstacle}")
    nodes, lost = _find_nodes(context, name)
    entry = service.keys.get(f"{prefix}{name}/hold")
    if why is None:
        why = pause.parse(read_text(entry.value)).why if entry else "by hand"
    wish = Pause(for_s, time.time())
    service_keys.write_hold(client, prefix, name, Hold(why, wish))
    return Asked(name, wish, min(each.wait for each in spec.routes if each.wait is not None), nodes, lost)


def _find_nodes(context: Context, name: str) -> tuple[frozenset[str], list[str]]:
    """Find the nodes whose nginx routes the service; raises Refused if there is none, or one that cannot hold requests.
    """
    client, alive = context.client, context.client.alive_nodes()
    tree = client.tree(f"{announce.PREFIX}{name}/")
    routing = {key.rpartition("/")[2] for key, entry in tree.items() if announce.pairs(entry.value) is not None}
    nodes = frozenset(routing & alive)
    if not nodes:
        raise errors.Refused(f"{name}: no node that answers routes it, so no nginx would let its requests wait")
    told = conditions.read(client, nodes)
    reloading = sorted(node for node in nodes if node in told and told[node].about.get("nginx") == "reload")
    if reloading:
        raise errors.Refused(f"{name}: nginx of {', '.join(reloading)} is in mode reload; it must be in mode live, as "
                             "only that lets requests wait")
    return nodes, sorted(routing - alive)


def follow(context: Context, asked: Asked, *, timeout_s: float) -> Iterator[Progress]:
    """Look again and again, until it is done, called off, or the time is up."""
    deadline = time.monotonic() + min(timeout_s, asked.pause.for_s)
    while True:
        progress = retry.unavailable(lambda: _look(context, asked), timeout_s=_PATIENCE_S)
        yield progress
        if progress.is_done or not progress.is_standing or time.monotonic() >= deadline:
            return
        time.sleep(_EVERY_S)


def _look(context: Context, asked: Asked) -> Progress:
    entry = context.client.get(f"{context.settings.prefix}{asked.name}/hold")
    held = paused.of_pause(paused.read(context.client, asked.name, asked.nodes), asked.pause)
    return Progress(held, sorted(asked.nodes - held.keys()),
                    entry is not None and pause.parse(read_text(entry.value)).pause == asked.pause)


def describe_end(asked: Asked, progress: Progress) -> str:
    """Say why a pause is not what was asked for; "": it is."""
    name = asked.name
    if not progress.is_standing:
        return f"{name}: the pause has ended meanwhile, or somebody wrote another hold; `lictor status {name}` shows it"
    stays = f"The pause stands for {asked.pause.for_s:g} s in all; `lictor resume {name}` ends it"
    if progress.missing:
        return (f"{name}: {', '.join(progress.missing)} has not confirmed the pause, so that requests there may reach "
                f"instances. {stays}")
    if progress.in_flight:
        return f"{name}: {progress.in_flight} requests are still in flight at instances. {stays}"
    return ""
