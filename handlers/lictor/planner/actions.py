"""One thing to be done, or deliberately not to be done, with its reason. Pure."""

from typing import NamedTuple

from lictor.model import JOINING
from lictor.planner.observation import Member
from lictor.planner.self_preservation import Doubt

# What is carried out; confirm is looked into, wait and hold are only explained.
ACTS = ("start", "admit", "drain", "undrain", "stop", "remove", "switch", "scale", "redeploy", "retire", "end")


class Action(NamedTuple):
    """start, admit (to traffic), drain, undrain, stop (and keep), remove, switch (the live colour); of an engine that
    counts by itself scale, redeploy, retire (a colour as a whole), end (one instance): to be carried out. confirm: to
    be decided by a consistent reading. wait, hold: deliberately not done, with the reason."""

    kind: str
    reason: str
    container: str = ""
    container_id: str = ""
    service_id: str = ""
    number: int = 0  # the instance's; scale, redeploy: how many there are to be
    until: float = 0.0  # wait: when time alone changes the decision; 0.0: it may change at any moment
    replaces: str = ""  # the id of the running container that this replaces, for which the budget is asked
    color: str = ""  # start: the new container's; switch: the one that is to be live; scale...: the one that is told
    release: str = ""  # start, switch, scale...: the fingerprint of what it is made from; "": of what is live


def on(kind: str, member: Member, reason: str, until: float = 0.0) -> Action:
    service_id = member.instance.service_id if member.instance else ""
    return Action(kind, reason, member.name, member.container.id, service_id, member.container.number, until)


def leave(member: Member, reason: str, then: str = "remove") -> Action:
    """Drain it; what gets no traffic, or none yet, can end at once, as `then`."""
    gets_traffic = member.instance and member.instance.maintenance != JOINING
    return on("drain" if gets_traffic else then, member, reason)


def put_off(act: Action, reason: str, until: float) -> Action:
    """Not now: a wait when time alone changes that, else a hold."""
    return act._replace(kind="wait" if until else "hold", reason=reason, until=until)


def held(unsure: Doubt, member: Member, what: str) -> Action:
    return put_off(on("", member, ""), f"not done, as {unsure.why}: {what}", unsure.until)


def confirmed(seen_certain: bool, action: Action) -> Action:
    """The action itself when it rests on a consistent reading, else that one has to show it too."""
    return action if seen_certain else action._replace(
        kind="confirm", reason=f"{action.reason}: a consistent reading has to show it too")
