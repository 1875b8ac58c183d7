"""Templates with {name}, {replicas}, {image} and {color}, for engines that hand the work to another program. Pure.

A literal brace is written twice there. The values of an environment may hold {seeds:NAME}, the seed list of a set with
state; any other brace in them is left alone, as JSON has them too.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from lictor import errors, model

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_SEEDS = re.compile(r"\{seeds:([^{}]*)\}")


class Values(NamedTuple):
    """The values of the placeholders; each was validated where it came in."""

    name: str
    replicas: int
    image: str
    color: str


def find_used(text: str) -> set[str]:
    """Name the placeholders of a template; raises ValueError that names an unknown one, and lists the known ones."""
    found = set()
    for match in _PART.finditer(text):
        if match[0] in ("{", "}") or match[1] is not None and match[1] not in Values._fields:
            known = ", ".join(f"{{{field}}}" for field in Values._fields)
            raise ValueError(f"{match[0]!r} is no placeholder; this version knows {known}, and a literal brace is "
                             "written twice")
        if match[1] is not None:
            found.add(match[1])
    return found


def fill(text: str, values: Values, encode: Callable[[str], str] = str) -> str:
    """Replace the placeholders by `values`, each of them encoded."""
    def part(match: re.Match[str]) -> str:
        return match[0][0] if match[1] is None else encode(str(getattr(values, match[1])))

    return _PART.sub(part, text)


def require(texts: Iterable[str], values: Values, key: str, *, release: bool = False) -> None:
    """Raise Refused if these templates, the value of `key`, would leave out a value that the tool has to know.

    `release`: the tool has to know the image.
    """
    placeholders = {placeholder for text in texts for placeholder in find_used(text)}
    if "image" in placeholders and not values.image:
        raise errors.Refused(f"{values.name}: image is missing; it must be given, as {key} holds {{image}}")
    if release and "image" not in placeholders:
        raise errors.Refused(f"{values.name}: {key} does not hold {{image}}, so a release changes nothing; it must, "
                             "or there must be a redeploy beside it")
    if values.color and "color" not in placeholders:
        raise errors.Refused(f"{values.name}: {key} does not hold {{color}}; it must for a blue-green release, as the "
                             "live colour would be changed too")


def find_sets(environment: object) -> set[str]:
    """Name the sets whose seed lists the values of an environment hold. It may be a stored one, and damaged."""
    values = environment.values() if isinstance(environment, dict) else [
        str(each).partition("=")[2] for each in environment] if isinstance(environment, list) else []
    return {name for value in values if isinstance(value, str) for name in list_sets(value)}


def list_sets(value: str) -> list[str]:
    """List the sets whose seed lists one value holds."""
    return [name for name in _SEEDS.findall(value) if model.is_name(name)]


def fill_sets(environment: Mapping[str, str], seeds: Mapping[str, str]) -> dict[str, str]:
    """Replace each {seeds:NAME} by that set's list; `seeds` has all that `find_sets` names."""
    def part(match: re.Match[str]) -> str:
        return seeds[match[1]] if model.is_name(match[1]) else match[0]

    return {key: _SEEDS.sub(part, value) for key, value in environment.items()}
