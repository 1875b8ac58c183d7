"""What is seen of a service whose engine counts by itself: what it was told, and its instances as registered."""

from collections.abc import Sequence

from lictor import model
from lictor.engines import protocols
from lictor.planner import desired, service_state
from lictor.planner.observation import Counts
from lictor.spec.settings import Settings


class Engines:
    """Each engine is asked when the first service needs it, and once for all that are observed together: for `service`
    alone, or for all."""

    def __init__(self, settings: Settings, node: str, service: str | None = None) -> None:
        self._settings, self._node, self._service = settings, node, service
        self._groups: dict[str, list[model.Group] | None] = {}
        self._tells: dict[str, bool] = {}

    def counts(self, wanted: desired.Desired, stored: service_state.State,
               found: Sequence[model.Instance]) -> Counts | None:
        """None for an engine whose instances lictor itself starts and ends."""
        name = wanted.spec.engine if wanted.spec else ""
        if name not in protocols.COUNTING:
            return None
        if name not in self._tells:
            self._tells[name] = protocols.COUNTING[name].acts_here(self._settings)
            self._groups[name] = protocols.COUNTING[name].groups(self._service) if self._tells[name] else None
        known = self._groups[name]
        groups = ([each for each in known if each.service == wanted.name] if known is not None
                  else remembered(wanted, stored, found))
        return Counts(self._node, self._tells[name], name in protocols.ENDING, known is not None, tuple(groups))


def remembered(
    wanted: desired.Desired, stored: service_state.State, found: Sequence[model.Instance]
) -> list[model.Group]:
    """What an engine that forgets was told; and, of the colour that is not live, or of a service that was removed, what
    it must have been told, as it is there."""
    groups = [model.Group(wanted.name, color, each.replicas, each.release, each.image, None)
              for color, each in sorted(stored.asked.items())]
    colors = [_color(each, wanted) for each in found if each.node_alive]
    untold = {each for each in colors if each not in stored.asked and (wanted.removed or each != wanted.color)}
    return groups + [model.Group(wanted.name, color, colors.count(color), "", "", None) for color in sorted(untold)]


def containers(wanted: desired.Desired, stored: service_state.State, counts: Counts, found: Sequence[model.Instance],
               now: float) -> list[model.Container]:
    """An instance's registration stands for its container, which may run on another node; not that of a node which does
    not answer: Consul keeps it for days. What it was made from is known by what the engine says of it, else by what was
    last asked for."""
    made = []
    seen = sorted((each for each in found if each.node_alive), key=lambda each: (each.node, each.service_id))
    for number, each in enumerate(seen, start=1):
        color = _color(each, wanted)
        group = next((one for one in counts.groups if one.color == color), None)
        is_current = group and (group.container_ids is None or each.container_id in group.container_ids)
        # When it was started is not known: when it was first seen not to pass; of one that has passed it is no matter.
        seen_since = 0.0 if each.container_id in stored.passed else stored.critical_since.get(each.container_id, now)
        made.append(model.Container(
            id=each.container_id, name=f"{each.service_id} on {each.node}", service=wanted.name, number=number,
            color=color, image=group.image if group else "", release=group.release if group and is_current else "",
            status="running", created_at=seen_since, started_at=seen_since, exit_code=None))
    return made


def _color(each: model.Instance, wanted: desired.Desired) -> str:
    return each.service.removeprefix(wanted.name).lstrip("-")
