"""The lock on a real Consul, with holders that are frozen and killed as processes of their own."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from lictor import errors
from lictor.adapters.consul import lock, transactions
from lictor.adapters.consul.client import Client

from lab.consul import Consul
from lab.daemon import wait_for
from support.paths import HANDLERS

LOCK = "lictor/locks/web"
GUARDED = "lictor/state/web"
HOLDER = """
import sys
from lictor import errors
from lictor.adapters.consul import lock
from lictor.adapters.consul.client import Client
lock._LOCK_DELAY_S = int(sys.argv[1])
lock._now = lambda: 0.0  # a clock that stands still while we are frozen, so that Consul alone can refuse
with lock.held(Client.connect(), "web", node="child") as mine:
    print("held" if mine else "not held", flush=True)
    for line in sys.stdin:
        try:
            mine.put("lictor/state/web", "child", int(line))
            print("written", flush=True)
        except errors.Conflict as error:
            print("Conflict:", error, flush=True)
"""


@pytest.fixture
def client(consul: Consul, agent: Consul) -> Iterator[Client]:
    """Whatever a test does, no lock and no session is left when it is over; those of other tests are gone before."""
    yield Client.connect(environ=consul.environ)
    assert (keys(agent, "lictor/locks/"), sessions(agent)) == ([], [])
    agent.request("DELETE", "/v1/kv/?recurse")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that fences see, in its one element."""
    now = [1000.0]
    monkeypatch.setattr(lock, "_now", lambda: now[0])
    return now


@pytest.fixture
def child(agent: Consul) -> Iterator["Child"]:
    holder = Child(agent)
    try:
        yield holder
    finally:
        holder.end()


