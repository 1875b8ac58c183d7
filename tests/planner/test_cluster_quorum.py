"""Majorities, and who has a vote."""

import pytest

from lictor.planner.cluster.observation import Configuration
from lictor.planner.cluster.quorum import has_majority, members_of, voters_of
from lictor.spec.cluster import KINDS


@pytest.mark.parametrize(("healthy", "voters", "is_one"), [
    (0, 0, False), (1, 1, True), (1, 2, False), (2, 2, True), (1, 3, False), (2, 3, True), (2, 4, False), (3, 4, True)])
def test_a_majority_is_more_than_half(healthy: int, voters: int, is_one: bool) -> None:
    assert has_majority(healthy, voters) is is_one


@pytest.mark.parametrize(("size", "mongodb", "etcd"), [
    (1, (1, 1), (1, 1)), (2, (2, 1), (1, 1)), (3, (3, 3), (3, 3)), (4, (4, 3), (3, 3)), (5, (5, 5), (5, 5)),
    (7, (7, 7), (7, 7)), (8, (8, 7), (7, 7)), (50, (50, 7), (7, 7)), (60, (50, 7), (7, 7))])
def test_voters_are_odd_and_what_is_over_is_a_spare_where_that_is_of_use(
        size: int, mongodb: tuple[int, int], etcd: tuple[int, int]) -> None:
    for name, expected in (("mongodb", mongodb), ("etcd", etcd)):
        members = members_of(size, KINDS[name])
        assert (members, voters_of(members, KINDS[name])) == expected


@pytest.mark.parametrize(("one", "other", "is_newer"), [
    ((1, 2), (1, 1), True), ((1, 1), (1, 1), False), ((2, 1), (1, 9), True), ((1, 9), (2, 1), False),
    ((-1, 90_000), (3, 7), True), ((3, 7), (-1, 90_000), False), ((4, 90_001), (-1, 90_000), True)])
def test_a_configuration_is_newer_by_term_and_version_and_a_forced_one_by_version(
        one: tuple[int, int], other: tuple[int, int], is_newer: bool) -> None:
    (term, version), (other_term, other_version) = one, other
    found = Configuration(version=version, term=term).is_newer(Configuration(version=other_version, term=other_term))
    assert found is is_newer
