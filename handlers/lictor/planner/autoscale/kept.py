"""The content of the key lictor/autoscale/NAME: what the decisions remember, and whose the count is. Pure.

The wish and this are written in one transaction, so that both keys get the same ModifyIndex of Consul's. The next
round learns from that which index of the count is the autoscaler's own. Any other one is a person's write, whatever
the clocks say. All of it can be lost: it is learned again.
"""

import math
from typing import Any

import msgspec
from msgspec.structs import replace

from lictor.model import Clock
from lictor.planner.autoscale import memory as memories
from lictor.planner.autoscale.memory import Memory

KEY_PREFIX = "lictor/autoscale/"
_LONGEST_BYTES = 64 * 1024
_MOST_ENTRIES = 1000
_MOST = 1e18  # of any number: Consul's indexes are whole numbers


class Kept(Memory, frozen=True):
    """The memory of the decisions, and what stands beside it."""

    node: str = ""  # by whose clock the times are
    at: float = 0.0  # when it was written
    status: str = ""  # of the check then, and what it said
    reason: str = ""
    replicas: int = -1  # the count that was desired then
    settled_at: float = 0.0  # since when as many instances serve; 0.0: they do not
    own_index: int = 0  # ModifyIndex of the count as the autoscaler wrote it last
    is_with_wish: bool = False  # it was written together with a wish: its own ModifyIndex is the count's
    manual_index: int = 0  # ModifyIndex of the count as a person wrote it
    manual_since: float = 0.0  # when that was first seen


def decode(text: bytes) -> Kept:
    """Decode what is kept; a damaged one is a fresh one."""
    try:
        kept = msgspec.json.decode(text or b"{}", type=Kept) if len(text) <= _LONGEST_BYTES else Kept()
        return kept if _is_sane(msgspec.to_builtins(kept)) else Kept()
    except (ValueError, RecursionError):
        return Kept()


def encode(kept: Kept) -> bytes:
    return msgspec.json.encode(kept)


def by_clock(kept: Kept, offset_s: float, clock: Clock) -> Kept:
    """Read it by the clock of this node, which is ahead of its writer's by so much."""
    if offset_s:
        kept = with_memory(kept, memories.moved(memory_of(kept), offset_s))
    return replace(kept, at=kept.at + offset_s, settled_at=_since(kept.settled_at, offset_s, clock),
                   manual_since=_since(kept.manual_since, offset_s, clock))


def claim(kept: Kept, own_key_index: int, count_index: int, now: float, *, is_known_as_own: bool) -> Kept:
    """Find out whose the count is that stands with this index in its key (0: there is none).

    `own_key_index` is that of the key of this. `is_known_as_own`: a record says so, if what was kept is lost.
    """
    own_index = own_key_index if kept.is_with_wish else kept.own_index
    if not own_index and is_known_as_own:
        own_index = count_index
    kept = replace(kept, own_index=own_index, is_with_wish=False)
    if count_index in (0, own_index):
        return replace(kept, manual_index=0, manual_since=0.0)
    return kept if count_index == kept.manual_index else replace(kept, manual_index=count_index, manual_since=now)


def held_s(kept: Kept, hold_after_manual_s: float, now: float) -> float:
    """Tell for how long a person's count holds from now on; 0.0: it is none, or no longer."""
    return max(kept.manual_since + hold_after_manual_s - now, 0.0) if kept.manual_index else 0.0


def settle(kept: Kept, replicas: int, serving: int, passed_at: float, now: float, *, release: str = "",
           is_mixed: bool = False) -> Kept:
    """Note since when as many instances serve as desired; if nothing was kept, since the last of them passed.

    What instances of another release have answered says nothing of these. `is_mixed`: some may answer still.
    """
    if serving != replicas or is_mixed:
        since = 0.0
    elif kept.capacity.release not in ("", release):  # a release that came and was over between two looks, perhaps
        since = now
    elif kept.replicas == replicas and kept.settled_at:
        since = kept.settled_at
    else:
        since = min(passed_at, now) if kept.replicas < 0 and passed_at else now
    return replace(kept, replicas=replicas, settled_at=since)


def with_memory(kept: Kept, memory: Memory) -> Kept:
    """Take over what the decision remembers."""
    return replace(kept, **{name: getattr(memory, name) for name in Memory.__struct_fields__})


def memory_of(kept: Kept) -> Memory:
    """Give what the decision remembers alone."""
    return Memory(*(getattr(kept, name) for name in Memory.__struct_fields__))


def _since(at: float, by_s: float, clock: Clock) -> float:
    return clock.since(at + by_s) if at else 0.0


def _is_sane(value: Any) -> bool:
    """Tell whether it could be of the autoscaler's making: no endless lists, no numbers that are none."""
    if isinstance(value, dict | list | tuple):
        inner = list(value.values()) if isinstance(value, dict) else value
        return len(inner) <= _MOST_ENTRIES and all(map(_is_sane, inner))
    return not isinstance(value, float | int) or math.isfinite(value) and -1 <= value <= _MOST
