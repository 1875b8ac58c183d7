"""Consul's answers: read with care, as any server may answer in its place."""

import base64
import json
from collections.abc import Container
from typing import Any, NamedTuple, TypeVar

from lictor import errors
from lictor.adapters.consul import transport

T = TypeVar("T")

SERVERS = "consul"  # the servers' own service


class Entry(NamedTuple):
    """One key's value and indexes; `session` is the lock's holder, or empty."""

    value: bytes
    modify_index: int
    create_index: int
    session: str


class Catalogue(NamedTuple):
    """The instances by catalogue name, and the names of which they could not be read, each with the reason."""

    entries: dict[str, list[dict[str, Any]]]
    overlong: dict[str, str]

    def of(self, name: str) -> list[dict[str, Any]]:
        """Return the instances of a name; raises Overlong if they could not be read, for they are not none then."""
        if name in self.overlong:
            raise errors.Overlong(self.overlong[name])
        return self.entries.get(name, [])


def decode_entries(response: transport.Response) -> dict[str, Entry]:
    """Read the keys of an answer; {} only if Consul itself says that no key exists, by a 404 that names the index.

    The library also takes an empty list, or a 404 of any web server, for that.
    """
    if response.code == 404 and int(response.headers["X-Consul-Index"]):
        return {}
    rows = decode(response)
    if not rows:
        raise ValueError("no key, and no 404")
    return dict(map(_entry, rows))


def decode_transaction(response: transport.Response) -> dict[str, Entry]:
    """Read the keys of a transaction that only gets keys."""
    return dict(_entry(result["KV"]) for result in decode(response)["Results"])


def _entry(row: dict[str, Any]) -> tuple[str, Entry]:
    return row["Key"], Entry(base64.b64decode(row["Value"] or ""), row["ModifyIndex"], row["CreateIndex"],
                             row.get("Session", ""))


def decode_names(response: transport.Response) -> list[str]:
    if response.code == 404 and int(response.headers["X-Consul-Index"]):
        return []
    return [str(key) for key in expect(list, decode(response), "the keys")]


def decode_rows(fields: tuple[str, ...], response: transport.Response) -> tuple[int, list[dict[str, Any]]]:
    rows = decode(response)
    if not isinstance(rows, list):
        raise ValueError("not a list")
    for row in rows:
        require_fields(row, fields)
    return int(response.headers["X-Consul-Index"]), rows


def decode_node(response: transport.Response) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    answer = decode(response)
    if answer is None:  # the node has gone since the nodes were listed
        return {}, []
    services = list(answer["Services"].values())
    for service in services:
        require_fields(service, ("ID", "Service", "CreateIndex"))
    return answer["Node"], services


def decode_renewed(response: transport.Response) -> None:
    if response.code == 404:
        raise transport.Gone("the session has ended")
    require_success(response)


def decode_table(what: str, response: transport.Response) -> dict[str, dict[str, Any]]:
    return expect(dict, decode(response), what)


def decode(response: transport.Response) -> Any:
    require_success(response)
    return json.loads(response.body)


def require_fields(row: object, fields: tuple[str, ...]) -> None:
    if not isinstance(row, dict) or any(field not in row for field in fields):
        raise ValueError(f"not an object with {', '.join(fields)}")


def require_success(response: transport.Response) -> None:
    if response.code != 200:
        raise ValueError("not done")


def expect(kind: type[T], answer: object, what: str) -> T:
    if not isinstance(answer, kind):
        raise errors.Unavailable(f"{what}: Consul answers a {kind.__name__}, and this was {answer!r:.100}")
    return answer


def fits_a_path(name: str) -> bool:
    """Decide about a name: any text can be registered, and one that fits no path must hide no other."""
    return name.isprintable() and not {"", ".", ".."} & set(name.split("/"))


def require_sight(services: Container[str]) -> None:
    """Raise Unavailable if not even the servers' own service is seen: Consul shows a token without rights nothing."""
    if SERVERS not in services:
        raise errors.Unavailable("the catalogue cannot be seen: does the token allow to read services and nodes?")
