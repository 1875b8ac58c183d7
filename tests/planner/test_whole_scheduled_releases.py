"""Whole releases by an engine that counts by itself, by the hundreds: whatever comes, soon after it all is of one
release, what nginx sends to is not ended by lictor, and the next good release goes live."""

from random import Random

import pytest

from lictor.planner.service_state import State

from support.examples import at_least
from support.scheduled_engine import Playbook, Told
from support.scheduled_world import IMAGES, CountedWorld

SEEDS = range(at_least(150))
BUSY_S = 120
DEADLINE_S = 15
REST_S = 150  # after all is well again: a deadline, a back-off of what failed until then, and the way back
RELEASE_S = 60
BACK_S = 30


def advance(world: CountedWorld) -> None:
    world.tick()
    if world.r.random() < 0.8:
        world.reconcile()
    if world.r.random() < 0.2:
        world.look_on()


def rest(world: CountedWorld, within_s: int, image: str = "") -> None:
    """Until nothing is left to do, and if an image is given, all that runs is of that."""
    for _ in range(within_s):
        advance(world)
        if world.is_at_rest and all(image in each.image for each in world.engine.running()):
            return
    raise AssertionError(story(world))


def trouble(world: CountedWorld, second: int) -> None:
    """What may come in one second."""
    r, engine = world.r, world.engine
    if second % 30 == 0 or r.random() < 0.02:
        world.release(f"books:{r.choice(IMAGES)}-{r.randrange(1, 3)}")
    if r.random() < 0.02:
        world.scale(r.choice((0, 1, 2, 3, 4)))
    if r.random() < 0.02:
        world.keys.pop("hold", None) is None and world.keys.setdefault("hold", b"until Monday")
    if r.random() < 0.01:
        world.note("loses its state")
        world.state = State()
    if r.random() < 0.02:
        world.note("node-2 dies" if engine.down_since is None else "node-2 is back")
        if engine.down_since is None:
            engine.down_since = world.now
        else:
            engine.come_back()
    if isinstance(engine, Playbook) and engine.running() and r.random() < 0.01:
        world.note("somebody starts one more")
        like = r.choice(engine.running())
        engine.start(like.color, Told(1, like.image, like.release))
    if r.random() < 0.01:
        world.apply() if "removed" in world.keys else world.remove()


def simulate(seed: int) -> CountedWorld:
    """A service that comes up, is released and scaled while much goes wrong; and then left alone."""
    r = Random(seed)
    world = CountedWorld(r)
    rest(world, 40)
    world.kill_chance, world.fail_chance, world.long_chance = (r.choice((0.0, 0.0, 0.1)), r.choice((0.0, 0.0, 0.3)),
                                                               r.choice((0.0, 0.3)))
    for second in range(BUSY_S):
        trouble(world, second)
        advance(world)
    world.keys.pop("hold", None)
    world.apply()
    world.scale(world.target or 1)
    if "good" not in str((world.state.release.live or {}).get("image")):  # there is nothing to go back to
        world.release("books:good-3")
    if r.random() < 0.5:
        world.note("node-2 is back for good")
        world.engine.come_back()
    world.kill_chance = world.fail_chance = world.long_chance = 0.0
    return world


def story(world: CountedWorld) -> str:
    engine = world.engine
    return "\n".join(map(str, [*world.log[-40:], world.spec, *engine.tasks, engine.told, engine.down_since,
                               world.listed, world.now, world.state, *world.actions]))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_release_ends_entirely_whatever_comes(seed: int) -> None:
    world = simulate(seed)
    rest(world, REST_S)
    world.release("books:good-9")
    world.scale(max(world.target - 1, 1))  # also while it comes up
    rest(world, RELEASE_S, "books:good-9")
    world.release("books:never-8")
    world.fail_chance = 1.0  # it cannot be told either; but that does not put off the way back
    for _ in range(DEADLINE_S + 2):
        advance(world)
    world.fail_chance = 0.0
    rest(world, BACK_S, "books:good-9")
