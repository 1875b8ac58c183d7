"""The tests of the sets with state on this node, for `lictor doctor`: each member reaches each other one.

The members' own word is asked for now, and no connection is tried from here: what this process reaches says nothing of
what a member reaches.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from lictor import errors
from lictor.adapters.consul.client import Client
from lictor.adapters.text import one_line
from lictor.cli.setup.findings import Probe, Untested
from lictor.planner.cluster import reach
from lictor.planner.cluster.reach import Told
from lictor.planner.desired import specs_of
from lictor.reconcile import observe, responsibility
from lictor.reconcile.cluster.look import Look
from lictor.reconcile.context import Context
from lictor.reconcile.state_store import StateStore, Stored
from lictor.spec.keys import group_by_service, known_below
from lictor.spec.settings import Settings

_ASKED_AT_ONCE = 8
_LONGEST_ANSWER = 200
_REMEDY = ("of a member that gives no answer `lictor status NAME` says more. Each member has to reach that address "
           "from where it runs: is it an address of the node (port of the spec, as ADDRESS::PORT)? Does a firewall "
           "drop it? With mongodb: do all have the same key file?")


def list_tests(settings: Settings, client: Client) -> Iterator[Probe]:
    """List a test for each set whose node this is."""
    try:
        context = Context(settings, client, client.agent().name)
        names = _list_sets(context)
    except errors.LictorError as error:
        yield Probe("sets", partial(_fail, error), "the agent has to answer, and the token to read keys", "Consul")
        return
    for name in names:
        yield Probe(f"set {name}", partial(_test, context, name), _REMEDY, "Docker")


def _fail(error: errors.LictorError) -> str:
    raise error


def _list_sets(context: Context) -> list[str]:
    prefix = context.settings.prefix
    tree, states = context.client.tree(prefix, known_below(prefix)), StateStore(context.client).read_all()
    grouped, _ = group_by_service({key: entry.value for key, entry in tree.items()}, prefix)
    specs = specs_of(grouped)

    def is_here(name: str) -> bool:
        """Tell whether a set is this node's; one that cannot be read may be, and its own test says why."""
        try:
            desired = responsibility.read_desired(context, name, grouped[name], states.get(name, Stored()).state, specs)
        except Exception:
            return b'"cluster"' in specs.get(name, b"")
        return desired.has_set and responsibility.places_here(context, desired)

    return [name for name in sorted(grouped) if is_here(name)]


def _test(context: Context, name: str) -> str:
    try:
        look = observe.one(context, name, {}).look
    except errors.LictorError:
        raise
    except Exception as error:  # a value that no rule foresees is a finding about this set alone
        raise errors.Unavailable(observe.explain_broken(error)) from error
    if look is None:
        raise Untested("this node does not act for it any more")
    if look.kind is None:
        raise Untested(look.seen.doubt)
    seats = _seats(look)
    if not seats:
        raise Untested("no member says that it belongs to a set, and none is known")
    found = reach.judge(seats, _ask(look, seats))
    unknown = [f"not known: {each}" for each in found.unknown]
    if found.failures:
        raise errors.Unavailable("; ".join([*found.failures, *unknown]))
    if unknown:
        raise Untested("; ".join(unknown))
    return "it has one member, and no other to reach" if len(seats) == 1 else (
        f"each of {len(seats)} members says that it reaches the others, at the addresses of the configuration")


def _seats(look: Look) -> dict[str, str]:
    """Find the members and their addresses: by the configuration in force, else as kept from the last one."""
    names = {slot.address: slot.name for slot in look.seen.slots}
    if look.view.configuration.seats:
        return {names.get(seat.address, f"the member at {seat.address}"): seat.address
                for seat in look.view.configuration.seats}
    return {slot.name: slot.address for slot in look.seen.slots if slot.number in look.stored.record.kept.seated}


def _ask(look: Look, seats: Mapping[str, str]) -> dict[str, Told]:
    """Ask the members side by side. One that has given no answer just now is not asked once more."""
    slots = [slot for slot in look.seen.slots if slot.name in seats]
    told: dict[str, Told] = {
        slot.name: look.seen.silences.get(slot.name) or f"its container is {slot.status or 'not there'}"
        for slot in slots if slot.name not in look.seen.reports}
    asked = [slot for slot in slots if slot.name not in told]

    def ask(name: str, number: int) -> Told:
        assert look.kind
        try:
            return look.kind.ask_links(look.places[number].member, seats[name])
        except Exception as error:  # whatever one member says, the others are asked
            said = str(error) if isinstance(error, errors.LictorError) else repr(error)
            return one_line(said)[:_LONGEST_ANSWER].rstrip(" .")

    with ThreadPoolExecutor(max_workers=_ASKED_AT_ONCE) as pool:
        answers = list(pool.map(lambda slot: ask(slot.name, slot.number), asked))
    return {**told, **{slot.name: answer for slot, answer in zip(asked, answers, strict=True)}}
