"""The input of the autoscaler's decision: what was observed of a service, and the rules of its spec. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

from lictor.planner.autoscale.traffic import Slice
from lictor.spec.service_spec import Spec


class Rules(NamedTuple):
    """`autoscale` of the spec, and the bounds of its `replicas`."""

    target_s: float
    share: float = 0.95
    down_after_s: float = 300.0
    least: int = 1
    most: int = 10
    window_s: float = 60.0

    @property
    def percentile(self) -> str:
        return f"p{self.share * 100:g}"

    @property
    def target(self) -> str:
        return f"{self.percentile} {self.target_s:g}"


class Seen(NamedTuple):
    """What was observed; `slices` are those of all nodes, added slot by slot, of the last minutes."""

    now: float
    replicas: int  # the desired count
    release: str
    slices: Sequence[Slice]
    settled_at: float  # since when as many instances serve; to come: some still start
    quiet: str = ""  # why no count is to be changed now: a release, a start, a drain, a doubt
    silent: Sequence[str] = ()  # nodes that should count and do not: their share of the load is unknown
    manual: str = ""  # why the count holds although nothing moves: a person wrote it, which can be learned from
    is_routed: bool = True  # some nginx serves the service


def rules_of(spec: Spec | None) -> Rules | None:
    """Take the rules from a spec; None: it asks for none. The autoscaler itself never takes the last instance."""
    if spec is None or spec.autoscale is None:
        return None
    given, replicas = spec.autoscale, spec.replicas
    return Rules(given.target_s, given.share, float(given.down_after), max(1, replicas.min), max(1, replicas.max),
                 float(given.window))
