"""A pause of a service, as its hold key asks for it: all requests wait in nginx for a while. Pure.

Clocks of nodes differ, so that a pause counts on each node from when that node has seen it, for as long as the key
says. The first node on which it is over takes it off the key, and so ends it on the others too. On a node it ends by
the clock or by the uptime, whichever comes first: neither a clock that is set nor a restart of the machine prolongs it.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from lictor.spec.quantities import parse_duration, show_duration, strip
from lictor.spec.service_spec import Spec

SHORTEST_S, LONGEST_S, DEFAULT_S = 1.0, 600.0, 60.0
_LONGEST_WHY = 100


class Pause(NamedTuple):
    """What the key asks for. `asked_at` is by the clock of who wrote it, and tells this pause from others."""

    for_s: float
    asked_at: float
    is_over: bool = False


class Hold(NamedTuple):
    """The content of a hold key."""

    why: str
    pause: Pause | None = None

    @property
    def described(self) -> str:
        text = f"the hold key is set ({self.why[:_LONGEST_WHY] or 'without a word'})"
        if not self.pause:
            return text
        return f"{text}. " + (f"Its pause of {self.pause.for_s:g} s is over, and requests flow" if self.pause.is_over
                              else f"All requests wait, for {self.pause.for_s:g} s at most")


class Record(NamedTuple):
    """A pause on one node, as routes/NAME.json has it."""

    asked_at: float
    ends_at: float  # epoch seconds
    ends_at_uptime: float
    obstacle: str = ""  # why this node does not carry it out

    def left_s(self, now: float, uptime_s: float) -> float:
        """Return for how long it is in force still; 0.0: it is not."""
        return 0.0 if self.obstacle else self.remaining_s(now, uptime_s)

    def remaining_s(self, now: float, uptime_s: float) -> float:
        """Return for how long it is asked for, whatever keeps it from being carried out. A clock that was set back, or
        a machine that was started since, has more left than there ever was."""
        left_s = min(self.ends_at - now, self.ends_at_uptime - uptime_s)
        return 0.0 if left_s > LONGEST_S else max(0.0, left_s)


def parse(text: str) -> Hold:
    """Read a hold key: an object with `pause`, or any words, which ask for a hold alone."""
    try:
        table: Any = json.loads(text) if text.startswith("{") else None
        pause = table["pause"]
        found = Pause(float(pause["for_s"]), float(pause["asked_at"]), pause.get("is_over") is True)
        if SHORTEST_S <= found.for_s <= LONGEST_S and 0 < found.asked_at < 1e11:
            why = str(table.get("why", "")).encode("utf-8", "backslashreplace").decode()  # half a character, say
            return Hold(strip(why), found)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        pass
    return Hold(text)


def encode(hold: Hold) -> str:
    return json.dumps({"why": hold.why, "pause": hold.pause and hold.pause._asdict()})


def parse_length(text: str) -> float:
    """Parse a pause's length; raises ValueError, with what is allowed."""
    length_s = parse_duration(text)
    if not SHORTEST_S <= length_s <= LONGEST_S:
        raise ValueError(f"is {show_duration(length_s)}; it must be within {SHORTEST_S:g}s..{LONGEST_S / 60:g}m")
    return float(length_s)


def find_obstacle(spec: Spec) -> str:
    """Say what of a spec keeps requests from waiting; "" if nothing does."""
    if spec.cluster:
        return f"cluster is {spec.cluster.kind}; a set with state cannot be paused, as its clients ask its members"
    if not spec.routes:
        return "route is missing; without one no request comes through nginx, and none can wait there"
    return find_obstacle_of_routes([each.table for each in spec.routes])


def find_obstacle_of_routes(routes: Iterable[Mapping[str, Any]]) -> str:
    """Say the same of routes as routes/NAME.json has them."""
    without = [each for each in routes if not each["options"].get("wait")]
    return f"wait is missing in the route {without[0]['host']}{without[0]['path']}; it must be given, such as 5s" if (
        without) else ""


def begin(pause: Pause, obstacle: str, earlier: Record | None, now: float, uptime_s: float) -> Record:
    """Make the record of a pause on this node: one that it has seen before goes on."""
    if earlier and earlier.asked_at == pause.asked_at:
        return earlier._replace(obstacle=obstacle)
    return Record(pause.asked_at, now + pause.for_s, uptime_s + pause.for_s, obstacle)


def record_of(route: Mapping[str, Any]) -> Record | None:
    """Read the record of routes/NAME.json; None: the service is not paused, or the record is damaged."""
    try:
        found = Record(**route["pause"])
        return found if all(type(each) in (int, float) for each in found[:3]) and type(found[3]) is str else None
    except (KeyError, TypeError):
        return None
