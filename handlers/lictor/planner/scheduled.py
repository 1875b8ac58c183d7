"""Services with a scheduler: it is ordered how many instances there should be, and starts, places and ends them.

Surplus, the gate of a release and healing are those of other services; here is what differs: the orders. Users are
served by the live colour, so fewer of it are ordered with care, and never together with another release. A scheduler
that remembers its orders goes on with them; one that does not is given the order again when something else is there.
"""

from msgspec.structs import replace

from lictor.model import Group, Instance, catalog_name
from lictor.planner import actions, backoff, blue_green, healing, release, rolling
from lictor.planner.actions import Act, Action, Confirm, End, Order, Redeploy, Replace, Retire, Scale, Wait
from lictor.planner.members import Member, candidates, members, surplus_stands_until
from lictor.planner.observation import Observation, SchedulerView
from lictor.planner.service_state import Rollout


def decide(observation: Observation, scheduler: SchedulerView) -> list[Action]:
    """Decide which orders to give, and which unhealthy instance to replace."""
    desired = observation.desired
    if not scheduler.takes_orders:
        return [] if desired.removed else _heal(observation, scheduler)
    if desired.removed:
        return [_back_off(action, observation) for action in _retire_all(observation, scheduler)]
    orders = _order(observation, scheduler, desired.color, release.target_release(observation), observation.target)
    if desired.color:
        orders += [*blue_green.restore_keys(observation), *_other_color(observation, scheduler)]
    elif not orders:
        orders = _end_rollout(observation)
    acts = any(isinstance(action, Act) for action in orders)  # then no other order at once
    healed = [action for action in _heal(observation, scheduler) if not acts or not isinstance(action, Order)]
    return [_back_off(action, observation) for action in (*orders, *healed)]


def is_over(observation: Observation) -> bool:
    """Tell whether this node can say of a removed service that nothing of it is left with its scheduler."""
    scheduler = observation.scheduler
    return scheduler is None or scheduler.takes_orders and not _retire_all(observation, scheduler)


def due(observation: Observation, scheduler: SchedulerView) -> Member | None:
    """Choose the unhealthy instance for this node to replace next; None while others are on their way."""
    everyone, away = members(observation), _out_of_sight(observation)
    is_rolled_out = observation.rollout and not observation.desired.color
    is_complete = len(everyone) <= observation.target <= len(everyone) + len(away)
    if is_rolled_out or not is_complete or any(member.condition == "starting" for member in everyone):
        return None
    return healing.longest_critical(
        [member for member in everyone if _is_ours(member, scheduler) and not _is_on_its_way(member, observation)])


def surplus(observation: Observation, scheduler: SchedulerView) -> int:
    """Count how many more than desired of the live colour are ordered; or registered, if it forgets its orders."""
    group = observation.group(observation.desired.color)
    registered = 0 if scheduler.remembers_orders else len(members(observation))
    return max(group.replicas if group else 0, registered) - observation.target


def _is_ours(member: Member, scheduler: SchedulerView) -> bool:
    is_here = member.instance is not None and member.instance.node == scheduler.node
    return member.instance is not None and (is_here if scheduler.ends_instances else scheduler.takes_orders)


def _is_on_its_way(unhealthy: Member, observation: Observation) -> bool:
    """Tell whether its scheduler replaces it by itself: on the way back from a release, say, it is yet to get that
    order, or got it less than a deadline ago."""
    target, group = release.target_release(observation), observation.group(observation.desired.color)
    return group is not None and unhealthy.release != target and (
        group.release != target or observation.now < _order_again_at(group.color, observation))


def _out_of_sight(observation: Observation) -> list[Instance]:
    """List live instances whose node does not answer, unless their scheduler says that they are gone."""
    group = observation.group(observation.desired.color)
    listed = group.container_ids if group else None
    return [instance for instance in observation.instances
            if instance.service == observation.desired.catalog_name and not instance.node_alive
            and (listed is None or instance.container_id in listed)]


def _order(observation: Observation, scheduler: SchedulerView, color: str, fingerprint: str,
           count: int) -> list[Action]:
    """Give the order for one colour if it is another one than the last, or if nothing has come of that."""
    desired, group = observation.desired, observation.group(color)
    serves = color == desired.color
    scale = Scale(catalog_name(desired.name, color), desired.why_replicas, color, count, fingerprint)
    if observation.state.release.live is None and fingerprint != desired.release:
        return [actions.hold(scale, "it is unknown what the live instances were made from; another release ends that")]
    if group is None or group.release != fingerprint:
        return [_order_release(scale, group, serves, observation)]
    if group.replicas > count and serves:
        return [_order_fewer(scale, f"{group.replicas} are ordered", observation)]
    if group.replicas != count:
        return [scale]
    if not release.is_order_done(observation, color):
        why = f"ordered again, as the last order was not completed: {scale.reason}"
        return [replace(scale, reason=why)]
    return _order_again(scale, group, observation, scheduler)


