"""Repeated calls, with growing pauses and a deadline. tenacity is loaded for the second try, which few calls need."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from lictor import errors

if TYPE_CHECKING:
    import tenacity

T = TypeVar("T")


class _CalledOff(errors.Conflict):
    """A Conflict that ends the repetition even if the caller repeats on Conflict."""


def unavailable(call: Callable[[], T], *, timeout_s: float,
                only: type[errors.Unavailable] = errors.Unavailable,
                called_off: Callable[[], str] | None = None) -> T:
    """Call again while `only` is raised, with growing pauses; the last error is raised when the time runs out.

    An error that asks for a longer wait than there is time for ends it at once. Raises Conflict if `called_off` gives a
    reason not to call again.
    """
    began = time.monotonic()

    def ask() -> T:
        why = called_off() if called_off else ""
        if why:
            raise _CalledOff(why)
        return call()

    try:
        return ask()
    except only as error:
        if isinstance(error, _CalledOff):
            raise
        failures = [error]
    import tenacity

    pause = tenacity.wait_random_exponential(multiplier=0.1, max=5)

    def left_s() -> float:
        return timeout_s - (time.monotonic() - began)

    def again() -> T:
        if failures:
            raise failures.pop()
        return ask()

    retrying = tenacity.Retrying(
        stop=lambda state: _requested_pause_s(state) >= left_s(),
        wait=lambda state: max(_requested_pause_s(state), min(pause(state), left_s())),
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, only) and not isinstance(error, _CalledOff)),
        reraise=True,
    )
    return retrying(again)


def _requested_pause_s(state: "tenacity.RetryCallState") -> float:
    error = state.outcome.exception() if state.outcome else None
    return error.after_s if isinstance(error, errors.Unavailable) else 0.0
