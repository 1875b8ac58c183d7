"""Back-off of refused files: they are tried again when anything has changed that may be to blame, else minutes later. A
try reloads nginx, and keeps every other service waiting until nginx refuses."""

import os
import re
import time
import zlib

from lictor.adapters import files
from lictor.adapters.text import printable
from lictor.routing.peers import Place, Refusal
from lictor.spec.settings import Nginx, Settings

_FIRST_S, _LONGEST_S = 60.0, 300.0
_LONGEST_REASON = 500
_INCLUDE = re.compile(r"\binclude\s+([^;{}]+);")


def circumstances(settings: Settings, nginx_settings: Nginx) -> str:
    """Return what tells the user's main configuration, what it includes itself, certificates, and the user's templates
    from other ones. Not by their content: a handler that may not read them has most need to know."""
    import glob  # which a publication that meets no refusal does without

    patterns = [os.path.join(os.path.dirname(nginx_settings.main_conf), each)
                for each in _INCLUDE.findall(_readable(nginx_settings.main_conf))]
    patterns += [os.path.join(settings.templates_dir, "*")] if settings.templates_dir else []
    patterns += [path.replace("{host}", "*") for path in (nginx_settings.certificate, nginx_settings.key) if path]
    paths = sorted({nginx_settings.main_conf, *(path for each in patterns for path in glob.iglob(each))})
    ours = os.path.join(nginx_settings.conf_dir, "")
    stamps = [f"{path} {_stamp(path)}" for path in paths if not path.startswith(ours)]
    return f"{zlib.crc32(os.fsencode(' '.join(stamps))):08x}"


def is_backing_off(refusal: Refusal, circumstances_now: str) -> bool:
    """Whether the files were refused in these circumstances, too short a while ago to try them again."""
    return (refusal.circumstances == circumstances_now
            and 0 < refusal.until - time.time() <= _LONGEST_S)  # else the clock was set back


def again(refusal: Refusal | None, place: Place | None, circumstances_now: str, reason: str = "") -> Refusal:
    """Return the record of one more refusal; the circumstances are "" if a try bothers no other service."""
    is_same = refusal is not None and (refusal.place, refusal.circumstances) == (place, circumstances_now)
    times = refusal.times + 1 if refusal and is_same else 1
    until = time.time() + min(_LONGEST_S, _FIRST_S * 2 ** min(times - 1, 9))
    return Refusal(place, circumstances_now, times, until, printable(reason)[:_LONGEST_REASON],
                   refusal is not None and refusal.is_frozen)


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
