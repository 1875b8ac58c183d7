"""What is too long for one answer, asked for in parts of which each is about fewer objects."""

import json
from collections.abc import Collection, Iterator, Sequence

from lictor import model

AT_ONCE = 64  # operations in one transaction; an answer with as many of the longest values, 512 KiB, is not too long
OURS = f'"{model.META_ENGINE}" in Meta'  # what a registrar of lictor's has registered


def with_ids(service_ids: Collection[str]) -> list[str]:
    """Make the conditions that these services fulfil."""
    return [f"ID == {json.dumps(each)}" for each in service_ids]


def of_services(service_ids: Collection[str]) -> list[str]:
    """Make the conditions that the checks of these services fulfil."""
    return [f"ServiceID == {json.dumps(each)}" for each in service_ids]


def split(items: Sequence[str]) -> Iterator[Sequence[str]]:
    """Give some items at a time."""
    return (items[start:start + AT_ONCE] for start in range(0, len(items), AT_ONCE))
