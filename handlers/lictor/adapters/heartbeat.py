"""The registrar's heartbeat in the state folder, for all who have to know how it is."""

import os
import time
from typing import Any, NamedTuple

from lictor import errors
from lictor.adapters import clock, files, process

LATE_S = 60.0
_FILE = "registrar.json"
_MOST_SHOWN = 20


class Refusal(NamedTuple):
    """A container, by name, that is not registered as it asks for, or a registration that cannot be ended."""

    container: str
    reason: str
    cause: str  # labels: of the container itself; catalogue: Consul, or somebody who registers too; docker


class Heartbeat(NamedTuple):
    """The last words of the registrar: trouble keeps it from all of its work, a refusal from a part."""

    at: float  # epoch seconds
    engine: str = ""
    registered: int = 0
    refused: int = 0
    refusals: tuple[Refusal, ...] = ()  # the first of them, those that are not of labels before the others
    dead: tuple[str, ...] = ()  # ids of containers that do not run, and whose registrations it could not end
    trouble: str = ""
    token: str = ""  # the public name of the token that registered all
    pid: int = 0  # 0: unknown
    started_at_s: float = 0.0  # of that process, since the machine's start
    pid_namespace: str = ""  # in which the process has that number

    @property
    def failures(self) -> list[str]:
        """Say what is wrong with the registrar, or with the catalogue; a container's labels are its own affair."""
        trouble = [f"in trouble: {self.trouble}"] if self.trouble else []
        dead = [f"{len(self.dead)} containers that do not run are still in the catalogue, such as {self.dead[0][:12]}. "
                "This node's nginx does without them"] if self.dead else []
        return [*trouble, *dead, *(f"{refusal.container}: {refusal.reason}" for refusal in self.refusals
                                   if refusal.cause != "labels")]

    @property
    def unmet(self) -> list[str]:
        """Say in a line, if any, how many containers are not registered as their labels ask."""
        unmet = [refusal for refusal in self.refusals if refusal.cause == "labels"]
        count = self.refused - len(self.refusals) + len(unmet)
        return [f"{count} not as labels ask, such as {unmet[0].container}: {unmet[0].reason}"] if unmet else []


def make(refusals: set[Refusal], **fields: Any) -> Heartbeat:
    shown = sorted(refusals, key=lambda refusal: (refusal.cause == "labels", refusal))[:_MOST_SHOWN]
    return Heartbeat(time.time(), refused=len(refusals), refusals=tuple(shown), pid=os.getpid(),
                     started_at_s=process.started_at_s(os.getpid()) or 0.0, pid_namespace=_pid_namespace(), **fields)


def write(state_dir: str, heartbeat: Heartbeat) -> None:
    """Note that the registrar is alive; raises OSError if the disk is full."""
    value = heartbeat._asdict() | {"refusals": [refusal._asdict() for refusal in heartbeat.refusals]}
    files.write_json(os.path.join(state_dir, _FILE), value, mode=0o644, durable=False)


def read(state_dir: str) -> Heartbeat | None:
    """Read the last heartbeat; None if it is absent or damaged."""
    value = files.read_json(os.path.join(state_dir, _FILE))
    try:
        refusals = tuple(Refusal(**refusal) for refusal in value.get("refusals", ()))
        heartbeat = Heartbeat(**{**value, "refusals": refusals, "dead": tuple(value.get("dead", ()))})
    except (AttributeError, TypeError):
        return None
    texts = (*heartbeat.dead, *(text for refusal in refusals for text in refusal), heartbeat.trouble, heartbeat.token,
             heartbeat.pid_namespace)
    numbers = (heartbeat.refused, heartbeat.pid)
    is_sound = type(heartbeat.at) is type(heartbeat.started_at_s) is float and all(
        type(number) is int for number in numbers) and all(isinstance(text, str) for text in texts)
    return heartbeat if is_sound else None


def read_dead(state_dir: str) -> frozenset[str]:
    """Read which containers of this node are dead, by a registrar that is alive, and still in the catalogue."""
    heartbeat = read(state_dir)
    is_late = not heartbeat or clock.read(state_dir).is_late(heartbeat.at, LATE_S)
    return frozenset() if not heartbeat or is_late else frozenset(heartbeat.dead)


def describe_silence(state_dir: str, heartbeat: Heartbeat | None) -> str:
    """Say why the registrar does not do its work, by what it leaves behind; "" while it is alive."""
    if not heartbeat:
        return "it has never run here"
    now = clock.read(state_dir)
    if now.is_foreign(heartbeat.at):
        return "the time of its last heartbeat is of no clock of this node"
    age_s = now.age_s(heartbeat.at)
    if _has_ended(heartbeat):
        return f"it is not running: its process {heartbeat.pid} has ended, after a heartbeat {age_s:.0f} s ago"
    return f"it is silent: its last heartbeat is {age_s:.0f} s old" if age_s > LATE_S else ""


def _has_ended(heartbeat: Heartbeat) -> bool:
    """Decide whether the process that wrote it is known to have ended; that of another namespace is not seen here."""
    if not heartbeat.pid or heartbeat.pid_namespace != _pid_namespace():
        return False
    started_at_s = process.started_at_s(heartbeat.pid)
    return started_at_s is None or abs(started_at_s - heartbeat.started_at_s) > 1


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def examine(state_dir: str) -> str:
    """Say how the registrar is, if it does its work; raises Refused if it does not."""
    heartbeat = read(state_dir)
    silence = describe_silence(state_dir, heartbeat)
    if silence or not heartbeat:
        raise errors.Refused(silence)
    if heartbeat.failures:
        raise errors.Refused("; ".join(heartbeat.failures))
    age_s = clock.read(state_dir).age_s(heartbeat.at)
    return "; ".join([f"{heartbeat.registered} registered", *heartbeat.unmet, f"alive {age_s:.0f} s ago"])
