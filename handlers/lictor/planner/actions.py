"""Actions on one service: what is carried out, and what is deliberately not done, each with its reason.

The reason of an act is its cause alone, as kind and container say the rest. A hold, a wait and a confirmation say
"STATE: CAUSE. CONSEQUENCE."; `action` is what they keep from being done, if that is a single action.
"""

from typing import NamedTuple, get_args

import msgspec

from lictor.model import JOINING
from lictor.planner.members import Member


class _Record(msgspec.Struct, frozen=True):
    @property
    def kind(self) -> str:
        return type(self).__name__.lower()


class _OnMember(_Record, frozen=True):
    member: Member
    reason: str

    @property
    def container(self) -> str:
        return self.member.name


class _OnColor(_Record, frozen=True):
    container: str  # the colour's name in the catalogue
    reason: str
    color: str


class Start(_Record, frozen=True):
    """Start a container, or one that was kept stopped."""

    container: str
    reason: str
    number: int
    color: str
    release: str  # the fingerprint of what it is made from
    replaces: str = ""  # the id of the running container that it replaces, which the budget pays for


class Admit(_OnMember, frozen=True):
    """Let a new instance into traffic."""


class Undrain(_OnMember, frozen=True):
    """Let a draining instance into traffic again."""


class Drain(_OnMember, frozen=True):
    """Take an instance out of traffic, so that it can end."""

    replaces: str = ""  # its own container's id if it goes by judgement before another comes


class Stop(_OnMember, frozen=True):
    """Stop a container and keep it."""


class Remove(_OnMember, frozen=True):
    """Stop a container if it runs, and remove it."""

    replaces: str = ""  # as that of Drain


class End(_OnMember, frozen=True):
    """End one instance of a scheduler, which starts another."""

    replaces: str  # its own container's id


class Replace(_OnMember, frozen=True):
    """Replace an unhealthy instance, in whichever way; never carried out, as a Start, Drain, End or Redeploy is."""


class Switch(_OnColor, frozen=True):
    """Make a colour the live one."""


class Try(_OnColor, frozen=True):
    """Give a colour a share of the requests, beside the live one."""

    share: float


class Recall(_OnColor, frozen=True):
    """Take its share of the requests from a colour."""


class Scale(_OnColor, frozen=True):
    """Order so many instances of a release from a scheduler."""

    replicas: int
    release: str  # the fingerprint of what they are made from


class Redeploy(_OnColor, frozen=True):
    """Order a scheduler to make all its instances anew, of this release."""

    replicas: int
    release: str
    replaces: str = ""  # the id of the unhealthy container that it is for


class Retire(_OnColor, frozen=True):
    """Order a scheduler to forget a colour."""

    release: str


Order = Scale | Redeploy | Retire
Act = Start | Admit | Drain | Undrain | Stop | Remove | End | Switch | Try | Recall | Order
KINDS_OF_ACTS = tuple(act.__name__.lower() for act in get_args(Act))


class _Undone(_Record, frozen=True):
    container: str
    reason: str
    action: Act | Replace | None = None


class Hold(_Undone, frozen=True):
    """Deliberately not done."""


class Wait(_Undone, frozen=True):
    """Not done yet."""

    until: float = 0.0  # when time alone changes the decision; 0.0: it may change at any moment; infinite: never


class Confirm(_Undone, frozen=True):
    """Not done before a consistent reading shows its cause too."""


class Warn(_Undone, frozen=True):
    """Nothing to do for lictor, but for operators to know."""


Action = Act | Hold | Wait | Confirm | Warn
KINDS = (*KINDS_OF_ACTS, *(each.__name__.lower() for each in (Hold, Wait, Confirm, Warn)))


class Obstacle(NamedTuple):
    """What stands against an action, and until when by time alone (0.0: unknown)."""

    why: str
    until: float = 0.0


def hold(action: Act | Replace, why: str) -> Hold:
    return Hold(action.container, f"on hold: {why}. {_would(action)}", action)


def wait(action: Act | Replace, state: str, why: str, until: float = 0.0) -> Wait:
    return Wait(action.container, f"{state}: {why}. {_would(action)}", action, until)


def wait_for(member: Member, reason: str) -> Wait:
    return Wait(member.name, reason, until=member.until)


def put_off(action: Act | Replace, obstacle: Obstacle) -> Hold | Wait:
    """Wait if time alone removes the obstacle, else hold."""
    return wait(action, "on hold", *obstacle) if obstacle.until else hold(action, obstacle.why)


def confirm(action: Act | Replace) -> Confirm:
    return Confirm(action.container, f"unconfirmed: a consistent reading has to show it too. {_would(action)}", action)


def confirmed(certain: bool, action: Act) -> Act | Confirm:
    """Take the act after a consistent reading; else ask for one."""
    return action if certain else confirm(action)


def leave(member: Member, reason: str, ending: type[Stop] | type[Remove] = Remove) -> Drain | Stop | Remove:
    """Drain an instance that gets traffic; end one that gets none, or none yet."""
    gets_traffic = member.instance and member.instance.maintenance != JOINING
    return Drain(member, reason) if gets_traffic else ending(member, reason)


def replaced_by(action: Act) -> str:
    """Name the running container that an act replaces by judgement, so that the budget pays for it; "": none."""
    return action.replaces if isinstance(action, Start | Drain | Remove | End | Redeploy) else ""


def describe(kind: str, container: str, reason: str) -> str:
    """Make a line for people. A hold says itself that something is on hold: `hold` is the name of a key."""
    if kind == "hold":
        return f"{container}: {reason}" if container else reason
    return f"{kind} {container}: {reason}" if container else f"{kind}: {reason}"


def _would(action: Act | Replace) -> str:
    return f"Would {action.kind} {action.container} ({action.reason})."
