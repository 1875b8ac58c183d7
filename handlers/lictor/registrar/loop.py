"""The long-running registrar: what runs in Docker stands in the local Consul agent, and nothing else of ours does.

Events say what to look at again; what counts is what Docker shows then. A comparison every few seconds finds what no
event told: a lost event, an agent that forgot, a registration that somebody else removed.
"""

import argparse
import contextlib
import functools
import ipaddress
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from lictor import errors, model
from lictor.adapters import docker, heartbeat, log, systemd
from lictor.adapters.consul.client import Client
from lictor.events import script
from lictor.registrar import diff, registration, swarm_stop

_RARELY_S = 10.0  # the comparison also writes the heartbeat, and repeats what HEALTHCHECKs said
_LONGEST_BACK_OFF_S = 5.0
_SHORTEST_BACK_OFF_S = 0.1
_DOCKER_TIMEOUT_S = 10


class _Message(NamedTuple):
    """An event of Docker's (`kind` is its action), or of ours: listening, deaf, stop."""

    kind: str
    container_id: str = ""
    service: str = ""  # of lictor's own containers
    signal: int = 0  # that a kill sends


class _View(NamedTuple):
    """What was last seen of a container; `shown` is what Docker's list showed of it then."""

    shown: str
    name: str
    started_at: str
    registrations: list[registration.Registration]
    refused: list[str]
    stop_signals: frozenset[int]  # by which Swarm ends it; none when it is no task of Swarm's
    failed: bool = False  # it ended, and its registration is to stay


def main(description: str) -> int:
    return script.main(parser(description), run)


def parser(description: str) -> argparse.ArgumentParser:
    """The options of lictor-registrar: registrator's, with two dashes."""
    options = script.parser(description)
    options.add_argument("--internal", action="store_true", help="register the containers' own addresses and ports")
    options.add_argument("--ip", type=_address, metavar="ADDRESS",
                         help="register this for what is published on all addresses; else the agent's own counts")
    options.add_argument("--explicit", action="store_true", help="register only what has a SERVICE_NAME")
    options.add_argument("--resync", type=_seconds, default=5.0, metavar="SECONDS",
                         help="compare Docker with the agent this often: 5, at most 10; only differences are written")
    options.add_argument("--deregister", choices=("always", "on-success"), default="always",
                         help="on-success: a container that failed stays registered until it is removed")
    options.add_argument("--cleanup", action="store_true", help="changes nothing: stale registrations always go")
    return options


def run(call: script.Call) -> int:
    """Follow Docker until SIGTERM or SIGINT. The registrations stay: a restart must not cost any traffic."""
    registrar = Registrar(call)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: registrar.inbox.put(_Message("stop")))
    log.event("registrar", outcome="started")
    systemd.notify(systemd.READY)
    registrar.follow()
    log.event("registrar", outcome="stopped", reason="it was asked to; registrations stay")
    return 0


