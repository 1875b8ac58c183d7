"""Whole releases by an engine that counts by itself, by the hundreds: whatever comes, in the end all is of one
release, and what nginx sends to is not ended by lictor."""

from random import Random

import pytest

from counted_world import IMAGES, CountedWorld

SEEDS = range(300)
BUSY_S = 120
QUIET_S = 900


def advance(world: CountedWorld) -> None:
    world.tick()
    if world.r.random() < 0.8:
        world.reconcile()


def simulate(seed: int) -> CountedWorld:
    """A service that comes up, is released and scaled while much goes wrong; and then left alone."""
    r = Random(seed)
    world = CountedWorld(r)
    for _ in range(40):
        advance(world)
    assert world.is_at_rest, "it never came up"
    world.kill_chance, world.fail_chance = r.choice((0.0, 0.0, 0.1)), r.choice((0.0, 0.0, 0.3))
    for second in range(BUSY_S):
        if second % 30 == 0 or r.random() < 0.02:
            world.keys["image"] = f"books:{r.choice(IMAGES)}-{r.randrange(1, 3)}".encode()
            world.log.append(f"{world.now - 1e6:g} asks for {world.keys['image']!r}")
        if r.random() < 0.02:
            world.target = r.choice((1, 2, 3, 4))
            world.keys["replicas"] = str(world.target).encode()
        if r.random() < 0.02:
            world.keys.pop("hold", None) is None and world.keys.setdefault("hold", b"until Monday")
        advance(world)
    world.keys.pop("hold", None)
    world.kill_chance = world.fail_chance = 0.0
    for _ in range(QUIET_S):
        advance(world)
        if world.is_at_rest:
            break
    return world


@pytest.mark.parametrize("seed", SEEDS)
def test_a_release_ends_entirely_whatever_comes(seed: int) -> None:
    world = simulate(seed)
    story = "\n".join(map(str, [*world.log[-40:], *world.tasks, world.told, world.state, *world.actions]))
    assert world.is_at_rest, story
    assert len({each.release for each in world.tasks}) <= 1, story
    assert {each.color for each in world.tasks} <= {world.color}, story
    assert {each.release for each in world.tasks} <= {world.state.live_release}, story