class Child:
    """Another process that holds the lock, and writes under it when it is told to."""

    def __init__(self, agent: Consul, *, lock_delay_s: int = 1) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(lock_delay_s)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env={**os.environ, **agent.environ, "PYTHONPATH": str(HANDLERS)},
        )
        assert self.said() == "held"

    def put(self, index: int) -> str:
        assert self.process.stdin
        self.process.stdin.write(f"{index}\n")
        self.process.stdin.flush()
        return self.said()

    def said(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def leave(self) -> str:
        """Let it leave the lock; what it logged on the way."""
        logged = self.process.communicate(timeout=60)[1]
        assert self.process.returncode == 0
        return logged

    def end(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=60)


def keys(agent: Consul, prefix: str) -> list[str]:
    found: list[str] = agent.request("GET", f"/v1/kv/{prefix}?keys") or []
    return found


def sessions(agent: Consul) -> list[str]:
    return [each["ID"] for each in agent.request("GET", "/v1/session/list?consistent")]


def holder(agent: Consul) -> str:
    session: str = agent.request("GET", f"/v1/kv/{LOCK}?consistent")[0]["Session"]
    return session


def is_ours(mine: lock.FencedWriter | None) -> bool:
    assert mine
    try:
        mine.check()
        return True
    except errors.Conflict:
        return False


def is_free(client: Client) -> bool:
    with lock.held(client, "web", node="node-2") as mine:
        return mine is not None


def index_of(client: Client, key: str) -> int:
    entry = client.get(key)
    return entry.modify_index if entry else 0


def test_one_holds_it_and_the_next_gets_it_at_once(agent: Consul, client: Client) -> None:
    with lock.held(client, "web", node="node-1") as mine:
        assert mine
        with lock.held(client, "web", node="node-2") as theirs:
            assert theirs is None
            assert sessions(agent) == [holder(agent)]  # who waits for a body to end keeps no session for that
        with lock.held(client, "other", node="node-2") as another:
            assert another
        mine.check()
    with lock.held(client, "web", node="node-2") as theirs:
        assert theirs
        theirs.check()
        with pytest.raises(errors.Conflict, match="it is not ours any more"):
            mine.check()


def test_of_many_at_once_never_two_are_in(client: Client) -> None:
    inside, most = [0], [0]
    counting = threading.Lock()

    def take_turns() -> None:
        def through() -> bool:
            with lock.held(client, "web", node="node-1") as mine:
                assert mine
                if mine:
                    with counting:
                        inside[0] += 1
                        most[0] = max(most[0], inside[0])
                    try:
                        mine.put(GUARDED, "x", index_of(client, GUARDED))
                    finally:
                        with counting:
                            inside[0] -= 1
                return mine is not None
        wait_for(through, "it is this one's turn")
        through_it.append(1)

    through_it: list[int] = []
    threads = [threading.Thread(target=take_turns) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(through_it) == 6 and most == [1]


def test_people_see_who_holds_it_and_consul_knows_the_limits(agent: Consul, client: Client) -> None:
    with lock.held(client, "web", node="node-7"):
        about = json.loads(agent.get(LOCK) or "")
        session, = agent.request("GET", "/v1/session/list?consistent")
    assert (about["node"], about["pid"]) == ("node-7", os.getpid()) and about["time"].endswith("Z")
    assert (session["TTL"], session["LockDelay"], session["Behavior"]) == ("15s", 15_000_000_000, "delete")
    assert not session.get("Checks") and not session.get("NodeChecks")  # a node's own check would end it sooner


def test_a_write_needs_the_index_that_was_read(client: Client) -> None:
    with lock.held(client, "web", node="node-1") as mine:
        assert mine
        mine.put(GUARDED, "1", 0)
        first = index_of(client, GUARDED)
        mine.put(GUARDED, b"\x00\xff", first)
        for index in (0, first):
            with pytest.raises(errors.Conflict, match=GUARDED):
                mine.put(GUARDED, "3", index)
        entry = client.get(GUARDED)
        assert entry and entry.value == b"\x00\xff"
        mine.put(GUARDED, "4")  # without an index the lock alone counts
        entry = client.get(GUARDED)
        assert entry and entry.value == b"4"


def test_a_plain_writer_needs_no_lock_and_compares_indexes_alike(client: Client) -> None:
    writer = lock.PlainWriter(client)
    writer.check()
    assert writer.lost() == ""
    writer.put(GUARDED, "1", 0)
    with pytest.raises(errors.Conflict, match=GUARDED):
        writer.put(GUARDED, "2", 0)
    with pytest.raises(errors.Conflict, match=GUARDED):
        writer.commit([transactions.cas(GUARDED, "2", 0)])
    writer.commit([transactions.cas(GUARDED, "3", index_of(client, GUARDED))])
    writer.put(GUARDED, "4")
    entry = client.get(GUARDED)
    assert entry and entry.value == b"4"


def test_a_body_that_raises_lets_go(agent: Consul, client: Client) -> None:
    with pytest.raises(ZeroDivisionError), lock.held(client, "web", node="node-1") as mine:
        assert mine and 1 / 0
    assert (keys(agent, "lictor/locks/"), sessions(agent)) == ([], [])
    assert LOCK not in [each.name for each in threading.enumerate()]
    with (pytest.raises(ZeroDivisionError), lock.held(client, "web", node="node-1"),
          lock.held(client, "web", node="node-2") as theirs):
        assert theirs is None and 1 / 0


def test_without_a_renewal_nothing_is_done_after_ten_seconds(client: Client, clock: list[float],
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_RENEW_EVERY_S", 3600.0)
    with lock.held(client, "web", node="node-1") as mine:
        assert mine
        clock[0] += 10
        mine.put(GUARDED, "1", 0)
        clock[0] += 0.1
        for call in (mine.check, lambda: mine.put(GUARDED, "2", index_of(client, GUARDED))):
            with pytest.raises(errors.Conflict, match="last renewed 10.1 s ago"):
                call()
        clock[0] += 14.9
        assert mine.lost() == ""  # until the lock delay of a session that has run out is nearly over
        clock[0] += 0.1
        assert "last renewed 25.1 s ago, so another may have it soon" in mine.lost()
        entry = client.get(GUARDED)
        assert entry and entry.value == b"1"


def test_renewals_keep_it_and_failing_ones_do_not(consul: Consul, clock: list[float],
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_RENEW_EVERY_S", 0.05)
    monkeypatch.setattr(lock, "_RETRY_AFTER_S", 0.05)

    def is_lost_at_last() -> bool:
        clock[0] += 11
        return not is_ours(mine)

    with lock.held(Client.connect(environ=consul.environ, timeout_s=10), "web", node="node-1") as mine:
        assert mine
        clock[0] += 11
        wait_for(lambda: is_ours(mine), "it is renewed")
        consul.send(signal.SIGSTOP)
        wait_for(is_lost_at_last, "a frozen Consul renews nothing")
        consul.send(signal.SIGCONT)
        wait_for(lambda: is_ours(mine), "it is renewed again")
    assert (keys(consul, "lictor/locks/"), sessions(consul)) == ([], [])


def test_who_learns_that_the_session_has_ended_stops(agent: Consul, client: Client,
                                                     monkeypatch: pytest.MonkeyPatch,
                                                     capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(lock, "_RENEW_EVERY_S", 0.05)
    monkeypatch.setattr(lock, "_LOCK_DELAY_S", 1)
    with lock.held(client, "web", node="node-1") as mine:
        assert mine
        agent.request("PUT", f"/v1/session/destroy/{holder(agent)}")
        wait_for(lambda: not is_ours(mine), "the renewal is refused")
        with pytest.raises(errors.Conflict, match="its session has ended"):
            mine.put(GUARDED, "1", 0)
        assert "its session has ended" in mine.lost()
        assert client.get(GUARDED) is None
    assert f"action=unlock lock={LOCK} outcome=failed" in capfd.readouterr().err
    wait_for(lambda: is_free(client), "the lock delay is over")


def test_a_holder_that_was_frozen_writes_nothing_after_another_took_over(agent: Consul, client: Client,
                                                                         child: Child) -> None:
    assert child.put(0) == "written"
    child.process.send_signal(signal.SIGSTOP)
    agent.request("PUT", f"/v1/session/destroy/{holder(agent)}")  # as when its time has run out

    def take_over() -> bool:
        with lock.held(client, "web", node="node-2") as mine:
            if mine is None:
                return False
            child.process.send_signal(signal.SIGCONT)
            said = child.put(index_of(client, GUARDED))
            assert said.startswith("Conflict: PUT /v1/txn") and LOCK in said, said
            assert "action=unlock" in child.leave()
            mine.check()
            assert holder(agent) in sessions(agent)  # the first one did not delete what is the second one's
            mine.put(GUARDED, "parent", index_of(client, GUARDED))
            return True
    wait_for(take_over, "the lock delay is over")
    assert agent.get(GUARDED) == "parent"


def test_a_holder_that_was_killed_leaves_nothing_once_its_session_ends(agent: Consul, client: Client) -> None:
    child = Child(agent, lock_delay_s=10)  # so long that it cannot be over before it is looked at
    try:
        assert child.put(0) == "written"
    finally:
        child.end()
    agent.request("PUT", f"/v1/session/destroy/{holder(agent)}")
    assert (keys(agent, "lictor/locks/"), sessions(agent)) == ([], [])
    with lock.held(client, "web", node="node-2") as mine:
        assert mine is None  # within the lock delay
    wait_for(lambda: is_free(client), "the lock delay is over")


def test_a_consul_that_is_away_at_the_end_raises_nothing(consul: Consul, capfd: pytest.CaptureFixture[str]) -> None:
    with lock.held(Client.connect(environ=consul.environ), "web", node="node-1") as mine:
        assert mine
        consul.stop()
        with pytest.raises(errors.Unavailable):
            mine.put(GUARDED, "1", 0)
    assert f"action=unlock lock={LOCK} outcome=failed" in capfd.readouterr().err


def test_a_consul_that_is_away_at_the_end_hides_no_error_of_the_body(consul: Consul) -> None:
    client = Client.connect(environ=consul.environ)
    with pytest.raises(ZeroDivisionError), lock.held(client, "web", node="node-1") as mine:
        consul.stop()
        assert mine and 1 / 0
