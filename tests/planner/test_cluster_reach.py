"""Who of a set does not reach whom, by each member's own word, as a table; and what is not known is never well."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lictor.planner.cluster.observation import Link
from lictor.planner.cluster.reach import Reach, Told, judge

SEATS = {"db-1": "a1", "db-2": "a2", "db-3": "a3"}
UP, LOST, UNKNOWN = Link(True), Link(False, "its connection is lost"), Link(None, "not told")


def links(**others: Link) -> dict[str, Link]:
    return dict(others)


@pytest.mark.parametrize(("told", "failures", "unknown", "up"), [
    ({"db-1": links(a2=UP, a3=UP), "db-2": links(a1=UP, a3=UP), "db-3": links(a1=UP, a2=UP)}, [], [], 6),
    # one is cut off: all see it, and it says so itself
    ({"db-1": links(a2=UP, a3=LOST), "db-2": links(a1=UP, a3=LOST), "db-3": links(a1=LOST, a2=LOST)},
     ["db-1 and db-2 do not reach db-3 at a3: its connection is lost",
      "db-3 does not reach db-1 at a1: its connection is lost",
      "db-3 does not reach db-2 at a2: its connection is lost"],
     [], 2),
    # its address is wrong: it reaches the others, and they do not reach it
    ({"db-1": links(a2=UP, a3=LOST), "db-2": links(a1=UP, a3=LOST), "db-3": links(a1=UP, a2=UP)},
     ["db-1 and db-2 do not reach db-3 at a3: its connection is lost"], [], 4),
    # one direction between two
    ({"db-1": links(a2=UP, a3=UP), "db-2": links(a1=UP, a3=LOST), "db-3": links(a1=UP, a2=UP)},
     ["db-2 does not reach db-3 at a3: its connection is lost"], [], 5),
    # one gives no answer, which hides nothing of the others
    ({"db-1": links(a2=UP, a3=LOST), "db-2": links(a1=UP, a3=UP), "db-3": "timed out"},
     ["db-3 gives no answer: timed out", "db-1 does not reach db-3 at a3: its connection is lost"], [], 3),
    (dict.fromkeys(SEATS, "refused"), [f"{name} gives no answer: refused" for name in SEATS], [], 0),
    # what is not told is not known
    ({"db-1": links(a2=UP, a3=UNKNOWN), "db-2": links(a1=UP), "db-3": links(a1=UP, a2=UP)}, [],
     ["db-1 does not tell whether db-3 is reached at a3: not told",
      "db-2 does not tell whether db-3 is reached at a3: its configuration does not name that one"], 4),
    ({"db-1": links(a2=UP, a3=UP), "db-2": links(a1=UP, a3=UP)}, [], ["db-3 is not asked"], 4),
    ({}, [], ["db-1, db-2 and db-3 are not asked"], 0),
    # who is no member says nothing of members
    ({"db-1": links(a2=UP, a3=UP), "db-2": links(a1=UP, a3=UP), "db-3": links(a1=UP, a2=UP), "db-9": links(a1=LOST)},
     [], [], 6),
])
def test_who_does_not_reach_whom(told: dict[str, Told], failures: list[str], unknown: list[str], up: int) -> None:
    assert judge(SEATS, told) == Reach(tuple(failures), tuple(unknown), up)


LINKS = st.builds(Link, st.sampled_from([True, False, None]), st.text(max_size=5))
TOLD = st.one_of(st.text(max_size=5), st.dictionaries(st.sampled_from([*SEATS.values(), "a9"]), LINKS))


@given(st.dictionaries(st.sampled_from([*SEATS, "db-9"]), TOLD))
def test_well_is_only_what_each_member_says_of_each_other_one(told: dict[str, Told]) -> None:
    found = judge(SEATS, told)
    pairs = [(word := told.get(name)) and not isinstance(word, str) and address in word and word[address].is_up
             for name in SEATS for other, address in SEATS.items() if other != name]
    assert (not found.failures and not found.unknown) == all(each is True for each in pairs)
    assert found.up == sum(each is True for each in pairs)
