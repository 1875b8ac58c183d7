"""The second stage of the autoscaler's check: a round over the services with `autoscale` for which this node acts."""

import contextlib
import io
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from lictor import errors
from lictor.adapters import log
from lictor.adapters.consul import lock
from lictor.adapters.consul.client import Client
from lictor.adapters.consul.lock import PlainWriter, Writer
from lictor.adapters.text import one_line
from lictor.engines.registry import SCHEDULERS
from lictor.events import autoscale, keys_watch, script
from lictor.planner.autoscale.seen import rules_of
from lictor.planner.desired import Desired
from lictor.reconcile import observe, responsibility
from lictor.reconcile.autoscale import look, wish
from lictor.reconcile.context import Context
from lictor.routing.traffic import meter
from lictor.spec.keys import services_of

STATUSES = ("passing", "warning", "critical")  # by exit code
_SERVICES_AT_ONCE = 4
_TIMEOUT_S = 2.0  # of each answer of Consul
_ROUND_S = 6.0  # Consul ends the check after 10 s
_LATELY_S = 5.0  # a decision of another node is so young that this one need not decide too
_LONGEST_LINE = 500
_LONGEST_OUTPUT = 3500  # Consul keeps 4 kB, the last ones


class Line(NamedTuple):
    """The outcome for one service."""

    name: str
    status: str
    text: str


def answer(call: script.Call) -> int:
    """Scale what this node acts for, and print a line a service, the worst first; returns the check's status.

    Consul shows stderr too, so that lines of the log go to its file only.
    """
    with contextlib.redirect_stderr(io.StringIO()):
        text, status = _answer(call)
    print(text)
    return status


def _answer(call: script.Call) -> tuple[str, int]:
    names = autoscale.read_names(call.settings.state_dir)
    try:
        client = Client.connect(token_file=call.token_file, timeout_s=_TIMEOUT_S)
        context = Context(call.settings, client, client.agent().name)
        _tell_traffic(context)
        lines = run(context, _read_names(context) if names is None else names)
    except errors.LictorError as error:
        return f"unknown: {one_line(str(error))}", STATUSES.index("warning")
    return describe(lines), max((STATUSES.index(each.status) for each in lines), default=0)


def run(context: Context, names: Iterable[str]) -> list[Line]:
    """Decide for each service that is this node's, and carry it out; each one's failure is its own."""
    until_s = time.monotonic() + _ROUND_S
    with ThreadPoolExecutor(max_workers=_SERVICES_AT_ONCE) as pool:
        found = pool.map(lambda name: _contained(context, name, until_s), names)
    return [each for each in found if each]


def describe(lines: Iterable[Line]) -> str:
    """Make the output, as long as Consul keeps it."""
    ordered = sorted(lines, key=lambda each: (-STATUSES.index(each.status), each.name))
    if not ordered:
        return f"{autoscale.NOBODY} for which this node acts"
    shown, size = list[str](), 0
    for each in ordered:
        text = one_line(f"{each.name}: {each.text}")[:_LONGEST_LINE]
        size += len(text.encode()) + 1
        if size > _LONGEST_OUTPUT:
            break
        shown.append(text)
    left = Counter(each.status for each in ordered[len(shown):])
    more = ", ".join(f"{left[status]} {status}" for status in reversed(STATUSES) if left[status])
    return "\n".join([*shown, *([f"and {more}"] if more else [])])


def _tell_traffic(context: Context) -> None:
    """Tell what this node's nginx counted, so that no round waits for the next sweep; a failure is told by that."""
    try:
        meter.tell(context.client, context.settings, context.node, time.time())
    except (errors.LictorError, OSError) as error:
        log.event("traffic", outcome="failed", reason=error)


def _read_names(context: Context) -> list[str]:
    keys = keys_watch.read_keys(context.client, context.settings.prefix)
    return sorted(services_of(keys, context.settings.prefix))


def _contained(context: Context, name: str, until_s: float) -> Line | None:
    if time.monotonic() > until_s:
        return Line(name, "warning", f"not looked at: the others took {_ROUND_S:g} s. The next round may")
    try:
        return _decide(context, name)
    except errors.Conflict as error:
        return Line(name, "warning", f"not decided: {error}")
    except Exception as error:  # a value that no rule foresees is the trouble of its own service
        log.event(look.KIND, service=name, outcome="failed", reason=f"{error!r:.300}")
        return Line(name, "warning", observe.explain_broken(error))


def _decide(context: Context, name: str) -> Line | None:
    """Decide for one service; None: it has no `autoscale`, or another node acts."""
    desired = look.read_desired(context, name)
    if desired.removed or rules_of(desired.spec) is None or not responsibility.acts_here(context, desired):
        return None
    if not _is_shared(desired):
        return _act(context, name, PlainWriter(context.client))
    other = _decided_lately(context, name)
    if other:
        return Line(name, "passing", f"{other} decides on it")
    with lock.held(context.client, f"{look.KIND}:{name}", node=context.node) as writer:
        return _act(context, name, writer) if writer else Line(name, "passing", "another node decides on it")


def _is_shared(desired: Desired) -> bool:
    return desired.spec is not None and desired.spec.engine in SCHEDULERS


def _decided_lately(context: Context, name: str) -> str:
    """Name another node that has decided just now; usually ""."""
    kept, _ = look.read_kept(context, name)
    age_s = time.time() - kept.at
    return kept.node if kept.node != context.node and 0 <= age_s < _LATELY_S else ""


def _act(context: Context, name: str, writer: Writer) -> Line:
    found = look.look(context, name)
    came_between = wish.carry_out(context, writer, found)
    return Line(name, found.decision.status, found.decision.reason + came_between)
