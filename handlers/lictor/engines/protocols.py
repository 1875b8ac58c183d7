"""What runs containers: one module for each engine. Some are told which one to start or end, others only how many."""

from typing import Protocol

from lictor import model
from lictor.adapters import process
from lictor.engines import command, compose, docker, swarm, webhook
from lictor.spec import service_spec
from lictor.spec.settings import Settings


class Engine(Protocol):
    """It starts and ends the instances that it is told to, on this node.

    Every call raises Unavailable when the engine can't be reached, and has a time limit.
    """

    FENCED: bool  # more than one node may act for a service: who acts holds the lock in Consul

    def containers(self, service: str | None = None) -> list[model.Container]:
        """Those of one service in whatever state they are, exactly; or all of lictor's in one request, as a hint.

        A hint may lack what a list of containers does not show: `started_at` is when it was created, `image` is an id
        where its tag has moved since, `exit_code` is None unless it is exited. Whoever acts asks for the one service.
        """

    def start(self, spec: service_spec.Spec, *, number: int, color: str, release: str,
              gated: bool = False) -> model.Container:
        """Make and start one, its image pulled if it is not there; Conflict when its name is taken, Refused when the
        engine won't have the spec. What was made of one that did not start is removed again. One of the same release
        that `stop` has ended is started again. `gated`: it is to be registered so that it gets no traffic yet."""

    def stop(self, container: model.Container, *, grace_s: float) -> None:
        """End it, by force after `grace_s`, but keep it; nothing if it is gone, Refused if it is not lictor's."""

    def remove(self, container: model.Container, *, grace_s: float) -> None:
        """Stop it, by force after `grace_s`, and remove it; nothing if it is gone, Refused if it is not lictor's."""

    def in_flight(self, container: model.Container) -> int | None:
        """Connections now open to its published ports, not counting its own; None when that can't be seen."""

    def logs(self, container: model.Container, *, lines: int) -> str:
        """The last lines it printed."""


class Counting(Protocol):
    """It is told how many are wanted, from any node, and starts, places and ends the instances by itself.

    Every call raises Unavailable when the engine can't be reached, Conflict when somebody else changed the group
    meanwhile, Refused for what it will never accept; and has a time limit. One that takes long asks `called_off` on the
    way, and ends with a Conflict when that gives a reason.
    """

    def acts_here(self, settings: Settings) -> bool:
        """Whether this node can tell the engine anything: it is a manager, say, or has the templates for it."""

    def groups(self, service: str | None = None) -> list[model.Group] | None:
        """What it was told and what came of it, for one service or all of lictor's; None: it does not remember."""

    def scale(self, settings: Settings, spec: service_spec.Spec, *, color: str, replicas: int, release: str,
              called_off: process.CalledOff | None = None) -> str:
        """Have exactly so many run from the spec, made if there are none; returns its last words, for the record."""

    def redeploy(self, settings: Settings, spec: service_spec.Spec, *, color: str, replicas: int, release: str,
                 called_off: process.CalledOff | None = None) -> str:
        """The same with another release, or to have them made anew; instances are replaced as the engine does it."""

    def remove(self, settings: Settings, spec: service_spec.Spec, *, color: str,
               called_off: process.CalledOff | None = None) -> str:
        """End the group and all that runs of it."""


class Ending(Protocol):
    """What an engine that counts may have besides: the instances of this node, which it replaces when they end."""

    def is_here(self) -> bool:
        """Whether it may run some on this node; False when it cannot be reached."""

    def containers(self, service: str | None = None) -> list[model.Container]:
        """As of `Engine`, of this node only."""

    def end(self, container: model.Container, *, grace_s: float) -> None:
        """Stop it, by force after `grace_s`, and remove it; nothing if it is gone, Refused if it is not lictor's."""

    def logs(self, container: model.Container, *, lines: int) -> str:
        """The last lines it printed."""


ENGINES: dict[str, Engine] = {"docker": docker, "compose": compose}
ENDING: dict[str, Ending] = {"swarm": swarm}
COUNTING: dict[str, Counting] = {"swarm": swarm, "command": command, "webhook": webhook}
