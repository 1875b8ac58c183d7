"""A program on a leash: it ends, with all that it started, when the process ends that holds the other end of a pipe.

`process.delegate` runs this file: leash.py DESCRIPTOR PROGRAM [ARGUMENT...], as the leader of a group of processes.
"""

import os
import select
import signal
import sys


def main(descriptor: int, argv: list[str]) -> int:
    """Run a program to its end; returns its exit code, 127 if there is no such program."""
    os.set_inheritable(descriptor, False)
    try:
        pid = os.posix_spawnp(argv[0], argv, os.environ, setsigdef=[signal.SIGPIPE, signal.SIGXFSZ])
    except OSError as error:
        print(error, file=sys.stderr)
        return 127
    ended = os.pidfd_open(pid)
    if ended not in select.select([ended, descriptor], [], [])[0]:
        os.killpg(0, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
