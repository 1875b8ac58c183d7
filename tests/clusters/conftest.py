"""Fixtures: sets of the double of MongoDB, which end with their test."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lab.mongodb.managed import MongoSet


@pytest.fixture
def make_set() -> Iterator[Callable[..., MongoSet]]:
    """Make a set of a size, which is managed until it is as desired."""
    made: list[MongoSet] = []

    def make(size: int = 0, **options: Any) -> MongoSet:
        made.append(MongoSet(size or 1, **options))
        if size:
            made[-1].settle()
        return made[-1]

    try:
        yield make
    finally:
        for each in made:
            each.stop()
