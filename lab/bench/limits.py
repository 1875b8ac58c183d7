"""What has to hold of the figures, and whether it does. Pure: rows in, verdicts out."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lab.bench import events, measuring, pages, scale, sweeps, waiting

Row = Mapping[str, Any]
Parts = Mapping[str, Sequence[Row]]
_SMALL, _MIDDLE, _BIG = "1 x 3", "100 x 3", "1000 x 3"
_ANSWERS = (("first_new_ms", "first new answer"), ("last_old_ms", "last old answer"))
_RELOAD_INTERVAL_S = 0.25
_PEERS = ("consul-template", "consul-template's double")  # the second where the first can't be had


class Verdict(NamedTuple):
    """`value` None: it was not measured, so that nothing is said of it."""

    what: str
    value: float | None
    at_most: float | None = None
    at_least: float | None = None

    @property
    def holds(self) -> bool | None:
        if self.value is None:
            return None
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least)


def judge(parts: Parts) -> list[Verdict]:
    """One verdict a limit, of those parts only that were measured."""
    of_part: dict[str, Callable[[Parts], Iterator[Verdict]]] = {
        "latency": _latency, "storm": _storm, "throughput": _throughput, "churn": _churn, "resident": _resident,
        "events": _events, "measuring": _measuring, "sweep": _sweep, "releases": _releases, "scale": _scale,
        "page": _page, "waiting": _waiting}
    return [verdict for part, found in of_part.items() if part in parts for verdict in found(parts)]


def _latency(parts: Parts) -> Iterator[Verdict]:
    """At each size, as a reload takes the longer the more services there are; of many instances no answers are timed.
    """
    rows = parts["latency"]
    sizes = dict.fromkeys([_SMALL, *(row["size"] for row in rows if "first_new_ms" in row)])
    for size in sizes:
        yield from _latency_at(size, rows)
    for key, text in _ANSWERS:
        live = {size: _value(rows, key, contender="lictor http live", size=size) for size in (_SMALL, _BIG)}
        yield Verdict(f"http live: {text}, with 1000 services of that with one", _ratio(live[_BIG], live[_SMALL]),
                      at_most=1.5)
        middle, big = (_value(rows, key, contender="lictor http reload", size=size) for size in (_MIDDLE, _BIG))
        alone = _value(rows, "nginx_alone_ms", contender="lictor http reload", size=_BIG)
        most = None if middle is None or alone is None else 1.5 * middle + alone
        yield Verdict(f"http reload: {text}, with 1000 services of 1.5 times that with 100 and of nginx -s reload",
                      _ratio(big, most), at_most=1)


def _latency_at(size: str, rows: Sequence[Row]) -> Iterator[Verdict]:
    name = _peer(rows)
    for key, text in _ANSWERS:
        peer, live, reload, script = (_value(rows, key, contender=each, size=size) for each in (
            name, "lictor http live", "lictor http reload", "lictor script reload"))
        yield Verdict(f"{size}, http live: {text}, ms", live, at_most=8 if size == _BIG else 5)
        yield Verdict(f"{size}, http live: {text}, times sooner than {name}", _ratio(peer, live), at_least=8)
        yield Verdict(f"{size}, http reload: {text}, of that of {name}", _ratio(reload, peer),
                      at_most=0.5 if size == _SMALL else 1)  # of many, what both wait for prevails: nginx reads all
        yield Verdict(f"{size}, script reload: {text}, of that of {name}", _ratio(script, peer), at_most=1.2)


def _storm(parts: Parts) -> Iterator[Verdict]:
    rows, name = parts["storm"], "lictor http reload"
    found = _row(rows, contender=name)
    most = None
    if found:  # the first one comes at once
        most = max(0, found["reloads"] - 1) / (found["reloading_s"] / _RELOAD_INTERVAL_S)
    yield Verdict("storm, http reload: reloads of what one in 250 ms would be", most, at_most=1)
    yield Verdict("storm, http reload: seconds from the last change until converged",
                  _value(rows, "converged_s", contender=name, never=float("inf")), at_most=2)
    yield Verdict(f"storm, http reload: CPU, of that of {_peer(rows)}",
                  _ratio(_value(rows, "cpu_s", contender=name), _value(rows, "cpu_s", contender=_peer(rows))),
                  at_most=1.5)
    yield Verdict("storm, http live: reloads", _value(rows, "reloads", contender="lictor http live"), at_most=0)


def _measuring(parts: Parts) -> Iterator[Verdict]:
    """Judge the ways by Lua. The figures of the log are only told."""
    for way in (each for each in measuring.WAYS if each.has_lua):
        for what, least in ((measuring.MEASURED, 0.98), (measuring.BESIDE, 0.99)):
            yield Verdict(f"{way.name}: throughput of a service {what}, of that without counting",
                          _value(parts["measuring"], "throughput", way=way.name, service=what), at_least=least)


def _throughput(parts: Parts) -> Iterator[Verdict]:
    rows = parts["throughput"]
    bounds = (("requests_per_s", "throughput", {"at_least": 0.95}), ("p99_ms", "p99", {"at_most": 1.1}))
    for way, (key, text, bound) in itertools.product(("http live", "http reload"), bounds):
        yield Verdict(f"{way}: {text} of plain nginx's", _ratio(
            _value(rows, key, contender=f"lictor {way}"), _value(rows, key, contender="plain nginx")), **bound)


def _churn(parts: Parts) -> Iterator[Verdict]:
    for way in ("http live", "http reload"):
        yield Verdict(f"{way}: failed requests at 50 changes a second",
                      _value(parts["churn"], "failed", contender=f"lictor {way}"), at_most=0)
    yield Verdict("http live: kept-alive connections that ended", _value(
        parts["churn"], "cut", contender="lictor http live"), at_most=0)


def _releases(parts: Parts) -> Iterator[Verdict]:
    for row in parts["releases"]:
        yield Verdict(f"{row['strategy']} in mode {row['mode']}: failed requests", row["failed"], at_most=0)


def _resident(parts: Parts) -> Iterator[Verdict]:
    one, many = (parts["resident"] or [{}, {}])[:2]
    yield Verdict("resident memory, MB", many.get("before_mb"), at_most=40)
    yield Verdict("resident memory after the events of before", _ratio(many.get("after_mb"), many.get("before_mb")),
                  at_most=1.05)
    yield Verdict("http door: an unchanged event with many services of one with one",
                  _ratio(many.get("unchanged_ms"), one.get("unchanged_ms")), at_most=1.1)


def _events(parts: Parts) -> Iterator[Verdict]:
    texts = {"unchanged": "script door: an unchanged event of import json",
             "changed": "script door: a changed event without nginx's own time of import json, jinja2",
             "unchanged_of_1000": "script door: an unchanged event with 1000 services of one with one"}
    for key, limit in events.LIMITS.items():
        yield Verdict(texts[key], _value(parts["events"], "ratio", what=key), at_most=limit)


def _scale(parts: Parts) -> Iterator[Verdict]:
    for row in parts["scale"]:
        yield Verdict(f"{row['services']} routed services: CPU seconds of an idle {row['what']}", row["cpu_s"],
                      at_most=scale.LIMITS[row["services"]][row["what"]])


def _sweep(parts: Parts) -> Iterator[Verdict]:
    for key, limit in sweeps.LIMITS.items():
        yield Verdict(f"idle sweep: {key}", _value(parts["sweep"], key), at_most=limit)


def _page(parts: Parts) -> Iterator[Verdict]:
    for key, limit in pages.LIMITS.items():
        yield Verdict(f"page: {key}", _value(parts["page"], key), at_most=limit)


def _waiting(parts: Parts) -> Iterator[Verdict]:
    texts = {"memory_mb": "memory, MB", "p99": "p99 of another service, of that without them"}
    for key, limit in waiting.LIMITS.items():
        yield Verdict(f"1000 waiting requests: {texts[key]}", _value(parts["waiting"], key), at_most=limit)


def _peer(rows: Sequence[Row]) -> str:
    """Who was there to be compared with."""
    return next((name for name in _PEERS if _row(rows, contender=name)), _PEERS[0])


def _row(rows: Sequence[Row], **where: str) -> Row | None:
    return next((row for row in rows if all(row.get(key) == value for key, value in where.items())), None)


def _value(rows: Sequence[Row], key: str, *, never: float | None = None, **where: str) -> float | None:
    """`never` is the value of a row that is there and says None."""
    row = _row(rows, **where)
    if row is None:
        return None
    value: float | None = row.get(key)
    return never if value is None else value


def _ratio(value: float | None, of: float | None) -> float | None:
    return value / of if value is not None and of else None
