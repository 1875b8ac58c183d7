"""The store of the services' states: the keys lictor/state/NAME."""

from typing import NamedTuple

from lictor import model
from lictor.adapters.consul import transactions
from lictor.adapters.consul.answers import Entry
from lictor.adapters.consul.client import Client
from lictor.adapters.consul.lock import PlainWriter, Writer
from lictor.planner import service_state
from lictor.planner.service_state import KEY_PREFIX, State


class Stored(NamedTuple):
    """A service's state as it stands in its key; a key that is absent or damaged is a fresh one."""

    state: State = State()
    modify_index: int = 0  # of the key, for compare-and-set; 0: there is none


class StateStore:
    """Reads and writes states; each write is a Conflict if the key is not the one that was read."""

    def __init__(self, client: Client, writer: Writer | None = None) -> None:
        self._client, self._writer = client, writer or PlainWriter(client)

    def read(self, name: str, *, consistent: bool = False) -> Stored:
        return _stored(self._client.get(KEY_PREFIX + name, consistent=consistent))

    def read_all(self) -> dict[str, Stored]:
        """Read the states of all services, by name, in one request."""
        tree = self._client.tree(KEY_PREFIX, lambda key: model.is_name(key.removeprefix(KEY_PREFIX)))
        return {key.removeprefix(KEY_PREFIX): _stored(entry) for key, entry in tree.items()}

    def write(self, name: str, state: State, modify_index: int) -> None:
        self._writer.put(KEY_PREFIX + name, service_state.encode(state), modify_index)


def writing(name: str, state: State, modify_index: int) -> transactions.Operation:
    """Make the operation that writes a state within a transaction."""
    return transactions.cas(KEY_PREFIX + name, service_state.encode(state), modify_index)


def _stored(entry: Entry | None) -> Stored:
    return Stored(service_state.decode(entry.value), entry.modify_index) if entry else Stored()
