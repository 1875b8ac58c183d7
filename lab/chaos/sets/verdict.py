"""The verdict on a set under chaos. Pure: from what was written down to violations, each with its evidence.

It goes by etcd's, Docker's and the clients' words. Nothing that lictor says of itself counts, but at the very end.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from lab.chaos.sets.timeline import End, Read, Round, Seat, Word
from lab.etcd_writer import Write

_DECISION_S = 5.0  # from what a decision rests on to its being carried out, on a loaded machine
_LONGEST_GAP_S = 15.0  # in what we saw
_PAUSE_S = 5.0
_AFTER_S = 2.0  # who takes writes without a member that was just ended is a majority without it


def leading(seen: Round) -> Word | None:
    """Find the leader of a round, whose list of members is in force."""
    return max((word for word in seen.words if word.leads), key=lambda word: word.term, default=None)


def following(seen: Round) -> set[str]:
    """List the ids of the members that are healthy: they know the leader, in its term."""
    leader = leading(seen)
    return {word.member_id for word in seen.words
            if leader and (word.leader, word.term) == (leader.member_id, leader.term)}


def voters(word: Word) -> set[str]:
    return {seat.id for seat in word.seats if seat.votes}


def primaries(rounds: Sequence[Round]) -> list[str]:
    """List two members that take writes as leaders, where there may be one; and two sets. What a member says without a
    write proves nothing: its term is that of the last entry that it applied, while it may lead in a later one."""
    words = [word for each in rounds for word in each.words]
    violations = []
    sets = sorted({word.set_id for word in words})
    if len(sets) > 1:
        violations.append(f"there were {len(sets)} sets: {', '.join(sets)}")
    by_term: dict[int, set[str]] = defaultdict(set)
    for word in words:
        if word.leads:
            by_term[word.term].add(f"member {word.number} ({word.member_id})")
    violations += [f"in term {term} there were {len(found)} leaders: {', '.join(sorted(found))}"
                   for term, found in sorted(by_term.items()) if len(found) > 1]
    return [*violations, *_late_writes([word for word in words if word.leads])]


def _late_writes(led: Sequence[Word]) -> list[str]:
    """Name the first write that a leader took after one of a later term had taken one."""
    for old in sorted(led, key=lambda word: word.began):
        new = next((word for word in led if word.term > old.term and word.ended < old.began), None)
        if new:
            return [f"two primaries took writes: member {old.number} in term {old.term} at {old.began:.3f}, after "
                    f"member {new.number} had done so in term {new.term} at {new.ended:.3f}"]
    return []


def probes(rounds: Iterable[Round]) -> list[Write]:
    """List the acknowledged writes of our own rounds."""
    return [Write(f"probe of member {word.number}", word.began, word.ended, word.acknowledged, word.term)
            for each in rounds for word in each.words if word.acknowledged]


def history(writes: Sequence[Write], reads: Sequence[Read]) -> list[str]:
    """List acknowledged writes that are not in one line, and reads that did not see what was acknowledged before."""
    by_revision: dict[int, list[str]] = defaultdict(list)
    for write in writes:
        by_revision[write.revision].append(write.key)
    ended = sorted(writes, key=lambda write: write.ended)
    return [
        *_first(f"revision {revision} was acknowledged for {' and '.join(keys)}: there are two histories"
                for revision, keys in sorted(by_revision.items()) if len(keys) > 1),
        *_first(f"{late.key} was sent at {late.began:.3f} and got revision {late.revision}, after {before.key} had "
                f"been acknowledged with revision {before.revision}"
                for late, before in _with_latest(ended, sorted(writes, key=lambda write: write.began))
                if before.revision >= late.revision),
        *_first(f"a read of {read.key} at {read.began:.3f} saw revision {read.revision}, after {before.key} had been "
                f"acknowledged with revision {before.revision}"
                for read, before in _with_latest(ended, sorted(reads, key=lambda read: read.began))
                if before.revision > read.revision),
        *_first(f"a read at {read.began:.3f} did not find {read.key}, which had been acknowledged" for read in reads
                if not read.is_there)]


def _first(found: Iterable[str]) -> list[str]:
    """Tell the first of many alike."""
    alike = list(found)
    return [f"{alike[0]}; {len(alike)} like that in all"] if alike else []


def pauses(writes: Sequence[Write]) -> list[tuple[float, float]]:
    """List since when, and for how many seconds, no write of a client was acknowledged, if that was long."""
    return [(before.ended, round(after.ended - before.ended, 1)) for before, after in pairwise(writes)
            if after.ended - before.ended > _PAUSE_S]


def _with_latest(ended: Sequence[Write], asked: Sequence[Write] | Sequence[Read]) -> list[tuple[Write | Read, Write]]:
    """Pair each with the write of the highest revision that was acknowledged before it was sent."""
    found: list[tuple[Write | Read, Write]] = []
    latest, position = None, 0
    for each in asked:
        while position < len(ended) and ended[position].ended < each.began:
            if latest is None or ended[position].revision > latest.revision:
                latest = ended[position]
            position += 1
        if latest:
            found.append((each, latest))
    return found


def changes(rounds: Sequence[Round]) -> list[str]:
    """List changes of the voters after which those that were healthy just before would have been no majority."""
    violations = []
    for before, after, was, now in _successive(rounds):
        if voters(was) == voters(now):
            continue
        possible = [each for each in rounds if before.at - _DECISION_S <= each.at < after.at]
        most = max(len(following(each) & voters(now)) for each in possible)
        if most <= len(voters(now)) // 2:
            violations.append(f"the voters changed from {_numbers(was)} to {_numbers(now)} between {before.at:.3f} and "
                              f"{after.at:.3f}, and at most {most} of the latter were healthy before")
    return violations


def _successive(rounds: Sequence[Round]) -> list[tuple[Round, Round, Word, Word]]:
    """Pair each list of members in force with the next one."""
    known = [(each, word) for each in rounds if (word := leading(each))]
    return [(before, after, was, now) for (before, was), (after, now) in pairwise(known)]


def _numbers(word: Word) -> list[int]:
    return sorted(seat.number for seat in word.seats if seat.votes)


def memberships(rounds: Sequence[Round]) -> int:
    """Count the changes of members and votes."""
    return sum(len({*was.seats} ^ {*now.seats}) > 0 for _, _, was, now in _successive(rounds))


def seat_at(rounds: Sequence[Round], number: int, at: float) -> Seat | None:
    """Find the seat that a member had all the time from the list in force before to the one after; else None."""
    known = [(each, word) for each in rounds if (word := leading(each))]
    before = next((word for each, word in reversed(known) if each.ended <= at), None)
    if before is None:
        return None
    after = next((word for each, word in known if each.at >= at), before)
    kept = {seat.id for seat in after.seats}
    return next((seat for seat in before.seats if seat.number == number and seat.id in kept), None)


def gives_up_majority(rounds: Sequence[Round], seat: Seat, at: float) -> str:
    """Say why a member may not be restarted at this moment; "": the others are a majority, or it is the only voter."""
    possible = [each for each in rounds if at - _DECISION_S <= each.at <= at + _AFTER_S and leading(each)]
    if not possible:
        return "there was no leader just before or after"
    for each in possible:
        word = leading(each)
        assert word
        others = following(each) & voters(word) - {seat.id}
        if len(others) > len(voters(word)) // 2 or voters(word) == {seat.id}:
            return ""
    return "no majority of the voters was healthy without it"


def volumes(rounds: Sequence[Round], deleted: Iterable[str]) -> list[str]:
    """List volumes that have gone, or lost what was in them, though we did not delete them."""
    first: dict[str, tuple[str, float]] = {}
    last: Mapping[str, str] = {}
    for each in rounds:
        if each.volumes is not None:
            last = each.volumes
            for name, mark in each.volumes.items():
                first.setdefault(mark, (name, each.at))
    left = {mark: where for mark, where in first.items() if mark not in {*last.values(), *deleted}}
    return [f"the volume {name} was first seen at {at:.3f}, has gone or was emptied, and we did not do that"
            for mark, (name, at) in sorted(left.items()) if mark]


def gaps(rounds: Sequence[Round]) -> list[str]:
    """List times that nobody has seen, about which nothing can be said."""
    violations = [f"nothing was seen from {before.at:.3f} to {after.at:.3f}" for before, after in pairwise(rounds)
                  if after.at - before.at > _LONGEST_GAP_S]
    return violations if any(map(leading, rounds)) else [*violations, "no leader was ever seen"]


def standing(end: End) -> list[str]:
    """Name what is not as it must be at the end."""
    violations = []
    if len(end.seats) != end.size or not all(seat.votes for seat in end.seats):
        violations.append(f"the set has the members {[(seat.number, seat.votes) for seat in end.seats]}, and "
                          f"{end.size} voters are desired")
    if sorted(end.running) != sorted(end.names):
        violations.append(f"{', '.join(sorted(end.running))} run, and the members are {', '.join(sorted(end.names))}")
    if end.primaries != [end.leader]:
        violations.append(f"the leader is {end.leader}, and Consul's tag says {', '.join(end.primaries) or 'none'}")
    violations += [f"a member has the image {image}, and {end.image} is desired" for image in sorted({*end.images})
                   if image != end.image]
    violations += [f"{each} is left" for each in (*end.locks, *end.sessions)]
    if end.plan:
        violations.append(f"lictor plan finds something to do: {end.plan}")
    if end.says != "as desired":
        violations.append(f"lictor status says: {end.says}")
    return violations
