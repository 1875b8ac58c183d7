"""Python loads this first where it is on the path: its wall clock is the machine's and the seconds that a file holds.

Only handlers have it. The times of files, of Docker, Consul and nginx, and time since the start stay the machine's.
"""

import os
import time

_machine_time = time.time


def _set_time() -> float:
    try:
        with open(os.environ["LICTOR_CHAOS_CLOCK"], encoding="ascii") as file:
            return _machine_time() + float(file.read())
    except OSError:
        return _machine_time()


time.time = _set_time
