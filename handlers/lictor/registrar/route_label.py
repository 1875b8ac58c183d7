"""The label by which people have a container routed without a spec. Pure."""

from typing import Any

from lictor import model
from lictor.spec import route

_MOST_NAMED = 3


def mark(text: str, named: list[dict[str, Any]], *, is_told: bool) -> list[str]:
    """Put the route that a label asks for into the metadata of its registration; returns why not, in a line, if any.

    `named` are the definitions of the container's TCP ports that have a SERVICE_NAME. If there are none, `is_told`
    says that people know why.
    """
    if not text:
        return []
    try:
        wish = route.parse_label(text)
        if not named and is_told:
            return []
        _require_one(named)
    except ValueError as error:
        return [f"{model.LABEL_ROUTE}: {error}. It gets no route"]
    named[0]["Meta"][model.META_ROUTE] = f"{wish.host}{wish.path}"
    return []


def _require_one(named: list[dict[str, Any]]) -> None:
    if not named:
        raise ValueError("no TCP port of the container is registered by a SERVICE_NAME")
    if len(named) > 1:
        names = ", ".join(each["Name"][:63] for each in named[:_MOST_NAMED])
        raise ValueError(f"{len(named)} ports have a SERVICE_NAME ({names}), and a route is that of one. Name one port "
                         "only, as by SERVICE_8080_NAME")
    if not model.is_name(named[0]["Name"]):
        raise ValueError(f"SERVICE_NAME is {named[0]['Name'][:100]!r}; {model.NAME_RULE}")
