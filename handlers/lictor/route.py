"""This node's nginx follows the catalogue: from what was seen to a decision, and to a publication.

The commonest event changes nothing and should cost little more than Python and json, so whatever only a change needs
is imported where it is used.
"""

import functools
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from lictor import errors, files, model, routes, upstream, watch

if TYPE_CHECKING:
    from lictor import config, handler

_PATIENCE_S = 5.0
_HINT = -1  # a Consul index older than any: such news is acted upon only after a consistent read


class Catalog(Protocol):
    """What this module asks of a catalog.Catalog."""

    def health(self, service: str, *, consistent: bool = False) -> list[dict[str, Any]]: ...


def main(description: str, argv: list[str] | None = None) -> int:
    """Handle one `service` payload on stdin; an exit code. Arguments: NAME [--state-dir DIR] [--config FILE] ..."""
    words = sys.argv[1:] if argv is None else argv
    payload = None
    if words[1:2] == ["--state-dir"]:  # as the generated watches call it
        payload = _stdin()
        if _changes_nothing(words[0], "".join(words[2:3]), payload):
            return 0
    from lictor import handler

    options = handler.parser(description)
    options.add_argument("name", metavar="NAME", help="the service, as in services/NAME/spec")
    options.add_argument("--state-dir", metavar="DIR", help="state_dir of the settings: if it is the first option, the "
                                                            "settings are read only when something changed")
    return handler.main(options, lambda call: handle(
        call, call.arguments.name, _stdin() if payload is None else payload, _consul_index()), words)


def handle(call: "handler.Call", name: str, payload: bytes, consul_index: int, *,
           reconcile: Callable[[list[str]], None] | None = None) -> int:
    """Follow one payload, whichever door it came by; an exit code. `reconcile` is told which services nginx has just
    confirmed; without one a process is started for them."""
    settings = call.settings
    if not model.is_name(name):
        raise errors.Refused(f"NAME is {name[:100]!r}; it must be the name of a service")
    if settings.nginx is None:
        raise errors.Refused(f"{settings.path} says that this node has no nginx; remove this watch")
    seen = watch.parse(payload)
    _log_skipped(name, seen.skipped)
    follow = functools.partial(_follow, settings.state_dir, name, seen.instances, consul_index,
                               lambda: _connect(call.token_file))
    try:
        is_news = follow()
    except errors.Unavailable:  # just now a leader is elected, say: until the next event or sweep would be long
        from lictor import retry

        is_news = retry.unavailable(follow, timeout_s=_PATIENCE_S)
    if not is_news:
        return 0
    confirmed = _publish_peers(settings, name) or _publish(settings)
    if confirmed:
        (reconcile or functools.partial(_reconcile, call))(confirmed)
    now = routes.served(settings.state_dir, name)
    return 0 if now and now.confirmed else errors.Unavailable.exit_code


def index(text: str) -> int:
    """Consul's index, as it stands in the environment or a header."""
    return int(text) if text.isascii() and text.isdigit() else _HINT


def refresh(settings: "config.Config", names: Iterable[str], catalog: Catalog) -> list[str]:
    """Route these services again, whose routes/NAME.json may be new; returns which are confirmed now. What fails is
    logged, and left to the timer."""
    if not settings.nginx:
        return []
    suspects = list(names)
    for name in suspects:
        _try_follow(settings.state_dir, name, None, catalog)
    return _publish(settings, suspects)


def sweep(settings: "config.Config", entries: Mapping[str, list[dict[str, Any]]], catalog: Catalog) -> None:
    """Mend what events missed, holds that ran out, and what isn't confirmed.

    `entries`: payload entries of all instances by name in the catalogue. What fails is logged, and left to the next.
    """
    if settings.nginx:
        known = routes.names(settings.state_dir)
        for name in known:
            service = (routes.route(settings.state_dir, name) or {}).get("service", name)
            _try_follow(settings.state_dir, name, entries.get(service, []), catalog)
        _publish(settings, known)


def _changes_nothing(name: str, state_dir: str, payload: bytes) -> bool:
    """Whether nginx has confirmed all that the payload asks for. What is wrong is explained by the longer way."""
    try:
        seen = watch.parse(payload)
        with files.locked(routes.lock_path(state_dir, name)):
            route, now = routes.route(state_dir, name), routes.served(state_dir, name)
            if not route or not now or not now.confirmed or seen.skipped:
                return False
            decision = upstream.decide(route, now, seen.instances, now_s=time.time(), certain=False)
            if decision.kind != "unchanged" or decision.refused:
                return False
            _note_unchanged(state_dir, name, now, decision, _consul_index())
            return True
    except (errors.Refused, OSError):
        return False


