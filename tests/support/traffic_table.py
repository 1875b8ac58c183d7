"""Traffic for the autoscaler's tests: steady slices, and what is seen of them."""

from typing import Any

from lictor.planner.autoscale import traffic
from lictor.planner.autoscale.capacity import Capacity, Load
from lictor.planner.autoscale.decide import Decision, Memory, Rules, Seen, decide
from lictor.planner.autoscale.traffic import Slice

NOW = 1_000_000.0
RULES = Rules(0.25, least=1, most=10)
KNOWN = Capacity("1", Load(20.0, 2.0))


def slices(*, rate: float = 40.0, took_s: float = 0.1, slow: float = 0.0, errors: float = 0.0, seconds: int = 300,
           until: float = NOW) -> list[Slice]:
    """Steady traffic; `slow` and `errors` are shares."""
    number = round(rate * 10)
    late, failed = round(number * slow), round(number * errors)
    times = {traffic.bucket(took_s): number - late - failed, **({traffic.bucket(1.0): late} if late else {})}
    return [Slice(until - seconds + at, 10.0, times, errors=failed, begun=number,
                  busy_s=(number - late) * took_s + late) for at in range(0, seconds, 10)]


def seen(found: list[Slice] | None = None, **changes: Any) -> Seen:
    return Seen(NOW, 2, "1", found if found is not None else slices(), NOW - 1000)._replace(**changes)


def known(capacity: Capacity = KNOWN, **changes: Any) -> Memory:
    """A memory that was kept 10 s ago."""
    return Memory(capacity, **{"decided_at": NOW - 10, "unproven_at": NOW - 10, **changes})


def decided(found: list[Slice] | None = None, memory: Memory | None = None, rules: Rules = RULES,
            **changes: Any) -> Decision:
    return decide(seen(found, **changes), rules, memory or known())
