"""Whom a fault of a set may hurt: without it, and without whoever is hurt already, a majority of the voters is healthy;
or the voters are at most two, all well, and it comes back with its data."""

import random
import time
from collections.abc import Sequence, Set

from lab.chaos.doing import NotDone, Victim
from lab.chaos.sets.timeline import Round, Word
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
            seen = world.last_round()
            leader = leading(seen) if seen else None
            possible = _possible(world, seen, leader, role, comes_back) if seen and leader else []
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


def _possible(world: World, seen: Round, leader: Word, role: str, comes_back: bool) -> list[Word]:
    well = [word for word in seen.words if word.container not in world.hurt and word.member_id in following(seen)]
    voting = voters(leader)
    are_few = comes_back and len(voting) <= _FEW and {word.member_id for word in well} >= voting
    spared = [word for word in well if are_few or _is_majority_without(word, well, voting)]
    return sorted(word for word in spared
                  if role == ANY or (word.member_id == leader.member_id) == (role == LEADER))


def _is_majority_without(word: Word, well: Sequence[Word], voting: Set[str]) -> bool:
    others = {other.member_id for other in well if other is not word} & voting
    return len(others) > len(voting) // 2
