"""One look at a set: what its members, the engine and Consul say, what is kept of it, and the decision upon that."""

import ipaddress
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from msgspec.structs import replace

from lictor import errors, model
from lictor.adapters.text import one_line
from lictor.clusters import registry
from lictor.clusters.protocols import Kind
from lictor.engines import docker, member_volumes
from lictor.planner.actions import Hold
from lictor.planner.cluster import view
from lictor.planner.cluster.decide import Decision, decide
from lictor.planner.cluster.observation import Report, Seen, Slot
from lictor.planner.cluster.seeds import list_seeds
from lictor.planner.cluster.view import View
from lictor.planner.observation import Observation, drain_mark
from lictor.reconcile import container_spec
from lictor.reconcile.cluster import record, seeds
from lictor.reconcile.cluster.record import Stored
from lictor.reconcile.context import Context
from lictor.spec.cluster import Place, place_of
from lictor.spec.service_spec import Spec

_START_UP_S = 60.0  # where the spec has no check
_ASKED_AT_ONCE = 8
_LONGEST_SILENCE = 200


class Look(NamedTuple):
    """What was seen, what is kept, and what follows. `places` and `containers` are by number; `kind` has asked."""

    seen: Seen
    stored: Stored
    decision: Decision
    places: Mapping[int, Place]
    containers: Mapping[int, model.Container]
    kind: Kind | None
    seeds: seeds.Told

    @property
    def view(self) -> View:
        return view.look(self.seen, self.stored.record.kept)

    @property
    def released(self) -> bool:
        """Whether all members are healthy, and of the desired release."""
        members = self.view.members
        return bool(members) and all(each.is_healthy and each.slot.release == self.seen.release for each in members)

    @property
    def trouble(self) -> str:
        """What keeps hands off the set until a person ends it; "": nothing does, or a person wants that."""
        is_held = isinstance(self.decision.action, Hold) and not self.seen.held
        view = self.view
        is_grave = view.contradiction or view.strangers or view.exists and not view.primary
        return self.decision.reason if is_held and is_grave else ""

    @property
    def is_learned(self) -> bool:
        """Whether nothing is to be kept or told beyond what is."""
        return self.stored.record.kept == self.decision.kept and self.seeds.is_current


def look(context: Context, observation: Observation) -> Look:
    """Look at the set of a service that this node acts for, and decide on it."""
    desired, spec = observation.desired, observation.spec
    assert spec.cluster
    stored = record.read(context.client, desired.name, consistent=observation.certain)
    # If the user whom the environment names cannot be read, nothing is decided: all members would look lost.
    environment = container_spec.read_environment(spec, context.settings)
    kind, kept = registry.kind(spec.cluster.kind, environment), stored.record.kept
    containers = {each.number: each for each in docker.containers(desired.name)}
    volumes = member_volumes.read(desired.name, containers.values())
    host = spec.container_port and spec.container_port.publish_address or context.client.agent().address
    known = {*containers, *volumes, *kept.seated, kept.joining} - {0}
    places = _places(spec, known, desired.replicas, host)
    slots = tuple(_slot(place, number, containers.get(number), volumes.get(number, "none"), observation)
                  for number, place in places.items())
    doubt = (stored.trouble or _explain_unspoken(kind, spec.cluster.kind, stored) or _explain_loopback(host)
             or _explain_paused(containers.values()) or _explain_lost_places(known - {*places}))
    reports, silences = _ask(kind, slots, places) if kind else ({}, {})
    seen = Seen(
        observation.clock, desired.name, desired.replicas, desired.release, spec.cluster.traits, slots,
        reports, silences, certain=observation.certain, held=desired.why_held, doubt=doubt,
        traces=tuple(f"{each.service_id} on {each.node} is registered" for each in observation.foreign),
        start_up_s=spec.check and spec.check.start or _START_UP_S, drain_s=spec.drain)
    due = list_seeds(view.look(seen, kept), seen.traits, {number: place.member for number, place in places.items()})
    return Look(seen, stored, decide(seen, kept), places, containers, kind,
                seeds.look(context.client, desired.name, due))


def _places(spec: Spec, known: Iterable[int], size: int, host: str) -> dict[int, Place]:
    """Find the places that have anything, and as many free ones as a set may need."""
    known = set(known)
    numbers = sorted(known | {*range(1, len(known) + size + 2)})
    found = {number: place_of(spec, number, host) for number in numbers}
    return {number: place for number, place in found.items() if place}


def _slot(place: Place, number: int, container: model.Container | None, volume: str, observation: Observation) -> Slot:
    slot = Slot(number, f"{observation.desired.name}-{number}", place.address, volume=volume)
    if container is None:
        return slot
    instances = [each for each in observation.instances if each.container_id == container.id]
    mark = next((mark for each in instances if (mark := drain_mark(each))), None)
    since = mark[0] if mark else 0.0
    return replace(
        slot, container_id=container.id, status=container.status, release=container.release,
        started_at=container.started_at, is_registered=bool(instances), draining_since=since,
        in_flight=docker.in_flight(container) if since else None)


def _ask(kind: Kind, slots: Iterable[Slot], places: Mapping[int, Place]) -> tuple[dict[str, Report], dict[str, str]]:
    """Ask the members that run, side by side: one that hangs is waited for once. Returns the reports, and why others
    gave none, by name. Raises what they refuse if none answers: then lictor's own user is the matter."""
    def ask(slot: Slot) -> Report | errors.LictorError:
        try:
            return kind.ask(places[slot.number].member, slot.address)
        except errors.LictorError as error:
            return error

    running = [slot for slot in slots if slot.status == "running"]
    with ThreadPoolExecutor(max_workers=_ASKED_AT_ONCE) as pool:
        answers = list(pool.map(ask, running))
    by_name = {slot.name: answer for slot, answer in zip(running, answers, strict=True)}
    reports = {name: answer for name, answer in by_name.items() if isinstance(answer, Report)}
    refusals = [answer for answer in answers if isinstance(answer, errors.Refused)]
    if refusals and not reports:
        raise refusals[0]
    return reports, {name: one_line(str(answer))[:_LONGEST_SILENCE].rstrip(" .") for name, answer in by_name.items()
                     if isinstance(answer, errors.LictorError)}


def _explain_unspoken(kind: Kind | None, name: str, stored: Stored) -> str:
    if kind is None:
        return f"this version cannot speak with members of {name}"
    before = stored.record.kind
    return f"the set that is known is one of {before}, and {name} is desired" if before not in ("", name) else ""


def _explain_loopback(host: str) -> str:
    try:
        is_own = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_own = False
    return (f"its members would have the address {host}, at which a container finds only itself. Write port as "
            "ADDRESS::PORT, with an address of the node") if is_own else ""


def _explain_paused(containers: Iterable[model.Container]) -> str:
    paused = [each.name for each in containers if each.status == "paused"]
    return f"{', '.join(paused)} is paused" if paused else ""


def _explain_lost_places(numbers: set[int]) -> str:
    return f"no port is left for the numbers {', '.join(map(str, sorted(numbers)[:5]))}" if numbers else ""
