"""Chaos on services without state: three of three instances under a steady load, behind nginx."""

from collections.abc import Callable
from typing import Any

from lab.chaos import course, report, watch
from lab.chaos.asking import Asking
from lab.chaos.faults import FAULTS, Mischief
from lab.chaos.watch import Watch
from lab.chaos.world import FLEET_BUDGET, SERVICE_BUDGET, SERVICES, WANTED, World


def run(world: World, say: Callable[[str], None], *, minutes: float, seed: int) -> dict[str, Any]:
    """Start, hurt, settle; returns everything that came of it."""
    say(f"seed {seed}: Docker, Consul's server and agent, nginx and lictor come up ...")
    world.start()
    say(f"{len(SERVICES)} services of {WANTED} are served; budget of each: {SERVICE_BUDGET['budget']} in "
        f"{SERVICE_BUDGET['per']} (grace {SERVICE_BUDGET['grace']}), of all: {FLEET_BUDGET['budget']} in "
        f"{FLEET_BUDGET['per']}; faults for {minutes:g} min")
    mischief = Mischief(world, say, FAULTS)
    with Watch(world, say) as watching, Asking(world) as asking:
        end = course.run(mischief, watching, lambda: watch.judge(world), say, minutes=minutes, seed=seed)
        return report.judge(world, mischief, watching, asking, end, seed=seed)
