"""A test of `lictor doctor`, and its finding."""

from collections.abc import Callable
from typing import NamedTuple

from lictor import errors
from lictor.adapters.text import describe_error

OK, REMARK, UNTESTED, FAILED = "ok", "remark", "untested", "failed"  # verdicts


class Finding(NamedTuple):
    """The result of a test. `ok` is None for what could not be tested, and for a remark: nothing is broken, but a
    person should know it."""

    name: str
    ok: bool | None
    detail: str
    remedy: str = ""
    is_remark: bool = False

    @property
    def verdict(self) -> str:
        return {True: OK, False: FAILED, None: REMARK if self.is_remark else UNTESTED}[self.ok]


class Probe(NamedTuple):
    """A test of a node. `run` returns its detail, or raises LictorError or OSError; it is not run if the test that it
    `needs` failed. `of_root`: only root can do it, whatever the handlers' user may."""

    name: str
    run: Callable[[], str]
    remedy: str
    needs: str = ""
    of_root: bool = False


class Untested(errors.LictorError):
    """This cannot be tested from here."""


class Remark(errors.LictorError):
    """Nothing is broken, but a person should know this. `remedy`: what to do if that is not meant."""

    def __init__(self, text: str, remedy: str = "") -> None:
        super().__init__(text)
        self.remedy = remedy


def find(test: Probe, needed: Finding | None) -> Finding:
    """Run a test, unless the one that it needs has failed, or was not done."""
    if needed and needed.verdict in (FAILED, UNTESTED):
        return Finding(test.name, None, f"not tested: {needed.name} comes first")
    try:
        return Finding(test.name, True, test.run())
    except Untested as error:
        return Finding(test.name, None, f"not tested: {error}")
    except Remark as error:
        return Finding(test.name, None, str(error), error.remedy, is_remark=True)
    except (errors.LictorError, OSError) as error:
        said = describe_error(error) if isinstance(error, OSError) else str(error)
        return Finding(test.name, False, said, test.remedy)
    except Exception as error:  # a value that no rule foresees is a finding of its own test
        return Finding(test.name, False, f"unreadable: {error!r}", test.remedy)
