"""Requests whose answer would be too long, asked in parts of which each is about fewer objects."""

import json
from collections.abc import Collection, Iterator, Sequence

from lictor import model

AT_ONCE = 64  # operations in one transaction; an answer with as many of the longest values, 512 KiB, is not too long
OURS = f'"{model.META_ENGINE}" in Meta'  # what a registrar of lictor's has registered


def equal(field: str, values: Collection[str]) -> list[str]:
    """Make the conditions that objects fulfil whose field has one of these values."""
    return [f"{field} == {json.dumps(each)}" for each in values]


def split(items: Sequence[str]) -> Iterator[Sequence[str]]:
    """Give some items at a time."""
    return (items[start:start + AT_ONCE] for start in range(0, len(items), AT_ONCE))
