"""The resident that registers this node's containers with the local Consul agent, and deregisters them.

Docker's events say which containers to inspect again; Docker's present state counts. A comparison every few seconds
finds what no event shows: a lost event, an agent that forgot, a registration that another program removed.
"""

import contextlib
import functools
import os
import queue
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

from lictor import errors, model
from lictor.adapters import docker, heartbeat, log, systemd
from lictor.adapters.consul.client import Client
from lictor.events import script
from lictor.registrar import container_views, diff, options, registration, swarm_stop
from lictor.registrar.docker_events import DOCKER_TIMEOUT_S, Inbox, Message, listen, receive

_LONGEST_INTERVAL_S = 10.0  # a comparison also writes the heartbeat, and repeats HEALTHCHECKs
_LONGEST_BACK_OFF_S = 5.0
_SHORTEST_BACK_OFF_S = 0.1
_SYNC_S = 3.0  # the agent needs far less to tell the catalogue of a change


def main(description: str) -> int:
    return script.main(options.parser(description), run)


def run(call: script.Call) -> int:
    """Follow Docker until SIGTERM or SIGINT. The registrations stay: a restart must not cost any traffic."""
    registrar = Registrar(call)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: registrar.inbox.put(Message("stop")))
    log.event("registrar", outcome="started")
    systemd.notify(systemd.READY)
    registrar.follow()
    log.event("registrar", outcome="stopped", reason="a signal ended it. Registrations stay.")
    return 0


