"""The JSON gateway of one member of etcd, asked in its own words. Whatever goes wrong is an OSError."""

import base64
import http.client
import json
from typing import Any, NamedTuple

from lab.http import ask

_PAGE = 2000  # keys; more might be too long an answer


class Answer(NamedTuple):
    """What a member says of itself with each answer: `term` and `revision` are those of the moment; and the rest."""

    set_id: str
    member_id: str
    term: int
    revision: int
    body: dict[str, Any]


def put(address: str, key: str, value: str, *, netns: str = "", timeout_s: float = 1.0) -> Answer:
    """Write a key; an answer means that it is acknowledged."""
    return _call(address, "kv/put", {"key": _encode(key), "value": _encode(value)}, netns, timeout_s)


def read(address: str, key: str, *, timeout_s: float = 1.0) -> tuple[Answer, str | None]:
    """Read a key with the quorum; None: it is not there."""
    answer = _call(address, "kv/range", {"key": _encode(key)}, "", timeout_s)
    found = answer.body.get("kvs") or []
    return answer, _decode(found[0]["value"]) if found else None


def read_all(address: str, prefix: str, *, timeout_s: float = 30.0) -> dict[str, str]:
    """Read with the quorum all keys that begin so."""
    found: dict[str, str] = {}
    begin, end = prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)
    while True:
        asked = {"key": _encode(begin), "range_end": _encode(end), "limit": _PAGE}
        body = _call(address, "kv/range", asked, "", timeout_s).body
        page = {_decode(each["key"]): _decode(each["value"]) for each in body.get("kvs", ())}
        found.update(page)
        if not body.get("more"):
            return found
        begin = max(page) + "\0"


def status(address: str, *, netns: str = "", timeout_s: float = 1.0) -> Answer:
    """Ask a member for its term, and for the id of the `leader` that it follows."""
    return _call(address, "maintenance/status", {}, netns, timeout_s)


def members(peer: str, *, netns: str = "", timeout_s: float = 1.0) -> list[dict[str, Any]]:
    """List the members by this member's own word, which it gives its peers."""
    code, text = _exchange(peer, "GET", "/members", None, netns, timeout_s)
    if code != 200:
        raise OSError(f"{peer}/members: {code}")
    found: list[dict[str, Any]] = json.loads(text)
    return found


def _call(address: str, call: str, request: dict[str, Any], netns: str, timeout_s: float) -> Answer:
    code, text = _exchange(address, "POST", f"/v3/{call}", json.dumps(request).encode(), netns, timeout_s)
    if code != 200:
        raise OSError(f"{address} {call}: {code} {text[:200]}")
    try:
        body = json.loads(text)
        header = body["header"]
        return Answer(header["cluster_id"], header["member_id"], int(header.get("raft_term", 0)),
                      int(header.get("revision", 0)), body)
    except (ValueError, KeyError, TypeError) as error:
        raise OSError(f"{address} {call}: {error!r}: {text[:200]}") from error


def _exchange(address: str, method: str, path: str, body: bytes | None, netns: str,
              timeout_s: float) -> tuple[int, str]:
    try:
        return ask(address, method, path, body=body, netns=netns, timeout_s=timeout_s)
    except http.client.HTTPException as error:
        raise OSError(f"{address} {path}: {error!r}") from error


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _decode(text: str) -> str:
    return base64.b64decode(text).decode()
