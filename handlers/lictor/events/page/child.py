"""The listener as a child of the http door: started, started again if it ends, and ended with it."""

import subprocess
import time

from lictor.adapters import process
from lictor.events.script import Call, inherited

_LEAST_INTERVAL_S = 2.0
OPTION = "--page"


class Child:
    """At most one child at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = -_LEAST_INTERVAL_S

    def keep(self, call: Call) -> None:
        """Start it, if it does not run and the settings ask for it; to be called now and then."""
        metrics = call.settings.metrics
        is_due = time.monotonic() - self._started_at >= _LEAST_INTERVAL_S
        if metrics and metrics.listen and is_due and (self._process is None or self._process.poll() is not None):
            self._started_at = time.monotonic()
            self._process = process.start_dependent("lictor-serve", [
                *inherited(call.settings, call.token_file), OPTION])

    def stop(self) -> None:
        """Ask it to end, which its closed stdin does."""
        if self._process and self._process.stdin:
            self._process.stdin.close()
