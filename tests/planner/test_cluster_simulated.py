"""Sets in simulated time: they end at the size that is desired, and lose no acknowledged write, whatever befalls them.

The tests that are named after a place cite a public report of what went wrong there.
"""

from random import Random

import pytest

from lictor.planner.cluster.actions import Act, Change, Leave, Restart, StepDown, Stop

from support.cluster_world import Refused, Server, World, founded

KINDS = ["mongodb", "etcd"]
WALK = [1, 3, 5, 3, 1]


def kinds(acts: list[Act]) -> list[str]:
    return [f"{act.kind} {act.number}" for act in acts]


@pytest.mark.parametrize("kind", KINDS)
def test_up_and_down_it_keeps_its_majority_and_every_acknowledged_write(kind: str) -> None:
    world = World(1, kind=kind)
    for size in WALK:
        world.size = size
        world.run()
        world.assert_well(size)
        assert all(world.seats().values())
    assert world.elections == 0 and len(world.acknowledged) > 25
    assert sum(each.disk.was_used for each in world.servers.values()) == 5  # every volume is still there


@pytest.mark.parametrize(("kind", "seats"), [
    ("mongodb", {1: True, 2: True, 3: True, 4: False}), ("etcd", {1: True, 2: True, 3: True})])
def test_an_even_one_is_a_spare_where_that_is_of_use(kind: str, seats: dict[int, bool]) -> None:
    world = founded(4, kind=kind)
    assert world.seats() == seats
    world.size = 5
    world.run()
    assert [*world.seats().values()] == [True] * 5
    world.size = 2
    world.run()
    assert world.seats() == ({1: True, 2: False} if kind == "mongodb" else {1: True})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("every", [1, 2, 3])
def test_killed_before_it_carries_out_it_goes_on_from_where_the_world_is(kind: str, every: int) -> None:
    world, acts = World(1, kind=kind), 0
    for size in [*WALK, 3]:
        world.size = size
        for _ in range(400):
            made = world.manage(crashes=acts % (every + 1) != 0)
            acts += isinstance(made.action, Act)
            world.tick()
            if made.action is None:
                break
        world.assert_well(size)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(20))
def test_what_is_kept_may_be_lost_at_any_time_once_there_is_a_set(kind: str, seed: int) -> None:
    world, random = founded(1, kind=kind), Random(seed)
    for size in [3, 2, 5, 1]:
        world.size = size
        for _ in range(200):
            if random.random() < 0.2:
                world.kept = type(world.kept)()
            made = world.manage()
            world.tick()
            if made.action is None:
                break
        assert len(world.seats()) == (size if kind == "mongodb" else size - 1 + size % 2)
        assert world.sets_made == 1


@pytest.mark.parametrize("kind", KINDS)
def test_two_managers_that_decide_at_once_change_one_thing(kind: str) -> None:
    world = World(1, kind=kind)
    for size in WALK:
        world.size = size
        for _ in range(200):
            made = world.manage()
            if isinstance(made.action, Change):
                with pytest.raises(Refused):
                    world.carry_out(made.action)
            world.tick()
            if made.action is None:
                break
        world.assert_well(size)


def test_a_release_restarts_the_primary_last_after_one_election() -> None:
    world = founded(3)
    world.release = "2"
    assert kinds(world.run()) == ["restart 3", "restart 2", "stepdown 1", "restart 1"]
    world.assert_well(3)
    assert world.elections == 1 and {each.release for each in world.servers.values()} == {"2"}


def test_a_release_of_a_single_member_restarts_it_in_place() -> None:
    world = founded(1)
    world.release = "2"
    assert kinds(world.run()) == ["restart 1"]
    world.assert_well(1)


