"""Notifications of operators: a command or a webhook gets the record. Healing never fails over it."""

import json
from typing import Any

from lictor.adapters import http, log, process, secret_files
from lictor.spec.settings import Notify, Settings

_LIMIT_S = 10.0


def send(settings: Settings, record: dict[str, Any]) -> bool:
    """Send the record, as JSON, to the command or webhook of `[notify]`, if there is one; returns whether it got
    through. A failure is logged, and never raised."""
    notify = settings.notify
    if notify is None:
        return True
    try:
        text = json.dumps(record)
        if notify.command:
            process.delegate([*notify.command], timeout_s=_LIMIT_S, stdin=text)
        else:
            _post(notify, text)
    except Exception as error:  # of any kind: it must not stop the healing
        log.event("notify", outcome="failed", reason=str(error) or repr(error))
        return False
    log.event("notify", outcome="done")
    return True


def _post(notify: Notify, text: str) -> None:
    headers = {"Content-Type": "application/json"}
    if notify.token_file:
        headers["Authorization"] = f"Bearer {secret_files.read_token(notify.token_file)}"
    http.refuse_failure(http.exchange("POST", notify.url, headers=headers, body=text.encode(), timeout_s=_LIMIT_S))
