"""Consul's API as far as lictor needs it: health, keys, sessions, transactions, the local agent's registrations.

Every method raises errors.Unavailable if Consul can't be reached, has no leader, or its answer can't be trusted;
errors.Refused if Consul denies or rejects the request; errors.Conflict if another writer was first.
"""

import base64
import functools
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from lictor import errors, model
from lictor.adapters.consul import transactions, transport
from lictor.adapters.consul.environment import read_environment
from lictor.adapters.consul.transactions import require_key

T = TypeVar("T")

_INSTANCE = ("Node", "Service", "Checks")  # the fields that a row must have
_CHECK = ("Node", "CheckID", "ServiceID")
_NODE = ("Node",)
_SERVERS = "consul"
_RELOAD_TIMEOUT_S = 60.0  # the agent answers after the reload, which takes seconds with many watches


class Entry(NamedTuple):
    """One key's value and indexes; `session` is the lock's holder, or empty."""

    value: bytes
    modify_index: int
    create_index: int
    session: str


class Agent(NamedTuple):
    """The agent of this node; other nodes know it by `address`."""

    name: str
    address: str
    datacenter: str
    version: str


class Client:
    """Consul, as one token sees it."""

    def __init__(self, http: transport.Client) -> None:
        self._http = http

    @classmethod
    def connect(cls, *, token_file: str | None = None, environ: Mapping[str, str] = os.environ,
                timeout_s: float = 5.0) -> "Client":
        """Read CONSUL_HTTP_ADDR and the other variables of the consul command; nothing is sent yet.

        `token_file` wins over CONSUL_HTTP_TOKEN_FILE, and that over CONSUL_HTTP_TOKEN.
        """
        return cls(transport.Client(read_environment(environ, token_file), timeout_s=timeout_s))

    @functools.cached_property
    def _consul(self) -> Any:
        from lictor.adapters.consul import library  # takes longer to load than a sweep that finds nothing to write

        return library.Consul(self._http)

    def agent(self) -> Agent:
        """Describe the agent; needs agent:read."""
        about = _expect(dict, self._http.get(_decode, "/v1/agent/self"), "the agent's description")
        try:
            settings = about["Config"]
            return Agent(settings["NodeName"], about["Member"]["Addr"], settings["Datacenter"], settings["Version"])
        except (KeyError, TypeError) as error:
            raise errors.Unavailable(f"the agent's description is not what Consul answers: {error!r}") from error

    def agent_settings(self) -> dict[str, Any]:
        """Return the settings that the agent was started with, by Consul's internal names; needs agent:read."""
        about = _expect(dict, self._http.get(_decode, "/v1/agent/self"), "the agent's description")
        return _expect(dict, about.get("DebugConfig"), "the agent's settings")

    def leader(self) -> str:
        """Return HOST:PORT of the leading server."""
        leader = _expect(str, self._consul.status.leader(), "the leader")
        if not leader:
            raise errors.Unavailable("Consul has no leader")
        return leader

    def health(self, service: str, *, consistent: bool = False) -> list[dict[str, Any]]:
        """List the instances of a service, shaped as in a `service` watch's payload.

        [] also if the token may not read services, unless `consistent`: then that is Unavailable.
        """
        mode = [("consistent", "1")] if consistent else []
        rows = self._rows(f"/v1/health/service/{service}", _INSTANCE, *mode)[1]
        if consistent and not rows:
            _require_sight(self._consul.catalog.services()[1])
        return rows

    def wait_health(self, service: str, *, index: int, wait_s: float) -> tuple[int, list[dict[str, Any]]]:
        """Do as `health` once it has changed since `index` (0: at once) or `wait_s` is over; returns the next index."""
        wait = f"{int(wait_s * 1000)}ms"
        return self._rows(f"/v1/health/service/{service}", _INSTANCE, ("index", str(index)), ("wait", wait))

    def everything(self) -> dict[str, list[dict[str, Any]]]:
        """List all instances by catalogue name, shaped as by `health`; Unavailable if the token may not read them."""
        checks_index, checks = self._rows("/v1/health/state/any", _CHECK)
        checks_by_owner: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for check in checks:
            checks_by_owner.setdefault((check["Node"], check["ServiceID"]), []).append(check)
        found: dict[str, list[dict[str, Any]]] = {}
        for name in sorted(self.nodes()):
            node, services = self._http.get(_decode_node, f"/v1/catalog/node/{name}")
            for service in services:
                own = checks_by_owner.get((name, ""), []) + checks_by_owner.get((name, service["ID"]), [])
                found.setdefault(service["Service"], []).append({"Node": node, "Service": service, "Checks": own})
        for name, entries in found.items():
            # An instance that was registered after the checks were read would seem to have none, and so to be healthy.
            if any(entry["Service"]["CreateIndex"] > checks_index for entry in entries):
                found[name] = self.health(name)
        _require_sight(found)
        return found

    def node_checks(self, node: str) -> dict[str, dict[str, Any]]:
        """List the checks that the catalogue has of a node, by check ID; only those that the token may read."""
        return {row["CheckID"]: row for row in self._rows(f"/v1/health/node/{node}", _CHECK)[1]}

    def nodes(self) -> frozenset[str]:
        """Name all nodes of the catalogue, whatever their health."""
        return frozenset(filter(_fits_a_path, (row["Node"] for row in self._rows("/v1/catalog/nodes", _NODE)[1])))

    def alive_nodes(self) -> frozenset[str]:
        """Name the nodes whose serfHealth is passing."""
        only = ("filter", f'CheckID == "{model.SERF_HEALTH}"')
        rows = self._rows("/v1/health/state/passing", _CHECK, only)[1]
        return frozenset(filter(_fits_a_path, (check["Node"] for check in rows)))

    def get(self, key: str, *, consistent: bool = False) -> Entry | None:
        """Read a key. None means that Consul said it is absent; a key that the token may not read is Refused."""
        found = self._entries(require_key(key), *([("consistent", "1")] if consistent else []))
        if found and key not in found:
            raise errors.Unavailable(f"key {key}: Consul answered with {', '.join(found)}")
        return found.get(key)

    def tree(self, prefix: str, *, consistent: bool = False) -> dict[str, Entry]:
        """Read all keys that begin with `prefix`; {} also if the token may not read there: Consul answers alike.

        Where that matters, `get` one key by name.
        """
        return self._entries(prefix, ("recurse", "1"), *([("consistent", "1")] if consistent else []))

    def keys(self, prefix: str) -> list[str]:
        """List the keys that begin with `prefix`; [] also if the token may not read there."""
        return self._http.get(_decode_names, f"/v1/kv/{prefix}", params=[("keys", "1")])

    def put(self, key: str, value: str | bytes, *, cas: int | None = None) -> None:
        """Write a key; with `cas` only if its ModifyIndex is that (0: if there is none), else Conflict."""
        if not _expect(bool, self._consul.kv.put(require_key(key), value, cas=cas), f"writing {key}"):
            raise errors.Conflict(f"key {key} was not written: somebody else changed it first")

    def delete(self, key: str, *, cas: int | None = None, recurse: bool = False) -> None:
        """Delete a key (with `recurse` all that begin with it); an absent key is no error."""
        deleted = self._consul.kv.delete(require_key(key), recurse=recurse, cas=cas)
        if not _expect(bool, deleted, f"deleting {key}"):
            raise errors.Conflict(f"key {key} was not deleted: somebody else changed it first")

    def commit(self, operations: Sequence[transactions.Operation]) -> None:
        """Carry out all operations (at most 64; made by `transactions`) or none; Conflict says which failed."""
        _expect(dict, self._consul.txn.put(list(operations)), "the transaction's result")

    def create_session(self, name: str, *, ttl_s: int = 15, lock_delay_s: int = 15) -> str:
        """Create a session that ends if it is not renewed for one to two times `ttl_s`; then its locks are deleted.

        The checks of its node do not end it sooner.
        """
        created = self._consul.session.create(name, checks=[], ttl=ttl_s, lock_delay=lock_delay_s, behavior="delete")
        return _expect(str, created, "the new session")

    def renew_session(self, session: str) -> None:
        """Renew a session; Conflict means that it has ended, and its locks with it."""
        self._consul.session.renew(session)

    def destroy_session(self, session: str) -> None:
        """End a session; the locks that it still holds stay closed for the lock delay, so `release` them first."""
        self._consul.session.destroy(session)

    def acquire(self, key: str, session: str, value: str | bytes) -> bool:
        """Take a lock, or keep it, and write `value` to it; Conflict means that the session has ended."""
        return _expect(bool, self._consul.kv.put(require_key(key), value, acquire=session), f"locking {key}")

    def release(self, key: str, session: str) -> bool:
        """Let go of a lock and empty its value; False if the session does not hold it."""
        return _expect(bool, self._consul.kv.put(require_key(key), "", release=session), f"releasing {key}")

    def local_services(self) -> dict[str, dict[str, Any]]:
        """List the services of this agent, by service ID."""
        return _expect(dict, self._consul.agent.services(), "the agent's services")

    def local_checks(self) -> dict[str, dict[str, Any]]:
        """List the checks of this agent, by check ID."""
        return _expect(dict, self._consul.agent.checks(), "the agent's checks")

    def register(self, definition: dict[str, Any]) -> None:
        """Register a service with this agent; `definition` is that of Consul's HTTP API (Name, ID, Port, Check ...).

        A service of that ID is replaced; its maintenance, and a check no longer named, stay.
        """
        self._put("/v1/agent/service/register", definition)

    def deregister(self, service_id: str) -> None:
        """Take a service off this agent; an absent service is no error."""
        self._consul.agent.service.deregister(service_id)

    def set_maintenance(self, service_id: str, reason: str | None) -> None:
        """Take a service of this agent out of traffic, or put it back (None)."""
        enable = "false" if reason is None else "true"
        if not self._consul.agent.service.maintenance(service_id, enable, reason):
            raise errors.Refused(f"maintenance of {service_id}: this agent has no such service")

    def update_ttl(self, check_id: str, status: str, output: str) -> None:
        """Report passing, warning or critical for a TTL check of this agent; Refused if it has no such check."""
        self._put(f"/v1/agent/check/update/{check_id}", {"Status": status, "Output": output})

    def reload_agent(self) -> None:
        """Make this agent read its configuration files again; all of its watches fire."""
        self._put("/v1/agent/reload", None, timeout_s=_RELOAD_TIMEOUT_S)

    def _rows(self, path: str, fields: tuple[str, ...], *params: tuple[str, Any]) -> tuple[int, list[dict[str, Any]]]:
        return self._http.get(functools.partial(_decode_rows, fields), path, params=params)

    def _entries(self, key: str, *params: tuple[str, Any]) -> dict[str, Entry]:
        return self._http.get(_decode_entries, f"/v1/kv/{key}", params=params)

    def _put(self, path: str, body: object, *, timeout_s: float = 0) -> None:
        self._http.put(_require_success, path, data=json.dumps(body), timeout_s=timeout_s)