def _order_release(scale: Scale, group: Group | None, serves: bool, observation: Observation) -> Scale | Redeploy:
    if group is None or not group.replicas:
        return scale
    is_desired, live = scale.release == observation.desired.release, observation.state.release.live or {}
    image = observation.spec.image if is_desired else live.get("image")
    runs = f"{group.image or 'an earlier one'} runs" if group.release else "it is unknown what runs"
    other = f"another release{f' of {image}' if image else ''}"
    desired = image if image and (image != group.image or not group.release) else other
    count = max(scale.replicas, group.replicas) if serves else scale.replicas
    return Redeploy(scale.container, f"{desired} is desired, {runs}", scale.color, count, scale.release)


def _order_fewer(scale: Scale, why: str, observation: Observation) -> Action:
    """Order fewer once the surplus has stood for long enough; the scheduler picks the victims."""
    until = surplus_stands_until(observation)
    if observation.now < until:
        stands_s = observation.rules.surplus_after_s
        return actions.wait(scale, "surplus", f"{why}, and that has to stand for {stands_s:g} s", until)
    return actions.confirmed(observation.certain, scale)


def _order_again(scale: Scale, group: Group, observation: Observation, scheduler: SchedulerView) -> list[Action]:
    """Give the last order again if something else is there, unless the scheduler goes on with it and says itself what
    keeps it."""
    alive = _count_alive(scale.container, observation)
    is_live, forgets = scale.color == observation.desired.color, not scheduler.remembers_orders
    too_many = forgets and is_live and alive > scale.replicas
    is_never_seen = observation.spec.port is None and not observation.state.release.live_is_proven
    is_done = alive >= scale.replicas or is_never_seen
    if is_done and not group.gave_up and not too_many:
        return []
    why = ": ".join(filter(None, (f"{alive} of {scale.replicas} are there", group.trouble)))
    again_at = _order_again_at(scale.color, observation) if forgets or group.gave_up else 0.0
    if not again_at or observation.now < again_at:
        return [Wait(scale.container, f"ordered: {why}.", until=again_at)]
    again = replace(scale, reason=f"ordered again: {why}")
    return [_order_fewer(again, why, observation) if too_many else actions.confirmed(observation.certain, again)]


def _count_alive(name: str, observation: Observation) -> int:
    return len({instance.container_id for instance in observation.instances
                if instance.service == name and instance.node_alive})


def _order_again_at(color: str, observation: Observation) -> float:
    """Tell when an order may be given again: its scheduler has a deadline for it."""
    order = observation.state.release.last_orders.get(color)
    return (order.at if order else 0.0) + observation.spec.deadline_s


def _back_off(action: Action, observation: Observation) -> Action:
    """Put an order off while its scheduler fails."""
    if not isinstance(action, Order):
        return action
    name, failures = observation.desired.name, observation.state.release.order_failures.get(action.color)
    again_at = backoff.retry_at(name, f"order {action.color}", failures) if failures else 0.0
    if failures is None or observation.now >= again_at:
        return action
    return backoff.put_off(action, failures, again_at, name)


def _end_rollout(observation: Observation) -> list[Action]:
    """Say what a release without colours waits for, whose steps its scheduler takes; `next_state` lets it take over."""
    name, everyone = observation.desired.name, members(observation)
    if not observation.rollout:
        return []
    if release.is_rolling(observation) or len(everyone) != observation.target:
        new = len(release.new_members(observation))
        return [_incomplete(name, new, len(everyone) - new, observation)]
    late = blue_green.late_checks(everyone, observation)
    if late or observation.now < release.passing_until(observation):
        return [*late] or rolling.last_step(observation)
    if not observation.certain:
        return [Confirm(name, "unconfirmed: all pass. A consistent reading has to show it too.")]
    failures = release.smoke_failures(observation)
    return [Wait(name, f"smoke test fails: {failures}. It is repeated until the deadline.")]


def _incomplete(name: str, new: int, others: int, observation: Observation) -> Wait:
    beside = f", beside {others} others" if others else ""
    return Wait(name, f"release: {new} of {observation.target} new instances are there{beside}.")


