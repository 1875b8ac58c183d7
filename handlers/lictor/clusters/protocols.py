"""The protocol of kinds: a kind is a module that satisfies it. It asks members and carries out; it decides nothing."""

from typing import Protocol

from lictor.planner.cluster.observation import Configuration, Link, Report


class Kind(Protocol):
    """Speaks with the members of a set. What the planner has to know of a kind stands in `spec.cluster.KINDS`.

    `member` and `primary` are where a member answers clients, `address` is what a configuration names it by. Every call
    has a time limit. Unavailable: there is no answer that can be trusted. Refused: the member will never do it.
    NotYet: it will once it has done what it is at. Conflict: it is not the primary, or its configuration is not `basis`
    any more; nothing was changed. No call forces.
    """

    def ask(self, member: str, address: str) -> Report:
        """Ask one member for its own word."""

    def ask_links(self, member: str, address: str) -> dict[str, Link]:
        """Ask one member whether it reaches each other member, by the address that its configuration names."""

    def environment(self, name: str, member: str, address: str, configuration: Configuration | None) -> dict[str, str]:
        """Make the environment that a member's container starts with; without a configuration, that of the first."""

    def initiate(self, member: str, set_name: str, address: str) -> None:
        """Make a set of one member that has no data; Refused if it belongs to one."""

    def add(self, primary: str, address: str, basis: Configuration) -> None:
        """Add a member without a vote."""

    def give_vote(self, primary: str, address: str, basis: Configuration) -> None:
        """Give a member its vote; NotYet if it has not caught up."""

    def take_vote(self, primary: str, address: str, basis: Configuration) -> None:
        """Take a member's vote; Refused if the kind knows no members without one."""

    def remove(self, primary: str, address: str, basis: Configuration) -> None:
        """Remove a member from the configuration; its data and its process are left alone."""

    def step_down(self, primary: str, basis: Configuration) -> None:
        """Have the primary hand over; Unavailable if no other member can take over."""
