"""Peers in live mode: they are set in the running nginx, by a PUT on its own socket, and nothing is reloaded.

live/NAME.peers, below conf_dir, holds a version, which only rises, until when the service is paused, if it is, and one
"ADDRESS PORT", "ADDRESS PORT WEIGHT" or "ADDRESS PORT WEIGHT canary" a line. nginx reads it at each start and reload,
and gets the very same text in between. As requests wait for that, it comes before the file. Until the file is on the
disk, and nginx has confirmed the text after that, the decision stays unconfirmed, and is carried out again. A change of
peers loads this and little else, and it looks at nothing but that one service.
"""

import contextlib
import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from lictor import errors, model
from lictor.adapters import files, log
from lictor.adapters.text import describe_error
from lictor.routing import nginx_socket, route_store
from lictor.routing.peers import Peer, PublishedRoute, peer
from lictor.spec.settings import Nginx

if TYPE_CHECKING:
    from lictor.planner.routes.pause import Record

_FOLDER = "live"  # below conf_dir
_TIMEOUT_S = 2.0
_OK, _STALE = 200, 409


class Waits(NamedTuple):
    """How many requests have waited since nginx started, by what came of them: an instance took it, it was refused as
    its time was over or too many waited, or its client left."""

    served: int
    refused: int
    left: int


def publish(settings: Nginx, state_dir: str, name: str, *, is_suspect: bool = False) -> bool:
    """Have nginx send this service's requests to the peers that were decided last; returns whether it confirmed that.

    It is also False if nothing is unconfirmed (nor, if it `is_suspect`, lost), and if nginx may be serving files that
    don't take the peers from here, or none. For which host and path it serves them is another question.
    """
    began = time.monotonic()
    with files.locked(_lock_path(state_dir, name)):
        published = route_store.published(state_dir, name)
        if not published or route_store.mode_served(published) != "live":
            return False
        pause = _pause(state_dir, name, published)
        lines = _lines(published.peers, pause)
        if published.confirmed:
            if not is_suspect or _is_stored(settings.conf_dir, name, lines):
                return False
            route_store.mark(state_dir, name, published, confirmed=False)
        try:
            _set(settings.conf_dir, name, lines)
        except (errors.Unavailable, OSError) as error:  # OSError: of its own file
            log.event("publish", service=name, outcome="waits", reason=error)
            return False
        route_store.mark(state_dir, name, published, confirmed=True, paused=pause.asked_at if pause else 0.0)
    log.event("publish", service=name, outcome="done", peers=len(published.peers),
              ms=round(1000 * (time.monotonic() - began)))
    return True


def store(settings: Nginx, state_dir: str, names: Iterable[str]) -> set[str]:
    """Write the peers that were decided last to where the next reload finds them; returns the services of which that
    was possible."""
    stored = set()
    for name in names:
        try:
            with files.locked(_lock_path(state_dir, name)):
                published = route_store.published(state_dir, name)
                if published:
                    lines = _lines(published.peers, _pause(state_dir, name, published))
                    text = _numbered(settings.conf_dir, name, lines)
                    files.write_atomic(_path(settings.conf_dir, name), text, durable=False)
                    stored.add(name)
        except OSError as error:
            log.event("publish", service=name, outcome="waits", reason=error)
    if stored:  # many take little longer than one
        files.sync([*(_path(settings.conf_dir, name) for name in stored), os.path.join(settings.conf_dir, _FOLDER)])
    return stored


def _is_stored(conf_dir: str, name: str, lines: str) -> bool:
    """Whether the next start of nginx would find this list."""
    return (files.read(_path(conf_dir, name)) or "").partition("\n")[2] == lines


def requests_at(conf_dir: str, name: str, instances: Iterable[model.Instance]) -> int:
    """Count the requests of this service that nginx has at these instances, connected or about to be; 0 if it is not in
    live mode. Raises Unavailable if it does not answer."""
    count = 0
    for each in instances:
        with contextlib.suppress(ValueError):  # the address was never sent to
            count += requests_at_peer(conf_dir, name, peer(each))
    return count


def requests_at_peer(conf_dir: str, name: str, at: Peer) -> int:
    """Do the same of one peer, which may have left the list."""
    return _ask_number(conf_dir, name, model.host_port(at.address, at.port))


def count_waiting(conf_dir: str, name: str) -> int:
    """Count the requests that wait in nginx for an instance of this service. Raises Unavailable if it does not answer.
    """
    return _ask_number(conf_dir, name, "waiting")


