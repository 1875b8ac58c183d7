"""The members' dealings with each other, in simulated time, with faults between them.

Rules, with the page of MongoDB's manual that states each:

- heartbeats every two seconds; who is not heard of for ten is down [Replica Set Elections: Heartbeats];
- they carry term and configuration; the newer configuration is installed [replSetReconfig], and by its sender's word a
  member without any joins [Replication Internals in the server's source];
- another set's id, another set's name or another key file is no answer [Replica Set Configuration: replicaSetId;
  Internal Authentication];
- a primary that hears no majority of the voters steps down [Replica Set Elections: Network Partition];
- a secondary that hears no primary for ten seconds calls an election. Voters in the states PRIMARY, SECONDARY,
  STARTUP2, RECOVERING and ROLLBACK vote, once a term, for who is not behind them [Replica Set Elections: Voting
  Members]; a new term is written into the configuration [Replica Set Configuration: term];
- an entry of the primary's own term that a majority of the voters has is committed [Write Concern: majority]; what a
  former primary wrote beside that is rolled back [Rollbacks During Replica Set Failover];
- a newcomer drops what it has, and copies all [Replica Set Data Synchronization: Initial Sync];
- a configuration is committed if a majority of its voters has it, and all that was committed under the one before
  [replSetReconfig: Safe Replica Set Reconfiguration].
"""

import threading
from collections.abc import Callable, Iterator

from lab.mongodb import rules
from lab.mongodb.server import (
    DOWN,
    PRIMARY,
    RECOVERING,
    ROLLBACK,
    SECONDARY,
    STARTUP,
    STARTUP2,
    UNKNOWN,
    Server,
)

HEARTBEAT_S, ELECTION_TIMEOUT_S = 2, 10
VOTING = (PRIMARY, SECONDARY, STARTUP2, RECOVERING, ROLLBACK)


