"""The second stage of the autoscaler's check: a round over the services with `autoscale` for which this node acts."""

import contextlib
import io
import re
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from lictor import errors, model
from lictor.adapters import log
from lictor.adapters.consul import lock
from lictor.adapters.consul.client import Client
from lictor.adapters.consul.lock import PlainWriter, Writer
from lictor.adapters.text import one_line
from lictor.engines.registry import SCHEDULERS
from lictor.events import autoscale, keys_watch, script
from lictor.planner.autoscale.kept import Kept
from lictor.reconcile import observe
from lictor.reconcile.autoscale import look, overview, wish
from lictor.reconcile.autoscale.look import Look
from lictor.reconcile.autoscale.overview import Overview
from lictor.reconcile.context import Context
from lictor.routing.traffic import meter
from lictor.routing.traffic.counts import SLOT_S
from lictor.spec.keys import services_of

STATUSES = ("passing", "warning", "critical")  # by exit code
_SERVICES_AT_ONCE = 4
_TIMEOUT_S = 2.0  # of each answer of Consul
_ROUND_S = 6.0  # Consul ends the check after 15 s
_NEAR_S = 2.5  # so long a round waits for the end of a slot, and so for the newest counts
_OVER_S = 0.1  # after it, nginx counts no more in the slot
_TOLD_S = 1.0  # after it, the other nodes have told theirs too
UNKNOWN = "unknown"  # the line of a round that could not begin
HERE = "nginx here"  # the line of this node's own trouble; no service has a blank in its name
_LATELY_S = 5.0  # a decision of another node is so young that this one need not decide too
_LONGEST_LINE = 500
_LONGEST_NAMES = 200  # of services of which the same is said
_LONGEST_OUTPUT = 3500  # Consul keeps 4 kB, the last ones
_MORE = re.compile(r" and \d+ more$")


class Line(NamedTuple):
    """The outcome for one service."""

    name: str
    status: str
    text: str


class Turn(NamedTuple):
    """A service's line, and the look of which only the memory is to be written still; None: nothing is."""

    line: Line
    look: Look | None = None


def answer(call: script.Call) -> int:
    """Scale what this node acts for, and print a line a service, the worst first; returns the check's status.

    Consul shows stderr too, so that lines of the log go to its file only.
    """
    time.sleep(rest_s(time.time(), _OVER_S + meter.behind_s(call.settings)))
    with contextlib.redirect_stderr(io.StringIO()):
        text, status = _answer(call, time.monotonic() + _ROUND_S)
    print(text)
    return status


def _answer(call: script.Call, until_s: float) -> tuple[str, int]:
    names = autoscale.read_names(call.settings.state_dir)
    try:
        client = Client.connect(token_file=call.token_file, timeout_s=_TIMEOUT_S)
        context = Context(call.settings, client, client.agent().name)
        troubles = [*_tell_traffic(context)]
        time.sleep(rest_s(time.time(), _TOLD_S))
        lines = [*troubles, *run(context, _read_names(context) if names is None else names, until_s)]
    except errors.LictorError as error:
        return f"{UNKNOWN}: {one_line(str(error))}", STATUSES.index("warning")
    return describe(lines), max((STATUSES.index(each.status) for each in lines), default=0)


def run(context: Context, names: Collection[str], until_s: float) -> list[Line]:
    """Decide for each service that is this node's until that time (monotonic), and carry it out; each one's failure is
    its own."""
    found = overview.read(context, names)
    with ThreadPoolExecutor(max_workers=_SERVICES_AT_ONCE) as pool:
        turns = list(pool.map(lambda name: _contained(context, found, name, until_s), found.turns))
    unwritten = wish.remember(context, [turn.look for turn in turns if turn.look])
    return [*(Line(name, "warning", why) for name, why in found.broken.items()),
            *(_with_failure(turn.line, unwritten) for turn in turns)]


def rest_s(now: float, after_s: float) -> float:
    """Give the time until so long after the end of a slot; 0.0 if that is not near.

    A round that ends just before a slot does would know of a step up ten seconds later. The agent begins the next
    round some seconds after the end of this one, so that once in step with the slots it stays so.
    """
    left_s = (after_s - now) % SLOT_S
    return left_s if left_s <= _NEAR_S else 0.0


