"""The containers of a service that are lictor's own and on this node; and which nodes have the others."""

import re
from collections.abc import Iterable

import click

from lictor import errors, model
from lictor.adapters.text import one_line
from lictor.cli.session import Session
from lictor.engines.protocols import ContainerEngine, TaskEnder
from lictor.engines.registry import CONTAINER_ENGINES, TASK_ENDERS
from lictor.reconcile import observe

_NAME_AND_NUMBER = re.compile(r"(?P<base>.+)-(?P<number>[1-9]\d{0,8})", re.ASCII)
_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SHOWN_NODES = 5


def require_some(session: Session, word: str) -> list[model.Container]:
    """Find the containers of a service, or of one instance; raises Refused if this node has none, and names the nodes
    that have."""
    _require_name(word)
    trouble = "no container that lictor made for it is on this machine"
    others = list[model.Container]()
    try:
        if found := find(word):
            return found
        others = [each for base in _bases(word) for each in _list(base)]
    except errors.Unavailable as error:  # a machine without Docker, say
        trouble = str(error)
    nodes = _read_nodes(session, [word] if others else [word, *_bases(word)])
    if others and not nodes:
        raise errors.Refused(f"{word}: {others[0].service} has no such instance on this node; it has "
                             f"{_join(sorted(each.name for each in others))}")
    raise errors.Refused(f"{word}: {trouble}; {_join(nodes)} {'have' if len(nodes) > 1 else 'has'} instances. Run it "
                         f"there" if nodes else f"{word}: {trouble}, and the catalogue has no instance of it; `lictor "
                                                "status` lists the services")


def find(word: str) -> list[model.Container]:
    """Find the containers of the service of this name, or of the instance NAME-N, as this node's Docker has them."""
    found, match = _list(word), _NAME_AND_NUMBER.fullmatch(word)
    of_instance = [each for base in _bases(word) for each in _list(base)
                   if each.name == word or match and match["base"] == base and each.number == int(match["number"])]
    if found and of_instance:
        raise errors.Refused(f"{word} is a service, and also an instance of {of_instance[0].service}; say which by a "
                             f"whole name, such as {found[0].name}, or use `docker` for {of_instance[0].name}")
    return found or of_instance


def choose(session: Session, word: str, containers: list[model.Container]) -> model.Container:
    """Choose the first that runs and passes its check. If none does, it is the first that runs."""
    running = [each for each in containers if each.status == "running" and _ID.fullmatch(each.id)]
    if not running:
        shown = ", ".join(f"{each.name} is {each.status}" for each in containers[:_SHOWN_NODES])
        raise errors.Refused(f"{word}: none of its containers on this node runs: {shown}")
    if len(running) == 1:
        return running[0]
    try:
        passing = _read_passing(session, running[0].service)
    except errors.LictorError as error:
        click.echo(f"lictor: which instances pass is unknown: {one_line(str(error))}", err=True)
        return running[0]
    chosen = next((each for each in running if each.id in passing), None)
    why = "" if chosen else f"; none of {running[0].service} on this node passes its check"
    chosen = chosen or running[0]
    click.echo(f"lictor: in {chosen.name}{why}", err=True)
    return chosen


def _require_name(word: str) -> None:
    if not any(map(model.is_name, [word, *_bases(word)])):
        raise errors.Refused(f"NAME is {word[:100]!r}; {model.NAME_RULE}")


def _bases(word: str) -> list[str]:
    """List the services of which this may be an instance: NAME-N, or NAME-COLOR-N."""
    match = _NAME_AND_NUMBER.fullmatch(word)
    base = match["base"] if match else ""
    of_colors = [base.removesuffix(f"-{color}") for color in model.COLORS if base.endswith(f"-{color}")]
    return [each for each in (base, *of_colors) if model.is_name(each)]


def _list(service: str) -> list[model.Container]:
    if not model.is_name(service):
        return []
    engines: list[ContainerEngine | TaskEnder] = [*CONTAINER_ENGINES.values(), *TASK_ENDERS.values()]
    return [container for engine in engines for container in engine.containers(service)]


def _read_instances(session: Session, service: str) -> list[model.Instance]:
    client = session.client
    return observe.instances(entry for color in ("", *model.COLORS)
                             for entry in client.health(model.catalog_name(service, color)))


def _read_passing(session: Session, service: str) -> set[str]:
    """Read the ids of the containers that pass their checks, and get traffic."""
    groups = model.by_container(_read_instances(session, service))
    return {container_id for container_id, group in groups.items()
            if all(each.status != "critical" and each.maintenance is None for each in group)}


def _read_nodes(session: Session, names: Iterable[str]) -> list[str]:
    """Read which nodes have instances of these services."""
    named = filter(model.is_name, names)
    return sorted({each.node for name in named for each in _read_instances(session, name) if each.container_id})


def _join(nodes: Iterable[str]) -> str:
    listed = list(nodes)
    more = [f"{len(listed) - _SHOWN_NODES} more"] if len(listed) > _SHOWN_NODES else []
    *first, last = [*map(one_line, listed[:_SHOWN_NODES]), *more]
    return f"{', '.join(first)} and {last}" if first else last
