"""The connections between the members of a set, by each member's own word: who does not reach whom, and where. Pure.

A connection counts as one only if the member says so now. What no member tells is unknown, and never called well.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from lictor.planner.cluster.observation import Link

Told = Mapping[str, Link] | str  # a member's links by address, or why it told none


class Reach(NamedTuple):
    """What is wrong, and what is not known, each in a sentence of its own; and how many connections are up."""

    failures: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    up: int = 0


def judge(seats: Mapping[str, str], told: Mapping[str, Told]) -> Reach:
    """Judge the connection of each member to each other one. `seats` are the configured addresses by member's name,
    `told` is by name, too; who is not in it was not asked."""
    silent = [f"{name} gives no answer: {word}" for name in seats if isinstance(word := told.get(name), str)]
    unasked = [name for name in seats if name not in told]
    links = list(_links(seats, told))
    return Reach(
        (*silent, *_describe(seats, "reach {other} at {address}: {words}", (
            each for each in links if each.link.is_up is False))),
        (*([f"{_names(unasked)} {'is' if len(unasked) == 1 else 'are'} not asked"] if unasked else []),
         *_describe(seats, "tell whether {other} is reached at {address}: {words}", (
             each for each in links if each.link.is_up is None))),
        sum(each.link.is_up is True for each in links))


class _Direction(NamedTuple):
    name: str
    other: str
    link: Link


def _links(seats: Mapping[str, str], told: Mapping[str, Told]) -> Iterator[_Direction]:
    for name in seats:
        word = told.get(name, "")
        for other, address in seats.items():
            if other != name and not isinstance(word, str):
                yield _Direction(name, other, word.get(address, Link(None, "its configuration does not name that one")))


def _describe(seats: Mapping[str, str], what: str, directions: Iterable[_Direction]) -> Iterator[str]:
    """Describe what several members say of one other in one sentence."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, other, link in directions:
        found.setdefault((other, link.words), []).append(name)
    for (other, words), names in found.items():
        said = what.format(other=other, address=seats[other], words=words)
        yield f"{_names(names)} {'does' if len(names) == 1 else 'do'} not {said}"


def _names(names: Iterable[str]) -> str:
    *some, last = names
    return f"{', '.join(some)} and {last}" if some else last
