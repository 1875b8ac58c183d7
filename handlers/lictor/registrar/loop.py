"""The resident that registers this node's containers with the local Consul agent, and deregisters them.

Docker's events say which containers to inspect again; Docker's present state counts. A comparison every few seconds
finds what no event shows: a lost event, an agent that forgot, a registration that another program removed.
"""

import functools
import os
import queue
import signal
import time
from collections.abc import Callable

from lictor import errors, model
from lictor.adapters import docker, files, heartbeat, log, systemd
from lictor.adapters.consul.client import Client
from lictor.adapters.heartbeat import Refusal
from lictor.events import script
from lictor.registrar import container_views, diff, options, registration, swarm_stop
from lictor.registrar.catalogue import Catalogue
from lictor.registrar.docker_events import DOCKER_TIMEOUT_S, Inbox, Message, listen, receive
from lictor.registrar.roles import Roles

_LOCK = ":registrar.lock"  # no service's name has a colon
_LONGEST_INTERVAL_S = 10.0  # a comparison also writes the heartbeat, and repeats HEALTHCHECKs
_LONGEST_BACK_OFF_S = 5.0
_SHORTEST_BACK_OFF_S = 0.1


def main(description: str) -> int:
    return script.main(options.parser(description), run, options.arguments())


def run(call: script.Call) -> int:
    """Follow Docker until SIGTERM or SIGINT. The registrations stay: a restart must not cost any traffic.

    A second registrar with this state folder is refused: with other options each would undo the other's registrations.
    """
    options.use_registry(call.arguments.registry)
    with files.locked(os.path.join(call.settings.state_dir, "locks", _LOCK), wait=False) as is_alone:
        if not is_alone:
            raise errors.Unavailable(f"another lictor-registrar runs with the state folder {call.settings.state_dir}, "
                                     "and registers this node's containers. End one of them")
        return _follow(call)


def _follow(call: script.Call) -> int:
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
        host = os.uname().nodename
        self.options = registration.Options(
            host, engine="", address=given.ip or "", internal=given.internal, explicit=given.explicit, tags=given.tags,
            address_label=given.useIpFromLabel or "", ignore_image=given.ignore_image)
        self.rules = diff.Rules(engine="", take_over=given.take_over, cleanup_host=host if given.cleanup else "")
        self.consul = Client.connect(token_file=call.token_file)
        last = heartbeat.read(call.settings.state_dir)
        self.catalogue = Catalogue(self.consul, keep_failed=given.deregister == "on-success",
                                   token=last.token if last else "")
        self.engine: docker.Client | None = None
        self.inbox: Inbox = queue.SimpleQueue()
        self.views: dict[str, container_views.View] = {}
        self.roles = Roles(lambda: self.inbox.put(Message("role")))
        self.refusals: set[Refusal] = set()  # of the last round; only new ones are logged
        self.uninspected: dict[str, Refusal] = {}  # by id: running containers of which Docker does not tell
        self.dead: set[str] = set()  # ids of containers that do not run, and whose registrations are still there
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
        """Run one step; a failure is logged once, and the next comparison tries again. Until Docker tells otherwise, a
        dead container stays dead."""
        try:
            step()
            trouble = ""
        except (errors.LictorError, OSError) as error:
            trouble = str(error)
        except Exception as error:  # of what nobody has thought of: a resident that ends helps no other container
            trouble = f"unexpected: {error!r}"
        if trouble != self.trouble:
            log.event("registrar", outcome="waiting" if trouble else "recovered", reason=trouble or self.trouble)
        self.trouble = trouble
        systemd.notify(systemd.ALIVE)
        try:
            heartbeat.write(self.call.settings.state_dir, heartbeat.make(
                self.refusals, engine=self.options.engine, registered=self.registered, trouble=self.trouble,
                token=self.catalogue.token, dead=tuple(sorted(self.dead))))
        except OSError as error:  # a full disk is no reason to let the catalogue go stale
            log.event("registrar", outcome="no heartbeat", reason=error)

    def _compare(self) -> None:
        """Inspect every container of which Docker's list shows a change, and repair."""
        engine, known = self.engine, self.views
        if engine is None:
            engine, known = docker.connect(timeout_s=DOCKER_TIMEOUT_S), {}
            self.options = self.options._replace(engine=engine.engine_id())
        entries = engine.running()
        self.rules = self.rules._replace(engine=self.options.engine, running={
            name.rpartition("/")[2] for entry in entries for name in entry["Names"] or []})
        listed = {entry["Id"]: container_views.summarize(entry) for entry in entries}
        views = {}
        self.uninspected = {}
        for container_id in {**known, **listed}:
            view = known.get(container_id)
            if view is None or view.is_ailing or view.listed != listed.get(container_id):
                view = self._inspect(engine, container_id, listed.get(container_id, ""), view)
            if view:
                views[container_id] = view
        self.engine, self.views = engine, views
        self._repair(engine, thoroughly=True)

    def _heed(self, messages: list[Message]) -> None:
        """Inspect the containers that messages are about, and repair."""
        assert self.engine
        self._announce_stops(messages)
        last = {message.container_id: message.kind for message in messages
                if message.container_id and message.kind != "kill"}
        for container_id, kind in last.items():
            known = self.views.pop(container_id, None)
            self.uninspected.pop(container_id, None)
            # A container that died is deregistered at once: to inspect it would wait until Docker has cleaned up.
            view = None if kind == "die" else self._inspect(self.engine, container_id, "", known)
            if view:
                self.views[container_id] = view
        self._repair(self.engine, thoroughly=False)
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

    def _inspect(self, engine: docker.Client, container_id: str, listed: str,
                 known: container_views.View | None) -> container_views.View | None:
        """Inspect a container; if Docker cannot tell of this one alone, what is known, or registered, of it stays."""
        try:
            return container_views.inspect(engine, container_id, listed, self.options)
        except errors.LictorError as error:
            engine.engine_id()  # raises if Docker itself is away
            reason = f"Docker does not tell of it: {error}"
            self.uninspected[container_id] = Refusal(container_id[:12], reason, "docker")
            return known

    def _repair(self, engine: docker.Client, *, thoroughly: bool) -> None:
        """Make the agent's registrations those of the views."""
        untold = self.uninspected.keys()
        self.dead = self.catalogue.containers - self.views.keys() - untold  # until they are ended
        self.roles.follow({container_id: view.member for container_id, view in self.views.items() if view.member})
        tags = self.roles.tags()
        views = [container_views.with_role(view, tags.get(container_id, ""))
                 for container_id, view in self.views.items()]
        registered, refusals = self.catalogue.repair(views, engine, self.rules._replace(untold=untold),
                                                     thoroughly=thoroughly)
        refusals |= set(self.uninspected.values())
        for refusal in sorted(refusals - self.refusals):
            log.event("register", container=refusal.container, outcome="refused", reason=refusal.reason)
        self.refusals, self.registered, self.dead = refusals, registered, self.catalogue.dead
