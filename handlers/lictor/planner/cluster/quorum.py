"""Majorities, and how many members of a set have a vote. Pure.

The number of voters is odd. A fourth voter bears no more failures than three do, as the majority grows with it, and
there is one more that can fail. With two voters the loss of either ends all writes. So a member that makes the number
even is a spare: it copies the data and serves reads, without a vote, and is the first to get one if a voter is gone.
"""

from lictor.spec.cluster import Traits


def has_majority(healthy: int, voters: int) -> bool:
    return healthy > voters // 2


def voters_of(count: int, traits: Traits) -> int:
    """Count the voters of a set of so many members."""
    return min(count - 1 + count % 2, traits.voters)


def members_of(count: int, traits: Traits) -> int:
    """Count the members that a set of so many gets: where a spare is of no use, an even count is one less."""
    return min(count, traits.members) if traits.has_spares else voters_of(count, traits)
