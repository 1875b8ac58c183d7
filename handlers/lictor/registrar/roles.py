"""The roles of the members of sets with state that run on this node, as tags `primary` and `secondary` in Consul.

Each member is asked for its own word once a second, in a thread of its own: one that hangs keeps no other waiting.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from lictor import errors, model
from lictor.adapters import log
from lictor.clusters import registry
from lictor.clusters.protocols import Kind
from lictor.engines.labels import maker
from lictor.planner.cluster.observation import PRIMARY, SECONDARY, Report

TAGS = (PRIMARY, SECONDARY)
_EVERY_S = 1.0
_PATIENCE = 3  # so many answers in a row may be missing before a role is unknown


class Environment(dict[str, str]):
    """A container's environment, in which a kind finds the user to log in as. It is never shown."""

    def __repr__(self) -> str:
        return "Environment"


class Member(NamedTuple):
    """A member as its container's label describes it."""

    service: str
    kind: str
    client_address: str
    address: str  # in the set's configuration
    environment: Environment = Environment()


def member_of(container: Mapping[str, Any]) -> Member | None:
    """Read from Docker's inspect where a member answers; None for a container that is none of lictor's.

    The port has to be one that this very container publishes: an image may bring labels, too.
    """
    labels = container["Config"].get("Labels") or {}
    if maker(container["Name"].removeprefix("/"), labels) != "docker":
        return None
    match labels.get(model.LABEL_MEMBER, "").split():
        case [kind, client_address, address]:
            bindings = (container["NetworkSettings"].get("Ports") or {}).values()
            published = {binding["HostPort"] for each in bindings for binding in each or ()}
            is_own = {each.rpartition(":")[2] for each in (client_address, address)} <= published
            variables = [each.partition("=")[::2] for each in container["Config"].get("Env") or ()]
            return Member(labels[model.LABEL_SERVICE], kind, client_address, address, Environment(
                variables)) if is_own else None
    return None


class Roles:
    """The roles by container id. `changed` is called, in another thread, when a role is another one."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._members: dict[str, Member] = {}
        self._ends: dict[str, threading.Event] = {}
        self._reports: dict[str, Report] = {}

    def follow(self, members: Mapping[str, Member]) -> None:
        """Ask exactly these members from now on."""
        for container_id in self._members.keys() - members.keys():
            self._ends.pop(container_id).set()
            self._reports.pop(container_id, None)
        for container_id in members.keys() - self._members.keys():
            end = self._ends[container_id] = threading.Event()
            threading.Thread(target=self._ask, args=(container_id, members[container_id], end), daemon=True,
                             name=f"role of {container_id[:12]}").start()
        self._members = dict(members)

    def tags(self) -> dict[str, str]:
        """Find the tag of each member whose role is known, by container id."""
        return tags({container_id: (self._members[container_id].service, report)
                     for container_id, report in list(self._reports.items()) if container_id in self._members})

    def _ask(self, container_id: str, member: Member, end: threading.Event) -> None:
        kind, missing = _kind(member), 0
        while kind and not end.is_set():
            before, found = self._reports.get(container_id), _report(kind, member)
            missing = 0 if found else missing + 1
            if not end.is_set() and (found or missing == _PATIENCE):
                self._note(container_id, found)
                if _shown(before) != _shown(found):
                    self._changed()
            end.wait(_EVERY_S)

    def _note(self, container_id: str, report: Report | None) -> None:
        if report:
            self._reports[container_id] = report
        else:
            self._reports.pop(container_id, None)


def tags(reports: Mapping[str, tuple[str, Report]]) -> dict[str, str]:
    """Choose the tags of members, given each one's service and own word. Of a service at most one is the primary: that
    of the latest election, as another one may not know yet that it has lost its majority."""
    latest: dict[str, int] = {}
    for service, report in reports.values():
        if report.role == PRIMARY:
            latest[service] = max(report.term, latest.get(service, report.term))
    leading = [service for service, report in reports.values()
               if report.role == PRIMARY and report.term == latest[service]]
    return {container_id: report.role for container_id, (service, report) in reports.items()
            if report.role == SECONDARY or report.role == PRIMARY and report.term == latest[service]
            and leading.count(service) == 1}


def _kind(member: Member) -> Kind | None:
    try:
        return registry.kind(member.kind, member.environment)
    except errors.Refused as error:
        log.event("role", service=member.service, outcome="refused", reason=error)
        return None


def _report(kind: Kind, member: Member) -> Report | None:
    try:
        return kind.ask(member.client_address, member.address)
    except errors.LictorError:
        return None


def _shown(report: Report | None) -> tuple[str, int] | None:
    return (report.role, report.term) if report else None