def read_waits(conf_dir: str, name: str) -> Waits:
    """Ask nginx how many requests of this service have waited. Raises Unavailable if it does not answer."""
    return Waits(*(_ask_number(conf_dir, name, outcome) for outcome in Waits._fields))


def paused_s(conf_dir: str, name: str) -> int:
    """Ask nginx for how many seconds it still lets all requests of this service wait; 0: it does not. Raises
    Unavailable if it does not answer."""
    return _ask_number(conf_dir, name, "paused")


def _ask_number(conf_dir: str, name: str, what: str) -> int:
    body = _ask(conf_dir, "GET", f"/live/{name}/{what}")[1]
    return int(body) if body.isascii() and body.isdigit() else 0


def lets_requests_wait(published: PublishedRoute) -> bool:
    """Tell whether requests wait for an instance by all files that nginx may be serving."""
    return all(each and all(route["options"].get("wait") for route in route_store.routes_at(each))
               for each in published.places)


def _pause(state_dir: str, name: str, published: PublishedRoute) -> "Record | None":
    """Return the pause that is in force now; None: there is none, or nginx may be serving files that let no request
    wait: it would answer 502 to all."""
    route = route_store.route(state_dir, name)
    if not route or "pause" not in route or not lets_requests_wait(published):
        return None
    from lictor.adapters import clock  # which mostly nobody needs here
    from lictor.planner.routes import pause

    record = pause.record_of(route)
    return record if record and record.left_s(time.time(), clock.uptime_s()) else None


def _set(conf_dir: str, name: str, lines: str) -> None:
    text = _numbered(conf_dir, name, lines)
    try:
        present = _put(conf_dir, name, text)
        if present:  # the holder of the lock has the latest: the file was lost, or the clock
            text = _numbered(conf_dir, name, lines, above=present)
            _put(conf_dir, name, text)
    finally:  # also if nginx is not there: it starts with this file
        files.write_atomic(_path(conf_dir, name), text, durable=False)
    files.sync([_path(conf_dir, name), os.path.join(conf_dir, _FOLDER)])
    if _put(conf_dir, name, text):  # an nginx that has started meanwhile may have read the file of before
        raise errors.Unavailable("nginx has got other peers meanwhile")


def _put(conf_dir: str, name: str, text: str) -> int:
    """Give nginx a list; returns 0, or the version that it has, if that is a later one."""
    status, body = _ask(conf_dir, "PUT", f"/live/{name}", text)
    if status == _STALE and body.isdigit():
        return int(body)
    if status != _OK:
        raise errors.Unavailable(f"nginx does not take the peers: {status} {body[:200]}")
    return 0


def _numbered(conf_dir: str, name: str, lines: str, *, above: int = 0) -> str:
    """Return the text of a list: with the version that its file has, or with the next one if the file has another list.
    """
    digits, _, present = (files.read(_path(conf_dir, name)) or "").partition("\n")
    version = int(digits) if digits.isascii() and digits.isdigit() else 0
    if present != lines or version <= above:
        version = max(version + 1, above + 1, time.time_ns() // 1000)
    return f"{version}\n{lines}"


def _lines(peers: Iterable[Peer], pause: "Record | None") -> str:
    head = f"paused {pause.ends_at:.3f} {pause.ends_at_uptime:.3f}\n" if pause else ""
    return "".join([head, *(f"{model.bracketed(each.address)} {each.port}{_rest(each)}\n" for each in peers)])


def _rest(each: Peer) -> str:
    return f" {each.weight} canary" if each.is_canary else "" if each.weight == 1 else f" {each.weight}"


def _path(conf_dir: str, name: str) -> str:
    return os.path.join(conf_dir, _FOLDER, f"{name}.peers")


def _ask(conf_dir: str, method: str, target: str, text: str = "") -> tuple[int, str]:
    """Status and body of nginx's answer; raises Unavailable when there is none."""
    try:
        return nginx_socket.ask(conf_dir, method, target, text, timeout_s=_TIMEOUT_S)
    except OSError as error:
        raise errors.Unavailable(f"nginx does not answer on {nginx_socket.path(conf_dir)}: "
                                 f"{describe_error(error)}") from error


def _lock_path(state_dir: str, name: str) -> str:
    return os.path.join(state_dir, "locks", f"live:{name}.lock")  # no service's name has a colon
