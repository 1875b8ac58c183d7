"""The key services/NAME/canary: the colour that has a share of the requests beside the live one, such as "green 10%".

Handlers that only route read it too. What it says of the live colour, or what nobody can read, is no canary.
"""

import re
from typing import Any

from lictor import model
from lictor.spec.quantities import show_share

_TEXT = re.compile(rf"({'|'.join(model.COLORS)}) ([1-9]|[1-4][0-9]|50)%", re.ASCII)


def make(color: str, share: float) -> str:
    return f"{color} {show_share(share)}"


def route_field(name: str, live_color: str, text: str) -> dict[str, Any] | None:
    """Make the field `canary` of a route; None: no instance of another colour gets a share."""
    found = _TEXT.fullmatch(text)
    if not found or not live_color or found[1] == live_color:
        return None
    return {"service": model.catalog_name(name, found[1]), "share": int(found[2]) / 100}