class Registrar:
    """The registrar's state: `views` of running containers by id, complete once `engine` is set."""

    def __init__(self, call: script.Call) -> None:
        self.call, given = call, call.arguments
        self.interval_s = min(given.resync, _LONGEST_INTERVAL_S)
        self.keep_failed = given.deregister == "on-success"
        self.options = registration.Options(host=os.uname().nodename, engine="", address=given.ip or "",
                                            internal=given.internal, explicit=given.explicit)
        self.consul = Client.connect(token_file=call.token_file)
        self.engine: docker.Client | None = None
        self.inbox: Inbox = queue.SimpleQueue()
        self.views: dict[str, container_views.View] = {}
        self.reported_at: dict[str, float] = {}  # by service id: the last report of its HEALTHCHECK to the agent
        self.refusals: set[tuple[str, str]] = set()  # (container, reason) of the last round; only new ones are logged
        self.unsynced: dict[tuple[str, str], float] = {}  # (service id, reason): since when the catalogue knows less
        self.registered = 0
        self.trouble = ""

    def follow(self) -> None:
        """Compare, then heed events until the next comparison is due; returns upon a `stop`."""
        back_off_s = _SHORTEST_BACK_OFF_S
        listen(self.inbox, after_s=0)
        while True:
            self._attempt(self._compare)
            due_at = time.monotonic() + self.interval_s
            while True:
                messages = receive(self.inbox, timeout_s=due_at - time.monotonic())
                kinds = {message.kind for message in messages}
                if "stop" in kinds:
                    return
                if "deaf" in kinds:
                    listen(self.inbox, after_s=back_off_s)
                    back_off_s = min(back_off_s * 2, _LONGEST_BACK_OFF_S)
                if "listening" in kinds:
                    back_off_s = _SHORTEST_BACK_OFF_S
                    self.engine = None  # events were missed meanwhile, and it may be another engine
                if self.trouble or not self.engine or not messages:
                    break  # only a comparison tells which views still hold
                self._attempt(functools.partial(self._heed, messages))

    def _attempt(self, step: Callable[[], None]) -> None:
        """Run one step; a failure is logged once, and the next comparison tries again."""
        try:
            step()
            trouble = ""
        except errors.LictorError as error:
            trouble = str(error)
        if trouble != self.trouble:
            log.event("registrar", outcome="waiting" if trouble else "recovered", reason=trouble or self.trouble)
        self.trouble = trouble
        systemd.notify(systemd.ALIVE)
        try:
            heartbeat.write(self.call.settings.state_dir, engine=self.options.engine, registered=self.registered,
                            refused=len(self.refusals), trouble=self.trouble)
        except OSError as error:  # a full disk is no reason to let the catalogue go stale
            log.event("registrar", outcome="no heartbeat", reason=error)

    def _compare(self) -> None:
        """Inspect every container of which Docker's list shows a change, and repair."""
        engine, known = self.engine, self.views
        if engine is None:
            engine, known = docker.connect(timeout_s=DOCKER_TIMEOUT_S), {}
            self.options = self.options._replace(engine=engine.engine_id())
        listed = {entry["Id"]: container_views.summarize(entry) for entry in engine.running()}
        views = {}
        for container_id in {**known, **listed}:
            view = known.get(container_id)
            if view is None or view.listed != listed.get(container_id):
                view = self._inspect(engine, container_id, listed.get(container_id, ""))
            if view:
                views[container_id] = view
        self.engine, self.views = engine, views
        registered = self._repair()
        with contextlib.suppress(errors.LictorError):  # without Consul's servers nobody can be told
            self._tell_again(registered)

    def _heed(self, messages: list[Message]) -> None:
        """Inspect the containers that messages are about, and repair."""
        assert self.engine
        self._announce_stops(messages)
        last = {message.container_id: message.kind for message in messages
                if message.container_id and message.kind != "kill"}
        for container_id in last:
            self.views.pop(container_id, None)
        for container_id, kind in last.items():
            # A container that died is deregistered at once: to inspect it would wait until Docker has cleaned up.
            view = None if kind == "die" and not self.keep_failed else self._inspect(self.engine, container_id, "")
            if view:
                self.views[container_id] = view
        self._repair()
        died = {message.service for message in messages if message.kind == "die" and model.is_name(message.service)}
        if died:  # no watch tells of the loss of a service's only instance
            self.call.reconcile(died)

    def _announce_stops(self, messages: list[Message]) -> None:
        died = {message.container_id for message in messages if message.kind == "die"}
        ending = {message.container_id for message in messages
                  if message.kind == "kill" and message.container_id in self.views
                  and message.signal in self.views[message.container_id].stop_signals}
        for container_id in ending - died:
            swarm_stop.announce(self.consul, self.views[container_id].registrations)

    def _inspect(self, engine: docker.Client, container_id: str, listed: str) -> container_views.View | None:
        return container_views.inspect(engine, container_id, listed, self.options, keep_failed=self.keep_failed)

    def _repair(self) -> dict[str, registration.Registration]:
        """Make the agent's registrations those of the views; returns those that it has now, by service id."""
        desired, refusals = container_views.claim(self.views.values())
        services, checks = self.consul.local_services(), self.consul.local_checks()
        failed = {container_id for container_id, view in self.views.items() if view.failed}
        for difference in diff.differences(desired, failed, services, checks, self.options.engine):
            reason = difference.reason if difference.refused else self._carry_out(difference)
            if reason:
                refusals.add((difference.container, reason))
                desired.pop(difference.id, None)
        self._report_health(desired, checks)
        for container, reason in sorted(refusals - self.refusals):
            log.event("register", container=container, outcome="refused", reason=reason)
        self.refusals, self.registered = refusals, len(desired)
        return desired

    def _tell_again(self, registered: Mapping[str, registration.Registration]) -> None:
        """Register again what the catalogue has not been told of for a while."""
        checks, now_s = self.consul.local_checks(), time.monotonic()
        node = next((check["Node"] for check in checks.values()), None)
        found = diff.unsynced(registered, checks, self.consul.node_checks(node)) if node else []
        self.unsynced = {(each.id, each.reason): self.unsynced.get((each.id, each.reason), now_s) for each in found}
        for difference in found:
            if now_s - self.unsynced[difference.id, difference.reason] >= _SYNC_S:
                self._carry_out(difference)

    def _carry_out(self, difference: diff.Difference) -> str:
        """Make or end one registration; returns the agent's reason for a refusal, or ""."""
        new = difference.registration
        try:
            if new is None or difference.afresh:
                self.consul.deregister(difference.id)
            if new is not None:
                self.consul.register(new.definition)
                if difference.maintenance is not None:
                    self.consul.set_maintenance(difference.id, difference.maintenance)
        except errors.Refused as error:
            return str(error)
        log.event("register" if new else "deregister", id=difference.id, container=difference.container,
                  service=new.definition["Name"] if new else None, reason=difference.reason, outcome="done")
        return ""

    def _report_health(self, desired: Mapping[str, registration.Registration], checks: Mapping[str, Any]) -> None:
        """Report the HEALTHCHECKs to the agent: a change at once, and each again before its TTL runs out."""
        reported_at = {}
        for service_id, registered in desired.items():
            if registered.health:
                check_id = diff.check_id(service_id)
                reported_at[service_id] = self.reported_at.get(service_id, 0.0)
                is_fresh = time.monotonic() - reported_at[service_id] < registration.HEALTH_TTL_S / 3
                if not is_fresh or checks.get(check_id, {}).get("Status") != registered.health:
                    output = f"Docker's HEALTHCHECK makes it {registered.health}"
                    self.consul.update_ttl(check_id, registered.health, output)
                    reported_at[service_id] = time.monotonic()
        self.reported_at = reported_at