def describe(lines: Iterable[Line]) -> str:
    """Make the output, as long as Consul keeps it; services of which the same is said share a line."""
    shared: dict[tuple[int, str], list[str]] = {}
    for each in sorted(lines, key=lambda each: (-STATUSES.index(each.status), each.name)):
        shared.setdefault((STATUSES.index(each.status), each.text), []).append(each.name)
    if not shared:
        return f"{autoscale.NOBODY} for which this node acts"
    shown, size, left = list[str](), 0, Counter[str]()
    for (status, text), names in shared.items():
        line = one_line(f"{_join(names)}: {text}")[:_LONGEST_LINE]
        size += len(line.encode()) + 1
        if size > _LONGEST_OUTPUT:
            left[STATUSES[status]] += len(names)
        else:
            shown.append(line)
    more = ", ".join(f"{left[status]} {status}" for status in reversed(STATUSES) if left[status])
    return "\n".join([*shown, *([f"and {more}"] if more else [])])


def _join(names: list[str]) -> str:
    """Name the services, as many as fit into a line."""
    shown, size = list[str](), 0
    for name in names:
        size += len(name) + 2
        if shown and size > _LONGEST_NAMES:
            return f"{', '.join(shown)} and {len(names) - len(shown)} more"
        shown.append(name)
    return ", ".join(shown)


def is_answer(output: str) -> bool:
    """Decide whether an output of the check is a round's, and the node had no trouble of its own."""
    heads = [line.partition(": ")[0] for line in output.splitlines() if ": " in line]
    names = [name for head in heads for name in _MORE.sub("", head).split(", ")]
    is_round = bool(names) or output.startswith(autoscale.NOBODY)
    return is_round and all(model.is_name(name) and name != UNKNOWN for name in names)


def _tell_traffic(context: Context) -> Iterator[Line]:
    """Tell what this node's nginx counted, so that no round waits for the next sweep; yields the line of a failure."""
    try:
        meter.tell(context.client, context.settings, context.node, time.time())
    except (errors.LictorError, OSError) as error:
        log.event("traffic", outcome="failed", reason=error)
        yield Line(HERE, "warning", f"its counts are not told. {error}")


def _read_names(context: Context) -> list[str]:
    keys = keys_watch.read_keys(context.client, context.settings.prefix)
    return sorted(services_of(keys, context.settings.prefix))


def _contained(context: Context, found: Overview, name: str, until_s: float) -> Turn:
    if time.monotonic() > until_s:
        return Turn(Line(name, "warning", f"not looked at: the round has taken {_ROUND_S:g} s. The next one begins "
                                          "with what was left out"))
    try:
        return _decide(context, found, name)
    except errors.Conflict as error:
        return Turn(Line(name, "warning", f"not decided: {error}"))
    except errors.Unavailable as error:
        return Turn(Line(name, "warning", f"{UNKNOWN}: {error}"))
    except Exception as error:  # a value that no rule foresees is the trouble of its own service
        log.event(look.KIND, service=name, outcome="failed", reason=f"{error!r:.300}")
        return Turn(Line(name, "warning", observe.explain_broken(error)))


def _decide(context: Context, found: Overview, name: str) -> Turn:
    """Decide for one service; a wish is carried out at once."""
    is_shared = found.observations[name].spec.engine in SCHEDULERS
    other = _decided_lately(context, found.kept[name][0]) if is_shared else ""
    if other:
        return Turn(Line(name, "passing", f"{other} decides on it"))
    seen = found.look(context, name)
    if seen.decision.wish is None:
        return Turn(Line(name, seen.decision.status, seen.decision.reason), seen)
    if not is_shared:
        return Turn(_act(context, name, PlainWriter(context.client)))
    with lock.held(context.client, f"{look.KIND}:{name}", node=context.node) as writer:
        return Turn(_act(context, name, writer) if writer else Line(name, "passing", "another node decides on it"))


def _decided_lately(context: Context, kept: Kept) -> str:
    """Name another node that has decided just now; usually ""."""
    age_s = time.time() - kept.at
    return kept.node if kept.node != context.node and 0 <= age_s < _LATELY_S else ""


def _act(context: Context, name: str, writer: Writer) -> Line:
    """Look at the service afresh, and carry out what is decided then."""
    found = look.look(context, name)
    came_between = wish.carry_out(context, writer, found)
    return Line(name, found.decision.status, found.decision.reason + came_between)


def _with_failure(line: Line, unwritten: Mapping[str, errors.LictorError]) -> Line:
    """Say that the memory of a service could not be written; a write that came first is no failure."""
    error = unwritten.get(line.name)
    if error is None:
        return line
    if isinstance(error, errors.Conflict):
        return line._replace(text=line.text + wish.CAME_BETWEEN)
    status = STATUSES[max(STATUSES.index(line.status), STATUSES.index("warning"))]
    return line._replace(status=status, text=f"{line.text}. Not remembered: {error}")