def _reconcile(call: "handler.Call", names: list[str]) -> None:
    from lictor import process

    process.spawn_handler("lictor-reconcile", [*call.inherited, *names], state_dir=call.settings.state_dir)


def _try_follow(state_dir: str, name: str, entries: list[dict[str, Any]] | None, catalog: Catalog) -> None:
    """Follow by a fresh read, or by `entries`, which may be some moments old."""
    try:
        seen = None if entries is None else watch.instances(entries).instances
        _follow(state_dir, name, seen, _HINT, lambda: catalog)
    except errors.LictorError as error:
        from lictor import log

        log.event("route", service=name, outcome="failed", reason=error)


def _follow(state_dir: str, name: str, seen: Sequence[model.Instance] | None, index: int,
            connect: Callable[[], Catalog]) -> bool:
    """Decide, and note what is to be served; returns whether there is something to publish."""
    from lictor import log

    with files.locked(routes.lock_path(state_dir, name)):
        route, now = routes.route(state_dir, name), routes.served(state_dir, name)
        if route is None:
            log.event("route", service=name, outcome="ignored", reason="lictor-scale has not brought its route yet")
            return False
        decision = _decide(name, route, now, seen, index, connect)
        if now is None or decision.kind == "publish":
            log.event("route", service=name, outcome="publish", peers=len(decision.peers), reason=decision.reason)
            now = (now or upstream.Served((), ()))._replace(
                peers=decision.peers, instances=decision.instances, ailing=decision.ailing, consul_index=0,
                empty_since=None, confirmed=False)
            _note(state_dir, name, now, index)
        elif decision.kind == "hold":
            if now.empty_since is None:
                log.event("route", service=name, outcome="hold", peers=len(now.peers), reason=decision.reason)
            _note(state_dir, name, now._replace(empty_since=now.empty_since or time.time()), index)
        else:
            _note_unchanged(state_dir, name, now, decision, index)
        return not now.confirmed


def _decide(name: str, route: dict[str, Any], now: upstream.Served | None, seen: Sequence[model.Instance] | None,
            index: int, connect: Callable[[], Catalog]) -> upstream.Decision:
    """Decide on what was seen, and on a consistent read where that is too old, or too little to be believed."""
    decision = upstream.decide(route, now, seen or [], now_s=time.time(), certain=False)
    is_late = now is not None and index < now.consul_index and decision.kind != "unchanged"
    if not route["removed"] and (seen is None or is_late or decision.kind == "confirm"):
        again = watch.instances(connect().health(route["service"], consistent=True))
        _log_skipped(name, again.skipped)
        decision = upstream.decide(route, now, again.instances, now_s=time.time(), certain=True)
    if decision.kind != "unchanged" or index != _HINT:
        _log_skipped(name, decision.refused)
    return decision


def _note(state_dir: str, name: str, now: upstream.Served, index: int) -> None:
    seen_index = now.consul_index if index == _HINT else index
    routes.write_served(state_dir, name, now._replace(consul_index=seen_index))


def _note_unchanged(state_dir: str, name: str, now: upstream.Served, decision: upstream.Decision, index: int) -> None:
    """An older event that says the same makes the next older one no newer."""
    _note(state_dir, name, now._replace(empty_since=None, ailing=decision.ailing), max(index, now.consul_index))


def _publish_peers(settings: "config.Config", name: str) -> list[str]:
    """What a change of peers alone needs in live mode, whatever the number of services."""
    if settings.nginx is None or settings.nginx.mode != "live":
        return []
    from lictor import live

    return [name] if live.publish(settings.nginx, settings.state_dir, name) else []


def _publish(settings: "config.Config", suspects: Iterable[str] = ()) -> list[str]:
    from lictor import publication

    return publication.publish(settings, suspects)


def _connect(token_file: str | None) -> Catalog:
    from lictor import catalog

    return catalog.connect(token_file=token_file)


def _log_skipped(name: str, reasons: Iterable[str]) -> None:
    from lictor import log

    for reason in reasons:
        log.event("route", service=name, outcome="skipped", reason=reason)


def _consul_index() -> int:
    return index(os.environ.get("CONSUL_INDEX", ""))


def _stdin() -> bytes:
    return sys.stdin.buffer.read(watch.LONGEST_BYTES + 1)
