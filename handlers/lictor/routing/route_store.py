"""What the state folder holds about routing: routes/NAME.json (what is wanted of this node), peers/NAME.json (what its
nginx serves, or is about to), and a lock on both. Imported by the commonest event, so it imports little."""

import os
from typing import Any

from lictor.adapters import files
from lictor.adapters.consul.payload import HINT
from lictor.routing import peers as upstream

_FIELDS = {"service", "host", "path", "empty_ok", "removed"}


def names(state_dir: str) -> list[str]:
    """The services that this node knows a route of, removed ones included."""
    try:
        found = os.listdir(os.path.join(state_dir, "routes"))
    except FileNotFoundError:  # no handler has run here yet
        return []
    return sorted(each.removesuffix(".json") for each in found if each.endswith(".json") and not each.startswith("."))


def route(state_dir: str, name: str) -> dict[str, Any] | None:
    """None when the service is not known here, or what is known of it is damaged."""
    found = files.read_json(os.path.join(state_dir, "routes", f"{name}.json"))
    return found if isinstance(found, dict) and found.keys() >= _FIELDS else None


def served(state_dir: str, name: str) -> upstream.Served | None:
    """None when nothing was ever decided."""
    return upstream.served(files.read_json(_peers_path(state_dir, name)))


def write_served(state_dir: str, name: str, now: upstream.Served) -> None:
    """What a power cut takes of it is decided again, and a sweep compares it with what nginx has."""
    peers = [each[:2] if each[2:] == (1,) else each for each in now.peers]
    files.write_json(_peers_path(state_dir, name), {**now._asdict(), "peers": peers}, durable=False)


def note(state_dir: str, name: str, now: upstream.Served, index: int) -> None:
    """Write what was decided upon an event with this index of Consul's."""
    write_served(state_dir, name, now._replace(consul_index=now.consul_index if index == HINT else index))


def note_unchanged(state_dir: str, name: str, now: upstream.Served, decision: upstream.Decision, index: int) -> None:
    """An older event that says the same makes the next older one no newer."""
    note(state_dir, name, now._replace(empty_since=None, ailing=decision.ailing), max(index, now.consul_index))


def mark(state_dir: str, name: str, seen: upstream.Served, **fields: object) -> None:
    """Note in peers/NAME.json how far the publication is; nothing is confirmed of another decision than was `seen`."""
    with files.locked(lock_path(state_dir, name)):
        now = served(state_dir, name)
        if now:
            is_other = (now.peers, now.instances) != (seen.peers, seen.instances)
            confirmed = {"confirmed": False} if is_other and "confirmed" in fields else {}
            write_served(state_dir, name, now._replace(**{**fields, **confirmed}))  # type: ignore[arg-type]


def place(route_of: dict[str, Any], mode: str) -> str:
    """Which files nginx needs besides the peers: those of that mode, for a host and path; "" when none."""
    return "" if route_of["removed"] else f"{mode} {route_of['host']}{route_of['path']}"


def is_settled(route_of: dict[str, Any], mode: str, now: upstream.Served) -> bool:
    """Whether nginx has confirmed the files of that mode, and nothing was put in their place since."""
    return now.at == (place(route_of, mode),)


def served_mode(now: upstream.Served) -> str:
    """The mode of nginx's files, whichever of `at` it serves; "" where they differ in that, or it may have none."""
    modes = {each.partition(" ")[0] for each in now.at}
    return modes.pop() if len(modes) == 1 else ""


def accepted(now: upstream.Served) -> tuple[str, str, str]:
    """Mode, host and path of the files that nginx confirmed last; each "" when there are none."""
    mode, _, rest = now.at[0].partition(" ")
    host, slash, path = rest.partition("/")
    return mode, host, slash + path


def is_refused(route_of: dict[str, Any], mode: str, now: upstream.Served) -> bool:
    """Whether these files were refused, so that those of an earlier route have to follow the catalogue."""
    return place(route_of, mode) in now.refused


def is_only_routed(state_dir: str, name: str) -> bool:
    """Whether it is certain that this node starts and stops nothing for the service, and tells its engine nothing."""
    found = route(state_dir, name)
    return found is not None and found.get("acts") is False


def lock_path(state_dir: str, name: str) -> str:
    """Who holds this lock must not wait for a publication: that one takes it too."""
    return os.path.join(state_dir, "locks", f"route:{name}.lock")  # no service's name has a colon


def _peers_path(state_dir: str, name: str) -> str:
    return os.path.join(state_dir, "peers", f"{name}.json")
