"""The door by which the agent reaches the resident lictor-serve: its address, and the secret that opens it."""

import os
import secrets

from lictor import errors
from lictor.adapters import files, http
from lictor.events import agent_config
from lictor.spec.settings import Settings

_SECRET_BYTES = 32
_TIMEOUT_S = 2.0
_LOCK = ":secret.lock"  # no service's name has a colon


def parse_address(settings: Settings) -> tuple[str, int]:
    host, _, port = settings.watch.address.rpartition(":")
    return host.strip("[]"), int(port)


def read_secret(settings: Settings) -> str:
    """Read what the agent has to send, after making it if there is none; "" with the script door, which has none."""
    path = settings.watch.secret_file
    if settings.watch.door != "http":
        return ""
    try:
        if not files.read(path):
            with files.locked(os.path.join(settings.state_dir, "locks", _LOCK)):
                if not files.read(path):
                    files.write_atomic(path, make_secret(), mode=0o600)
        text = (files.read(path) or "").strip()
    except OSError as error:
        raise errors.Refused(
            f"watch.secret_file {path} cannot be read: {error.strerror}; lictor init makes it") from error
    if not text.isascii() or len(text) < _SECRET_BYTES or not text.isprintable():
        raise errors.Refused(f"watch.secret_file {path} must hold at least {_SECRET_BYTES} plain characters; "
                             "remove it, and lictor init makes another")
    return text


def make_secret() -> str:
    return secrets.token_urlsafe(_SECRET_BYTES)


def ask(settings: Settings, path: str) -> None:
    """Have lictor-serve do something by itself; raises LictorError if it does not answer that it will."""
    answer = http.exchange("POST", f"http://{settings.watch.address}{path}", body=b"", timeout_s=_TIMEOUT_S,
                           headers={agent_config.SECRET_HEADER: read_secret(settings)})
    http.refuse_failure(answer, answer.body.decode("utf-8", "replace").strip()[:200])
