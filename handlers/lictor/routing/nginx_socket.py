"""Socket below conf_dir on which nginx itself answers: the generation that it serves, and in live mode the peers.

Each changed event starts a handler that asks here. http.client would add a third to its start, so it is not used.
"""

import os
import socket
import time
from contextlib import ExitStack

SOCKET = "run/generation.sock"  # below conf_dir
_LONGEST_BYTES = 16 * 1024 * 1024


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
    content, deadline = body.encode(), time.monotonic() + timeout_s
    head = f"{method} {target} HTTP/1.0\r\nHost: lictor\r\nContent-Length: {len(content)}\r\n\r\n"
    with ExitStack() as stack:
        opened = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(connections)]
        for connection in opened:
            connection.settimeout(timeout_s)
            connection.connect(path(conf_dir))
            connection.sendall(head.encode() + content)
        return [_answer(connection, deadline) for connection in opened]


def generations(conf_dir: str, *, connections: int) -> set[int]:
    """Return the generations that nginx's workers answer; none if there is no answer."""
    try:
        answers = ask_at_once(conf_dir, "GET", "/generation", connections=connections, timeout_s=1)
    except OSError:
        return set()
    return {int(digits) for _, digits in answers if digits.isdigit()}


def _answer(connection: socket.socket, deadline: float) -> tuple[int, str]:
    answer = b""
    while len(answer) <= _LONGEST_BYTES:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the answer is not complete")
        connection.settimeout(left_s)
        chunk = connection.recv(65536)
        if not chunk:
            break
        answer += chunk
    if len(answer) > _LONGEST_BYTES:
        raise OSError(f"the answer has more than {_LONGEST_BYTES} bytes")
    head, _, body = answer.decode(errors="replace").partition("\r\n\r\n")
    status = head.split(" ", 2)[1:2]
    if not status or not status[0].isdigit():
        raise OSError("the answer breaks off")
    return int(status[0]), body.strip()
