"""The autoscaler's act: the wish becomes the desired count by compare-and-set, with its record before and after."""

import time
from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from lictor import errors
from lictor.adapters import log
from lictor.adapters.consul import transactions
from lictor.adapters.consul.client import Client
from lictor.adapters.consul.lock import Writer
from lictor.planner.autoscale import kept as keeping
from lictor.planner.autoscale import record
from lictor.reconcile import history
from lictor.reconcile.autoscale.look import KIND, Look
from lictor.reconcile.context import Context
from lictor.routing import announce

CAME_BETWEEN = ". Not written: another write came first"


def remember(context: Context, looks: Iterable[Look]) -> dict[str, errors.LictorError]:
    """Write what is remembered of services without a wish, many keys at once; returns the failures by service."""
    found = {f"{keeping.KEY_PREFIX}{each.name}": each for each in looks}
    failures = dict[str, errors.LictorError]()
    for batch in announce.batches({key: keeping.encode(each.kept) for key, each in found.items()}):
        failures |= _remember(context.client, batch, {key: each.kept_index for key, each in found.items()})
    return failures


def _remember(client: Client, batch: Sequence[tuple[str, bytes]],
              indexes: Mapping[str, int]) -> dict[str, errors.LictorError]:
    """Write a batch; if one of its keys cannot be written, the others are written by themselves."""
    try:
        client.commit([transactions.cas(key, value, indexes[key]) for key, value in batch])
    except errors.LictorError as error:
        if len(batch) > 1 and isinstance(error, errors.Refused | errors.Conflict):
            return {name: failure for each in batch for name, failure in _remember(client, [each], indexes).items()}
        return {key.removeprefix(keeping.KEY_PREFIX): error for key, _ in batch}
    return {}


def carry_out(context: Context, writer: Writer, look: Look) -> str:
    """Write the wish, or only what is remembered; returns what came in between, to be put behind the reason."""
    key = keeping.KEY_PREFIX + look.name
    try:
        if look.decision.wish is not None:
            _write(context, writer, look, look.decision.wish)
        else:
            writer.put(key, keeping.encode(look.kept), look.kept_index)
    except errors.Conflict as error:  # a person or another node was first: the next round decides upon that
        log.event(KIND, service=look.name, outcome="again", reason=error)
        return CAME_BETWEEN
    return ""


def _write(context: Context, writer: Writer, look: Look, wish: int) -> None:
    """Write the count together with what is kept: their common index tells the next round whose the count is."""
    began, before = time.monotonic(), look.seen.replicas
    begun = history.intend(context.client, writer, look.name, {
        "node": context.node, "kind": KIND, "container": "", "reason": look.decision.reason, "from": before,
        "to": wish, "seen": _describe(look), "autoscale": record.pack(look.seen, look.rules, look.memory)})
    outcome, detail = "failed", "the process broke off"
    try:
        kept = replace(look.kept, is_with_wish=True)
        writer.commit([
            transactions.cas(f"{context.settings.prefix}{look.name}/replicas", str(wish), look.count_index),
            transactions.cas(keeping.KEY_PREFIX + look.name, keeping.encode(kept), look.kept_index)])
        outcome, detail = "done", ""
    except errors.LictorError as error:
        detail = str(error)
        raise
    finally:
        ms = round((time.monotonic() - began) * 1000)
        log.event(KIND, service=look.name, outcome=outcome, detail=detail or None, ms=ms, reason=look.decision.reason,
                  **{"from": before, "to": wish})
        try:
            history.finish(writer, begun, {"outcome": outcome, "ms": ms, "detail": detail[:1000]})
        except errors.LictorError as error:  # the lock was lost, say: whether the count was written stands already
            log.event(KIND, service=look.name, outcome="not recorded", reason=error)


def _describe(look: Look) -> str:
    known = look.memory.capacity
    held = f"an instance held the target at {known.held.rate:.1f} requests/s" if known.held.rate else (
        "no load is known at which the target held")
    return held + (f", and broke it at {known.broke.rate:.1f}" if known.broke_at else "")
