"""The key `healthcheck` of a spec, in place of the image's own HEALTHCHECK. Pure."""

from typing import Any

import msgspec

from lictor.spec.quantities import Duration

_LEAST_S = 0.001  # Docker takes no shorter time, but 0 for its own default
_WAYS = ("CMD", "CMD-SHELL", "NONE")


class Healthcheck(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The program that tells whether a container is well; a text is one for the container's shell."""

    test: str | list[str] = []
    interval: Duration = Duration(30)
    timeout: Duration = Duration(30)
    start_period: Duration = Duration(0)
    retries: int = 3
    disable: bool = False

    def __post_init__(self) -> None:
        if self.disable is bool(self.test):
            raise ValueError("exactly one of test and disable is allowed")
        if isinstance(self.test, list) and self.test and (
                self.test[0] not in _WAYS or (self.test[0] == "NONE") is (len(self.test) > 1)):
            raise ValueError(f"test begins with {self.test[0][:100]!r}; a list must be [CMD, PROGRAM, ...], "
                             "[CMD-SHELL, TEXT] or [NONE]")
        if not 1 <= self.retries <= 1000:
            raise ValueError(f"retries is {str(self.retries)[:100]}; it must be within 1..1000")
        for key, value in (("interval", self.interval), ("timeout", self.timeout)):
            if value < _LEAST_S:
                raise ValueError(f"{key} is {value:g}s; it must be at least 1ms")

    @property
    def definition(self) -> dict[str, Any]:
        """The form of the Engine API, whose times are in nanoseconds."""
        test = ["NONE"] if self.disable else ["CMD-SHELL", self.test] if isinstance(self.test, str) else self.test
        times = {"Interval": self.interval, "Timeout": self.timeout, "StartPeriod": self.start_period}
        return {"Test": test, "Retries": self.retries, **{key: round(time * 1e9) for key, time in times.items()}}
