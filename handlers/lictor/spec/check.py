"""The keys `check` and `autoscale` of a spec, and what measuring needs: how an instance is found well, and the service
fast enough. Pure."""

from typing import ClassVar

import msgspec

from lictor.spec.locations import is_path
from lictor.spec.quantities import Duration, ResponseTime

SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
MOST_IGNORED = 20
HIGHEST_PORT = 65535
_LEAST_S = 0.001  # containers are labelled in whole milliseconds


class Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Consul's check of an instance: one of http, https (a path each) and tcp (true).

    An `insecure` one takes any certificate.
    """

    SHORT: ClassVar[str] = "a path, or "
    http: str = ""
    https: str = ""
    insecure: bool = False
    tcp: bool = False
    interval: Duration = Duration(10)
    timeout: Duration = Duration(5)
    port: int | None = None  # of the container, where the check asks; None: where the requests go
    start: Duration | None = None  # how long it may take until it passes for the first time

    def __post_init__(self) -> None:
        if [bool(self.http), bool(self.https), self.tcp].count(True) != 1:
            raise ValueError("exactly one of http, https and tcp is allowed")
        if self.insecure and not self.https:
            raise ValueError("insecure is for https, whose certificate is not verified then")
        for name, path in (("http", self.http), ("https", self.https)):
            if path and not is_path(path):
                raise ValueError(f"{name} is {path[:100]!r}; it must be a path such as /health")
        if self.port is not None and not 1 <= self.port <= HIGHEST_PORT:
            raise ValueError(f"port is {self.port}; it must be 1 to {HIGHEST_PORT}")
        for key, value in (("interval", self.interval), ("timeout", self.timeout)):
            if value < _LEAST_S:
                raise ValueError(f"{key} is {value:g}s; it must be at least 1ms")

    @property
    def path(self) -> str:
        """The path that is asked for; "" if a connection is enough."""
        return self.http or self.https


# What a check has that does not use what came later: such a container keeps its release. `start` is lictor's own.
UNUSED = {"https": "", "insecure": False, "port": None}


class Autoscale(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The target, which is exactly one of p50, p95 and p99, and how long it takes to believe something."""

    p50: ResponseTime | None = None
    p95: ResponseTime | None = None
    p99: ResponseTime | None = None
    window: Duration = Duration(60)
    down_after: Duration = Duration(300)
    hold_after_manual: Duration = Duration(900)
    ignore: list[str] = []

    def __post_init__(self) -> None:
        given = [key for key in SHARES if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(f"exactly one of p50, p95 and p99 is allowed; given: {', '.join(given) or 'none'}")
        if len(self.ignore) > MOST_IGNORED:
            raise ValueError(f"ignore has {len(self.ignore)} paths; it may have {MOST_IGNORED}")
        for path in self.ignore:
            if not is_path(path):
                raise ValueError(f"ignore holds {path[:100]!r}; it must be paths such as /health")

    @property
    def share(self) -> float:
        """The share of the answers that are to stay within the target."""
        return next(share for key, share in SHARES.items() if getattr(self, key) is not None)

    @property
    def target_s(self) -> float:
        return next(float(given) for key in SHARES if (given := getattr(self, key)) is not None)


def check_autoscale(autoscale: Autoscale | None, *, engine: str, has_route: bool) -> None:
    """Raise ValueError if nothing could be measured, or nothing be scaled."""
    if autoscale and engine == "none":
        raise ValueError("autoscale is for services whose instances lictor counts; this one's engine is none")
    if autoscale and not has_route:
        raise ValueError("autoscale needs a route: nginx measures the response times")


def check_canary(canary: float | None, *, engine: str, strategy: str, has_route: bool) -> None:
    """Raise ValueError if the new colour could get no share of the requests, or nothing be measured."""
    if canary is None:
        return
    if engine == "none":
        raise ValueError("release.canary is for services that lictor releases; this one's engine is none")
    if strategy != "blue-green":
        raise ValueError(f"release.canary is for the strategy blue-green; release.strategy is {strategy!r}")
    if not has_route:
        raise ValueError("release.canary needs a route: nginx gives the new colour its share, and measures both")
