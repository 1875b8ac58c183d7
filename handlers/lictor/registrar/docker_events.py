"""Docker's events as messages for the registrar's loop, heard by a thread of its own."""

import contextlib
import queue
import threading
import time
from typing import NamedTuple

from lictor import errors, model
from lictor.adapters import docker

DOCKER_TIMEOUT_S = 10


class Message(NamedTuple):
    """An event of Docker (`kind` is its action), or of the registrar itself: listening, deaf or stop."""

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


def listen(inbox: Inbox, *, after_s: float) -> None:
    """Pass Docker's events on, after a pause, until Docker goes away; then the last message is `deaf`."""
    def hear() -> None:
        try:
            time.sleep(after_s)
            events = docker.connect(timeout_s=DOCKER_TIMEOUT_S).events()
            inbox.put(Message("listening"))
            for event in events:
                labels = event["Actor"]["Attributes"]
                inbox.put(Message(event["Action"], event["Actor"]["ID"], labels.get(model.LABEL_SERVICE, ""),
                                  int(labels.get("signal", 0)) if event["Action"] == "kill" else 0))
        except errors.Unavailable:
            pass  # the next comparison says why
        finally:
            inbox.put(Message("deaf"))

    threading.Thread(target=hear, daemon=True).start()
