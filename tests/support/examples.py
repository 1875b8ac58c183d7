"""How many inputs are made up for a test: LICTOR_EXAMPLES asks for more than the rule."""

import os

_ASKED_FOR = int(os.environ.get("LICTOR_EXAMPLES", "0"))


def at_least(count: int) -> int:
    return max(count, _ASKED_FOR)
