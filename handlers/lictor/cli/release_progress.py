"""How far a release is, and how it ended, told from what Consul shows of it: the same for every engine. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from lictor import model
from lictor.planner.desired import Desired
from lictor.planner.service_state import State

_LONGEST_OUTPUT = 120
_ENDS = ("stop", "remove")  # the kinds of record that have a container's last words


class Asked(NamedTuple):
    """A release that was asked for."""

    name: str
    image: str
    release: str  # its fingerprint
    held: str  # why nothing comes of it for now; "": nothing holds it
    since: float  # what the history has from before is not of this release; by the clock of who wrote it
    timeout_s: float  # so long it may take, if nobody says otherwise


class Glance(NamedTuple):
    """What Consul shows of a service at one moment; `entries` are the instances of all its colours, as in a payload."""

    wanted: Desired
    stored: State
    entries: list[dict[str, Any]]


class Newcomer(NamedTuple):
    """An instance of the new release, once it is registered."""

    service_id: str
    node: str
    condition: str  # passes, or what is the matter
    detail: str = ""  # what its check said


class Outcome(NamedTuple):
    """How it ended. `pending` is what is worth a moment's patience although the end is known; "": nothing."""

    kind: str  # done, failed, superseded, timeout, unreachable
    why: str = ""
    behind: tuple[str, ...] = ()  # done: the routing nodes whose nginx does not list all new instances
    last_words: Mapping[str, str] = {}  # failed: by container
    pending: str = ""


class Progress(NamedTuple):
    """One look at it; the one with an outcome is the last."""

    stage: str
    newcomers: tuple[Newcomer, ...] = ()
    elapsed_s: float = 0.0
    outcome: Outcome | None = None


def outcome(asked: Asked, seen: Glance) -> Outcome | None:
    """None as long as it is under way."""
    wanted, failed = seen.wanted, seen.stored.failed
    if wanted.removed:
        return Outcome("superseded", "the service is being removed")
    if wanted.spec and wanted.release != asked.release:
        return Outcome("superseded", f"{wanted.spec.image} is asked for now" if wanted.spec.image != asked.image else
                       f"its spec asks for {asked.image} made in another way now")
    if seen.stored.rollout:
        return None
    if seen.stored.live_release == asked.release:
        return Outcome("done")
    if failed and failed.release == asked.release:
        live = (seen.stored.live or {}).get("image", "what was live")
        return Outcome("failed", f"{printable(failed.why)}; {live} runs on")
    return None


def stage(asked: Asked, seen: Glance) -> str:
    """What it waits for, in words; without what changes by time alone."""
    wanted, spec, stored = seen.wanted, seen.wanted.spec, seen.stored
    if wanted.why_held or spec is None:
        return f"held: {wanted.why_held or 'there is no spec'}"
    if stored.live_release == asked.release and not stored.rollout:
        return f"{asked.image} is live"
    if stored.rollout is None:
        return f"the breaker is open: {stored.breaker.why}" if stored.breaker else (
            f"held: {stored.doubt}" if stored.doubt else f"waits for {spec.node or 'a node'} to begin")
    if stored.rollout.release != asked.release:
        return "another release is being ended first"
    if stored.rollout.passing_since:
        return f"all new instances pass, and have to for {spec.release.healthy_for:g} s" + (
            f"; then {spec.release.smoke} has to answer" if spec.release.smoke else "")
    passing = sum(each.condition == "passes" for each in newcomers(asked, seen))
    return f"{passing} of {wanted.replicas} new instances pass"


def newcomers(asked: Asked, seen: Glance) -> tuple[Newcomer, ...]:
    """Of services without colours only what was registered with the new image can be told to be new."""
    name = newcomers_name(asked, seen)
    found = [_newcomer(each) for each in seen.entries if each["Service"]["Service"] == name
             and (each["Service"].get("Meta") or {}).get(model.META_IMAGE) == asked.image]
    return tuple(sorted(found))


def newcomers_name(asked: Asked, seen: Glance) -> str:
    """The name in the catalogue that they register with: of the colour that is not live, until it is."""
    if seen.stored.live_release == asked.release:
        return seen.wanted.catalog_name
    return next((each for each in seen.wanted.catalog_names if each != seen.wanted.catalog_name),
                seen.wanted.catalog_name)


def last_words(records: Iterable[Mapping[str, Any]], since: float, name: str) -> tuple[dict[str, str], list[str]]:
    """What the records say of how the containers of a release ended, and those of which none says so yet.

    `name` is that of `newcomers_name`; an engine that only counts has records without a container.
    """
    words: dict[str, str] = {}
    open_: set[str] = set()
    for each in records:
        kind, container, ended = each.get("kind"), str(each.get("container", "")), each["outcome"] in ("done", "failed")
        if each["at"] <= since or container and not container.startswith(f"{name}-"):
            continue
        if kind == "start" and each["outcome"] != "failed":
            open_.add(container)
        elif kind in _ENDS and ended or each["outcome"] == "failed":
            open_.discard(container)
            said = str(each.get("detail", "")).strip()
            words |= {container or str(kind): said} if said else {}
    return words, sorted(open_)


def printable(text: str) -> str:
    """For a terminal: whoever writes a check's output must not move its cursor."""
    return "".join(each if each.isprintable() else "?" for each in " ".join(text.split()))


def _newcomer(entry: dict[str, Any]) -> Newcomer:
    found = model.instance(entry)
    condition = "passes" if found.status == "passing" else found.status
    if found.maintenance is not None:
        condition = "in maintenance"
    if not found.node_alive:
        condition = "on a node that does not answer"
    said = [str(check.get("Output") or "") for check in entry["Checks"] or []
            if check.get("ServiceID") == found.service_id and check["Status"] != "passing"]
    detail = found.maintenance if found.maintenance is not None else next(filter(None, said), "")
    return Newcomer(printable(found.service_id), found.node, condition, printable(detail)[:_LONGEST_OUTPUT])
