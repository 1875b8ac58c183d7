"""The record of a decision: all that it rests on, by name, so that another version or other rules can decide again.
Pure."""

from typing import Any

import msgspec
from msgspec.structs import replace

from lictor import errors
from lictor.planner.autoscale.decide import Decision, decide
from lictor.planner.autoscale.memory import Memory
from lictor.planner.autoscale.seen import Rules, Seen
from lictor.planner.autoscale.traffic import Slice

_LONGEST_BYTES = 9000  # a record of the history may have 16,000 bytes
_SHORTEST = 7  # slices: a minute, and the one that had begun before


class _Seen(msgspec.Struct):
    now: float
    replicas: int
    release: str
    slices: list[Slice]
    settled_at: float
    quiet: str = ""
    silent: list[str] = []
    manual: str = ""
    is_routed: bool = True


class _Recorded(msgspec.Struct):
    seen: _Seen
    rules: dict[str, float]
    memory: Memory
    is_cut: bool = False  # some of what it was decided upon had no room


def pack(seen: Seen, rules: Rules, memory: Memory) -> dict[str, Any]:
    """Make the part of a record that `decide_again` takes; of too many slices the newest are kept."""
    fields = {name: getattr(seen, name) for name in _Seen.__struct_fields__}
    fields |= {"slices": [replace(each, instances={}) for each in seen.slices], "silent": list(seen.silent[:10])}
    recorded = _Recorded(_Seen(**fields), rules._asdict(), memory)
    while len(msgspec.json.encode(recorded)) > _LONGEST_BYTES and len(recorded.seen.slices) > _SHORTEST:
        recorded.seen.slices.pop(0)
        recorded.is_cut = True
    if len(msgspec.json.encode(recorded)) > _LONGEST_BYTES:
        recorded.memory = replace(memory, peaks=memory.peaks[:20], counts=memory.counts[-6:])
        recorded.is_cut = True
    return dict(msgspec.to_builtins(recorded, str_keys=True))


def decide_again(packed: object) -> tuple[float, Decision, bool]:
    """Decide upon a record by this version; returns its time too, and whether it holds all that was decided upon.

    Raises Refused if the record is damaged.
    """
    try:
        found = msgspec.convert(packed, _Recorded, strict=False)
        rules = Rules(**{name: kind(found.rules[name]) for name, kind in _RULES.items() if name in found.rules})
        fields = {name: getattr(found.seen, name) for name in _Seen.__struct_fields__}
        return found.seen.now, decide(Seen(**fields), rules, found.memory), not found.is_cut
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise errors.Refused(f"autoscale cannot be read: {error!s:.200}") from error


_RULES: dict[str, Any] = {name: int if name in ("least", "most") else float for name in Rules._fields}
