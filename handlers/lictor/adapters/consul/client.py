"""Consul's API as far as lictor needs it: health, keys, sessions, transactions, the local agent's registrations.

Every method raises errors.Unavailable if Consul can't be reached, has no leader, or its answer can't be trusted;
errors.Refused if Consul denies or rejects the request; errors.Conflict if another writer was first.
"""

import functools
import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from lictor import errors, model
from lictor.adapters.consul import parts, transactions, transport
from lictor.adapters.consul.answers import (
    SERVERS,
    Catalogue,
    Entry,
    decode,
    decode_entries,
    decode_names,
    decode_node,
    decode_renewed,
    decode_rows,
    decode_table,
    decode_transaction,
    expect,
    fits_a_path,
    require_sight,
    require_success,
)
from lictor.adapters.consul.environment import Source
from lictor.adapters.consul.transactions import require_key

_INSTANCE = ("Node", "Service", "Checks")  # the fields that a row must have
_CHECK = ("Node", "CheckID", "ServiceID")
_NODE = ("Node",)
_RELOAD_TIMEOUT_S = 60.0  # the agent answers after the reload, which takes seconds with many watches


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
        self.read_in_parts = set[str]()  # what was too long for one answer, each with the reason

    @classmethod
    def connect(cls, *, token_file: str | None = None, environ: Mapping[str, str] = os.environ,
                timeout_s: float = 5.0) -> "Client":
        """Read CONSUL_HTTP_ADDR and the other variables of the consul command; nothing is sent yet.

        The files that they name are read again when they change. `token_file` wins over CONSUL_HTTP_TOKEN_FILE, and
        that over CONSUL_HTTP_TOKEN.
        """
        return cls(transport.Client(Source(environ, token_file), timeout_s=timeout_s))

    @functools.cached_property
    def _consul(self) -> Any:
        from lictor.adapters.consul import library  # takes longer to load than a sweep that finds nothing to write

        return library.Consul(self._http)

    def agent(self) -> Agent:
        """Describe the agent; needs agent:read."""
        about = expect(dict, self._http.get(decode, "/v1/agent/self"), "the agent's description")
        try:
            settings = about["Config"]
            return Agent(settings["NodeName"], about["Member"]["Addr"], settings["Datacenter"], settings["Version"])
        except (KeyError, TypeError) as error:
            raise errors.Unavailable(f"the agent's description is not what Consul answers: {error!r}") from error

    def agent_settings(self) -> dict[str, Any]:
        """Return the settings that the agent was started with, by Consul's internal names; needs agent:read."""
        about = expect(dict, self._http.get(decode, "/v1/agent/self"), "the agent's description")
        return expect(dict, about.get("DebugConfig"), "the agent's settings")

    @property
    def token_changes(self) -> int:
        """Count how often another token has been read since the start."""
        return self._http.source.token_changes

    def token_accessor(self) -> str:
        """Return the public name of the token; Refused also if Consul's ACLs are off."""
        return expect(str, self._http.get(decode, "/v1/acl/token/self").get("AccessorID"), "the token")

    def leader(self) -> str:
        """Return HOST:PORT of the leading server."""
        leader = expect(str, self._consul.status.leader(), "the leader")
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
            require_sight(expect(dict, self._consul.catalog.services()[1], "the services"))
        return rows

    def wait_health(self, service: str, *, index: int, wait_s: float) -> tuple[int, list[dict[str, Any]]]:
        """Do as `health` once it has changed since `index` (0: at once) or `wait_s` is over; returns the next index."""
        wait = f"{int(wait_s * 1000)}ms"
        return self._rows(f"/v1/health/service/{service}", _INSTANCE, ("index", str(index)), ("wait", wait))

    def everything(self, needed: Iterable[str], *, in_bulk: bool = True) -> Catalogue:
        """List all instances by catalogue name, shaped as by `health`; Unavailable if the token may not read them.

        If all of them are too long an answer, or not `in_bulk`, the `needed` names are asked for one by one: others can
        register as much as they like, and a name of which that is too long keeps no other from being read.
        """
        if in_bulk:
            try:
                return Catalogue(self._in_bulk(), {})
            except errors.Overlong as error:
                self.read_in_parts.add(f"instances of all services: {error}")
        found = Catalogue({SERVERS: self.health(SERVERS)}, {})
        for name in needed:
            try:
                found.entries[name] = self.health(name)
            except errors.Overlong as error:
                self.leader()  # raises if Consul itself does not answer
                found.overlong[name] = str(error)
        require_sight({name for name, entries in found.entries.items() if entries})
        return found

    def _in_bulk(self) -> dict[str, list[dict[str, Any]]]:
        checks_index, checks = self._rows("/v1/health/state/any", _CHECK)
        checks_by_owner: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for check in checks:
            checks_by_owner.setdefault((check["Node"], check["ServiceID"]), []).append(check)
        found: dict[str, list[dict[str, Any]]] = {}
        for name in sorted(self.nodes()):
            node, services = self._http.get(decode_node, f"/v1/catalog/node/{name}")
            for service in services:
                own = checks_by_owner.get((name, ""), []) + checks_by_owner.get((name, service["ID"]), [])
                found.setdefault(service["Service"], []).append({"Node": node, "Service": service, "Checks": own})
        for name, entries in found.items():
            # An instance that was registered after the checks were read would seem to have none, and so to be healthy.
            if fits_a_path(name) and any(entry["Service"]["CreateIndex"] > checks_index for entry in entries):
                found[name] = self.health(name)
        require_sight(found)
        return found

    def node_checks(self, node: str) -> dict[str, dict[str, Any]]:
        """List the checks that the catalogue has of a node, by check ID; only those that the token may read."""
        return {row["CheckID"]: row for row in self._rows(f"/v1/health/node/{node}", _CHECK)[1]}

    def node_services(self, node: str) -> list[dict[str, Any]]:
        """List what the catalogue has of a node, which may be older than what its agent has."""
        return self._http.get(decode_node, f"/v1/catalog/node/{node}", params=[("stale", "1")])[1]

    def nodes(self) -> frozenset[str]:
        """Name all nodes of the catalogue, whatever their health."""
        return frozenset(filter(fits_a_path, (row["Node"] for row in self._rows("/v1/catalog/nodes", _NODE)[1])))

    def alive_nodes(self) -> frozenset[str]:
        """Name the nodes whose serfHealth is passing."""
        only = ("filter", f'CheckID == "{model.SERF_HEALTH}"')
        rows = self._rows("/v1/health/state/passing", _CHECK, only)[1]
        return frozenset(filter(fits_a_path, (check["Node"] for check in rows)))

    def get(self, key: str, *, consistent: bool = False) -> Entry | None:
        """Read a key. None means that Consul said it is absent; a key that the token may not read is Refused."""
        found = self._entries(require_key(key), *([("consistent", "1")] if consistent else []))
        if found and key not in found:
            raise errors.Unavailable(f"key {key}: Consul answered with {', '.join(found)}")
        return found.get(key)

    def tree(self, prefix: str, needed: Callable[[str], bool] = bool, *, consistent: bool = False) -> dict[str, Entry]:
        """Read all keys that begin with `prefix`; {} also if the token may not read there: Consul answers alike.

        Where that matters, `get` one key by name. If all of them are too long an answer, only the `needed` ones have
        their values: others can write as much as they like.
        """
        mode = [("consistent", "1")] if consistent else []
        try:
            return self._entries(prefix, ("recurse", "1"), *mode)
        except errors.Overlong as error:
            self.read_in_parts.add(f"keys below {prefix}: {error}")
        found = dict.fromkeys(self.keys(prefix), Entry(b"", 0, 0, ""))
        for batch in parts.split([key for key in found if needed(key)]):
            operations = json.dumps([transactions.get_key(key) for key in batch])
            try:
                found |= self._http.put(decode_transaction, "/v1/txn", params=mode, data=operations)
            except errors.Conflict:  # one of them has gone since they were listed
                read = {key: self.get(key, consistent=consistent) for key in batch}
                found = {key: entry for key in found if (entry := read.get(key, found[key]))}
        return found

    def keys(self, prefix: str) -> list[str]:
        """List the keys that begin with `prefix`; [] also if the token may not read there."""
        return self._http.get(decode_names, f"/v1/kv/{prefix}", params=[("keys", "1")])

    def put(self, key: str, value: str | bytes, *, cas: int | None = None) -> None:
        """Write a key; with `cas` only if its ModifyIndex is that (0: if there is none), else Conflict."""
        if not expect(bool, self._consul.kv.put(require_key(key), value, cas=cas), f"writing {key}"):
            raise errors.Conflict(f"key {key} was not written: somebody else changed it first")

    def delete(self, key: str, *, cas: int | None = None, recurse: bool = False) -> None:
        """Delete a key (with `recurse` all that begin with it); an absent key is no error."""
        deleted = self._consul.kv.delete(require_key(key), recurse=recurse, cas=cas)
        if not expect(bool, deleted, f"deleting {key}"):
            raise errors.Conflict(f"key {key} was not deleted: somebody else changed it first")

    def commit(self, operations: Sequence[transactions.Operation]) -> None:
        """Carry out all operations (at most 64; made by `transactions`) or none; Conflict says which failed."""
        expect(dict, self._consul.txn.put(list(operations)), "the transaction's result")

    def create_session(self, name: str, *, ttl_s: int = 15, lock_delay_s: int = 15, behavior: str = "delete") -> str:
        """Create a session that ends if not renewed for one to two times `ttl_s`: its locks are deleted, or released.

        The checks of its node do not end it sooner.
        """
        created = self._consul.session.create(name, checks=[], ttl=ttl_s, lock_delay=lock_delay_s, behavior=behavior)
        return expect(str, created, "the new session")

    def renew_session(self, session: str) -> None:
        """Renew a session; Conflict means that it has ended, and its locks with it."""
        self._http.put(decode_renewed, f"/v1/session/renew/{session}")  # at each sweep, which does without the library

    def destroy_session(self, session: str) -> None:
        """End a session; the locks that it still holds stay closed for the lock delay, so `release` them first."""
        self._consul.session.destroy(session)

    def acquire(self, key: str, session: str, value: str | bytes) -> bool:
        """Take a lock, or keep it, and write `value` to it; Conflict means that the session has ended."""
        return expect(bool, self._consul.kv.put(require_key(key), value, acquire=session), f"locking {key}")

    def release(self, key: str, session: str) -> bool:
        """Let go of a lock and empty its value; False if the session does not hold it."""
        return expect(bool, self._consul.kv.put(require_key(key), "", release=session), f"releasing {key}")

    def local_services(self, needed: Collection[str] = ()) -> dict[str, dict[str, Any]]:
        """List the services of this agent, by service ID.

        If all of them are too long an answer, only what a registrar of lictor's has registered, and the `needed` IDs.
        """
        return self._local("/v1/agent/services", [parts.OURS, *parts.equal("ID", needed)])

    def local_checks(self, services: Collection[str] = ()) -> dict[str, dict[str, Any]]:
        """List the checks of this agent, by check ID; only those of these services if all are too long an answer."""
        return self._local("/v1/agent/checks", parts.equal("ServiceID", services))

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
        return self._http.get(functools.partial(decode_rows, fields), path, params=params)

    def _local(self, path: str, conditions: list[str]) -> dict[str, dict[str, Any]]:
        """Ask the agent for all, or, if that is too long an answer, for what fulfils one of the conditions."""
        ask = functools.partial(self._http.get, functools.partial(decode_table, path), path)
        try:
            return ask()
        except errors.Overlong as error:
            self.read_in_parts.add(f"{path}: {error}")
        found = [ask(params=[("filter", " or ".join(batch))]) for batch in parts.split(conditions)]
        return {key: each for part in found for key, each in part.items()}

    def _entries(self, key: str, *params: tuple[str, Any]) -> dict[str, Entry]:
        return self._http.get(decode_entries, f"/v1/kv/{key}", params=params)

    def _put(self, path: str, body: object, *, timeout_s: float = 0) -> None:
        self._http.put(require_success, path, data=json.dumps(body), timeout_s=timeout_s)
