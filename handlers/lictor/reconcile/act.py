"""The execution of the planner's actions: the only place that starts, drains and removes containers."""

import contextlib
import time
from collections.abc import Iterator

from lictor import errors, model
from lictor.adapters import log
from lictor.adapters.consul.lock import Writer
from lictor.adapters.text import one_line
from lictor.engines.protocols import ContainerEngine, Order, TaskEnder
from lictor.engines.registry import CONTAINER_ENGINES, SCHEDULERS, TASK_ENDERS
from lictor.planner import actions, breaker, desired, drain, next_state
from lictor.planner.cluster import words
from lictor.planner.members import Member, candidates, members, registrations
from lictor.planner.observation import Observation, Reservation, drain_mark, drain_text
from lictor.planner.service_state import LastOrder
from lictor.reconcile import container_spec, history
from lictor.reconcile.cluster import seeds
from lictor.reconcile.context import Context
from lictor.reconcile.observe import Reading
from lictor.reconcile.release.color_keys import ColorKeys
from lictor.reconcile.state_store import StateStore
from lictor.spec import allow, service_spec

_LOG_LINES = 20


class Executor:
    """Carries out actions that were planned on one observation of one service.

    The intent is recorded before an act, the outcome after it. If `writer` has lost its lock, nothing is begun and
    nothing is recorded any more.
    """

    def __init__(self, context: Context, reading: Reading, writer: Writer) -> None:
        self._client, self._settings, self._node = context.client, context.settings, context.node
        self._observation, self._recorded, self._writer = reading.observation, reading.recorded, writer
        self._name, self._clocks = reading.observation.desired.name, context.clocks
        self._states = StateStore(context.client, writer, self._clocks)

    def carry_out(self, action: actions.Act) -> None:
        """Do one action and record it; raises what the act itself raised."""
        began, replaced = time.monotonic(), actions.replaced_by(action)
        if replaced:
            self._reserve(replaced)
        begun = history.begin(self._client, self._writer, self._recorded, {
            "node": self._node, "kind": action.kind, "container": action.container, "reason": action.reason,
            "seen": describe(self._observation)})
        outcome, detail = "failed", "the process broke off"
        try:
            self._writer.check()
            detail = self._do(action)
            outcome = "done"
        except errors.LictorError as error:
            detail = str(error)
            raise
        finally:
            ms = round((time.monotonic() - began) * 1000)
            log.event(action.kind, service=self._name, container=action.container, reason=action.reason,
                      outcome=outcome, detail=detail if outcome == "failed" else None, ms=ms)
            history.finish(self._writer, begun, {"outcome": outcome, "ms": ms, "detail": detail[:4000]})

    def _do(self, action: actions.Act) -> str:
        """Carry an act out; returns its output, or the last words of the instance that it ended."""
        match action:
            case actions.Start():
                return self._start(action)
            case actions.Admit(member) | actions.Undrain(member):
                return self._let_in(member)
            case actions.Drain(member, reason):
                return self._drain(member, reason)
            case actions.Stop(member):
                return self._stop(member.container)
            case actions.Remove(member):
                return self._remove(member)
            case actions.End(member):
                return self._end(member.container.id)
            case actions.Switch(color=color):
                return self._color_keys.switch(color)
            case actions.Try():
                return self._color_keys.give_share(action)
            case actions.Recall():
                return self._color_keys.take_share()
            case actions.Scale() | actions.Redeploy():
                return self._order(action)
            case actions.Retire():
                return self._retire(action)

    @property
    def _spec(self) -> service_spec.Spec:
        assert self._observation.desired.spec is not None
        return self._observation.desired.spec

    @property
    def _engine(self) -> ContainerEngine:
        return CONTAINER_ENGINES[self._spec.engine]

    def _reserve(self, container_id: str) -> None:
        """Take one replacement off the fleet's budget before it begins; Conflict if another node took one since."""
        entry = self._client.get(breaker.KEY, consistent=True)
        reservations = [self._clocks.reservation(each) for each in breaker.decode(entry.value if entry else None)]
        if set(reservations) - set(self._observation.reservations):
            raise errors.Conflict(f"{breaker.KEY} changed since this was decided")
        own = Reservation(self._name, container_id, self._observation.now, self._node)
        self._client.put(breaker.KEY, breaker.encode([*reservations, own], self._observation.now),
                         cas=entry.modify_index if entry else 0)

    def _start(self, action: actions.Start) -> str:
        spec, rollout = self._spec_of(action.release), self._observation.state.release.rollout
        gated = bool(spec.release.smoke and not action.color and rollout and action.release == rollout.release)
        filled = seeds.fill(self._client, spec)
        try:
            bounded = container_spec.bounded(filled, self._settings)
            with container_spec.secrets_hidden(bounded):
                container = CONTAINER_ENGINES[spec.engine].start(
                    bounded, number=action.number, color=action.color, release=desired.fingerprint(spec), gated=gated)
        except errors.LictorError as error:
            with contextlib.suppress(errors.LictorError):  # the engine's reason is the one that helps
                self._count_failure(action, error)
            raise
        return f"{container.name} is {container.id[:12]}"

    def _count_failure(self, action: actions.Start | actions.Order, error: errors.LictorError) -> None:
        """Count a start or an order that fails like a container that ended: the next try backs off.

        A refused one of the release under way ends that release. If the engine or the image's registry only could not
        be reached, the release goes on.
        """
        old, index = self._states.read(self._name)
        is_of_rollout = old.release.rollout is not None and old.release.rollout.release == action.release
        if is_of_rollout and isinstance(error, errors.Refused):
            new = next_state.release_failed(old, str(error), self._spec.image, time.time())
        elif isinstance(action, actions.Start):
            new = next_state.release_delayed(old, error) if is_of_rollout else next_state.start_failed(
                old, action.number, error, time.time())
        else:
            new = next_state.order_failed(old, action.color, error, time.time())
        self._states.write(self._name, new, index, before=old)

    def _drain(self, member: Member, reason: str) -> str:
        for each in registrations(member, self._observation):
            if not drain.is_to_be_marked(each, self._observation):
                continue
            if each.maintenance is not None:
                # An operator's maintenance ends first: Consul keeps the first reason, which would hide the drain's.
                self._client.set_maintenance(each.service_id, None)
            self._client.set_maintenance(each.service_id, drain_text(self._observation.now, reason))
        return ""

    def _let_in(self, member: Member) -> str:
        for each in registrations(member, self._observation):
            if each.maintenance == model.JOINING or drain_mark(each):
                self._client.set_maintenance(each.service_id, None)
        return ""

    def _stop(self, container: model.Container) -> str:
        self._engine.stop(container, grace_s=self._spec.stop_grace_period)
        return ""

    def _remove(self, member: Member) -> str:
        failed, container = self._observation.state.release.failed, member.container
        was_well = container.exit_code is None and not (failed and failed.release == container.release)
        output = "" if was_well else last_words(self._observation, container.id)
        self._engine.remove(container, grace_s=self._spec.stop_grace_period)
        if container.exit_code is not None and output:
            last_line = one_line(output.splitlines()[-1])[:model.LONGEST_OUTPUT]
            with contextlib.suppress(errors.LictorError):  # the record has it, too
                state, index = self._states.read(self._name)
                self._states.write(self._name, next_state.ended(state, member, last_line), index)
        return output

    @property
    def _color_keys(self) -> ColorKeys:
        return ColorKeys(self._client, self._writer, self._states, self._observation,
                         f"{self._settings.prefix}{self._name}/")

    def _order(self, action: actions.Scale | actions.Redeploy) -> str:
        """Order an absolute count. The state keeps the order, also half done, if the scheduler itself does not."""
        spec = self._spec_of(action.release)
        scheduler = SCHEDULERS[spec.engine]
        give = scheduler.redeploy if isinstance(action, actions.Redeploy) else scheduler.scale
        if self._forgets_orders:
            self._keep_order(action.color, next_state.order_begun(
                self._observation.state, action, spec.image, time.time()))
        with self._failures_counted(action):
            order = Order(container_spec.bounded(spec, self._settings), action.color, action.replicas, action.release)
            with container_spec.secrets_hidden(order.spec):
                output = give(self._settings, order, self._writer.lost)
        self._keep_order(action.color, LastOrder(action.replicas, action.release, time.time(), image=spec.image))
        return output

    def _retire(self, action: actions.Retire) -> str:
        spec = self._spec_of(action.release)
        if spec.engine in service_spec.DELEGATED:  # who names services must not choose what another tool is told
            allow.require(spec, self._settings.allow, self._settings.where)
        with self._failures_counted(action):
            order = Order(spec, action.color, 0, action.release)
            output = SCHEDULERS[spec.engine].remove(self._settings, order, self._writer.lost)
        self._keep_order(action.color, LastOrder(0, action.release, time.time()) if self._forgets_orders else None)
        return output

    @property
    def _forgets_orders(self) -> bool:
        scheduler = self._observation.scheduler
        return scheduler is not None and not scheduler.remembers_orders

    @contextlib.contextmanager
    def _failures_counted(self, action: actions.Order) -> Iterator[None]:
        """Count an order that fails. A Conflict is no failure: another writer was first."""
        try:
            yield
        except errors.Conflict:
            raise
        except errors.LictorError as error:
            with contextlib.suppress(errors.LictorError):
                self._count_failure(action, error)
            raise

    def _end(self, container_id: str) -> str:
        engine = TASK_ENDERS[self._spec.engine]
        container = next((each for each in engine.containers(self._name) if each.id == container_id), None)
        if container is None:
            return "it is gone already"
        output = engine.logs(container, lines=_LOG_LINES)
        engine.end(container, grace_s=self._spec.stop_grace_period)
        return output

    def _keep_order(self, color: str, order: LastOrder | None) -> None:
        state, index = self._states.read(self._name)
        self._states.write(self._name, next_state.order_given(state, color, order), index)

    def _spec_of(self, release: str) -> service_spec.Spec:
        """Find the spec with this fingerprint: the desired one, the live one, or the one before."""
        state = self._observation.state.release
        if release == self._observation.desired.release:
            return self._spec
        if release == state.previous_release and state.previous:
            with contextlib.suppress(errors.Refused):
                previous = service_spec.parse_spec(state.previous, "lictor/state")
                if is_of(previous, self._observation):
                    return previous
        return live_spec(self._observation)


