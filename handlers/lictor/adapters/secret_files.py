"""Files that hold one secret: a token, or the value of a header. Errors name the file, and never what stands in it."""

import os
import re
import stat

from lictor import errors
from lictor.adapters import log

_TOKEN = re.compile(r"[!-~]+", re.ASCII)
_LINE = re.compile(r"[ -~]+", re.ASCII)


def read_token(path: str) -> str:
    """Read the one word in a file; raises Refused."""
    return require_one_word(read_secret(path), f"token file {path}")


def read_secret(path: str) -> str:
    """Read the one line in a file, which may have spaces: the value of a header; raises Refused."""
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            if os.fstat(file.fileno()).st_mode & stat.S_IROTH:
                log.event("read-token", file=path, warning="everybody on this machine can read it; chmod o-r")
            secret = file.read(4096).strip()
    except OSError as error:
        raise errors.Refused(f"token file {path}: {error.strerror}") from error
    if not secret:
        raise errors.Refused(f"token file {path} is empty")
    if not _LINE.fullmatch(secret):
        raise errors.Refused(f"token file {path}: a token is one line of printable ASCII; this is not")
    return secret


def require_one_word(token: str, source: str) -> str:
    """Return the token, which may be empty; raises Refused unless it fits into a header."""
    if token and not _TOKEN.fullmatch(token):
        raise errors.Refused(f"{source}: a token is one word of printable ASCII; this is not")
    return token
