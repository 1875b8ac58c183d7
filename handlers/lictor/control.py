"""The socket below conf_dir on which nginx itself answers: which generation it serves, and in live mode which peers.

Imported by handlers that start often, so it imports little.
"""

import os
import socket

SOCKET = "run/generation.sock"  # below conf_dir


def path(conf_dir: str) -> str:
    return os.path.join(conf_dir, SOCKET)


def ask(conf_dir: str, method: str, target: str, body: str = "", *, timeout_s: float) -> tuple[int, str]:
    """Status and body of nginx's answer; raises OSError when there is none, or no whole one."""
    content = body.encode()
    head = f"{method} {target} HTTP/1.0\r\nHost: lictor\r\nContent-Length: {len(content)}\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        connection.connect(path(conf_dir))
        connection.sendall(head.encode() + content)
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    head, _, said = answer.decode(errors="replace").partition("\r\n\r\n")
    status = head.split(" ", 2)[1:2]
    if not status or not status[0].isdigit():
        raise OSError("the answer breaks off")
    return int(status[0]), said.strip()
