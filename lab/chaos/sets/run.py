"""Chaos on a service with state: a set of etcd, under clients that write and read."""

from collections.abc import Callable
from typing import Any

from lab.chaos import course
from lab.chaos.faults import Mischief
from lab.chaos.sets import report
from lab.chaos.sets.faults import FAULTS
from lab.chaos.sets.watch import Watch
from lab.chaos.sets.world import World

_BETWEEN_S = (4.0, 9.0)  # else lictor is held up all the time, and changes hardly anything


def run(world: World, say: Callable[[str], None], *, minutes: float, seed: int) -> dict[str, Any]:
    """Start, hurt, settle; returns everything that came of it."""
    say(f"seed {seed}: Docker, Consul's server and agent, lictor and a set of etcd come up ...")
    world.start()
    say(f"{world.db.name} has {world.size} members, and clients write and read; faults for {minutes:g} min")
    mischief = Mischief(world, say, FAULTS)
    with Watch(world, say) as watching:
        end = course.run(mischief, watching, lambda: report.look_at_end(world), say, minutes=minutes, seed=seed,
                         between_s=_BETWEEN_S)
        world.writer.finish()
        world.reader.finish()
    return report.judge(world, mischief, watching, end, seed=seed)