def last_words(observation: Observation, container_id: str) -> str:
    """Read the last lines that one of the service's containers printed; "" if they cannot be had."""
    if observation.desired.spec is None:
        return ""
    service, name = observation.desired.name, observation.desired.spec.engine
    engine: ContainerEngine | TaskEnder | None = CONTAINER_ENGINES.get(name) or TASK_ENDERS.get(name)
    if engine is None:
        return ""
    try:
        containers = observation.containers if name in CONTAINER_ENGINES else engine.containers(service)
        container = next((each for each in containers if each.id == container_id), None)
        return engine.logs(container, lines=_LOG_LINES) if container else ""
    except errors.LictorError as error:
        return str(error)


def describe(observation: Observation) -> str:
    """Sum an observation up in one line for people."""
    conditions = [f"{member.name} {member.condition}{member.evidence}"
                  for member in (*members(observation), *candidates(observation))]
    return (f"{observation.desired.why_replicas or 'no instance is desired'}. "
            f"Instances: {', '.join(conditions) or 'none'}")


def describe_reading(reading: Reading) -> str:
    """Sum a reading up in one line for people, be it of a set with state."""
    return words.describe_members(reading.look.view) if reading.look else describe(reading.observation)


def live_spec(observation: Observation) -> service_spec.Spec:
    """Find the spec for a new container: the one that runs, not one that asks for a release.

    If the live spec is damaged, or this version does not allow it, the desired spec stands in.
    """
    assert observation.desired.spec is not None
    with contextlib.suppress(errors.Refused):
        live = service_spec.parse_spec(observation.state.release.live, "lictor/state")
        if is_of(live, observation):
            return live
    return observation.desired.spec


def is_of(stored: service_spec.Spec, observation: Observation) -> bool:
    """Decide whether a spec of the state is one of the service, and of the engine that it has now."""
    spec = observation.desired.spec
    return spec is not None and (stored.name, stored.engine) == (observation.desired.name, spec.engine)
