"""The messages of a unit of Type=notify to systemd, and the socket from systemd; neither exists without systemd."""

import os
import socket

READY, ALIVE = "READY=1", "WATCHDOG=1"
_FIRST_FD = 3


def notify(text: str) -> None:
    """Send a message; errors are passed over, as a resident works as well without systemd."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.connect("\0" + address[1:] if address.startswith("@") else address)
            channel.sendall(text.encode())
    except OSError:
        pass


def listening() -> socket.socket | None:
    """Take over the one socket of the unit's socket unit; None if this process was started without."""
    given = {name: os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")}
    if (given["LISTEN_PID"], given["LISTEN_FDS"]) != (str(os.getpid()), "1"):
        return None
    found = socket.socket(fileno=_FIRST_FD)
    found.set_inheritable(False)
    return found