class Registrar:
    """`views` holds the containers that run, by id; they are complete once `docker` is set."""

    def __init__(self, call: script.Call) -> None:
        self.call, given = call, call.arguments
        self.every_s = min(given.resync, _RARELY_S)
        self.keep_failed = given.deregister == "on-success"
        self.options = registration.Options(host=os.uname().nodename, engine="", address=given.ip or "",
                                            internal=given.internal, explicit=given.explicit)
        self.consul = Client.connect(token_file=call.token_file)
        self.docker: docker.Client | None = None
        self.inbox: queue.SimpleQueue[_Message] = queue.SimpleQueue()
        self.views: dict[str, _View] = {}
        self.told_at: dict[str, float] = {}  # by service id: when the agent last heard what its HEALTHCHECK says
        self.refusals: set[tuple[str, str]] = set()  # (container, why) of the last round; only new ones are logged
        self.registered = 0
        self.trouble = ""

    def follow(self) -> None:
        """Compare, then heed events until the next comparison is due; until told to stop."""
        back_off_s = _SHORTEST_BACK_OFF_S
        _listen(self.inbox, after_s=0)
        while True:
            self._attempt(self._compare)
            due_at = time.monotonic() + self.every_s
            while True:
                messages = _receive(self.inbox, timeout_s=due_at - time.monotonic())
                kinds = {each.kind for each in messages}
                if "stop" in kinds:
                    return
                if "deaf" in kinds:
                    _listen(self.inbox, after_s=back_off_s)
                    back_off_s = min(back_off_s * 2, _LONGEST_BACK_OFF_S)
                if "listening" in kinds:
                    back_off_s = _SHORTEST_BACK_OFF_S
                    self.docker = None  # whatever happened meanwhile went by unheard, and it may be another engine
                if self.trouble or not self.docker or not messages:
                    break  # only a comparison tells which views still hold
                self._attempt(functools.partial(self._heed, messages))

    def _attempt(self, work: Callable[[], None]) -> None:
        """Do it; what is out of reach now is logged once, and tried again by the next comparison."""
        try:
            work()
            trouble = ""
        except errors.LictorError as error:
            trouble = str(error)
        if trouble != self.trouble:
            log.event("registrar", outcome="waiting" if trouble else "recovered", reason=trouble or self.trouble)
        self.trouble = trouble
        self._beat()

    def _beat(self) -> None:
        systemd.notify(systemd.ALIVE)
        try:
            heartbeat.write(self.call.settings.state_dir, engine=self.options.engine, registered=self.registered,
                            refused=len(self.refusals), trouble=self.trouble)
        except OSError as error:  # a full disk is no reason to let the catalogue go stale
            log.event("registrar", outcome="no heartbeat", reason=error)

    def _compare(self) -> None:
        """Look at every container that Docker's list shows to have changed, and repair."""
        engine, known = self.docker, self.views
        if engine is None:
            engine, known = docker.connect(timeout_s=_DOCKER_TIMEOUT_S), {}
            self.options = self.options._replace(engine=engine.engine_id())
        listed = {each["Id"]: _shown(each) for each in engine.running()}
        views = {}
        for container_id in {**known, **listed}:
            view = known.get(container_id)
            if view is None or view.shown != listed.get(container_id):
                view = self._look(engine, container_id, listed.get(container_id, ""))
            if view:
                views[container_id] = view
        self.docker, self.views = engine, views
        self._repair()

    def _heed(self, messages: list[_Message]) -> None:
        """Look at the containers that something happened to, and repair."""
        assert self.docker
        self._announce_ends(messages)
        last = {each.container_id: each.kind for each in messages if each.container_id and each.kind != "kill"}
        for container_id in last:
            self.views.pop(container_id, None)
        for container_id, kind in last.items():
            # One that died is gone at once; to look at it would wait until Docker has cleaned up after it.
            view = None if kind == "die" and not self.keep_failed else self._look(self.docker, container_id, "")
            if view:
                self.views[container_id] = view
        self._repair()
        died = sorted({each.service for each in messages if each.kind == "die" and model.is_name(each.service)})
        if died:  # no watch tells of an instance that is gone when it was the only one
            self.call.spawn("lictor-reconcile", *died)

    def _announce_ends(self, messages: list[_Message]) -> None:
        died = {each.container_id for each in messages if each.kind == "die"}
        ending = {each.container_id for each in messages if each.kind == "kill" and each.container_id in self.views
                  and each.signal in self.views[each.container_id].stop_signals}
        for container_id in ending - died:
            swarm_stop.announce(self.consul, self.views[container_id].registrations)

    def _look(self, engine: docker.Client, container_id: str, shown: str) -> _View | None:
        container = engine.inspect(container_id)
        if container is None:
            return None
        state = container["State"]
        failed = self.keep_failed and state["Status"] == "exited" and 0 < state["ExitCode"] < 128
        if state["Status"] not in registration.RUNNING and not failed:
            return None
        found, refused = registration.registrations(container, self.options)
        return _View(shown, container["Name"].removeprefix("/"), state["StartedAt"], found, refused,
                     swarm_stop.stop_signals(container), failed)

    def _repair(self) -> None:
        """Make the agent's registrations those of the views."""
        wanted, refusals = _claims(self.views.values())
        services, checks = self.consul.local_services(), self.consul.local_checks()
        failed = {container_id for container_id, view in self.views.items() if view.failed}
        for each in diff.differences(wanted, failed, services, checks, self.options.engine):
            reason = each.reason if each.refused else self._carry_out(each)
            if reason:
                refusals.add((each.container, reason))
                wanted.pop(each.id, None)
        self._tell_health(wanted, checks)
        for container, reason in sorted(refusals - self.refusals):
            log.event("register", container=container, outcome="refused", reason=reason)
        self.refusals, self.registered = refusals, len(wanted)

    def _carry_out(self, difference: diff.Difference) -> str:
        """Make or end one registration; returns why the agent refused it, or ""."""
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

    def _tell_health(self, wanted: Mapping[str, registration.Registration], checks: Mapping[str, Any]) -> None:
        """Pass on what HEALTHCHECKs say: a change at once, and everything again before its time runs out."""
        told_at = {}
        for service_id, each in wanted.items():
            if each.health:
                check_id = diff.check_id(service_id)
                told_at[service_id] = self.told_at.get(service_id, 0.0)
                fresh = time.monotonic() - told_at[service_id] < registration.HEALTH_TTL_S / 3
                if not fresh or checks.get(check_id, {}).get("Status") != each.health:
                    self.consul.update_ttl(check_id, each.health, f"Docker's HEALTHCHECK makes it {each.health}")
                    told_at[service_id] = time.monotonic()
        self.told_at = told_at


