"""Actions on a set with state; whatever the observation, at most one is planned, with its reason.

A reason says "STATE: CAUSE. CONSEQUENCE.". No action forces a configuration, and none removes a volume.
"""

from typing import get_args

import msgspec

from lictor.planner.actions import Confirm, Hold, Wait
from lictor.planner.cluster.observation import Configuration


class _Record(msgspec.Struct, frozen=True, tag=True):
    container: str  # SERVICE-N
    reason: str
    number: int

    @property
    def kind(self) -> str:
        return type(self).__name__.lower()


class _Change(_Record, frozen=True):
    address: str
    basis: Configuration  # that it was decided upon; if the primary has another one meanwhile, nothing is changed


class Start(_Record, frozen=True):
    """Start a member's container, on its own volume and address."""

    release: str
    is_blank: bool  # the volume has to be empty, as for a newcomer; else it has to be the one with the member's data


class Restart(_Record, frozen=True):
    """Stop a member's container and make it anew of another release, on the same volume and address."""

    release: str


class Drain(_Record, frozen=True):
    """Take the instance of a former member out of traffic."""


class Stop(_Record, frozen=True):
    """Stop and remove the container of a former member; its volume stays."""


class Initiate(_Record, frozen=True):
    """Make a new set, with this one member. If its kind does so by starting, start it, on an empty volume."""

    release: str
    address: str


class StepDown(_Record, frozen=True):
    """Have the primary hand over to another member."""


class Add(_Change, frozen=True):
    """Add a member without a vote."""


class GiveVote(_Change, frozen=True):
    """Give a member that has caught up its vote."""


class TakeVote(_Change, frozen=True):
    """Take a member's vote; it stays a member."""


class Leave(_Change, frozen=True):
    """Remove a member from the configuration; its container runs on until that is committed."""


Change = Add | GiveVote | TakeVote | Leave
Act = Start | Restart | Drain | Stop | Initiate | StepDown | Change
KINDS_OF_ACTS = tuple(act.__name__.lower() for act in get_args(Act))
Action = Act | Hold | Wait | Confirm
