"""How much of everything is measured: all of it, what is over soon, or the least that shows that the bench works."""

from typing import NamedTuple


class Size(NamedTuple):
    """So many services of so many instances each."""

    services: int
    instances: int

    def __str__(self) -> str:
        return f"{self.services} x {self.instances}"


class Plan(NamedTuple):
    """How much the bench measures."""

    rounds: int
    sizes: tuple[Size, ...]
    storm_services: int
    storm_rounds: int
    load_s: int
    load_rounds: int
    churn_s: int
    served: int  # services of the resident process whose memory is measured
    posted: int  # events that it gets
    pairs: int  # of runs with and without counting of requests
    releases: int  # of each strategy, in each mode


FULL = Plan(15, (Size(1, 3), Size(100, 3), Size(1000, 3), Size(1, 1000)), 200, 3, 2, 15, 60, 1000, 100_000, 24, 20)
QUICK = Plan(3, (Size(1, 3), Size(20, 3)), 20, 1, 2, 1, 5, 20, 500, 1, 2)
