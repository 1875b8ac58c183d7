"""Repeated calls, with growing pauses and a deadline."""

from collections.abc import Callable
from typing import TypeVar

import tenacity

from lictor import errors

T = TypeVar("T")


class _CalledOff(errors.Conflict):
    """A Conflict that ends the repetition even if the caller repeats on Conflict."""


_pause = tenacity.wait_random_exponential(multiplier=0.1, max=5)


def unavailable(call: Callable[[], T], *, timeout_s: float,
                only: type[errors.Unavailable] = errors.Unavailable,
                called_off: Callable[[], str] | None = None) -> T:
    """Call again while `only` is raised, with growing pauses; the last error is raised when the time runs out.

    An error that asks for a longer wait than there is time for ends it at once. Raises Conflict if `called_off` gives a
    reason not to call again.
    """
    def left_s(state: tenacity.RetryCallState) -> float:
        return timeout_s - (state.seconds_since_start or 0.0)

    def ask() -> T:
        why = called_off() if called_off else ""
        if why:
            raise _CalledOff(why)
        return call()

    retrying = tenacity.Retrying(
        stop=lambda state: _requested_pause_s(state) >= left_s(state),
        wait=lambda state: max(_requested_pause_s(state), min(_pause(state), left_s(state))),
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, only) and not isinstance(error, _CalledOff)),
        reraise=True,
    )
    return retrying(ask)


def _requested_pause_s(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return error.after_s if isinstance(error, errors.Unavailable) else 0.0
