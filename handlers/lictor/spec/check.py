"""The key `check` of a spec: the check by which Consul finds out how an instance is. Pure."""

import msgspec

from lictor.spec.locations import is_path
from lictor.spec.quantities import Duration

_LEAST_S = 0.001  # containers are labelled in whole milliseconds


class Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Consul's check of an instance: one of http (a path) and tcp (true)."""

    http: str = ""
    tcp: bool = False
    interval: Duration = Duration(10)
    timeout: Duration = Duration(5)
    start: Duration | None = None  # how long it may take until it passes for the first time

    def __post_init__(self) -> None:
        if bool(self.http) == self.tcp:
            raise ValueError("exactly one of http and tcp is allowed")
        if self.http and not is_path(self.http):
            raise ValueError(f"http is {self.http[:100]!r}; it must be a path such as /health")
        for key, value in (("interval", self.interval), ("timeout", self.timeout)):
            if value < _LEAST_S:
                raise ValueError(f"{key} is {value:g}s; it must be at least 1ms")
