"""The keys lictor/seeds/NAME: the node that acts for a set writes its list, which services that use the set are given.

A list that has not changed costs no write. It goes when the service was removed and its containers are gone.
"""

from collections.abc import Mapping
from typing import NamedTuple

from lictor import errors, model
from lictor.adapters.consul.answers import Entry
from lictor.adapters.consul.client import Client
from lictor.adapters.consul.lock import Writer
from lictor.planner.cluster.seeds import KEY_PREFIX, explain_missing, parse
from lictor.planner.desired import with_environment
from lictor.spec import placeholders
from lictor.spec.service_spec import Spec


class Told(NamedTuple):
    """The list that is due ("": it is not known, and what was told stays), and its key."""

    due: str
    entry: Entry | None

    @property
    def is_current(self) -> bool:
        return not self.due or self.entry is not None and self.entry.value == self.due.encode()


def look(client: Client, name: str, due: str) -> Told:
    return Told(due, client.get(f"{KEY_PREFIX}{name}"))


def tell(writer: Writer, name: str, told: Told) -> None:
    """Write the list if it is another one; Conflict if the key is not the one that was read."""
    if not told.is_current:
        writer.put(f"{KEY_PREFIX}{name}", told.due, told.entry.modify_index if told.entry else 0)


def forget(client: Client, name: str) -> None:
    if client.get(f"{KEY_PREFIX}{name}"):
        client.delete(f"{KEY_PREFIX}{name}")


def read_all(client: Client) -> Mapping[str, bytes]:
    """Read the lists of all sets, by name, as they stand in their keys."""
    tree = client.tree(KEY_PREFIX, lambda key: model.is_name(key.removeprefix(KEY_PREFIX)))
    return {key.removeprefix(KEY_PREFIX): entry.value for key, entry in tree.items()}


def explain_wait(environment: object, values: Mapping[str, bytes]) -> str:
    """Say why no container can start with an environment; "": nothing keeps it."""
    return explain_missing(placeholders.find_sets(environment), values)


def read_wait(client: Client, spec: Spec | None) -> str:
    """Ask Consul, and say why no container of a spec can start, as `explain_wait` does."""
    sets = placeholders.find_sets(spec.environment) if spec else set()
    return explain_missing(sets, _read(client, sets)) if sets else ""


def fill(client: Client, spec: Spec) -> Spec:
    """Fill the seed lists into a spec's environment; its fingerprint stays that of the spec as it is written.

    Conflict: a list is not there. That was not so when the start was planned, and is no failure of the service.
    """
    sets = placeholders.find_sets(spec.environment)
    if not sets:
        return spec
    values = _read(client, sets)
    if why := explain_missing(sets, values):
        raise errors.Conflict(f"waiting: {why}. {spec.name} is not started.")
    seeds = {name: parse(value) for name, value in values.items()}
    return with_environment(spec, placeholders.fill_sets(spec.environment_table, seeds))


def _read(client: Client, sets: set[str]) -> dict[str, bytes]:
    entries = {name: client.get(f"{KEY_PREFIX}{name}") for name in sorted(sets)}
    return {name: entry.value for name, entry in entries.items() if entry}
