"""The verb autoscale: what is known of a service's load and response times, and recordings of them."""

import json
import os
import time
from typing import Any

import click
import msgspec

from lictor import errors
from lictor.adapters.text import format_time, one_line, printable
from lictor.cli.session import Session
from lictor.planner.autoscale import backtest
from lictor.planner.autoscale.capacity import Load
from lictor.planner.autoscale.kept import Kept
from lictor.planner.autoscale.seen import Rules, rules_of
from lictor.planner.autoscale.traffic import SLICE_S, Slice
from lictor.planner.autoscale.words import minutes
from lictor.planner.desired import Desired
from lictor.reconcile import responsibility
from lictor.reconcile.autoscale import look, node_traffic
from lictor.reconcile.context import Context
from lictor.reconcile.state_store import StateStore
from lictor.reconcile.status import autoscale_report, status_report
from lictor.spec.check import SHARES
from lictor.spec.quantities import parse_duration

_SHOWN_WISHES = 5
_POLL_S = SLICE_S / 2


@click.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="For programs: one object.")
@click.option("--record", "path", metavar="FILE", help="Append what nginx counts to FILE, until interrupted.")
@click.option("--backtest", "recorded", type=click.File(encoding="utf-8"), metavar="FILE|-",
              help="Decide upon recorded traffic: how many instances would it have taken?")
@click.option("--p50", metavar="TIME", help="With --backtest: this target in the place of the spec's.")
@click.option("--p95", metavar="TIME", help="As --p50.")
@click.option("--p99", metavar="TIME", help="As --p50.")
@click.pass_obj
def autoscale(session: Session, /, name: str, as_json: bool, path: str | None, recorded: Any,
              **targets: str | None) -> None:
    """Show what the autoscaler knows of a service, and what it would do now.

    It prints the load at which the target held and broke, and the last wishes. A wish is written by Consul's check
    lictor-autoscale, never by this command. A node that does not act for the service shows what was decided last.

    With --record each 10 s become one line of JSON: the count, and the answers of all nodes by response time.

    \b
      lictor autoscale books-service --record tuesday.jsonl
      lictor autoscale books-service --backtest tuesday.jsonl --p95 300ms
    """
    if path and (as_json or recorded):
        raise click.UsageError("--record goes with neither --json nor --backtest")
    given = {key: text for key, text in targets.items() if text is not None}
    if len(given) > (1 if recorded else 0):
        raise click.UsageError("one of --p50, --p95 and --p99 goes with --backtest")
    context = session.context
    if path:
        _record(context, name, path)
        return
    if recorded:
        _backtest(context, name, recorded, given, as_json)
        return
    known = read(context, name)
    if as_json:
        click.echo(json.dumps(known, indent=2))
        return
    for line in _describe(known):
        click.echo(printable(line))
    for record in known["wishes"][-_SHOWN_WISHES:]:
        click.echo(status_report.describe_record(record))


def read(context: Context, name: str) -> dict[str, Any]:
    """Read what is known: decided (the last decision), rules, memory, wishes; and now, if this node acts."""
    desired = look.read_desired(context, name)
    rules = _require_rules(name, desired)
    if desired.removed:
        raise errors.Refused(f"{name}: is removed, so that nothing is decided on its count")
    kept, _ = look.read_kept(context, name)
    now = None
    if responsibility.acts_here(context, desired):
        decision = look.look(context, name).decision
        now = {"wish": decision.wish, "status": decision.status, "reason": decision.reason}
    return {"service": name, "rules": rules._asdict(), "now": now,
            "decided": {"at": kept.at, "node": kept.node, "status": kept.status, "reason": kept.reason},
            "memory": msgspec.to_builtins(kept, str_keys=True), "wishes": look.read_wishes(context, name)}


