"""The operations that Client.commit carries out together, or not at all. Pure."""

import base64
from typing import Any

from lictor import errors

Operation = dict[str, dict[str, Any]]


def require_key(key: str) -> str:
    """Return the key; raises Refused if Consul would take it for another one."""
    if not key or key.startswith("/"):
        raise errors.Refused(f"key {key!r}: a key is not empty and does not begin with a slash")
    return key


def set_key(key: str, value: str | bytes) -> Operation:
    return _operation("set", key, value=value)


def cas(key: str, value: str | bytes, index: int) -> Operation:
    """Set a key if its ModifyIndex is `index`; 0: if the key is absent."""
    return _operation("cas", key, value=value, Index=index)


def get_key(key: str) -> Operation:
    """Read a key; the transaction fails if there is none."""
    return {"KV": {"Verb": "get", "Key": require_key(key)}}


def delete_key(key: str) -> Operation:
    return _operation("delete", key)


def delete_cas(key: str, index: int) -> Operation:
    """Delete a key if its ModifyIndex is `index`."""
    return _operation("delete-cas", key, Index=index)


def check_session(key: str, session: str) -> Operation:
    """Let the transaction fail unless `session` holds the lock."""
    return _operation("check-session", key, Session=session)


def check_not_exists(key: str) -> Operation:
    """Let the transaction fail if there is such a key."""
    return _operation("check-not-exists", key)


def cas_service(node: str, name: str, index: int) -> Operation:
    """Register a service in the catalogue if its ModifyIndex is `index`."""
    return {"Service": {"Verb": "cas", "Node": node, "Service": {"ID": name, "Service": name, "ModifyIndex": index}}}


def _operation(verb: str, key: str, value: str | bytes = "", **more: object) -> Operation:
    data = value.encode() if isinstance(value, str) else value
    return {"KV": {"Verb": verb, "Key": require_key(key), "Value": base64.b64encode(data).decode(), **more}}