def _claims(views: Iterable[_View]) -> tuple[dict[str, registration.Registration], set[tuple[str, str]]]:
    """The registrations by service id, and (container, why) for what is refused: of two that claim one id, the
    container that has run for longer has it."""
    claims: dict[str, registration.Registration] = {}
    refusals: set[tuple[str, str]] = set()
    for view in sorted(views, key=lambda each: each.started_at):
        refusals.update((view.name, reason) for reason in view.refused)
        for each in view.registrations:
            holder = claims.setdefault(each.id, each)
            if holder is not each:
                refusals.add((each.container, f"SERVICE_ID {each.id!r} is that of container {holder.container}"))
    return claims, refusals


def _shown(listed: Mapping[str, Any]) -> str:
    """What Docker's list says of a container, as far as a change of it is a reason to look at it again."""
    health = listed["Status"].partition("(")[2]  # `Up 3 minutes (healthy)`
    ports = sorted(map(str, listed["Ports"]))
    return f"{listed['Names']} {listed['State']} {health} {ports} {listed.get('NetworkSettings')}"


def _receive(inbox: queue.SimpleQueue[_Message], *, timeout_s: float) -> list[_Message]:
    """Everything that has come in, or comes in within the time."""
    with contextlib.suppress(queue.Empty):
        messages = [inbox.get(timeout=max(timeout_s, 0))]
        while not inbox.empty():
            messages.append(inbox.get())
        return messages
    return []


def _listen(inbox: queue.SimpleQueue[_Message], *, after_s: float) -> None:
    """Pass Docker's events on from a thread of its own, until Docker goes away."""
    def hear() -> None:
        try:
            time.sleep(after_s)
            events = docker.connect(timeout_s=_DOCKER_TIMEOUT_S).events()
            inbox.put(_Message("listening"))
            for event in events:
                labels = event["Actor"]["Attributes"]
                inbox.put(_Message(event["Action"], event["Actor"]["ID"], labels.get(model.LABEL_SERVICE, ""),
                                   int(labels.get("signal", 0)) if event["Action"] == "kill" else 0))
        except errors.Unavailable:
            pass  # the comparison says why
        finally:
            inbox.put(_Message("deaf"))

    threading.Thread(target=hear, daemon=True).start()


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no IP address") from error


def _seconds(text: str) -> float:
    try:
        if float(text) > 0:
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
