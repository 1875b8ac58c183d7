"""The clocks of other nodes: times that those nodes noted in Consul are read as this node's clock would have had them.

Nodes cannot compare their clocks, but Consul's index grows with each write. If the index of a value is larger than all
that this node saw at its last look, the value was written since. If the time in it is not of since then, its writer's
clock differs. By how much is noted in other_clocks.json, and holds for all that this writer noted. At the first look
each writer's newest value counts as of now, as nothing is known of before; the next one that it writes mends that.
"""

import contextlib
import os
import time
from typing import Any

from msgspec.structs import replace

from lictor import model
from lictor.adapters import clock, files, log
from lictor.planner.observation import Reservation, drain_mark, drain_text
from lictor.planner.service_state import State, Written, shifted

_FILE = "other_clocks.json"


class OtherClocks:
    """Moves times of other nodes to the clock of this one, and learns by how much from the states they write."""

    def __init__(self, state_dir: str, node: str) -> None:
        self._path, self._node = os.path.join(state_dir, _FILE), node
        self._noted: dict[str, Any] | None = None

    def offset_s(self, node: str) -> float:
        """Find by how many seconds this node's clock is ahead of another one's; 0.0: by none that matters."""
        offset = {} if node in ("", self._node) else self._read()["offsets"]
        return float(offset.get(node, 0.0))

    def translated(self, state: State, modify_index: int) -> State:
        """Move the times of a state to this node's clock, as it stands in its key with this index."""
        writer, own = state.written, replace(state, written=Written())
        if writer.node in ("", self._node):
            return own
        if writer.wrote_at:
            self._learn(writer, modify_index)
        offset_s = self.offset_s(writer.node)
        return shifted(own, offset_s) if offset_s else own

    def signed(self, state: State) -> State:
        """Sign a state, whose times are by this node's clock, before it is written."""
        return replace(state, written=Written(self._node, time.time()))

    def reservation(self, entry: Reservation) -> Reservation:
        return replace(entry, at=entry.at + self.offset_s(entry.node), node=self._node) if entry.node else entry

    def instance(self, instance: model.Instance) -> model.Instance:
        """Move the begin of a drain that another node's lictor has marked."""
        mark = drain_mark(instance)
        offset_s = self.offset_s(instance.node) if mark else 0.0
        return instance._replace(maintenance=drain_text(min(max(mark[0] + offset_s, 0.0), 1e11), mark[1])) if (
            mark and offset_s) else instance

    def note_look(self, began_s: float, highest_index: int) -> None:
        """Note the highest index of all states, and when the reading of them began, in seconds of uptime."""
        began_at = time.time() - (clock.uptime_s() - began_s)
        self._write({"boot": clock.boot_id(), "uptime_s": began_s, "at": began_at, "index": highest_index})

    def _learn(self, writer: Written, modify_index: int) -> None:
        noted, known_s, now = self._read(), self.offset_s(writer.node), time.time()
        if not noted["index"]:  # the first look: the newest that it finds may be of just now
            is_known = writer.node in noted["offsets"]
            offset_s = min(known_s, now - writer.wrote_at) if is_known else now - writer.wrote_at
        else:
            earliest = self._looked_at(now) if modify_index > noted["index"] else 0.0
            offset_s = model.clock_offset_s(known_s, writer.wrote_at, earliest, now)
        if offset_s == known_s:
            return
        if noted["index"]:
            log.event("clock", node=writer.node, outcome="differs" if offset_s else "agrees", by_s=round(-offset_s),
                      reason="another node's clock was compared. Its times are read as by this node's clock.")
        self._write({"offsets": {**noted["offsets"], writer.node: offset_s}})

    def _looked_at(self, now: float) -> float:
        """Find when the last look began; if the machine was started since, its clock is all that tells."""
        noted = self._read()
        at = now - (clock.uptime_s() - noted["uptime_s"]) if noted["boot"] == clock.boot_id() else noted["at"]
        return float(at) if at <= now else 0.0

    def _read(self) -> dict[str, Any]:
        if self._noted is None:
            fresh = {"boot": "", "uptime_s": 0.0, "at": 0.0, "index": 0, "offsets": {}}
            noted = files.read_json(self._path)
            is_sound = isinstance(noted, dict) and noted.keys() == fresh.keys() and isinstance(
                noted["offsets"], dict) and all(isinstance(each, float | int) for each in (
                    noted["uptime_s"], noted["at"], noted["index"], *noted["offsets"].values()))
            self._noted = noted if is_sound else fresh
        return self._noted

    def _write(self, changes: dict[str, Any]) -> None:
        self._noted = {**self._read(), **changes}
        with contextlib.suppress(OSError):  # it is learnt again
            files.write_json(self._path, self._noted, durable=False)
