"""Pauses of services on this node, to their end: a process of its own tells Consul what waits in nginx and what is at
instances still, and takes a pause that is over off its hold key. nginx itself ends it in time, with or without that."""

import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from lictor import errors, model
from lictor.adapters import clock, files, log
from lictor.adapters.consul.client import Client
from lictor.events import script
from lictor.planner.desired import read_text
from lictor.planner.routes import pause
from lictor.planner.routes.pause import Record
from lictor.routing import live_peers, paused, route_store
from lictor.routing.paused import Told
from lictor.routing.peers import Endpoint, Peer

OPTION = "--paused"
_EVERY_S, _TOLD_EVERY_S = 0.1, 1.0
_SERVICES_AT_ONCE = 16


def start(call: script.Call, names: Iterable[str]) -> None:
    """Start the process, if one of these services is paused here; one that is followed already is left to that."""
    due = [name for name in sorted(names) if read_record(call.settings.state_dir, name)]
    if due and call.settings.nginx:
        call.spawn("lictor-reconcile", OPTION, *due[:script.MOST_NAMES])


def read_record(state_dir: str, name: str) -> Record | None:
    """Read the pause of a service on this node; None: there is none."""
    return pause.record_of((route_store.route(state_dir, name) or {}) if model.is_name(name) else {})


def follow(call: script.Call, names: Iterable[str]) -> int:
    """Follow these services until none is paused any more. What fails is logged, and left to the next sweep."""
    with ThreadPoolExecutor(_SERVICES_AT_ONCE) as pool:
        return max(pool.map(lambda name: _try_follow(call, name), names), default=0)


def _try_follow(call: script.Call, name: str) -> int:
    try:
        _follow(call, name)
        return 0
    except (errors.LictorError, OSError) as error:
        log.event("pause", service=name, outcome="failed", reason=error)
        return error.exit_code if isinstance(error, errors.LictorError) else errors.Unavailable.exit_code


def _follow(call: script.Call, name: str) -> None:
    """Follow pauses of one service, unless another process does. A pause may come while the one before it ends."""
    state_dir = call.settings.state_dir
    last: Record | None = None
    while (record := read_record(state_dir, name)) and record != last:
        with files.locked(os.path.join(state_dir, "locks", f"pause:{name}.lock"), wait=False) as is_held:
            if not is_held:
                return
            last = _Follower(call, name).follow()


class _Follower:
    """Follows one service by the name of this node."""

    def __init__(self, call: script.Call, name: str) -> None:
        self._settings, self._name = call.settings, name
        self._client = Client.connect(token_file=call.token_file)
        self._key = paused.key(name, self._client.agent().name)
        self._peers = dict[Endpoint, Peer]()  # those that have left the list may have requests still
        self._told: Told | None = None
        self._told_at = -_TOLD_EVERY_S

    def follow(self) -> Record | None:
        """Tell what nginx does, until the pause is over or called off; returns what the record was last."""
        state_dir, last = self._settings.state_dir, None
        while record := read_record(state_dir, self._name):
            last = record
            left_s = record.remaining_s(time.time(), clock.uptime_s())
            if left_s <= 0:
                break
            self._try_tell(self._look(record))
            time.sleep(min(_EVERY_S, left_s))
        self._client.delete(self._key)
        if record:
            self._take_off(record)
        return last

    def _look(self, record: Record) -> Told | None:
        """Ask nginx about a pause; None: it does not carry it out."""
        published, settings = route_store.published(self._settings.state_dir, self._name), self._settings.nginx
        if not settings or not published or published.paused != record.asked_at:
            return None
        self._peers |= {(each.address, each.port): each for each in published.peers}
        try:
            if not live_peers.paused_s(settings.conf_dir, self._name):
                return None
            return Told(record.asked_at, live_peers.count_waiting(settings.conf_dir, self._name), sum(
                live_peers.requests_at_peer(settings.conf_dir, self._name, each) for each in self._peers.values()))
        except errors.Unavailable:
            return None

    def _try_tell(self, now: Told | None) -> None:
        """Tell what is new; numbers are told once in a while, and at once if nothing is in flight any more."""
        before, is_due = self._told, time.monotonic() - self._told_at >= _TOLD_EVERY_S
        is_urgent = now is None or before is None or (now.asked_at, not now.in_flight) != (
            before.asked_at, not before.in_flight)
        if now == before or not (is_urgent or is_due):
            return
        try:
            if now:
                self._client.put(self._key, paused.encode(now))
            else:
                self._client.delete(self._key)
            self._told = now
        except errors.LictorError as error:  # Consul is away: the pause ends all the same
            log.event("pause", service=self._name, outcome="not told", reason=error)
        self._told_at = time.monotonic()

    def _take_off(self, record: Record) -> None:
        """Write that the pause is over, unless somebody was first or the key is another one."""
        path = f"{self._settings.prefix}{self._name}/hold"
        entry = self._client.get(path)
        hold = pause.parse(read_text(entry.value)) if entry else None
        if not entry or not hold or not hold.pause or hold.pause.is_over or hold.pause.asked_at != record.asked_at:
            return
        ended = hold._replace(pause=hold.pause._replace(is_over=True))
        try:
            self._client.put(path, pause.encode(ended), cas=entry.modify_index)
        except errors.Conflict:
            return
        log.event("pause", service=self._name, outcome="over",
                  reason=f"its {hold.pause.for_s:g} s are over, and requests flow. The hold stays.")
