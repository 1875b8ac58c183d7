"""Whom a fault of a set may hurt: without it, and without whoever is hurt already, a majority of the voters is healthy;
or there are at most two voters, of which no majority can be without one, and it comes back with its data."""

import random
import time

from lab.chaos.doing import NotDone, Victim
from lab.chaos.sets.timeline import Word
from lab.chaos.sets.verdict import following, leading, voters
from lab.chaos.sets.world import World

_CHOOSE_S = 30.0
_FEW = 2  # voters
LEADER, FOLLOWER, ANY = "leader", "follower", "member"


def choose(world: World, chance: random.Random, role: str = ANY, *, comes_back: bool = True) -> Victim:
    """Choose a member of this role, which counts as hurt from now on. One of few is hurt if it `comes_back`."""
    deadline = time.monotonic() + _CHOOSE_S
    while True:
        with world.choosing:
            possible = _possible(world, role, comes_back)
            if possible:
                return hurt(world, chance.choice(possible))
        if time.monotonic() > deadline or world.ending.wait(0.5):
            raise NotDone(f"there is no {role} without which a majority is healthy")


def choose_majority(world: World, chance: random.Random) -> list[Victim]:
    """Choose so many voters that the rest is none, which count as hurt from now on."""
    with world.choosing:
        seen = world.last_round()
        leader = leading(seen) if seen else None
        if not seen or not leader:
            raise NotDone("there is no majority to be lost")
        voting = [word for word in seen.words if word.member_id in voters(leader) and word.container not in world.hurt]
        count = len(voters(leader)) // 2 + len(voters(leader)) % 2
        if len(voting) < count:
            raise NotDone("others are hurt")
        return [hurt(world, word) for word in chance.sample(sorted(voting), count)]


def hurt(world: World, word: Word) -> Victim:
    world.hurt.add(word.container)
    return Victim(word.container, f"{world.db.name}-{word.number}", world.db.name, time.time())


def _possible(world: World, role: str, comes_back: bool) -> list[Word]:
    seen = world.last_round()
    leader = leading(seen) if seen else None
    if not seen or not leader:
        return []
    well = [word for word in seen.words if word.container not in world.hurt and word.member_id in following(seen)]
    voting = voters(leader)
    found = []
    for word in well:
        others = {other.member_id for other in well if other is not word} & voting
        is_spared = len(others) > len(voting) // 2 or comes_back and len(voting) <= _FEW
        has_role = role == ANY or (word.member_id == leader.member_id) == (role == LEADER)
        if is_spared and has_role:
            found.append(word)
    return sorted(found)