class Network:
    """All members, and the time. Whoever reads or changes them holds the lock."""

    def __init__(self) -> None:
        self.lock, self.now, self.elections = threading.RLock(), 1_700_000_000.0, 0
        self.servers: dict[str, Server] = {}
        self.sides: dict[str, int] = {}  # address -> side of a partition

    def advance(self, seconds: float) -> None:
        for _ in range(round(seconds)):
            self._step()

    def wait(self, condition: Callable[[], object], seconds: float) -> bool:
        """Let time pass until something is so; False: it was not, in that time."""
        for _ in range(round(seconds)):
            if condition():
                return True
            self._step()
        return bool(condition())

    def reaches(self, one: Server, other: Server | None) -> bool:
        return bool(other and all(each.is_running and not each.is_hung for each in (one, other))
                    and self.sides.get(one.address, 0) == self.sides.get(other.address, 0))

    def primaries(self) -> list[Server]:
        return [each for each in self._alive() if each.state == PRIMARY]

    def is_committed(self, primary: Server) -> bool:
        """Tell whether a primary's configuration is committed."""
        config, own = primary.config, primary.commit and primary.disk.log[primary.commit - 1].term
        voting = rules.voters(config) if config else set()
        having = sum(host == primary.address or primary.known[host].age == rules.age(config) for host in voting)
        return having > len(voting) // 2 and primary.commit >= primary.config_at and own == primary.disk.term

    def elect(self, candidate: Server) -> bool:
        """Hold an election; a candidate that wins is primary."""
        config, term = candidate.config, candidate.disk.term + 1
        if not config or not candidate.is_electable:
            return False
        voting = rules.voters(config)
        votes = [each for each in self._alive() if each.address in voting and self._votes(each, candidate, term)]
        if len(votes) <= len(voting) // 2:
            return False
        for each in votes:
            each.learn_term(term, self.now)
            each.leader_seen_at = self.now
        candidate.state, candidate.writable_at, candidate.commit = PRIMARY, self.now + 1, 0
        candidate.write(self.now)
        candidate.install({**config, "term": term}, self.now)
        self.elections += 1
        return True

    def _votes(self, voter: Server, candidate: Server, term: int) -> bool:
        if voter is candidate:
            return True
        return (self._hears(voter, candidate) == "" and voter.state in VOTING and term > voter.disk.term
                and not rules.is_newer(voter.config, candidate.config) and candidate.disk.last >= voter.disk.last)

    def _hears(self, one: Server, other: Server | None) -> str:
        """Tell why a member takes no heartbeat's answer from another one; "": it takes it."""
        if other is None or not self.reaches(one, other):
            return "unreachable"
        if one.key != other.key:
            return "Authentication failed."
        if one.set_name != other.set_name:
            return "replica set names do not match"
        ours, theirs = rules.set_id(one.config), rules.set_id(other.config)
        if ours and theirs and ours != theirs:
            return f"replica set IDs do not match, ours: {ours}; remote node's: {theirs}"
        return ""

    def _alive(self) -> Iterator[Server]:
        return (each for each in list(self.servers.values()) if each.is_running and not each.is_hung)

    def _step(self) -> None:
        with self.lock:
            self.now += 1
            for each in self._alive():
                each.load(self.now)
            if round(self.now) % HEARTBEAT_S == 0:
                for each in self._alive():
                    self._send_heartbeats(each)
            for act in (self._lead, self._copy, self._campaign, self._commit):
                for each in self._alive():
                    act(each)

    def _send_heartbeats(self, server: Server) -> None:
        for host in list(server.known):
            other, known = self.servers.get(host), server.known.get(host)
            if known is None:  # its configuration has changed meanwhile
                continue
            known.message = self._hears(server, other)
            if known.message or other is None:
                is_refused = known.message != "unreachable"
                if is_refused or self.now - known.heard_at >= ELECTION_TIMEOUT_S:
                    known.state, known.health = UNKNOWN if is_refused and not known.heard_at else DOWN, 0.0
                continue
            self._exchange(server, other)

    def _exchange(self, server: Server, other: Server) -> None:
        if other.config is None and other.disk.config is None and rules.member(server.config, other.address):
            assert server.config
            other.install(server.config, self.now)
        server.learn_term(other.disk.term, self.now)
        if other.config and rules.is_newer(other.config, server.config):
            server.install(other.config, self.now)
        known = server.known.get(other.address)
        if known:
            known.state, known.health, known.heard_at = other.state, 1.0, self.now
            known.last_at = other.disk.log[-1].at if other.disk.log else 0.0
            known.age = rules.age(other.config)
            if other.state == PRIMARY and other.disk.term >= server.disk.term:
                server.leader_seen_at = self.now

    def _lead(self, server: Server) -> None:
        """Step down without a majority of the voters."""
        if server.state != PRIMARY or not server.config:
            return
        voting = rules.voters(server.config)
        heard = sum(host == server.address or self.now - server.known[host].heard_at < ELECTION_TIMEOUT_S
                    and server.known[host].health > 0 for host in voting)
        if heard <= len(voting) // 2:
            server.step_down(self.now)

    def _campaign(self, server: Server) -> None:
        is_alone = bool(server.config) and rules.voters(server.config or {}) == {server.address}
        is_due = is_alone or self.now - server.leader_seen_at >= ELECTION_TIMEOUT_S
        if server.state == SECONDARY and is_due and self.now >= server.passive_until:
            self.elect(server)

    def _copy(self, server: Server) -> None:
        if server.state == ROLLBACK:
            server.state = RECOVERING
            return
        source = self._source(server) if server.state in (STARTUP2, SECONDARY, RECOVERING) else None
        if source is None:
            return
        if server.state == STARTUP2:
            server.disk.log, server.copied = [], server.copied + server.speed
            if server.copied >= len(source.disk.log):
                server.disk.log, server.disk.is_synced, server.state = [*source.disk.log], True, SECONDARY
            return
        own, theirs = server.disk.log, source.disk.log
        common = next((at for at, (one, two) in enumerate(zip(own, theirs, strict=False)) if one != two),
                      min(len(own), len(theirs)))
        if common < len(own):
            server.disk.rolled_back += own[common:]
            server.disk.log, server.state = own[:common], ROLLBACK
            return
        server.disk.log, server.state = [*own, *theirs[common:common + server.speed]], SECONDARY

    def _source(self, server: Server) -> Server | None:
        """Choose the member to copy from: one of its set that it knows, and that is ahead; the primary first."""
        ahead = [each for each in self._alive() if each.address in server.known and not self._hears(server, each)
                 and each.state in (PRIMARY, SECONDARY) and (
                     each.disk.last > server.disk.last or server.state in (STARTUP2, RECOVERING))]
        return max(ahead, key=lambda each: (each.state == PRIMARY, each.disk.last), default=None)

    def _commit(self, server: Server) -> None:
        if server.state != PRIMARY or not server.config:
            return
        voting, log = rules.voters(server.config), server.disk.log
        logs = [each.disk.log for each in self._alive() if each.address in voting and each.state != STARTUP and (
            each is server or not self._hears(server, each) and each.state != STARTUP2)]
        for length in range(len(log), server.commit, -1):
            entry = log[length - 1]
            if entry.term != server.disk.term:
                return
            if sum(each[length - 1:length] == [entry] for each in logs) > len(voting) // 2:
                server.commit = length
                return
