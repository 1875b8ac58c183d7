"""The mode of this node's nginx: how new peers reach it. With `mode = "auto"` lictor chooses, and says why.

The choice is noted in the state folder, so that an event reads one small file for it. A sweep makes it anew when what
it depends on has changed, and every few minutes: not all of that shows.
"""

import os
import time
import zlib
from typing import NamedTuple

from lictor import errors
from lictor.adapters import files
from lictor.spec.settings import AUTO, Settings

_FILE = "nginx_mode.json"  # in the state folder
_HOLDS_S = 300.0
_UNKNOWN = "not known"  # are the circumstances of a choice that nginx was not there for: the next sweep chooses again


class Mode(NamedTuple):
    """The mode, `live` or `reload`, and the reason for people."""

    name: str
    why: str


class _Note(NamedTuple):
    mode: Mode
    circumstances: str
    at: float  # epoch seconds


def read(settings: Settings) -> Mode:
    """Read which mode is in force; if it has to be chosen and was not yet, it is chosen now."""
    assert settings.nginx
    if settings.nginx.mode != AUTO:
        return Mode(settings.nginx.mode, f"the settings in {settings.where} say so")
    return read_noted(settings.state_dir) or reconsider(settings)


def read_noted(state_dir: str) -> Mode | None:
    """Read what was chosen last; None: nothing was."""
    note = _read_note(state_dir)
    return note.mode if note else None


def reconsider(settings: Settings) -> Mode:
    """Choose the mode, unless all that it depends on is as it was a while ago; the choice is noted and logged."""
    assert settings.nginx
    if settings.nginx.mode != AUTO:
        return read(settings)
    from lictor.adapters import log

    note, circumstances, now = _read_note(settings.state_dir), _describe_circumstances(settings), time.time()
    if note and note.circumstances == circumstances and 0 <= now - note.at < _HOLDS_S:
        return note.mode
    try:
        chosen = choose(settings)
    except errors.Unavailable as error:
        chosen = note.mode if note else Mode("reload", f"whether live mode is possible is not known yet: {error}")
        circumstances = _UNKNOWN
    try:
        files.write_json(os.path.join(settings.state_dir, _FILE), {
            **chosen._asdict(), "circumstances": circumstances, "at": now}, durable=False)
    except OSError as error:  # the disk is full, say
        log.event("nginx-mode", outcome="failed", reason=error)
    if not note or chosen != note.mode:
        log.event("nginx-mode", outcome=chosen.name, reason=chosen.why)
    return chosen


def choose(settings: Settings) -> Mode:
    """Choose live if nginx has what that needs, and no template has what live mode would ignore; nginx itself is
    asked. Raises Unavailable if it cannot be, or its configuration cannot be read."""
    from lictor.routing import publish, user_servers

    assert settings.nginx
    if settings.nginx.container:
        return Mode("reload", f"what nginx loads in the container {settings.nginx.container} cannot be seen from here")
    _, lack = user_servers.find_lua(settings.nginx, user_servers.LIVE_HOOKS)
    if lack:
        if unread := user_servers.read(settings.nginx).unread:
            raise errors.Unavailable(unread[0])
        return Mode("reload", lack)
    try:
        publish.check_live(settings, settings.nginx)
    except errors.Refused as error:
        return Mode("reload", str(error))
    return Mode("live", "nginx has its Lua module")


def _describe_circumstances(settings: Settings) -> str:
    """Return what tells the settings of nginx, its configuration and the user's templates from other ones."""
    from lictor.routing import refusal_backoff

    assert settings.nginx
    return f"{refusal_backoff.circumstances(settings, settings.nginx)} {zlib.crc32(repr(settings.nginx).encode()):08x}"


def _read_note(state_dir: str) -> _Note | None:
    """Read the note; None: there is none, or it is damaged."""
    try:
        table = files.read_json(os.path.join(state_dir, _FILE))
        note = _Note(Mode(table["name"], table["why"]), table["circumstances"], float(table["at"]))
        return note if note.mode.name in ("live", "reload") else None
    except (OSError, TypeError, KeyError, ValueError):
        return None
