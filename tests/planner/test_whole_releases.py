"""Whole releases in a small world, by the hundreds: whatever comes, lictor ends nobody whom an nginx sends requests to,
and in the end all instances are of one release."""

from collections.abc import Callable
from random import Random

import pytest

from lictor.planner import plan, self_preservation
from lictor.planner.service_state import State

from support.examples import at_least
from support.release_world import IMAGES, World

SEEDS = range(at_least(150))
BUSY_S = 120
QUIET_S = 400


def simulate(seed: int) -> World:
    """A service that comes up, is released, scaled, held, killed; and then left alone until nothing changes."""
    r = Random(seed)
    world = World(r)
    for _ in range(40):
        advance(world)
    assert all(each.listed for each in world.nginxes), "it never came up"
    world.kill_chance = r.choice((0.0, 0.0, 0.05, 0.2))
    events = dict(zip(r.sample(range(BUSY_S), r.choice((1, 2, 4, 8))),
                      r.choices(tuple(EVENTS), tuple(EVENTS.values()), k=8), strict=False))
    for second in range(BUSY_S):
        if second in events:
            world.log.append(f"{world.now - 1e6:g} {events[second].__name__}")
            events[second](world)
        advance(world)
    calm(world)
    for _ in range(QUIET_S):
        advance(world)
        if world.is_at_rest:
            break
    return world


def advance(world: World) -> None:
    world.tick()
    fit, working = fits(world), {box.id for box in world.boxes if box.works(world.now)}
    if world.r.random() < 0.8:
        world.reconcile()
    running = {box.id for box in world.boxes if box.status == "running"}
    listed = {each for nginx in world.nginxes if nginx.alive for each in nginx.listed.values()}
    if world.now >= world.leapt_until:
        assert not listed & working - running, "ended while an nginx sends requests to it"
    assert fits(world) >= min(fit, max(world.least, 1)) or not world.target, "too few are left"
    live = [box for box in world.boxes if box.color == world.color and box.id in running]
    assert len(live) <= world.most
    is_hurt = "hold" in world.keys or world.now < world.hurt_until or "flaps" in str(world.state.release.live)
    if world.target and not is_hurt:
        assert all(working.intersection(nginx.listed.values()) for nginx in world.nginxes
                   if nginx.alive and nginx.listed), "nobody serves"


def fits(world: World) -> int:
    return sum(box.color == world.color and world.is_fit(box) for box in world.boxes)


def ask(world: World) -> None:
    """For another release, or for one that was there before."""
    image = f"books:{world.r.choice(IMAGES)}-{world.r.randrange(1, 3)}"
    world.keys["image"] = world.r.choice((image, image, "books:good-0")).encode()


def scale(world: World) -> None:
    world.target = world.r.randint(world.least, world.most)
    world.keys["replicas"] = str(world.target).encode()


def hold(world: World) -> None:
    if world.keys.pop("hold", None) is None:
        world.keys["hold"] = b"until Monday"


def blind(world: World) -> None:
    world.blind_until = world.now + 10


def lose_or_find_a_node(world: World) -> None:
    node = world.nginxes[-1]
    node.alive = not node.alive


def forget(world: World) -> None:
    world.state = State()


def die(world: World) -> None:
    """One that is live ends by itself."""
    live = [box for box in world.boxes if box.color == world.color and world.is_fit(box)]
    if live:
        world.r.choice(live).status = "exited"
        world.hurt_until = world.now + 60


def ail(world: World) -> None:
    """One that is live stops answering for good, where there is room for another, and not too many of them do."""
    live = [box for box in world.boxes if box.color == world.color and box.status == "running"]
    working = [box for box in live if box.works(world.now)]
    if working and world.target < world.most and (world.target < self_preservation.MANY or len(working) == len(live)):
        world.r.choice(working).fails_at = world.now
        world.hurt_until = world.now + 90


def set_the_clock(world: World) -> None:
    leap_s = world.r.choice((-3600.0, -20.0, 20.0, 3600.0))
    world.clock_error_s += leap_s
    world.leapt_until = world.now + 10 if leap_s > 0 else 0.0  # a drain's time is over sooner than it seems


EVENTS: dict[Callable[[World], None], int] = {
    ask: 10, scale: 4, hold: 1, blind: 1, lose_or_find_a_node: 2, forget: 1, die: 2, ail: 2, set_the_clock: 1}


def calm(world: World) -> None:
    world.keys.pop("hold", None)
    if not all(box.works(world.now) for box in world.boxes):  # another can be started beside it
        world.target = max(world.least, min(world.target, world.most - 1))
        world.keys["replicas"] = str(world.target).encode()
    world.hurt_until = max(world.hurt_until, world.now + 60)
    for nginx in world.nginxes:
        nginx.alive = True
    world.kill_chance, world.actions = 0.0, plan.plan(world.observed(certain=True))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_release_ends_entirely_whatever_comes(seed: int) -> None:
    world = simulate(seed)
    story = "\n".join(map(str, [*world.log[-60:], *world.boxes, world.state, *world.actions]))
    assert world.is_at_rest, story
    running = [box for box in world.boxes if box.status == "running"]
    assert len(running) == world.target, story
    assert len({box.release for box in running}) <= 1, story
    assert {box.color for box in running} <= {world.color}, story
    assert all(nginx.listed.keys() == {box.service_id for box in running} for nginx in world.nginxes), story
