"""What nginx would not have is tried again when anything has changed that it may be due to, else minutes later: a try
reloads nginx, and keeps every other service waiting until that says no."""

import glob
import os
import re
import time
import zlib
from typing import Any

from lictor.adapters import files
from lictor.routing import peers, route_store
from lictor.spec.settings import Nginx, Settings

_FIRST_S, _LONGEST_S = 60.0, 300.0
_INCLUDE = re.compile(r"\binclude\s+([^;{}]+);")


def circumstances(settings: Settings, there: Nginx) -> str:
    """What tells the user's main configuration, what it includes itself, and the user's templates from other ones. Not
    by what they say, as who may not read them has most need to know."""
    patterns = [os.path.join(os.path.dirname(there.main_conf), each)
                for each in _INCLUDE.findall(_readable(there.main_conf))]
    patterns += [os.path.join(settings.templates_dir, "*")] if settings.templates_dir else []
    paths = sorted({there.main_conf, *(path for each in patterns for path in glob.iglob(each))})
    ours = os.path.join(there.conf_dir, "")
    stamps = [f"{path} {_stamp(path)}" for path in paths if not path.startswith(ours)]
    return f"{zlib.crc32(os.fsencode(' '.join(stamps))):08x}"


def rests(route_of: dict[str, Any], mode: str, now: peers.Served, around: str) -> bool:
    """Whether the route was refused in these circumstances, too short a while ago to try it again."""
    return (route_store.is_refused(route_of, mode, now) and now.refused_in == around
            and 0 < now.refused_until - time.time() <= _LONGEST_S)  # else the clock was set back


def noted(now: peers.Served, place: str, around: str) -> dict[str, object]:
    """The fields of `now` that say so; `around` is "" where a try bothers nobody."""
    times = now.refused_times + 1 if place in now.refused and now.refused_in == around else 1
    return {"refused": (place,), "refused_in": around, "refused_times": times,
            "refused_until": time.time() + min(_LONGEST_S, _FIRST_S * 2 ** min(times - 1, 9))}


def _readable(path: str) -> str:
    try:
        return files.read(path) or ""
    except OSError:
        return ""


def _stamp(path: str) -> str:
    try:
        found = os.stat(path)
        return f"{found.st_ino} {found.st_mtime_ns} {found.st_size}"
    except OSError:
        return ""