def _fits_a_path(node: str) -> bool:
    """Decide about a node's name: any text can be registered, and a name that fits no path must hide no other node."""
    return node.isprintable() and not {"", ".", ".."} & set(node.split("/"))


def _require_sight(services: object) -> None:
    """Raise Unavailable if not even the servers' own service is seen: Consul shows a token without rights nothing."""
    if _SERVERS not in _expect(dict, services, "the services"):
        raise errors.Unavailable("the catalogue cannot be seen: does the token allow to read services and nodes?")


def _decode_entries(response: transport.Response) -> dict[str, Entry]:
    """Read the keys of an answer; {} only if Consul itself says that no key exists, by a 404 that names the index.

    The library also takes an empty list, or a 404 of any web server, for that.
    """
    if response.code == 404 and int(response.headers["X-Consul-Index"]):
        return {}
    rows = _decode(response)
    if not rows:
        raise ValueError("no key, and no 404")
    return {row["Key"]: Entry(base64.b64decode(row["Value"] or ""), row["ModifyIndex"], row["CreateIndex"],
                              row.get("Session", "")) for row in rows}


def _decode_names(response: transport.Response) -> list[str]:
    if response.code == 404 and int(response.headers["X-Consul-Index"]):
        return []
    return [str(key) for key in _expect(list, _decode(response), "the keys")]


def _decode_rows(fields: tuple[str, ...], response: transport.Response) -> tuple[int, list[dict[str, Any]]]:
    rows = _decode(response)
    if not isinstance(rows, list):
        raise ValueError("not a list")
    for row in rows:
        _require_fields(row, fields)
    return int(response.headers["X-Consul-Index"]), rows


def _decode_node(response: transport.Response) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    answer = _decode(response)
    if answer is None:  # the node has gone since the nodes were listed
        return {}, []
    services = list(answer["Services"].values())
    for service in services:
        _require_fields(service, ("ID", "Service", "CreateIndex"))
    return answer["Node"], services


def _decode(response: transport.Response) -> Any:
    _require_success(response)
    return json.loads(response.body)


def _require_fields(row: object, fields: tuple[str, ...]) -> None:
    if not isinstance(row, dict) or any(field not in row for field in fields):
        raise ValueError(f"not an object with {', '.join(fields)}")


def _require_success(response: transport.Response) -> None:
    if response.code != 200:
        raise ValueError("not done")


def _expect(kind: type[T], answer: object, what: str) -> T:
    if not isinstance(answer, kind):
        raise errors.Unavailable(f"{what}: Consul answers a {kind.__name__}, and this was {answer!r:.100}")
    return answer
