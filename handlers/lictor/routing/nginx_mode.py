"""The mode of this node's nginx: how new peers reach it. With `mode = "auto"` lictor chooses, and says why.

The choice is noted in the state folder, so that an event reads one small file for it. A sweep makes it anew when the
configuration of nginx or a template has changed.
"""

import os
from typing import NamedTuple

from lictor import errors
from lictor.adapters import files
from lictor.spec.settings import AUTO, Settings

_FILE = "nginx_mode.json"  # in the state folder


class Mode(NamedTuple):
    """The mode, `live` or `reload`, and the reason for people."""

    name: str
    why: str


def read(settings: Settings) -> Mode:
    """Read which mode is in force; if it has to be chosen and was not yet, it is chosen now."""
    assert settings.nginx
    if settings.nginx.mode != AUTO:
        return Mode(settings.nginx.mode, f"the settings in {settings.where} say so")
    return _read_noted(settings)[0] or reconsider(settings)


def reconsider(settings: Settings) -> Mode:
    """Choose the mode, unless all that it depends on is as it was; the choice is noted and logged."""
    assert settings.nginx
    if settings.nginx.mode != AUTO:
        return read(settings)
    from lictor.adapters import log
    from lictor.routing import refusal_backoff

    noted, noted_circumstances = _read_noted(settings)
    circumstances = refusal_backoff.circumstances(settings, settings.nginx)
    if noted and circumstances == noted_circumstances:
        return noted
    try:
        chosen = choose(settings)
        files.write_json(_path(settings), {**chosen._asdict(), "circumstances": circumstances}, durable=False)
    except (errors.Unavailable, OSError) as error:  # nginx is being installed, say: the next sweep asks it again
        return noted or Mode("reload", f"whether live mode is possible is not known yet: {error}")
    if chosen != noted:
        log.event("nginx-mode", outcome=chosen.name, reason=chosen.why)
    return chosen


def choose(settings: Settings) -> Mode:
    """Choose live if nginx has what that needs, and no template has what live mode would ignore; nginx itself is
    asked. Raises Unavailable if it cannot be."""
    from lictor.routing import publish, user_servers

    assert settings.nginx
    if settings.nginx.container:
        return Mode("reload", f"what nginx loads in the container {settings.nginx.container} cannot be seen from here")
    _, lack = user_servers.find_lua(settings.nginx)
    if lack:
        return Mode("reload", lack)
    try:
        publish.check_live(settings, settings.nginx)
    except errors.Refused as error:
        return Mode("reload", str(error))
    return Mode("live", "nginx has its Lua module")


def _path(settings: Settings) -> str:
    return os.path.join(settings.state_dir, _FILE)


def _read_noted(settings: Settings) -> tuple[Mode | None, str]:
    """Read the choice, and what it was made in; None: there is none, or the file is damaged."""
    try:
        table = files.read_json(_path(settings))
        mode = Mode(table["name"], table["why"])
        return (mode if mode.name in ("live", "reload") else None), table["circumstances"]
    except (TypeError, KeyError):
        return None, ""
