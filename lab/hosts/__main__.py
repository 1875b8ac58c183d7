"""Three hosts on one machine, each with its own address, Consul agent, Docker engine, nginx and lictor; joined into
one Consul and one Swarm. Take one's power away, or its network, and watch the others."""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time

from lictor import errors

from lab.hosts import demo as hosts_demo
from lab.hosts import status
from lab.hosts.host import Host
from lab.hosts.lab import Lab, NoLab

_FOLDER = "/tmp/lictor-lab"
_EPILOG = """
a first walk:
  lab up
  lab shell host-1 docker node ls
  lab shell host-1 lictor apply books.yml
  lab kill host-3; lab status; lab heal host-3
  lab cut leader; lab status; lab heal host-1
  lab down

HOST is host-1, host-2, host-3 (10.213.7.11, .12, .13), or leader: whichever leads Consul just now.

Each host has network, process, mount and name spaces of its own; no packet leaves them, and nothing of the machine's
own network or firewall is changed. To reach the services, ask from one of them: lab shell host-2 curl host-1/api/...
Several labs live side by side in folders of their own. It needs root.

exit code: 0 done (status: all is well); 1 it failed (status: not all is well); 2 usage.
"""


def main(argv: list[str] | None = None) -> int:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except (NoLab, KeyError) as error:
        print(f"lab: {error.args[0]}", file=sys.stderr)
        return 1
    except (AssertionError, OSError, subprocess.SubprocessError, errors.LictorError) as error:
        print(*getattr(error, "__notes__", []), f"lab: {error}", sep="\n", file=sys.stderr)
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    options = argparse.ArgumentParser(prog="lab", description=__doc__, epilog=_EPILOG, formatter_class=form)
    options.add_argument("--folder", default=_FOLDER, help=f"where all of the lab is kept: {_FOLDER}")
    commands = options.add_subparsers(title="commands", required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="bring three hosts up, with books-service:1.0 on each engine")
    up.add_argument("--servers", type=int, choices=(1, 3), default=3, help="Consul servers; the others are clients: 3")
    up.add_argument("--managers", type=int, choices=(1, 2, 3), default=3, help="Swarm managers: 3")
    up.add_argument("--memory", type=_sizes, default=(), metavar="MIB,MIB,MIB",
                    help="what each engine takes its host's memory to be; without it, the machine's")
    up.set_defaults(run=_up)

    commands.add_parser("down", help="take all of it down, also what a crash left").set_defaults(run=_down)
    helps = {
        "kill": (_kill, "power cut: all that runs there dies at once, containers too, and its link is down"),
        "cut": (_cut, "partition: all on it runs on, and no packet gets in or out"),
        "heal": (_heal, "end a cut; or boot it again, after a kill"),
    }
    for name, (run, text) in helps.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("host", metavar="HOST")
        command.set_defaults(run=run)

    show = commands.add_parser("status", help="how each host is, as it sees itself")
    show.add_argument("--json", action="store_true", help="as a list of objects")
    show.set_defaults(run=_status)

    shell = commands.add_parser("shell", help="run a command on a host: its consul, docker and lictor are set")
    shell.add_argument("host", metavar="HOST")
    shell.add_argument("command", nargs=argparse.REMAINDER, metavar="CMD", help="bash, if none is given")
    shell.set_defaults(run=_shell)

    demo = commands.add_parser(
        "demo", help="show it, in a lab of its own: a service, faults, and what nginx answers meanwhile",
    )
    demo.add_argument("--json", metavar="FILE", help="write the summary there as well")
    demo.set_defaults(run=lambda given: hosts_demo.run(given.folder, given.json))
    return options


def _up(given: argparse.Namespace) -> int:
    began = time.monotonic()
    lab = Lab(given.folder, servers=given.servers, managers=given.managers, memory_mib=given.memory)
    lab.up(lambda text: print(f"[{time.monotonic() - began:5.1f} s] {text}", flush=True))
    print(status.table(status.read(lab)))
    return 0


def _down(given: argparse.Namespace) -> int:
    with contextlib.suppress(NoLab):
        Lab.find(given.folder).down()
    print(f"there is no lab in {given.folder} any more")
    return 0


def _kill(given: argparse.Namespace) -> int:
    lab, host = _host(given)
    lab.kill(host)
    print(f"{host.name} has lost its power")
    return 0


def _cut(given: argparse.Namespace) -> int:
    lab, host = _host(given)
    if not host.is_running:
        raise NoLab(f"{host.name} was killed; there is nothing to cut")
    lab.cut(host)
    print(f"{host.name} is cut off")
    return 0


def _heal(given: argparse.Namespace) -> int:
    lab, host = _host(given)
    lab.heal(host)
    print(f"{host.name} is up")
    return 0


def _status(given: argparse.Namespace) -> int:
    rows = status.read(Lab.find(given.folder))
    print(json.dumps([each._asdict() for each in rows], indent=2) if given.json else status.table(rows))
    return 0 if all(each.is_well(len(rows)) for each in rows) else 1


def _shell(given: argparse.Namespace) -> int:
    _, host = _host(given)
    path = f"{os.path.join(sys.prefix, 'bin')}:{os.environ.get('PATH', os.defpath)}"
    argv = host.command(given.command or ["bash", "--norc"])
    os.execvpe(argv[0], argv, {**os.environ, **host.environ, "PATH": path, "PS1": f"{host.name}:\\w# "})


def _host(given: argparse.Namespace) -> tuple[Lab, Host]:
    lab = Lab.find(given.folder)
    if given.host != "leader":
        return lab, lab[given.host]
    leader = lab.leader()
    if leader is None:
        raise NoLab("Consul has no leader just now")
    return lab, leader


def _sizes(text: str) -> list[int]:
    sizes = [int(each) for each in text.split(",")]
    if len(sizes) != 3 or min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: three numbers of MiB, one a host")
    return sizes


if __name__ == "__main__":
    raise SystemExit(main())
