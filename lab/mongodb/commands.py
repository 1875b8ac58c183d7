"""The commands of one member.

Rules, with the page of MongoDB's manual that states each:

- before it has a configuration a member says so in hello, and answers 94; one that its configuration does not name
  answers hello alike, and 93 to replSetGetStatus [hello; replSetGetStatus; Replica Set Member States];
- replSetInitiate is for one member without a configuration, afterwards it is refused with 23 [replSetInitiate];
- replSetReconfig is for a writable primary, waits until the configuration before is committed (308), asks a majority of
  the voters (74), and waits until a majority has the new one, at most maxTimeMS (50) [replSetReconfig]; a voter that is
  of another set vetoes each (103) [replset_set_id tests of the server's source]; with force any member takes it, with a
  version higher by much, and no term [rs.reconfig(): force];
- commitmentStatus is for the writable primary alone [replSetGetConfig];
- replSetStepDown waits for an electable secondary that has caught up, and fails with 262 if there is none; the former
  primary stays out for that long [replSetStepDown];
- replSetGetStatus tells of each other member when its last answer to a heartbeat came, by the clock that `date` is of
  [replSetGetStatus: members[n].lastHeartbeat];
- only a writable primary takes writes (10107); one is acknowledged if a majority has it [Write Concern];
- with a key file each command needs a login (13), but hello and the login itself. While there is no user, a connection
  that counts as local may initiate, reconfigure, ask for the status, and make the first user [Localhost Exception].
"""

import datetime
import threading
from collections.abc import Callable
from typing import Any

import bson

from lab.mongodb import rules, scram
from lab.mongodb.network import Network
from lab.mongodb.rules import Config, No
from lab.mongodb.server import NAMES, PRIMARY, REMOVED, SECONDARY, STARTUP, Known, Server
from lab.mongodb.wire import Document

OPEN = {"hello", "ismaster", "saslstart", "saslcontinue", "ping", "endsessions", "buildinfo"}
BEFORE_THE_FIRST_USER = {"replsetinitiate", "replsetreconfig", "replsetgetstatus", "createuser"}
FORCED_BY = 100_000
_MAX_WAIT_S = 3600.0


