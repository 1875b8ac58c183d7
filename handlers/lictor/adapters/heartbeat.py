"""The registrar's heartbeat in the state folder, for all who have to know how it is."""

import os
import time

import msgspec

from lictor.adapters import files

LATE_S = 60.0
_FILE = "registrar.json"
_MOST_SHOWN = 20


class Refusal(msgspec.Struct, frozen=True, order=True):
    """A container, by name, that is not registered as it asks for, or a registration that cannot be ended."""

    container: str
    reason: str
    cause: str  # labels: of the container itself; catalogue: Consul, or somebody who registers too; docker


class Heartbeat(msgspec.Struct, frozen=True):
    """What the registrar last wrote: trouble keeps it from all of its work, a refusal from a part."""

    at: float  # epoch seconds
    engine: str = ""
    registered: int = 0
    refused: int = 0
    refusals: list[Refusal] = []  # the first of them, those that are not of labels before the others
    trouble: str = ""
    token: str = ""  # the public name of the token that registered all

    @property
    def failures(self) -> list[str]:
        """Say what is wrong with the registrar, or with the catalogue; a container's labels are its own affair."""
        return ([f"in trouble: {self.trouble}"] if self.trouble else []) + [
            f"{refusal.container}: {refusal.reason}" for refusal in self.refusals if refusal.cause != "labels"]

    @property
    def unmet(self) -> list[str]:
        """Say in a line, if any, how many containers are not registered as their labels ask."""
        unmet = [refusal for refusal in self.refusals if refusal.cause == "labels"]
        count = self.refused - len(self.refusals) + len(unmet)
        return [f"{count} not as labels ask, such as {unmet[0].container}: {unmet[0].reason}"] if unmet else []


def make(refusals: set[Refusal], *, engine: str, registered: int, trouble: str, token: str) -> Heartbeat:
    shown = sorted(refusals, key=lambda refusal: (refusal.cause == "labels", refusal))[:_MOST_SHOWN]
    return Heartbeat(time.time(), engine, registered, len(refusals), shown, trouble, token)


def write(state_dir: str, heartbeat: Heartbeat) -> None:
    """Note that the registrar is alive; raises OSError if the disk is full."""
    files.write_json(os.path.join(state_dir, _FILE), msgspec.to_builtins(heartbeat), mode=0o644, durable=False)


def read(state_dir: str) -> Heartbeat | None:
    """Read the last heartbeat; None if it is absent or damaged."""
    try:
        return msgspec.convert(files.read_json(os.path.join(state_dir, _FILE)), Heartbeat)
    except msgspec.ValidationError:
        return None
