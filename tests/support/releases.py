"""nginx of other Debian releases, which scripts/setup unpacks beside this machine's own."""

import os

from support.paths import REPOSITORY

# With nginx 1.18, 1.22, 1.26 and the newest one.
SUITES = ("bullseye", "bookworm", "trixie", "testing")
# The Lua module of Debian 11 is older than ngx.balancer, of which live mode is made.
WITH_BALANCER = SUITES[1:]


def binary_of(suite: str) -> str:
    """Return what runs the nginx of a release; an AssertionError if it is not there, as its tests were not run then."""
    path = REPOSITORY / ".venv" / "nginx" / suite / "nginx"
    assert os.access(path, os.X_OK), f"scripts/setup unpacks nginx of Debian {suite}, and says why if it cannot"
    return str(path)
