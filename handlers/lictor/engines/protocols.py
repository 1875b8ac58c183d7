"""The protocols of engines: an engine is a module that satisfies one of the first two."""

from typing import NamedTuple, Protocol

from lictor import model
from lictor.adapters.process import CalledOff
from lictor.spec.placeholders import Values
from lictor.spec.service_spec import Spec
from lictor.spec.settings import Settings


class ContainerEngine(Protocol):
    """Starts and ends single instances on this node, as lictor orders.

    Every call raises Unavailable when the engine can't be reached, and has a time limit.
    """

    FENCED: bool  # whether more than one node may act for a service; then the acting node holds the lock in Consul

    def containers(self, service: str | None = None) -> list[model.Container]:
        """List one service's containers in whatever state, exactly; or all of lictor's in one request, as a hint.

        A hint lacks what Docker's list does not show. Its `started_at` is the time of creation. Its `image` is an id if
        the tag has moved since. Its `exit_code` is None unless the container is exited.
        """

    def start(self, spec: Spec, *, number: int, color: str, release: str, gated: bool = False) -> model.Container:
        """Make and start an instance; its image is pulled if it is missing.

        If `stop` has kept a container of the same release, that one starts again. `gated` makes the registrar withhold
        traffic. Conflict: the name is taken. Refused: the engine rejects the spec. Whatever was made of an instance
        that did not start is removed again.
        """

    def stop(self, container: model.Container, *, grace_s: float) -> None:
        """End it, by force after `grace_s`, and keep it; nothing if it is gone, Refused if it is not lictor's."""

    def remove(self, container: model.Container, *, grace_s: float) -> None:
        """Stop it, by force after `grace_s`, and remove it; nothing if it is gone, Refused if it is not lictor's."""

    def in_flight(self, container: model.Container) -> int | None:
        """Count the open connections to its published ports, without its own; None if they can't be seen."""

    def logs(self, container: model.Container, *, lines: int) -> str:
        """Read the last lines that it printed."""


class Order(NamedTuple):
    """The desired instances of one colour of a service; "" is the colour of a service without colours."""

    spec: Spec
    color: str
    replicas: int
    release: str  # the fingerprint of `spec`

    @property
    def values(self) -> Values:
        """The values of placeholders in the templates of a command or a webhook."""
        return Values(self.spec.name, self.replicas, self.spec.image, self.color)


class Scheduler(Protocol):
    """Takes orders of how many instances there should be, from any node, and starts, places and ends them by itself.

    Every call has a time limit. Unavailable: the scheduler can't be reached. Conflict: another client changed the group
    meanwhile. Refused: it will never accept the order. A long call asks `called_off` on the way, and ends with a
    Conflict when that gives a reason.
    """

    def acts_here(self, settings: Settings) -> bool:
        """Decide whether this node can give orders: it is a manager, say, or its settings have the templates."""

    def groups(self, service: str | None = None) -> list[model.Group] | None:
        """Read the orders and what came of them, for one service or all of lictor's; None: it keeps none."""

    def scale(self, settings: Settings, order: Order, called_off: CalledOff | None = None) -> str:
        """Have exactly so many instances of the spec; returns the scheduler's last words, for the record."""

    def redeploy(self, settings: Settings, order: Order, called_off: CalledOff | None = None) -> str:
        """Scale, and replace the instances, for another release or to have them made anew."""

    def remove(self, settings: Settings, order: Order, called_off: CalledOff | None = None) -> str:
        """End the group and all of its instances; the order's `replicas` are 0."""


class TaskEnder(Protocol):
    """Ends single instances of a scheduler on this node; the scheduler replaces them."""

    def is_here(self) -> bool:
        """Decide whether instances may run on this node; False if the engine cannot be reached."""

    def containers(self, service: str | None = None) -> list[model.Container]:
        """List the containers on this node, as `ContainerEngine.containers`."""

    def end(self, container: model.Container, *, grace_s: float) -> None:
        """Stop it, by force after `grace_s`, and remove it; nothing if it is gone, Refused if it is not lictor's."""

    def logs(self, container: model.Container, *, lines: int) -> str:
        """Read the last lines that it printed."""
