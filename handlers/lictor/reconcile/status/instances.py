"""The instances of a service as people see them: where each is, how it is in words, which nginx sends it requests."""

import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from lictor import model
from lictor.adapters.text import format_time, one_line
from lictor.planner.cluster.observation import PRIMARY, SECONDARY
from lictor.planner.observation import drain_mark
from lictor.reconcile.conditions import InstanceKey

PASSES = "passes"
_NOT_OURS = ". It is foreign: lictor did not start it"

Served = Mapping[tuple[str, str], Sequence[str]]  # nodes by node and ID of the instance that their nginx has


class InstanceRow(NamedTuple):
    """An instance, as the catalogue and its checks show it; the worst registration of a container stands for it."""

    service_id: str
    node: str
    address: str
    image: str
    condition: str  # passes, or what keeps it from that, with its check's words
    nginx_on: list[str]  # nodes whose nginx sends requests to it
    weight: int
    in_flight: int | None  # requests of this node's nginx at it; None: it does not count them
    is_foreign: bool = False  # lictor did not start it, so that it counts for nothing
    state: str = ""  # passing, warning, critical, draining, maintenance, paused or lost
    role: str = ""  # of a member of a set with state; "" if it is none, or its role is not known


class Condition(NamedTuple):
    """How a registered instance is."""

    service_id: str
    node: str
    condition: str  # PASSES, or what keeps it from that
    detail: str = ""  # the output of its check

    @property
    def described(self) -> str:
        return f"{self.condition}: {self.detail}" if self.detail else self.condition

    @property
    def passes(self) -> bool:
        return self.condition == PASSES


def describe(instance: model.Instance) -> Condition:
    """Say what keeps an instance from passing, or that nothing does."""
    condition, detail = PASSES if instance.status == "passing" else instance.status, instance.output
    if instance.maintenance is not None:
        condition, detail = "in maintenance", instance.maintenance
    if instance.maintenance == model.PAUSED:
        condition, detail = "paused", "until `docker unpause`"
    if not instance.node_alive:
        condition = "on a node that does not answer"
    return Condition(one_line(instance.service_id), instance.node, condition, one_line(detail)[:model.LONGEST_OUTPUT])


def read_role(entry: dict[str, Any]) -> str:
    """Read the role of a set's member off the tag that its registrar set last; "": none has set one."""
    tags = (entry["Service"].get("Tags") or []) if model.instance(entry).is_registrars else []
    return next((role for role in (PRIMARY, SECONDARY) if role in tags), "")


def read_roles(entries: Iterable[dict[str, Any]]) -> dict[tuple[str, str], str]:
    """Read the roles of a set's members, by node and ID of their registrations."""
    found = {}
    for entry in entries:
        with contextlib.suppress(ValueError):  # that it cannot be read is told with the instances
            found[entry["Node"]["Node"], entry["Service"]["ID"]] = read_role(entry)
    return found


def list_rows(instances: Iterable[model.Instance], served: Served, foreign: Collection[InstanceKey],
              roles: Mapping[tuple[str, str], str] = MappingProxyType({})) -> list[tuple[InstanceRow, model.Instance]]:
    """List the rows of a service, each with the registration that stands for it. Roles are by node and instance."""
    return sorted((_make_row(group, served, foreign, roles) for group in model.by_container(instances).values()),
                  key=lambda each: each[0])


def _make_row(group: Sequence[model.Instance], served: Served, foreign: Collection[InstanceKey],
              roles: Mapping[tuple[str, str], str]) -> tuple[InstanceRow, model.Instance]:
    worst = max(group, key=lambda each: (each.maintenance is not None, not each.node_alive, each.status != "passing"))
    is_foreign = any(each.identity in foreign for each in group)
    role = roles.get((worst.node, worst.service_id), "") if worst.node_alive else ""  # else it is none of now
    return InstanceRow(one_line(worst.service_id), worst.node, model.host_port(worst.address, worst.port),
                       one_line(worst.image), _describe_condition(worst) + _NOT_OURS * is_foreign,
                       [*served.get((worst.node, worst.service_id), [])], worst.weight, None, is_foreign,
                       _name_state(worst), role), worst


def _describe_condition(instance: model.Instance) -> str:
    mark = drain_mark(instance)
    if mark:
        return one_line(f"drains since {format_time(mark[0])}: {mark[1]}")
    return describe(instance).described


def _name_state(instance: model.Instance) -> str:
    if not instance.node_alive:
        return "lost"
    if instance.maintenance is None:
        return instance.status
    if drain_mark(instance):
        return "draining"
    return "paused" if instance.maintenance == model.PAUSED else "maintenance"
