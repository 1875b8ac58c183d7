"""The end of what another program said: short enough for a record, and without our secrets. Pure."""

from collections.abc import Iterable

_LINES = 20
_CHARACTERS = 4000


def last_lines(text: str, *, secrets: Iterable[str] = ()) -> str:
    """Its last lines; whatever it may have repeated of `secrets` is replaced."""
    for secret in secrets:
        text = text.replace(secret, "...")
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-_LINES:])[-_CHARACTERS:]
