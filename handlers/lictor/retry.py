"""Trying again, with growing pauses and a deadline."""

from collections.abc import Callable
from typing import TypeVar

import tenacity

from lictor import errors

T = TypeVar("T")


def unavailable(call: Callable[[], T], *, timeout_s: float) -> T:
    """Call again while it raises Unavailable, with growing pauses; the last error is raised when time runs out."""
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_delay(timeout_s),
        wait=tenacity.wait_random_exponential(multiplier=0.1, max=5),
        retry=tenacity.retry_if_exception_type(errors.Unavailable),
        reraise=True,
    )
    return retrying(call)
