"""Docker's events as messages for the registrar's loop, heard by a thread of its own."""

import contextlib
import queue
import threading
import time
from typing import Any, NamedTuple

from lictor import errors, model
from lictor.adapters import docker

DOCKER_TIMEOUT_S = 10


class Message(NamedTuple):
    """An event of Docker (`kind` is its action), or the registrar's own: listening, deaf, role or stop."""

    kind: str
    container_id: str = ""
    service: str = ""  # of lictor's own containers
    signal: int = 0  # of a kill


Inbox = queue.SimpleQueue[Message]


def receive(inbox: Inbox, *, timeout_s: float) -> list[Message]:
    """Take all messages that have come in, or come in within the time."""
    with contextlib.suppress(queue.Empty):
        messages = [inbox.get(timeout=max(timeout_s, 0))]
        while not inbox.empty():
            messages.append(inbox.get())
        return messages
    return []


def _message(event: dict[str, Any]) -> Message:
    """Read an event. Labels of the container stand among its attributes, even in place of Docker's own."""
    attributes = event["Actor"].get("Attributes") or {}
    number = attributes.get("signal", "") if event["Action"] == "kill" else ""
    return Message(event["Action"], event["Actor"]["ID"], attributes.get(model.LABEL_SERVICE, ""),
                   int(number) if number.isdecimal() and len(number) < 4 else 0)


def listen(inbox: Inbox, *, after_s: float) -> None:
    """Pass Docker's events on, after a pause, until Docker goes away; then the last message is `deaf`."""
    def hear() -> None:
        try:
            time.sleep(after_s)
            events = docker.connect(timeout_s=DOCKER_TIMEOUT_S).events()
            inbox.put(Message("listening"))
            for event in events:
                inbox.put(_message(event))
        except (errors.LictorError, OSError):
            pass  # the next comparison says why
        finally:
            inbox.put(Message("deaf"))

    threading.Thread(target=hear, daemon=True).start()
