"""The keys of a service's colours: the live one, and the one with a canary's share. They change by compare-and-set,
together with the state, or not at all."""

from typing import NamedTuple

from lictor import errors
from lictor.adapters.consul import transactions
from lictor.adapters.consul.answers import Entry
from lictor.adapters.consul.client import Client
from lictor.adapters.consul.lock import Writer
from lictor.planner import actions, desired, next_state, service_state
from lictor.planner.canary import key
from lictor.planner.observation import Observation
from lictor.planner.service_state import State
from lictor.reconcile.state_store import StateStore, count_release


class ColorKeys(NamedTuple):
    """The keys of one service, whose acts were decided on an observation; Conflict if they are others since."""

    client: Client
    writer: Writer
    states: StateStore
    observation: Observation
    folder: str  # services/NAME/

    def switch(self, live_color: str) -> str:
        """Make a colour the live one; a canary's share ends with that."""
        observed, canary = self.observation.desired, self._read("canary")
        color = self._read("color")
        self._require(f"{self.folder}color", _text(color), observed.color_key)
        operations = [transactions.cas(f"{self.folder}color", live_color, _index(color))]
        if live_color == observed.color:
            self.writer.commit(operations)
            return f"{live_color} is live"
        if canary:
            operations.append(transactions.delete_cas(f"{self.folder}canary", canary.modify_index))
        self._commit_with(next_state.switched(self.observation), operations)
        return f"{live_color} is live"

    def give_share(self, action: actions.Try) -> str:
        """Give a colour its share of the requests; the release under way is on trial from then on."""
        text, canary = key.make(action.color, action.share), self._read("canary")
        self._require(f"{self.folder}canary", _text(canary), self.observation.desired.canary_key)
        self._commit_with(next_state.tried(self.observation), [
            transactions.cas(f"{self.folder}canary", text, _index(canary))])
        return f"{text} of the requests"

    def take_share(self) -> str:
        canary = self._read("canary")
        self._require(f"{self.folder}canary", _text(canary), self.observation.desired.canary_key)
        if canary:
            self.writer.commit([transactions.delete_cas(f"{self.folder}canary", canary.modify_index)])
        return f"{self.observation.desired.color} has all requests"

    def _commit_with(self, following: State, operations: list[transactions.Operation]) -> None:
        """Change keys and the state together."""
        name = self.observation.desired.name
        state, index = self.states.read(name, consistent=True)
        if state != self.observation.state:
            raise errors.Conflict(f"{service_state.KEY_PREFIX}{name} changed since this was decided")
        self.writer.commit([*operations, self.states.writing(name, following, index)])
        count_release(name, state, following)

    def _read(self, which: str) -> Entry | None:
        return self.client.get(f"{self.folder}{which}", consistent=True)

    @staticmethod
    def _require(which: str, text: str, observed: str) -> None:
        if text != observed:
            raise errors.Conflict(f"{which} changed since this was decided")


def _text(entry: Entry | None) -> str:
    """Read a key as the observation has it."""
    return desired.read_text(entry.value)[:40] if entry else ""


def _index(entry: Entry | None) -> int:
    return entry.modify_index if entry else 0
