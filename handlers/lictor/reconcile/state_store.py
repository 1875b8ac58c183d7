"""The store of the services' states: the keys lictor/state/NAME."""

from typing import NamedTuple

from msgspec.structs import replace

from lictor import model
from lictor.adapters import clock, tally
from lictor.adapters.consul import transactions
from lictor.adapters.consul.answers import Entry
from lictor.adapters.consul.client import Client
from lictor.adapters.consul.lock import PlainWriter, Writer
from lictor.planner import service_state
from lictor.planner.service_state import KEY_PREFIX, State, Written
from lictor.reconcile.other_clocks import OtherClocks


def count_release(name: str, before: State, after: State) -> None:
    """Count the release that has ended, if one has between two states of a service."""
    old, new = before.release, after.release
    if new.live_release and new.live_release != old.live_release:
        tally.count("releases", name, "done")
    elif new.failed and (old.failed is None or old.failed.release != new.failed.release):
        tally.count("releases", name, "failed")


class Stored(NamedTuple):
    """A service's state as it stands in its key; a key that is absent or damaged is a fresh one."""

    state: State = State()
    modify_index: int = 0  # of the key, for compare-and-set; 0: there is none


class StateStore:
    """Reads and writes states; each write is a Conflict if the key is not the one that was read.

    With `clocks`, the times in them are by this node's clock. Without, a state stays by the clock of its last writer.
    """

    def __init__(self, client: Client, writer: Writer | None = None, clocks: OtherClocks | None = None) -> None:
        self._client, self._writer, self._clocks = client, writer or PlainWriter(client), clocks

    def read(self, name: str, *, consistent: bool = False) -> Stored:
        return self._stored(self._client.get(KEY_PREFIX + name, consistent=consistent))

    def read_all(self) -> dict[str, Stored]:
        """Read the states of all services, by name, in one request."""
        began_s = clock.uptime_s()
        tree = self._client.tree(KEY_PREFIX, lambda key: model.is_name(key.removeprefix(KEY_PREFIX)))
        stored = {key.removeprefix(KEY_PREFIX): self._stored(entry) for key, entry in tree.items()}
        if self._clocks and stored:
            self._clocks.note_look(began_s, max(each.modify_index for each in stored.values()))
        return stored

    def write(self, name: str, state: State, modify_index: int, *, before: State | None = None) -> None:
        """Write a state; if the one before it is given, a release that has ended between the two is counted."""
        self._writer.put(KEY_PREFIX + name, self._encode(state), modify_index)
        count_release(name, before or state, state)

    def writing(self, name: str, state: State, modify_index: int) -> transactions.Operation:
        """Make the operation that writes a state within a transaction."""
        return transactions.cas(KEY_PREFIX + name, self._encode(state), modify_index)

    def _stored(self, entry: Entry | None) -> Stored:
        if entry is None:
            return Stored()
        state = service_state.decode(entry.value)
        return Stored(self._clocks.translated(state, entry.modify_index) if self._clocks else state,
                      entry.modify_index)

    def _encode(self, state: State) -> bytes:
        unsigned = replace(state, written=Written(state.written.node))
        return service_state.encode(self._clocks.signed(state) if self._clocks else unsigned)
