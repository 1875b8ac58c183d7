"""A real Consul (server and client agent), nginx, Docker and lictor, three services of three instances under a steady
load, and a random fault every few seconds. At the end everything must be as it should be, and every failed request and
every container that was removed must be accounted for; otherwise the exit code is 1."""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from lab.chaos import report, verdict, watch
from lab.chaos.faults import FAULTS, Mischief
from lab.chaos.watch import Watch
from lab.chaos.world import FLEET_BUDGET, SERVICE_BUDGET, SERVICES, WANTED, World

_BETWEEN_S = (2.0, 6.0)
_SETTLE_S = 420.0
_EPILOG = """
faults: a container is killed, stopped, paused (2 to 5 s, or 20 to 40 s), or its health is broken; an impostor runs,
whose image says that it is another container; a handler is killed at work; the agent, Docker (its containers live on)
and nginx are killed and started again; nginx refuses any change; Consul's server is frozen; the handlers' clock is set
2 h forward or 3 h back; the disk of the state folder is full; keys hold bad input or are deleted; what lictor remembers
of a service is damaged; 50 registrations of garbage; the node's tokens lose their rights, or the handlers' is replaced.
Each one is undone after some seconds, but for the impostor and the new token, which stay; one that cannot be done is
reported as not done.

how it goes: each fault happens once before any happens again, in an order that the seed decides, as it decides the
pauses between them and what each one does. Faults overlap. Only containers are hurt that another one can stand in for,
and health is broken only where no other one of the service is hurt: lictor would rightly suspect its own eyes. After
the last fault everything has seven minutes to come to rest: a number that was killed often backs off for up to five.

what must hold at the end: each service at its count, passing, and served by nginx; nothing doubled; no lock, session,
temporary file or maintenance is left; `lictor plan` finds nothing to do. And over the whole time: no container was
ended that we had not harmed, unless it was surplus, and none while it was paused; no traffic went where no instance
ever was; no request failed but those that ran in a container at the moment when it was killed by force, as nginx's log
and Docker's events prove, those that were sent to one until 5 s after it was paused (if nginx refused changes then,
until 20 s after that), and those that found nginx itself dead by our hand. Resets of idle kept-alive connections are
counted apart.

exit code: 0 all is well; 1 a violation, or a failed request that nothing explains; 2 usage.

several at once: in network namespaces of their own they do not see each other (the loopback interface is brought up):
  unshare -n scripts/chaos --minutes 5 --seed 1 & unshare -n scripts/chaos --minutes 5 --seed 2 & wait

It needs root, and leaves nothing behind: no process, mount, bridge or folder, after SIGTERM and Ctrl-C neither.
"""


def main(argv: list[str] | None = None) -> int:
    arguments = _arguments(argv)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    began, lock = time.monotonic(), threading.Lock()

    def say(text: str) -> None:
        with lock:
            print(f"[{time.monotonic() - began:6.1f} s] {text}", flush=True)

    folder = tempfile.mkdtemp(prefix="lictor-chaos-")
    world = World(folder)
    try:
        found = _run(world, arguments, say)
        report.tell(found)
        if arguments.json:
            with open(arguments.json, "w", encoding="utf-8") as file:
                json.dump(found, file, indent=2)
        if found["violations"] and arguments.keep_logs:
            report.keep(world, found, arguments.keep_logs)
        return 1 if found["violations"] else 0
    except AssertionError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        if arguments.keep_logs:
            report.keep(world, {"violations": [str(error)]}, arguments.keep_logs)
        return 1
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):  # it is ending already
            signal.signal(number, signal.SIG_IGN)
        world.close()
        shutil.rmtree(folder, ignore_errors=True)


def _run(world: World, arguments: argparse.Namespace, say: Any) -> dict[str, Any]:
    """Start, hurt, settle; returns everything that came of it."""
    say(f"seed {arguments.seed}: Docker, Consul's server and agent, nginx and lictor come up ...")
    world.start()
    say(f"{len(SERVICES)} services of {WANTED} are served; budget of each: {SERVICE_BUDGET['budget']} in "
        f"{SERVICE_BUDGET['per']} (grace {SERVICE_BUDGET['grace']}), of all: {FLEET_BUDGET['budget']} in "
        f"{FLEET_BUDGET['per']}; faults for {arguments.minutes:g} min")
    mischief = Mischief(world, say)
    with Watch(world, say) as watching:
        ending_at = time.monotonic() + 60 * arguments.minutes
        try:
            for kind, seed, pause_s in schedule(random.Random(arguments.seed)):
                if time.monotonic() > ending_at:
                    break
                mischief.begin(kind, seed)
                time.sleep(pause_s)
        finally:
            mischief.end()
        say("no more faults; it comes to rest ...")
        rested_s = time.monotonic()
        end = settle(lambda: watch.judge(world), mischief, watching, rested_s + _SETTLE_S)
        say(f"at rest after {time.monotonic() - rested_s:.0f} s")
        return report.judge(world, mischief, watching, end, seed=arguments.seed)


def schedule(chance: random.Random) -> Iterator[tuple[str, int, float]]:
    """Kind, seed, and the pause after it; without an end."""
    while True:
        for kind in chance.sample(sorted(FAULTS), len(FAULTS)):
            yield kind, chance.randrange(2**32), chance.uniform(*_BETWEEN_S)


def settle(judge: Callable[[], list[str]], mischief: Mischief, watching: Watch, deadline: float) -> list[str]:
    """Wait until the end is as it must be, and every fault is repaired; returns what is not so, at the deadline.

    A victim whose trouble nobody has noticed yet seems to be well: without the second condition that would be rest.
    """
    while time.monotonic() < deadline:
        if not watching.trouble and not verdict.unrepaired(mischief.records, watching.samples):
            seen = len(watching.samples)
            left = judge()
            while not left and time.monotonic() < deadline and len(watching.samples) <= seen + 1:
                time.sleep(0.1)
            if not left and not watching.trouble:
                return []
        time.sleep(1)
    return judge()


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    options = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__, epilog=_EPILOG,
                                      formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=_minutes, default=5.0, metavar="M", help="how long there are faults: 5")
    options.add_argument("--seed", type=int, default=1, metavar="N", help="which faults, and in what order: 1")
    options.add_argument("--json", metavar="FILE", help="write the summary there as well")
    options.add_argument("--keep-logs", metavar="FOLDER", help="when it fails, keep all logs and records there")
    arguments = options.parse_args(argv)
    if os.geteuid() != 0:
        options.error("it starts Docker and nginx, and mounts a small disk, so it needs root")
    return arguments


def _minutes(text: str) -> float:
    try:
        if float(text) > 0:
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is no number of minutes above 0")


if __name__ == "__main__":
    raise SystemExit(main())
