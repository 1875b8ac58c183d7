"""A newcomer on the way to its seat: it is started, watched, and made anew if nothing comes of it. Pure."""

from lictor.planner.actions import Wait
from lictor.planner.cluster.actions import Restart, Start
from lictor.planner.cluster.case import Case
from lictor.planner.cluster.observation import Slot


def tend(case: Case, slot: Slot, then: str) -> Start | Restart | Wait:
    """Bring a newcomer without a seat, of which no data is missed, to where it answers."""
    seen, age_s = case.seen, case.seen.clock.age_s(slot.started_at)
    why = f" ({seen.silences[slot.name]})" if slot.name in seen.silences else ""
    if slot.is_stopped:
        return Start(slot.name, f"stopped: {slot.name} is {slot.status} before it has joined. It is started again.",
                     slot.number, seen.release, slot.is_blank)
    if slot.status == "unknown":
        return Wait(slot.name, f"unknown: the node of {slot.name} cannot be seen. {then}")
    if slot.release != seen.release:
        return Restart(slot.name, f"outdated: {slot.name} has not joined yet, and another release is desired. It is "
                                  "made anew.", slot.number, seen.release)
    if age_s >= seen.start_up_s:
        return Restart(slot.name, f"silent: {slot.name} has given no answer for {age_s:.0f} s since its start{why}. It "
                                  "is made anew.", slot.number, seen.release)
    return Wait(slot.name, f"starting: {slot.name} gives no answer yet{why}. {then}",
                until=slot.started_at + seen.start_up_s)