def _other_color(observation: Observation, scheduler: SchedulerView) -> list[Action]:
    """Bring up a release in the colour that is not live; end what was live before, or has failed."""
    desired, rollout, color = observation.desired, observation.rollout, observation.desired.other_color
    group, name = observation.group(color), catalog_name(desired.name, color)
    if desired.canary_key and not (rollout and rollout.trial):
        return []  # before anything of it ends, no nginx may be asked any more to give it a share
    if not rollout:
        return _wind_down(group, scheduler, observation) if group else []
    is_taken = group and group.release != rollout.release and group.replicas
    listed = blue_green.still_listed(observation) if is_taken else None
    if listed:
        return [Wait(name, f"in the way: {listed.why}. The new release has to wait.")]
    count = _count_of_new(group, rollout, observation)
    orders = _order(observation, scheduler, color, rollout.release, count)
    new, others = release.new_members(observation), release.in_the_way(observation)
    if not orders and (len(new) != count or others):
        return [_incomplete(name, len(new), len(others), observation)]
    return orders or blue_green.switch(new, observation)


def _count_of_new(group: Group | None, rollout: Rollout, observation: Observation) -> int:
    """Count the instances that a release is to have; a canary gets fewer only once it is live."""
    is_asked = group and group.release == rollout.release and blue_green.gets_requests(observation)
    return max(observation.target, group.replicas) if group and is_asked else observation.target


def _wind_down(group: Group, scheduler: SchedulerView, observation: Observation) -> list[Action]:
    """Scale the colour that is not live to nothing once no nginx lists it, and retire it after `keep`."""
    color, state, spec = observation.desired.color, observation.state.release, observation.spec
    name = catalog_name(observation.desired.name, group.color)
    is_there = group.replicas > 0 or _lingers(group, observation, scheduler)
    stop = Scale(name, f"{color} is live, and no nginx lists it any more", group.color, 0, group.release)
    listed = blue_green.still_listed(observation) if is_there else None
    if listed:
        return [actions.put_off(stop, listed)]
    idle_at = max(state.switched_at, state.tried_until) + spec.drain  # connections on other nodes cannot be seen
    if is_there and observation.now < state.tried_until + spec.drain:
        return [actions.wait(stop, "draining", "its last requests may take as long as a drain", idle_at)]
    if state.failed and state.failed.release == group.release and (is_there or scheduler.remembers_orders):
        retire = Retire(name, f"its release failed: {state.failed.why}", group.color, group.release)
        return [blue_green.wait_while_starting(retire, candidates(observation), observation)]
    if is_there and observation.now < idle_at:
        return [actions.wait(stop, "draining", "its last requests may take as long as a drain", idle_at)]
    if is_there:
        return [actions.confirmed(observation.certain, stop)]
    is_kept = observation.now < state.switched_at + spec.release.keep
    return [] if is_kept or not scheduler.remembers_orders else [
        Retire(name, "it was kept for long enough", group.color, group.release)]


def _lingers(group: Group, observation: Observation, scheduler: SchedulerView) -> bool:
    """Tell whether a host has come back with a colour of which a scheduler that forgets its orders was ordered none."""
    return not scheduler.remembers_orders and observation.now >= _order_again_at(group.color, observation) and any(
        container.color == group.color for container in observation.containers)


def _retire_all(observation: Observation, scheduler: SchedulerView) -> list[Action]:
    name, groups = observation.desired.name, [group for group in scheduler.groups if group.replicas
                                              or scheduler.remembers_orders or _lingers(group, observation, scheduler)]
    retires = [Retire(catalog_name(name, group.color), "it was removed", group.color, group.release)
               for group in groups]
    return [actions.confirmed(observation.certain, retire) for retire in retires]


def _heal(observation: Observation, scheduler: SchedulerView) -> list[Action]:
    """End an unhealthy instance, so that its scheduler starts another; else order all anew."""
    unhealthy, desired = due(observation, scheduler), observation.desired
    if unhealthy is None:
        return []
    why, container_id = healing.reason(unhealthy, observation), unhealthy.container.id
    against = healing.obstacle(unhealthy, observation)
    if against:
        return [against]
    if scheduler.ends_instances:
        return [End(unhealthy, f"{why}; its scheduler starts another", container_id)]
    again_at = _order_again_at(desired.color, observation)
    if observation.now < again_at:
        return [actions.wait(Replace(unhealthy, why), "ordered",
                     f"its scheduler had an order less than {observation.spec.deadline_s:g} s ago", again_at)]
    return [Redeploy(desired.catalog_name, f"{unhealthy.name}: {why}", desired.color, observation.target,
                     release.target_release(observation), container_id)]
