"""The execution of a decision about a set: the only place that starts, restarts and ends members, and changes a set.

The record, the kept state and the service's lock come first. Right before an act its place is looked at once more. Each
step can be the last one of this process: the next look finds what was done, and goes on from there.
"""

import time

from lictor import errors
from lictor.adapters import log
from lictor.adapters.consul.lock import Writer
from lictor.clusters.protocols import Kind
from lictor.engines import docker, member_volumes
from lictor.planner.cluster import actions, words
from lictor.planner.cluster.actions import Act
from lictor.planner.cluster.observation import Configuration
from lictor.planner.desired import fingerprint, with_environment
from lictor.planner.observation import Observation, drain_text
from lictor.reconcile import container_spec, history
from lictor.reconcile.cluster.look import Look
from lictor.reconcile.context import Context
from lictor.spec import service_spec
from lictor.spec.cluster import spec_of


class Executor:
    """Carries out one act that was decided upon one look."""

    def __init__(self, context: Context, observation: Observation, look: Look, writer: Writer) -> None:
        self._context, self._observation, self._look, self._writer = context, observation, look, writer
        self._name = observation.desired.name

    def carry_out(self, act: Act) -> None:
        """Do one act and record it; raises what the act itself raised."""
        began = time.monotonic()
        begun = history.intend(self._context.client, self._writer, self._name, {
            "node": self._context.node, "kind": act.kind, "container": act.container, "reason": act.reason,
            "seen": words.describe_members(self._look.view)})
        outcome, detail = "failed", "the process broke off"
        try:
            self._writer.check()
            detail = self._do(act)
            outcome = "done"
        except errors.LictorError as error:
            outcome, detail = "not yet" if isinstance(error, errors.NotYet) else "failed", str(error)
            raise
        finally:
            ms = round((time.monotonic() - began) * 1000)
            log.event(act.kind, service=self._name, container=act.container, reason=act.reason, outcome=outcome,
                      detail=None if outcome == "done" else detail, ms=ms)
            history.finish(self._writer, begun, {"outcome": outcome, "ms": ms, "detail": detail[:4000]})

    def _do(self, act: Act) -> str:
        match act:
            case actions.Start(number=number, release=release, is_blank=is_blank):
                return self._start(number, release, self._look.view.configuration, is_blank=is_blank)
            case actions.Restart(number=number, release=release):
                return self._start(number, release, self._look.view.configuration, ends=True)
            case actions.Initiate():
                return self._initiate(act)
            case actions.Drain():
                return self._drain(act)
            case actions.Stop(number=number):
                return self._end(number)
            case actions.StepDown(number=number):
                self._kind.step_down(self._member(number), self._look.view.configuration)
            case _:
                self._change(act)
        return ""

    @property
    def _kind(self) -> Kind:
        assert self._look.kind
        return self._look.kind

    def _member(self, number: int) -> str:
        return self._look.places[number].member

    def _start(self, number: int, release: str, configuration: Configuration | None, *, is_blank: bool | None = None,
               ends: bool = False) -> str:
        """Make a member's container anew. One that is there has ended, or (`ends`) is ended first."""
        spec = self._spec_of(release)
        place = self._look.places[number]
        member = container_spec.bounded(spec_of(spec, place), self._context.settings)
        own = self._kind.environment(self._name_of(number), place.member, place.address, configuration)
        member = with_environment(member, {**member.environment_table, **own})
        with container_spec.secrets_hidden(member):
            docker.prepare(member)  # a pull may take minutes, or fail: the member that it is for runs on meanwhile
        self._writer.check()
        self._require_unchanged(number, is_blank, ends=ends)
        before = self._look.containers.get(number)
        if before:
            docker.remove(before, grace_s=spec.stop_grace_period)
        with container_spec.secrets_hidden(member):
            made = docker.start(member, number=number, color="", release=fingerprint(spec), place=place)
        return f"{made.name} is {made.id[:12]}"

    def _require_unchanged(self, number: int, is_blank: bool | None, *, ends: bool) -> None:
        """Raise Conflict unless a member's container and volume are as they were decided upon."""
        containers = docker.containers(self._name)
        now, before = next((each for each in containers if each.number == number), None), self._look.containers.get(
            number)
        if (now and now.id) != (before and before.id) or now and not ends and now.status not in ("created", "exited",
                                                                                                 "dead"):
            raise errors.Conflict(f"{self._name_of(number)} is another container by now, or runs")
        volume = member_volumes.read(self._name, containers).get(number, "none")
        if is_blank is not None and is_blank != (volume in ("none", member_volumes.EMPTY)):
            raise errors.Conflict(f"the volume {self._look.places[number].volume} is {volume} by now")

    def _initiate(self, act: actions.Initiate) -> str:
        spec = self._observation.spec
        assert spec.cluster
        if spec.cluster.traits.is_added_first:
            return self._start(act.number, act.release, None, is_blank=True)
        self._kind.initiate(self._member(act.number), spec.cluster.name, act.address)
        return ""

    def _drain(self, act: actions.Drain) -> str:
        container, text = self._look.containers[act.number], drain_text(self._look.seen.clock.now, act.reason)
        for each in self._observation.instances:
            if each.container_id == container.id:
                if each.maintenance is not None:  # Consul keeps the first reason, which would hide the drain's
                    self._context.client.set_maintenance(each.service_id, None)
                self._context.client.set_maintenance(each.service_id, text)
        return ""

    def _end(self, number: int) -> str:
        container = self._look.containers[number]
        output = docker.logs(container, lines=20) if container.exit_code else ""
        docker.remove(container, grace_s=self._observation.spec.stop_grace_period)
        return output or f"its volume {self._look.places[number].volume} stays"

    def _change(self, act: Act) -> None:
        view = self._look.view
        slot = next(slot for slot in self._look.seen.slots if slot.name == view.primary)
        primary, kind = self._member(slot.number), self._kind
        match act:
            case actions.Add(address=address, basis=basis):
                kind.add(primary, address, basis)
            case actions.GiveVote(address=address, basis=basis):
                kind.give_vote(primary, address, basis)
            case actions.TakeVote(address=address, basis=basis):
                kind.take_vote(primary, address, basis)
            case actions.Leave(address=address, basis=basis):
                kind.remove(primary, address, basis)

    def _spec_of(self, release: str) -> service_spec.Spec:
        """Find the spec of a release; if it is not known any more, the desired one stands in."""
        desired = self._observation.desired
        table = self._look.stored.record.specs.get(release)
        if release == desired.release or table is None:
            return self._observation.spec
        try:
            spec = service_spec.parse_spec(table, "lictor/cluster")
        except errors.Refused:
            return self._observation.spec
        return spec if spec.name == self._name and spec.cluster == self._observation.spec.cluster else (
            self._observation.spec)

    def _name_of(self, number: int) -> str:
        return f"{self._name}-{number}"