class Session:
    """One connection to a member; it knows who has logged in."""

    def __init__(self, network: Network, server: Server) -> None:
        self._network, self._server = network, server
        self._login: scram.Conversation | None = None
        self._user = ""

    def handle(self, database: str, command: Document) -> Document:
        """Answer one command; a member that hangs never does."""
        if self._server.is_hung:
            threading.Event().wait(60)
            raise OSError
        with self._network.lock:
            name = next(iter(command)).lower()
            try:
                if not self._server.is_running:
                    raise OSError
                self._require_login(name)
                method: Callable[[Document, str], Document] | None = getattr(self, f"_{name}", None)
                if method is None:
                    raise No(59, f"no such command: '{name}'")
                return {**method(command, database), "ok": 1.0}
            except No as no:
                return {"ok": 0.0, "errmsg": str(no), "code": no.code, "codeName": rules.NAMES.get(no.code, "Error")}

    def _require_login(self, name: str) -> None:
        server = self._server
        is_first = not server.users and server.is_reached_as_local and name in BEFORE_THE_FIRST_USER
        if server.key and not self._user and name not in OPEN and not is_first:
            raise No(13, f"Command {name} requires authentication")

    # For everybody

    def _hello(self, command: Document, database: str) -> Document:
        server, now = self._server, self._network.now
        is_legacy = next(iter(command)).lower() == "ismaster"
        found: Document = {
            "ismaster" if is_legacy else "isWritablePrimary": server.is_writable(now),
            "secondary": server.state == SECONDARY, "helloOk": True, "minWireVersion": 0, "maxWireVersion": 21,
            "maxBsonObjectSize": 16 * 2**20, "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000,
            "localTime": _date(now), "logicalSessionTimeoutMinutes": 30, "readOnly": False}
        if "saslSupportedMechs" in command and command["saslSupportedMechs"].partition(".")[2] in server.users:
            found["saslSupportedMechs"] = [scram.MECHANISM]
        if not server.set_name:
            return found
        if server.config is None or server.state == REMOVED:
            return {**found, "isreplicaset": True, "info": "Does not have a valid replica set config"}
        members = server.config["members"]
        leader = [host for host, known in server.known.items() if known.state == PRIMARY]
        found |= {"setName": server.config["_id"], "setVersion": server.config["version"], "me": server.address,
                  "hosts": [each["host"] for each in members if each.get("priority", 1)],
                  "passives": [each["host"] for each in members if not each.get("priority", 1)],
                  **({"primary": leader[0]} if leader else {})}
        if server.state == PRIMARY:
            found |= {"primary": server.address, "electionId": bson.ObjectId(f"7fffffff{server.disk.term:016x}")}
        return found

    _ismaster = _hello

    def _ping(self, command: Document, database: str) -> Document:
        return {}

    _endsessions = _ping

    def _saslstart(self, command: Document, database: str) -> Document:
        if command["mechanism"] != scram.MECHANISM:
            raise No(18, "Authentication failed.")
        internal = {"__system": "".join(self._server.key.split())} if self._server.key else {}
        self._login = scram.Conversation(internal if database == "local" else self._server.users)
        return {"conversationId": 1, "done": False, "payload": self._login.start(bytes(command["payload"]))}

    def _saslcontinue(self, command: Document, database: str) -> Document:
        try:
            assert self._login
            payload = self._login.finish(bytes(command["payload"]))
        except scram.Rejected:
            raise No(18, "Authentication failed.") from None
        self._user = self._login.user
        return {"conversationId": 1, "done": True, "payload": payload}

    # The set

    def _replsetgetstatus(self, command: Document, database: str) -> Document:
        server = self._require_config()
        if server.state == REMOVED:
            raise No(93, "Our replica set config is invalid or we are not a member of it")
        assert server.config
        return {"set": server.config["_id"], "date": _date(self._network.now), "myState": server.state,
                "term": bson.Int64(server.disk.term), "heartbeatIntervalMillis": bson.Int64(2000),
                "members": [self._own(each) if each["host"] == server.address else _other(
                    each, server.known[each["host"]]) for each in server.config["members"]]}

    def _replsetgetconfig(self, command: Document, database: str) -> Document:
        server = self._require_config()
        if not command.get("commitmentStatus"):
            return {"config": server.config}
        if not server.is_writable(self._network.now):
            raise No(10107, "commitmentStatus is only supported on primary.")
        return {"config": server.config, "commitmentStatus": self._network.is_committed(server)}

    def _replsetinitiate(self, command: Document, database: str) -> Document:
        server, config = self._server, command["replSetInitiate"]
        if not server.set_name:
            raise No(76, "This node was not started with replication enabled.")
        if server.disk.config:
            raise No(23, "already initialized")
        rules.require_valid(config, server.set_name)
        if not rules.member(config, server.address):
            raise No(74, "No host described in new configuration maps to this node")
        server.disk.is_synced = True
        settings = {"electionTimeoutMillis": 10000, **config.get("settings", {}), "replicaSetId": bson.ObjectId()}
        server.install({"version": 1, "term": 0, "protocolVersion": bson.Int64(1), **rules.complete(config),
                        "settings": settings}, self._network.now)
        if rules.voters(config) == {server.address}:
            self._network.elect(server)
            self._network.advance(1)
        return {}

    def _replsetreconfig(self, command: Document, database: str) -> Document:
        server, new, limit_s = self._require_config(), command["replSetReconfig"], _limit_s(command)
        assert server.config
        if command.get("force"):
            rules.require_valid(new, server.set_name)
            self._install({**new, "version": max(new["version"], server.config["version"]) + FORCED_BY}, None)
            return {}
        if not server.is_writable(self._network.now):
            raise No(10107, f"New config is rejected: not a writable PRIMARY. Current state {NAMES[server.state]}")
        if server.is_configuring:
            raise No(109, "Cannot run replSetReconfig because the node is currently updating its configuration")
        rules.require_valid(new, server.set_name)
        rules.require_may_follow(new, server.config, server.address)
        server.is_configuring = True
        try:
            if not self._network.wait(lambda: self._network.is_committed(server), limit_s):
                raise No(308, "Cannot run replSetReconfig because the current config has not been committed")
            self._require_quorum(new)
            self._install(new, server.disk.term)
            age = rules.age(server.config)
            if not self._network.wait(lambda: self._is_installed(age), limit_s):
                raise No(50, "operation exceeded time limit")
        finally:
            server.is_configuring = False
        return {}

    def _replsetstepdown(self, command: Document, database: str) -> Document:
        server, network = self._server, self._network
        period, catch_up = command["replSetStepDown"], command.get("secondaryCatchUpPeriodSecs", 10)
        if period <= catch_up:
            raise No(2, "stepdown period must be longer than secondaryCatchUpPeriodSecs")
        if not server.is_writable(network.now):
            raise No(10107, "not primary so can't step down")
        if not network.wait(lambda: self._heirs(), catch_up):
            raise No(262, "No electable secondaries caught up")
        heir = self._heirs()[0]
        server.step_down(network.now, period)
        network.elect(heir)
        return {}

    # Data

    def _createuser(self, command: Document, database: str) -> Document:
        if command["createUser"] in self._server.users:
            raise No(51003, "User already exists")
        return self._write("users", [{"user": command["createUser"], "pwd": command["pwd"]}], _limit_s(command))

    def _insert(self, command: Document, database: str) -> Document:
        limit_s = command.get("writeConcern", {}).get("wtimeout", 0) / 1000 or _limit_s(command)
        return self._write(f"{database}.{command['insert']}", command["documents"], limit_s)

    def _find(self, command: Document, database: str) -> Document:
        server, name = self._server, f"{database}.{command['find']}"
        if name == "local.system.replset":
            found: list[Any] = [server.disk.config] if server.disk.config else []
        elif server.state in (PRIMARY, SECONDARY):
            found = [each.document for each in server.disk.log if each.collection == name]
        else:
            raise No(13436, "node is not in primary or recovering state")
        return {"cursor": {"id": bson.Int64(0), "ns": name, "firstBatch": found[:command.get("limit") or None]}}

    def _write(self, collection: str, documents: list[Document], limit_s: float) -> Document:
        server, network = self._server, self._network
        if not server.is_writable(network.now):
            raise No(10107, "not primary")
        term, length = server.disk.term, 0
        for document in documents:
            length = server.write(network.now, collection, document)
        network.wait(lambda: server.commit >= length or server.state != PRIMARY, limit_s)
        if server.state != PRIMARY or server.disk.term != term:
            raise No(11602, "operation was interrupted")
        late = {"code": 64, "codeName": "WriteConcernFailed", "errmsg": "waiting for replication timed out"}
        return {"n": len(documents), **({} if server.commit >= length else {"writeConcernError": late})}

    # What they share

    def _require_config(self) -> Server:
        if not self._server.set_name:
            raise No(76, "not running with --replSet")
        if self._server.state == STARTUP:
            raise No(94, "no replset config has been received")
        return self._server

    def _require_quorum(self, new: Config) -> None:
        """Raise unless a majority of the new voters answers, and no other set's member is among them."""
        server, network = self._server, self._network
        answering, voting = set(), rules.voters(new)
        for host in voting:
            other = network.servers.get(host)
            if not other or not network.reaches(server, other) or server.key != other.key:
                continue
            if rules.set_id(other.config) not in (None, rules.set_id(server.config)):
                raise No(103, f"Our replica set ID did not match that of our request target, requestTarget: {host}")
            answering.add(host)
        if len(answering) <= len(voting) // 2:
            raise No(74, "Quorum check failed because not enough voting nodes responded; "
                         f"{len(answering)} of {len(voting)}")

    def _install(self, new: Config, term: int | None) -> None:
        own_id = {"replicaSetId": rules.set_id(self._server.config)}
        kept = {key: value for key, value in rules.complete(new).items() if key != "term"}
        self._server.install({**kept, **({} if term is None else {"term": term}),
                              "settings": {**kept.get("settings", {}), **own_id}}, self._network.now)

    def _is_installed(self, age: tuple[int, int]) -> bool:
        voting = rules.voters(self._server.config or {})
        having = sum(host == self._server.address or self._server.known[host].age == age for host in voting)
        return having > len(voting) // 2

    def _heirs(self) -> list[Server]:
        server, network = self._server, self._network
        others = [network.servers.get(host) for host in server.known]
        return [each for each in others if each and network.reaches(server, each) and each.state == SECONDARY
                and each.is_electable and each.disk.last >= server.disk.last and network.now >= each.passive_until]

    def _own(self, seat: Config) -> Document:
        server = self._server
        last = server.disk.log[-1].at if server.disk.log else 0.0
        return {"_id": seat["_id"], "name": server.address, "health": 1.0, "state": server.state, "self": True,
                "stateStr": NAMES[server.state], "optimeDate": _date(last),
                "uptime": int(self._network.now - server.started_at)}


def _other(seat: Config, known: Known) -> Document:
    return {"_id": seat["_id"], "name": seat["host"], "health": known.health, "state": known.state,
            "stateStr": NAMES[known.state], "optimeDate": _date(known.last_at), "lastHeartbeat": _date(known.heard_at),
            "lastHeartbeatMessage": known.message}


def _date(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def _limit_s(command: Document) -> float:
    return command["maxTimeMS"] / 1000 if command.get("maxTimeMS") else _MAX_WAIT_S
