"""Lictor under chaos: a real Consul (server and client agent), nginx, Docker and lictor, and a random fault every few
seconds. At the end everything must be as it should be, and nothing may have happened that our faults do not account
for; otherwise the exit code is 1."""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

from lab.chaos.doing import M

_EPILOG = """
without --set: three services of three instances under a steady load. Each failed request and each container that was
removed must be accounted for.

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
temporary file or maintenance is left; `lictor plan` finds nothing to do. And over the whole time: status, plan, why,
the check and doctor, each asked every 10 s, do not contradict each other when asked again; no container was
ended that we had not harmed, unless it was surplus, and none while it was paused; no traffic went where no instance
ever was; no request failed but those that ran in a container at the moment when it was killed by force, as nginx's log
and Docker's events prove, those that were sent to one until 5 s after it was paused (if nginx refused changes then,
until 20 s after that), and those that found nginx itself dead by our hand. Resets of idle kept-alive connections are
counted apart.

with --set: one service with state, a set of etcd of 1, 3 or 5 members, under a client that writes twenty keys a second
and one that reads them back.

faults: the leader or a follower is killed; a member is frozen, paused, or cut off from everybody for 3 to 15 s; its
container is removed, or its container and its volume; a majority is frozen for 8 to 20 s; a handler is killed at work;
another manager with a state folder of its own works at the same set; the agent and Docker are killed and started again;
Consul's server is frozen; the key of the size says 1, 3 or 5; the image is another. A member is only hurt if a majority
is healthy without it, but for the frozen majority and sets of one or two, which come back. A disk is only lost if those
that are left can make up for it.

what must hold, by etcd's, Docker's and the clients' own words, asked twice a second from inside each member's network:
one set, at most one leader in a term, no write taken by a leader after one of a later term took one, all acknowledged
writes in one line of revisions, each read after all of them that were acknowledged before. No change of the voters
after which those healthy before would be no majority. No member is ended by lictor, but to start it anew while a
majority stays. No volume has gone but those that we deleted. At the end the set has its size, image and tags, every
acknowledged key has its value, no lock is left, and `lictor plan` finds nothing to do.

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

    return (_hurt_set if arguments.set else _hurt_services)(arguments, say)


def _hurt_services(arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    from lab.chaos import report, services
    from lab.chaos.world import World

    return _hurt(World, services.run, report.tell, report.keep, arguments, say)


def _hurt_set(arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    from lab.chaos.sets import report, run
    from lab.chaos.sets.world import World

    return _hurt(World, run.run, report.tell, report.keep, arguments, say)


def _hurt(make: Callable[[str], M], run: Callable[..., dict[str, Any]], tell: Callable[[dict[str, Any]], None],
          keep: Callable[[M, dict[str, Any], str], None], arguments: argparse.Namespace,
          say: Callable[[str], None]) -> int:
    """Make a world, run chaos on it, and take it down; returns the exit code."""
    folder = tempfile.mkdtemp(prefix="lictor-chaos-")
    world = make(folder)
    try:
        found = run(world, say, minutes=arguments.minutes, seed=arguments.seed)
        tell(found)
        if arguments.json:
            with open(arguments.json, "w", encoding="utf-8") as file:
                json.dump(found, file, indent=2)
        if found["violations"] and arguments.keep_logs:
            keep(world, found, arguments.keep_logs)
        return 1 if found["violations"] else 0
    except AssertionError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        if arguments.keep_logs:
            keep(world, {"violations": [str(error)]}, arguments.keep_logs)
        return 1
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):  # it is ending already
            signal.signal(number, signal.SIG_IGN)
        world.close()
        shutil.rmtree(folder, ignore_errors=True)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    options = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__, epilog=_EPILOG,
                                      formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--set", action="store_true", help="hurt a service with state, a set of etcd")
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
