"""The payload of a `service` watch: from bytes to instances. Pure."""

import json
from typing import Any, NamedTuple

from lictor import errors, model

LONGEST_BYTES = 64 * 1024 * 1024
_MOST_DIGITS = 20  # of an index, which has 64 bits
HINT = -1  # a Consul index older than any: such news is acted upon only after a consistent read


class TooLong(errors.Refused):
    """A payload that is not read. It only hints at what changed, and a sweep reads all that there is."""


class Payload(NamedTuple):
    """The instances that a watch reported. `skipped` names each malformed entry, and says why."""

    instances: list[model.Instance]
    skipped: list[str]


def parse(payload: bytes) -> Payload:
    """Parse a payload; raises Refused for anything but a list of instances: it is never taken for an empty one."""
    require_length(len(payload))
    try:
        entries = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise errors.Refused(f"the payload is refused: it is not JSON: {error}") from error
    if not isinstance(entries, list):
        raise errors.Refused(f"the payload is refused: it holds a {type(entries).__name__}, not a list of instances")
    return instances(entries)


def instances(entries: list[Any]) -> Payload:
    """Parse entries of the health API; raises Refused if not a single one is sound."""
    found = Payload([], [])
    for number, entry in enumerate(entries, start=1):
        try:
            instance = model.instance(entry)
            if not all(isinstance(text, str) for text in (instance.node, instance.service_id, instance.service)):
                raise ValueError("node, ID and name of a service must be strings")
            found.instances.append(instance)
        except ValueError as error:
            found.skipped.append(f"entry {number} of {len(entries)}: {error}")
    if entries and not found.instances:
        raise errors.Refused(f"the payload is refused: {found.skipped[0]}")
    return found


def require_length(length: int) -> None:
    """Raise TooLong for a payload that has more bytes than one may have."""
    if length > LONGEST_BYTES:
        raise TooLong(f"the payload is refused: it has more than {LONGEST_BYTES} bytes")


def index(text: str) -> int:
    """Parse Consul's index, as it stands in the environment or a header; HINT if there is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else HINT