def _require_rules(name: str, desired: Desired) -> Rules:
    rules = rules_of(desired.spec)
    if rules is None and desired.spec is None and not desired.table:
        raise errors.Refused(f"there is no service {name[:100]!r}, or its spec is refused; `lictor status` lists them")
    if rules is None:
        raise errors.Refused(f"{name[:100]}: has no autoscale in its spec, such as autoscale: {{p95: 250ms}}; "
                             "`lictor status` lists the services")
    return rules


def _describe(known: dict[str, Any]) -> list[str]:
    kept, rules = msgspec.convert(known["memory"], Kept, strict=False), Rules(**known["rules"])
    now, last = known["now"], known["decided"]
    age_s, silence = max(time.time() - last["at"], 0.0), autoscale_report.describe_silence(kept)
    decided = f"{last['node']} decided last, {minutes(age_s)} ago" if last["node"] else "no node has decided yet"
    said = now["reason"] if now else f"unknown. The last word was: {last['reason']}" if silence else last["reason"]
    return [
        f"{known['service']}: {one_line(said)}",
        *([f"  nobody decides: {silence}"] if silence else []),
        f"  target: p{rules.share * 100:g} within {rules.target_s * 1000:.0f} ms, {rules.least} to {rules.most} "
        f"instances; down after {rules.down_after_s / 60:g} min",
        f"  held: {_load(kept.capacity.held)}",
        f"  broke: {_load(kept.capacity.broke)}" + (
            f", on {format_time(kept.capacity.broke_at)}" if kept.capacity.broke_at else ""),
        f"  {decided}" + ("" if now else f"; this node, which does not act for it, shows that: {last['status']}"
                          if last["node"] else ""),
        f"  wishes: {len(known['wishes'])} on record" if known["wishes"] else "  wishes: none on record"]


def _load(load: Load) -> str:
    return f"at {load.rate:.1f} requests/s and {load.in_progress:.1f} in progress, each instance" if load.rate else (
        "at no load that is known")


def _record(context: Context, name: str, path: str) -> None:
    """Append each slice once, as soon as all nodes have written it."""
    _require_rules(name, look.read_desired(context, name))
    last, lines = time.time() - SLICE_S, 0
    click.echo(f"recording {name} to {path} until interrupted", err=True)
    try:
        while True:
            for line, at in _lines(context, name, last):
                _append(path, line)
                lines, last = lines + 1, at
            time.sleep(_POLL_S)
    except KeyboardInterrupt:
        click.echo(f"{lines} lines recorded", err=True)


def _lines(context: Context, name: str, after: float) -> list[tuple[str, float]]:
    try:
        desired = look.read_desired(context, name)
        release = look.live_release(StateStore(context.client).read(name).state, desired)
        slices = node_traffic.read_windows(context, name, time.time()).slices
    except errors.Unavailable as error:  # the next try may get it
        click.echo(f"lictor: {one_line(str(error))}", err=True)
        return []
    return [(_line(desired, release, each), each.at) for each in slices if each.at > after]


def _line(desired: Desired, release: str, each: Slice) -> str:
    line = backtest.Recorded(each, desired.replicas, release)
    return json.dumps({"service": desired.name, **msgspec.to_builtins(line, str_keys=True)}) + "\n"


def _backtest(context: Context, name: str, recorded: Any, targets: dict[str, str], as_json: bool) -> None:
    rules = _require_rules(name, look.read_desired(context, name))
    for key, text in targets.items():
        try:
            rules = rules._replace(target_s=float(parse_duration(text)), share=SHARES[key])
        except ValueError as error:
            raise click.UsageError(f"--{key}: {error}") from error
    try:
        found = backtest.run(backtest.parse(recorded, recorded.name), rules)
    except OSError as error:
        raise errors.Refused(f"{recorded.name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise errors.Refused(f"{recorded.name}: is no text in UTF-8") from error
    if as_json:
        click.echo(json.dumps({**found.summary._asdict(), "counts": found.counts}, indent=2))
    else:
        click.echo(f"{name}: {backtest.describe(found.summary, rules)}")


def _append(path: str, line: str) -> None:
    """Append a line as a whole, so that two recorders never mix theirs."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)
