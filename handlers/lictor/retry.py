"""Waiting for conditions and trying again, each with a deadline."""

from collections.abc import Callable
from typing import TypeVar

import tenacity

from lictor import errors

T = TypeVar("T")


def until(probe: Callable[[], T], *, timeout_s: float, every_s: float = 0.1) -> T:
    """Call `probe` until it returns something true, and return that; raises Unavailable when time runs out."""
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_delay(timeout_s),
        wait=tenacity.wait_fixed(every_s),
        retry=tenacity.retry_if_result(lambda result: not result),
    )
    try:
        return retrying(probe)
    except tenacity.RetryError as error:
        raise errors.Unavailable(f"still not so after {timeout_s:g} s") from error


def unavailable(call: Callable[[], T], *, timeout_s: float) -> T:
    """Call again while it raises Unavailable, with growing pauses; the last error is raised when time runs out."""
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_delay(timeout_s),
        wait=tenacity.wait_exponential_jitter(initial=0.1, max=5),
        retry=tenacity.retry_if_exception_type(errors.Unavailable),
        reraise=True,
    )
    return retrying(call)
