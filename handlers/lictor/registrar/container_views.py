"""The registrar's views of containers: Docker's last word on each, and the registrations that follow."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from lictor.adapters import docker
from lictor.registrar import registration, swarm_stop
from lictor.registrar.registration import Options, Registration


class View(NamedTuple):
    """A container as it was last inspected; `listed` is what Docker's list showed of it then."""

    listed: str
    name: str
    started_at: str
    registrations: list[Registration]
    refused: list[str]
    stop_signals: frozenset[int]  # by which Swarm ends it; none if it is no task of Swarm's
    failed: bool  # it ended, and its registrations are to stay


def inspect(engine: docker.Client, container_id: str, listed: str, options: Options, *,
            keep_failed: bool) -> View | None:
    """Inspect a container; None if it has nothing to register. With `keep_failed` a failed one counts as running."""
    container = engine.inspect(container_id)
    if container is None:
        return None
    state = container["State"]
    failed = keep_failed and state["Status"] == "exited" and 0 < state["ExitCode"] < 128
    if state["Status"] not in registration.RUNNING and not failed:
        return None
    registrations, refused = registration.registrations(container, options)
    return View(listed, container["Name"].removeprefix("/"), state["StartedAt"], registrations, refused,
                swarm_stop.stop_signals(container), failed)


def summarize(listed: Mapping[str, Any]) -> str:
    """Sum up an entry of Docker's list, as far as a change of it is a reason to inspect the container again."""
    health = listed["Status"].partition("(")[2]  # `Up 3 minutes (healthy)`
    ports = sorted(map(str, listed["Ports"]))
    return f"{listed['Names']} {listed['State']} {health} {ports} {listed.get('NetworkSettings')}"


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
