"""Sets with state for tables: one line a member, as "3 secondary spare behind=40".

A line is the number, what the member says of itself (primary, secondary, starting, removed, new, or silent), and
what else is to be known: spare (it has no vote), out (the configuration does not name it), stopped, missing (it has no
container), hidden (its node cannot be seen), wiped (its volume is empty), gone (it has none), unseen (the primary does
not see it), seen (the primary does), old (its configuration is older), behind=N, term=N, set=NAME, release=R, age=N (of
its container, in seconds), registered, draining.
"""

from typing import Any

from lictor.model import Clock
from lictor.planner.cluster.decide import Decision, decide
from lictor.planner.cluster.kept import Kept
from lictor.planner.cluster.observation import Configuration, Report, Seat, Seen, Slot
from lictor.spec.cluster import KINDS

NOW = 1_000_000.0
KNOWN = Kept(set_id="A", seated=(1, 2, 3), term=1, version=5, proven=("1",))
BLANK = Kept()


def seen(*lines: str, size: int = 3, kind: str = "mongodb", is_committed: bool = True, version: int = 5, term: int = 1,
         **changes: Any) -> Seen:
    rows = [_Row(line) for line in lines]
    seats = tuple(Seat(row.address, row.votes) for row in rows if row.is_in)
    configuration = Configuration(seats, version, term, is_committed)
    slots = [row.slot() for row in rows]
    free = [number for number in range(1, len(rows) + 3) if number not in [row.number for row in rows]]
    slots += [Slot(number, f"db-{number}", f"a{number}") for number in free]
    peers = {row.address: "unseen" not in row.flags and (row.role != "silent" or "seen" in row.flags) for row in rows}
    reports = {f"db-{row.number}": row.report(configuration, peers) for row in rows if row.role != "silent"}
    return Seen(Clock(NOW), "db", size, "1", KINDS[kind], tuple(sorted(slots, key=lambda slot: slot.number)), reports,
                certain=True)._replace(**changes)


def decided(*lines: str, kept: Kept = KNOWN, **changes: Any) -> Decision:
    return decide(seen(*lines, **changes), kept)


def shown(made: Decision) -> str:
    """Show an action as the tables write it: its kind, and the number that it is about."""
    return f"{made.action.kind} {made.action.container.removeprefix('db-')}".rstrip() if made.action else "nothing"


class _Row:
    def __init__(self, line: str) -> None:
        number, self.role, *flags = line.split()
        self.number, self.address = int(number), f"a{number}"
        self.flags = [flag for flag in flags if "=" not in flag]
        self.values = dict(flag.split("=") for flag in flags if "=" in flag)
        self.is_in, self.votes = "out" not in self.flags, "spare" not in self.flags

    def slot(self) -> Slot:
        has_none = "missing" in self.flags or "gone" in self.flags
        status = "exited" if "stopped" in self.flags else "unknown" if "hidden" in self.flags else (
            "" if has_none else "running")
        volume = "none" if "gone" in self.flags else "empty" if "wiped" in self.flags else (
            "unknown" if "hidden" in self.flags else "used")
        is_draining = "draining" in self.flags
        release, age_s = self.values.get("release", "1"), float(self.values.get("age", 1000))
        return Slot(self.number, f"db-{self.number}", self.address, "" if has_none else f"c{self.number}", status,
                    "" if has_none else release, NOW - age_s, volume,
                    is_draining or "registered" in self.flags, NOW - 5 if is_draining else 0.0)

    def report(self, configuration: Configuration, peers: dict[str, bool]) -> Report:
        if self.role == "new":
            return Report("new")
        term = int(self.values.get("term", configuration.term))
        if "old" in self.flags:
            configuration = Configuration(configuration.seats, configuration.version - 2, configuration.term)
        return Report(self.role, self.values.get("set", "A"), term, configuration,
                      float(self.values.get("behind", 0)), peers)
