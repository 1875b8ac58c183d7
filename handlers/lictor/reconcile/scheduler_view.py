"""The view of a service whose scheduler starts and ends the instances: its orders, and containers by registration."""

from collections.abc import Mapping, Sequence

from lictor import model
from lictor.planner.desired import Desired
from lictor.planner.observation import SchedulerView
from lictor.planner.service_state import State


def remembered_groups(service: Desired, state: State, instances: Sequence[model.Instance]) -> list[model.Group]:
    """Derive the orders of a scheduler that forgets them, from the state.

    Instances of a colour that is not live, or of a removed service, show that there was an order for them too.
    """
    groups = [model.Group(service.name, color, order.replicas, order.release, order.image, None)
              for color, order in sorted(state.release.last_orders.items()) if color in ("", *model.COLORS)]
    alive = model.by_container(each for each in instances if each.node_alive)
    colors = [_color(first, service) for first, *_ in alive.values()]
    unordered = {color for color in colors if color not in state.release.last_orders
                 and (service.removed or color != service.color)}
    return groups + [model.Group(service.name, color, colors.count(color), "", "", None) for color in sorted(unordered)]


def of_tasks(service: Desired, scheduler: SchedulerView, instances: Sequence[model.Instance]) -> list[model.Instance]:
    """Leave out the instances of which a scheduler that names its tasks knows nothing: they are none of the service's,
    and would hide that one is missing, or make a release of all look like one of some."""
    tasks = {group.color: group.task_ids for group in scheduler.groups}
    return [each for each in instances if (ids := tasks.get(_color(each, service))) is None or each.container_id in ids]


def containers(service: Desired, state: State, scheduler: SchedulerView, instances: Sequence[model.Instance],
               now_s: float, tasks: Mapping[str, model.Container] | None = None) -> list[model.Container]:
    """Derive the containers, which may run on other nodes, from their registrations; `tasks` are those of this node.

    A node that does not answer has none: Consul keeps its registrations for days. The release is the scheduler's word,
    else that of the last order.
    """
    made = []
    alive = sorted((each for each in instances if each.node_alive), key=lambda each: (each.node, each.service_id))
    for number, (instance, *_) in enumerate(model.by_container(alive).values(), start=1):
        container_id, color = instance.container_id, _color(instance, service)
        group = next((group for group in scheduler.groups if group.color == color), None)
        is_current = group and (group.container_ids is None or container_id in group.container_ids)
        # The start is unknown. The first critical sighting stands for it; once an instance has passed, it is no matter.
        has_passed = container_id in state.healing.passed_once
        started_at = 0.0 if has_passed else state.healing.critical_since.get(container_id, now_s)
        made.append(model.Container(
            id=container_id, name=f"{instance.service_id} on {instance.node}", service=service.name, number=number,
            color=color, image=group.image if group else "", release=group.release if group and is_current else "",
            status="running", created_at=started_at, started_at=started_at, exit_code=None))
    return [_as_docker_says(each, (tasks or {}).get(each.id)) for each in made]


def _as_docker_says(container: model.Container, task: model.Container | None) -> model.Container:
    if task is None:
        return container
    return container._replace(
        health=task.health, status=task.status if task.status in ("paused", "restarting") else container.status)


def _color(instance: model.Instance, service: Desired) -> str:
    return instance.service.removeprefix(service.name).lstrip("-")