def test_a_release_that_does_not_work_costs_one_member_and_goes_back() -> None:
    world = founded(3)
    world.release, world.broken_releases = "2", {"2"}
    acts = world.run(200)
    assert kinds(acts) == ["restart 3"] and "no member of the desired release has been healthy" in world.reasons[-1]
    assert world.has_majority()
    world.release = "1"
    assert kinds(world.run()) == ["restart 3"]
    world.assert_well(3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_member_that_is_killed_comes_back_with_its_disk(kind: str, number: int) -> None:
    world = founded(3, kind=kind)
    world.kill(number)
    assert kinds(world.run()) == [f"start {number}"]
    world.assert_well(3)
    assert [*world.seats()] == [1, 2, 3]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_member_whose_disk_is_wiped_is_replaced(kind: str, number: int) -> None:
    """Upwards first, if its kind takes a newcomer then. Its number is given again only after its seat is gone."""
    world = founded(3, kind=kind)
    world.wipe(number)
    acts = kinds(world.run(200))
    newcomer = 4 if kind == "mongodb" else number
    assert (acts.index(f"givevote {newcomer}") < acts.index(f"leave {number}")) is (kind == "mongodb")
    assert f"start {number}" not in acts[:acts.index(f"leave {number}")]
    assert len(world.seats()) == 3 and newcomer in world.seats()
    primary = world.primary()
    assert primary and world.acknowledged <= {each for _, each in primary.disk.log}


def test_a_member_that_hangs_is_replaced_after_a_while_and_then_stopped() -> None:
    world = founded(3)
    world.servers[3].is_broken = True
    world.run(40)
    assert not any(isinstance(act, Leave | Stop) for act in world.done)
    acts = kinds(world.run(100))
    assert acts == ["start 4", "add 4", "givevote 4", "leave 3", "drain 3", "stop 3"]
    world.assert_well(3)


def test_a_newcomer_that_is_slow_has_all_the_time_that_it_needs() -> None:
    world = founded(1)
    for _ in range(500):
        world.tick()
    world.size = 3
    for _ in range(10):
        world.manage()
        world.tick()
        for each in world.servers.values():
            each.speed = 2 if each.number > 1 else 1000
    assert world.seats() == {1: True, 2: False}
    world.run(2000)
    world.assert_well(3)


def test_all_are_killed_at_once_and_come_back() -> None:
    world = founded(3)
    for number in world.servers:
        world.kill(number)
    assert kinds(world.run()) == ["start 1", "start 2", "start 3"]
    world.assert_well(3)


def test_with_two_disks_of_three_gone_nothing_is_changed() -> None:
    world = founded(3)
    world.wipe(1)
    world.wipe(2)
    assert world.run(100) == []
    assert world.reasons[-1].startswith("majority lost: 1 of 3 voters answer") and "force : true" in world.reasons[-1]


def test_helm_charts_5353_scaling_down_is_no_stop_of_members_that_leaves_the_rest_without_a_majority() -> None:
    """helm/charts 5353, bitnami/charts 3073, morphy2k/k8s-mongo-sidecar 41: stopped members stayed configured."""
    world = founded(5)
    world.size = 1
    acts = world.run()
    assert [act.kind for act in acts] == ["leave", "drain", "stop"] * 4
    world.assert_well(1)


def test_cvallance_66_a_partition_removes_nobody_and_makes_no_second_primary() -> None:
    """cvallance/mongo-k8s-sidecar 66: each side's helper removed the members that it could not see."""
    for alone in (1, 2, 3):
        world = founded(3)
        world.groups = {alone: 1}
        world.hidden = {1, 2, 3} - {alone}  # lictor is on the side of the minority
        assert world.run(100) == []
        world.groups, world.hidden = {}, set()
        world.run()
        world.assert_well(3)


def test_of_a_member_that_is_cut_off_for_long_the_majority_takes_leave() -> None:
    world = founded(3)
    world.groups, world.hidden = {1: 1}, {1}  # the primary of before, with lictor on the other side
    acts = world.run(200)
    assert [each for each in kinds(acts) if "1" in each] == ["leave 1", "drain 1", "stop 1"]
    world.groups, world.hidden = {}, set()
    world.run()
    world.assert_well(3)


def test_sclorg_304_a_first_member_that_loses_its_disk_makes_no_second_set() -> None:
    """sclorg/mongodb-container 304, rancher/catalog-dockerfiles 105, bitnami/charts 6741: it initiated once more."""
    world = founded(3)
    world.wipe(1)
    world.kept = type(world.kept)()
    world.servers[1].is_running = True  # its host starts it again, on an empty disk
    world.run(200)
    assert world.sets_made == 1 and {each.disk.set_id for each in world.alive()} == {"set-1"}


def test_canonical_25_the_primary_hands_over_before_it_goes() -> None:
    """canonical/mongodb-operator 25: the primary was removed first, and nobody could reconfigure."""
    world = founded(3)
    world.kill(1)
    world.tick()
    world.tick()
    world.tick()
    primary = world.primary()
    assert primary and primary.number != 1
    world.run()
    world.size = 1
    acts = world.run()
    assert not any(isinstance(act, StepDown | Restart) for act in acts)
    assert [*world.seats()] == [primary.number]  # whichever is primary stays
    world.assert_well(1)


def test_a_disk_of_an_earlier_day_is_no_member_until_it_has_caught_up() -> None:
    world = founded(3)
    old = Server(3, "1").disk
    old.__dict__.update(world.servers[3].disk.__dict__)
    old.log = [*old.log]
    world.size = 5
    world.run()
    world.kill(3)
    world.servers[3].disk = old
    world.run()
    world.assert_well(5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(40))
def test_random_faults(kind: str, seed: int) -> None:
    """A minority at a time is harmed; the wish, the release and lictor's own memory change meanwhile."""
    world, random = founded(3, kind=kind), Random(seed)
    for _ in range(60):
        _harm(world, random)
        for _ in range(random.randrange(1, 40)):
            world.manage(crashes=random.random() < 0.1)
            world.tick()
    world.groups, world.hidden, world.broken_releases, world.size = {}, set(), set(), 3
    for each in world.servers.values():
        each.is_broken, each.speed = False, 1000
    world.run(400)
    assert len(world.seats()) == 3, world.reasons[-3:]
    primary = world.primary()
    assert primary and world.acknowledged <= {number for _, number in primary.disk.log} and world.sets_made == 1


def _harm(world: World, random: Random) -> None:
    world.groups, world.hidden = {}, set()
    world.size = random.choice([1, 2, 3, 4, 5, world.size, world.size])
    primary = world.primary()
    members = [each for each in world.alive() if primary and any(
        seat.address == each.address for seat in primary.disk.configuration.seats)]
    is_well = primary and len(members) == len(primary.disk.configuration.seats) and all(world.seats().values()) and all(
        each.disk.log == primary.disk.log for each in members)
    one = random.choice(members).number if is_well and len(members) > 2 else None
    match random.choice(["kill", "wipe", "hang", "cut", "hide", "slow", "release", "broken release"]):
        case "kill" if one:
            world.kill(one)
        case "wipe" if one:
            world.wipe(one)
        case "hang" if one:
            world.servers[one].is_broken = True
        case "cut" if one:
            world.groups, world.hidden = {one: 1}, {one} if random.random() < 0.5 else set()
        case "hide" if one:
            world.hidden = {one}
        case "slow":
            for each in world.servers.values():
                each.speed = random.choice([1, 2, 5, 1000])
        case "release":
            world.release = str(random.randrange(3))
        case "broken release":
            world.broken_releases = {"bad"} if world.release != "bad" else set()
            world.release = "bad" if world.release != "bad" else "0"
