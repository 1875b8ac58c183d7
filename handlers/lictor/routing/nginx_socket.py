"""The socket below conf_dir on which nginx itself answers: which generation it serves, and in live mode which peers.

Imported by handlers that start often, so it imports little.
"""

import os
import socket
from contextlib import ExitStack

SOCKET = "run/generation.sock"  # below conf_dir


def path(conf_dir: str) -> str:
    return os.path.join(conf_dir, SOCKET)


def ask(conf_dir: str, method: str, target: str, body: str = "", *, timeout_s: float) -> tuple[int, str]:
    """Return the status and body of nginx's answer; raises OSError if there is none, or no whole one."""
    answer, = ask_at_once(conf_dir, method, target, body, connections=1, timeout_s=timeout_s)
    return answer


def ask_at_once(conf_dir: str, method: str, target: str, body: str = "", *, connections: int,
                timeout_s: float) -> list[tuple[int, str]]:
    """Return the answers on so many connections that are all open before the first is read: an idle worker takes one
    connection after another, and the next worker gets its turn only while that one is busy."""
    content = body.encode()
    head = f"{method} {target} HTTP/1.0\r\nHost: lictor\r\nContent-Length: {len(content)}\r\n\r\n"
    with ExitStack() as stack:
        opened = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(connections)]
        for connection in opened:
            connection.settimeout(timeout_s)
            connection.connect(path(conf_dir))
            connection.sendall(head.encode() + content)
        return [_answer(connection) for connection in opened]


def _answer(connection: socket.socket) -> tuple[int, str]:
    answer = b"".join(iter(lambda: connection.recv(4096), b""))
    head, _, body = answer.decode(errors="replace").partition("\r\n\r\n")
    status = head.split(" ", 2)[1:2]
    if not status or not status[0].isdigit():
        raise OSError("the answer breaks off")
    return int(status[0]), body.strip()
