"""What runs containers: one module for each engine, all with the same functions."""

from typing import Protocol

from lictor import model, policy
from lictor.engines import docker


class Engine(Protocol):
    """Every call raises Unavailable when the engine can't be reached, and has a time limit."""

    FENCED: bool  # more than one node may act for a service: who acts holds the lock in Consul

    def containers(self, service: str | None = None) -> list[model.Container]:
        """Those of one service in whatever state they are, exactly; or all of lictor's in one request, as a hint.

        A hint may lack what a list of containers does not show: `started_at` is when it was created, `image` is an id
        where its tag has moved since, `exit_code` is None unless it is exited. Whoever acts asks for the one service.
        """

    def start(self, spec: policy.Spec, *, number: int, color: str, release: str) -> model.Container:
        """Make and start one, its image pulled if it is not there; Conflict when its name is taken, Refused when the
        engine won't have the spec. What was made of one that did not start is removed again."""

    def remove(self, container: model.Container, *, grace_s: float) -> None:
        """Stop it, by force after `grace_s`, and remove it; nothing if it is gone, Refused if it is not lictor's."""

    def in_flight(self, container: model.Container) -> int | None:
        """Connections now open to its published ports, not counting its own; None when that can't be seen."""

    def logs(self, container: model.Container, *, lines: int) -> str:
        """The last lines it printed."""


ENGINES: dict[str, Engine] = {"docker": docker}
