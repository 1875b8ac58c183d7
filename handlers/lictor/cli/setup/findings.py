"""A test of `lictor doctor`, and its finding."""

from collections.abc import Callable
from typing import NamedTuple

from lictor import errors


class Finding(NamedTuple):
    """The result of a test. `ok` is None for what could not be tested."""

    name: str
    ok: bool | None
    detail: str
    remedy: str = ""


class Probe(NamedTuple):
    """A test of a node. `run` returns its detail, or raises LictorError or OSError; it is not run if the test that it
    `needs` failed."""

    name: str
    run: Callable[[], str]
    remedy: str
    needs: str = ""


class Untested(errors.LictorError):
    """This cannot be tested from here."""
