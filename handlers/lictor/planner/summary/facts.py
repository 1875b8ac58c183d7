"""The facts that the summary of a service rests on, by the catalogue and the keys: the same from every node."""

from collections.abc import Collection, Container, Iterable, Mapping
from typing import NamedTuple

from lictor import model
from lictor.planner.desired import Desired
from lictor.planner.service_state import State
from lictor.spec.service_spec import Spec

_SHOWN = 3  # instances in a sentence


class Facts(NamedTuple):
    """The facts about a service. A text is "", and a list empty, if there is nothing of the sort to tell."""

    now: float  # seconds since the epoch
    desired: Desired
    state: State
    instances: list[model.Instance]  # of the live colour, one for each container: the worst of its registrations
    receiving: list[model.Instance]  # those of them that may receive traffic
    nginx_nodes: list[str] | None = None  # that answer, and whose nginx has an instance of it; None: it is unknown
    lost_nginx_nodes: list[str] = []  # that do not answer, and whose nginx had an instance of it
    why_nobody: str = ""  # why no node acts for it
    no_answer: str = ""  # that no node answers which may act for it
    awaited: str = ""  # why no instance can start: a set that its environment names is not there
    set_failure: str = ""  # why the next step with a set with state fails, or is put off
    scaling: str = ""  # what the autoscaler has to tell
    unserved: list[str] = []  # where nginx does not serve it as it should
    unconfirmed: list[str] = []  # where nginx has not confirmed it
    paused: Mapping[str, tuple[int, int]] = {}  # by node: how many requests wait in its nginx, how many are in flight
    labels_ask: bool = False  # for its route, and no spec
    foreign: list[model.Instance] = []  # under its name, and not of lictor's making
    is_decided_here: bool = False  # on its containers too, which the catalogue may lack

    @property
    def images(self) -> list[str]:
        """The images that run, as far as they are known."""
        found = sorted({each.image for each in self.instances} - {""})
        is_in_catalogue = self.spec is not None and self.spec.port is not None
        if found or is_in_catalogue and not self.instances or not self.state.release.live_release:
            return found
        live = (self.state.release.live or {}).get("image")
        return [live] if live and isinstance(live, str) else []

    @property
    def spec(self) -> Spec | None:
        return self.desired.spec


def gather(now: float, desired: Desired, state: State, registered: Iterable[model.Instance],
           known_foreign: Container[tuple[str, str, str]] = ()) -> Facts:
    """Gather what the catalogue has of a service: `registered` is under the name of its live colour.

    By the identity of one of its registrations a container is `known_foreign`: lictor did not start it. It counts for
    nothing.
    """
    groups, foreign = list[list[model.Instance]](), list[model.Instance]()
    for group in model.by_container(registered).values():
        if any(each.identity in known_foreign for each in group):
            foreign.append(group[0])
        else:
            groups.append(group)
    return Facts(now, desired, state, [max(group, key=_badness) for group in groups],
                 [group[0] for group in groups if all(map(may_receive, group))], foreign=foreign)


def may_receive(instance: model.Instance) -> bool:
    return instance.status != "critical" and instance.node_alive and instance.maintenance is None


def _badness(instance: model.Instance) -> tuple[bool, bool, bool]:
    return instance.maintenance is not None, not instance.node_alive, instance.status == "critical"


def name_with_image(instance: model.Instance) -> str:
    return f"{instance.service_id} on {instance.node} ({instance.image or 'of an image that is unknown'})"


def named(instances: Collection[model.Instance]) -> str:
    """Name some instances, with the node of each."""
    shown = ", ".join(f"{each.service_id} on {each.node}" for each in list(instances)[:_SHOWN])
    return f"{shown} and {len(instances) - _SHOWN} more" if len(instances) > _SHOWN else shown
