"""Access for whoever shows the secret, or any process of this node, but no web page by another name of loopback."""

import base64
import binascii
import hmac
import re
from email.message import Message

from lictor import errors
from lictor.adapters import files
from lictor.spec.settings import Metrics

_LEAST_LENGTH = 32
_LOOPBACK_NAME = re.compile(r"(?ai)(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?")


def read_secret(metrics: Metrics) -> str:
    """Read what requests have to show; "": nothing, as only this node reaches the listener."""
    if not metrics.secret_file:
        return ""
    text = files.read_needed(metrics.secret_file, "metrics.secret_file").strip()
    if not text.isascii() or not text.isprintable() or " " in text or len(text) < _LEAST_LENGTH:
        raise errors.Refused(f"metrics.secret_file {metrics.secret_file} must hold at least {_LEAST_LENGTH} plain "
                             "characters without a blank, as `openssl rand -hex 32` prints them")
    return text


def refuse(secret: str, headers: Message) -> tuple[int, str] | None:
    """Say with which status, and why, a request is refused; None: it is not."""
    if secret:
        given = _read_authorization(headers.get("Authorization") or "")
        if not hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode()):
            return 401, "the secret of metrics.secret_file is missing: as a bearer token, or as password of any user"
        return None
    host = headers.get("Host") or ""
    if not _LOOPBACK_NAME.fullmatch(host):
        return 421, "without metrics.secret_file, only names of loopback are answered: localhost, 127.0.0.1, [::1]"
    return None


def _read_authorization(text: str) -> str:
    """Read a bearer token, or the password of basic authentication; "" if there is neither."""
    scheme, _, given = text.partition(" ")
    if scheme.lower() == "bearer":
        return given.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(given.strip(), validate=True).decode("utf-8", "replace").partition(":")[2]
    except (binascii.Error, ValueError):
        return ""
