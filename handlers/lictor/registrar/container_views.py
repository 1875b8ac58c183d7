"""The registrar's views of containers: Docker's last word on each, and the registrations that follow."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from lictor.adapters import docker
from lictor.registrar import ports, registration, roles, swarm_stop
from lictor.registrar.registration import Options, Registration
from lictor.registrar.roles import Member

_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)


class View(NamedTuple):
    """A container as it was last inspected; `listed` is what Docker's list showed of it then."""

    listed: str
    name: str
    started_at: str
    registrations: list[Registration]
    refused: list[str]
    stop_signals: frozenset[int] = frozenset()  # by which Swarm ends it; none if it is no task of Swarm's
    member: Member | None = None  # of a set with state

    @property
    def is_ailing(self) -> bool:
        """Decide whether its HEALTHCHECK fails, or has not passed yet: what that prints changes without an event."""
        return any(each.health not in (None, "passing") for each in self.registrations)


def inspect(engine: docker.Client, container_id: str, listed: str, options: Options) -> View | None:
    """Inspect a container; None if it does not run. What one container holds costs the others nothing."""
    container = engine.inspect(container_id)
    if container is None:
        return None
    try:
        state = container["State"]
        if state["Status"] not in registration.RUNNING:
            return None
        registrations, refused = registration.registrations(
            container, options, joined=_joined(engine, container),
            image=engine.image_config(container["Image"]) if options.ignore_image else None)
        return View(listed, container["Name"].removeprefix("/"), state["StartedAt"], registrations, refused,
                    swarm_stop.stop_signals(container), roles.member_of(container))
    except _UNREADABLE as error:
        return View(listed, container_id[:12], "", [], [f"not registered: what Docker shows of it is no container's: "
                                                        f"{error!r:.200}"])


def with_role(view: View, role: str) -> View:
    """Put the tag of its role ("": it is unknown) on a member's registrations, in the place of a user's such tag."""
    if view.member is None:
        return view
    tags = [[tag for tag in each.definition["Tags"] if tag not in roles.TAGS] for each in view.registrations]
    return view._replace(registrations=[
        each._replace(definition={**each.definition, "Tags": [*own, *([role] if role else [])]})
        for each, own in zip(view.registrations, tags, strict=True)])


def has_failed(engine: docker.Client, container_id: str) -> bool:
    """Decide whether a container ended by itself, with an exit code of its own that tells of a failure."""
    container = engine.inspect(container_id)
    state = container["State"] if container else {}
    return state.get("Status") in ("exited", "dead", "restarting") and 0 < state.get("ExitCode", 0) < 128


def summarize(listed: Mapping[str, Any]) -> str:
    """Sum up an entry of Docker's list, as far as a change of it is a reason to inspect the container again."""
    health = listed["Status"].partition("(")[2]  # `Up 3 minutes (healthy)`
    published = sorted(map(str, listed["Ports"]))
    return f"{listed['Names']} {listed['State']} {health} {published} {listed.get('NetworkSettings')}"


def claim(views: Collection[View]) -> tuple[dict[str, Registration], set[tuple[str, str]]]:
    """Collect the registrations by service id, and the refusals as (container, reason).

    If two containers claim one id, the one that the id names has it (HOST:NAME:PORT): only that one is called so, while
    a SERVICE_ID may come from any image. If it names neither, the one that has run for longer has it.
    """
    claims: dict[str, Registration] = {}
    refusals = {(view.name, reason) for view in views for reason in view.refused}
    found = [(claimed.id.split(":")[1:2] != [view.name], view.started_at, claimed)
             for view in views for claimed in view.registrations]
    for _, _, claimed in sorted(found, key=lambda each: each[:2]):
        holder = claims.setdefault(claimed.id, claimed)
        if holder is not claimed:
            refusals.add((claimed.container, f"SERVICE_ID {claimed.id!r} is that of container {holder.container}"))
    return claims, refusals


def _joined(engine: docker.Client, container: Mapping[str, Any]) -> dict[str, Any] | None:
    """Inspect the container whose network this one has; None if it has its own, or that one does not run."""
    name = ports.joined_container(container)
    joined = engine.inspect(name) if name else None
    return joined if joined and joined["State"]["Status"] in registration.RUNNING else None
