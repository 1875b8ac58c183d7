"""Where a service's files are refused, those that nginx confirmed before stay, and follow the catalogue."""

from collections.abc import Iterable
from typing import Any

from lictor import errors
from lictor.adapters import log
from lictor.routing import apply_batch, conf_files, live_peers, peers, route_store
from lictor.spec.settings import Nginx, Settings


def follow(settings: Settings, there: Nginx, known: dict[str, dict[str, Any]],
           state: dict[str, peers.Served], names: set[str]) -> list[str]:
    """Have nginx send the requests of these services to today's peers, by the files that it has and in their mode;
    returns what is confirmed. What can't be made from those is rendered for the route that was accepted."""
    folder, then = settings.state_dir, there._replace(mode="reload")
    confirmed = [name for name in sorted(names) if live_peers.publish(there, folder, name)]
    behind = [name for name in sorted(names - {*confirmed})
              if not state[name].confirmed and route_store.accepted(state[name])[0] == then.mode]
    patched = {name: each for name in behind if len({*state[name].at}) == 1  # else other files may lie there
               and (each := conf_files.other_peers(there.conf_dir, name, state[name].peers))}
    rendered = {name: each for name in behind if name not in patched and state[name].at[0] not in state[name].refused
                and (each := _rendered(settings, then, known[name], name, state[name]))}
    refused: set[str] = set()
    wanted = {**patched, **apply_batch.valid(settings, then, rendered, refused)}
    aims = {name: state[name]._replace(at=state[name].at[:1], confirmed=True) for name in wanted}
    confirmed += apply_batch.serve(then, folder, state, aims, wanted, refused)
    for name in refused:
        state[name] = state[name]._replace(refused=(*state[name].refused, state[name].at[0]))
        route_store.mark(folder, name, state[name], refused=state[name].refused)
    return confirmed + _emptied(then, folder, state, [name for name in behind if name not in wanted or name in refused])


def _rendered(settings: Settings, then: Nginx, route_of: dict[str, Any], name: str,
              now: peers.Served) -> conf_files.Wanted | None:
    _, host, path = route_store.accepted(now)
    earlier = {**route_of, "host": host, "path": path, "removed": False}
    try:
        return conf_files.wanted(then.conf_dir, apply_batch.templates(settings, then), {name: earlier}, name, now.peers)
    except errors.Refused as error:
        log.event("publish", service=name, outcome="refused", reason=error)
        return None


def _emptied(then: Nginx, folder: str, state: dict[str, peers.Served], names: Iterable[str]) -> list[str]:
    """Where no template will do, at least nobody is sent to who has left."""
    wanted = {name: each for name in names
              if not state[name].peers and (each := conf_files.nobody(then.conf_dir, name))}
    aims = {name: state[name]._replace(confirmed=True) for name in wanted}
    return apply_batch.serve(then, folder, state, aims, wanted, set())
