"""The kind etcd, on real members; what the planner makes of it is shown end to end."""

import threading
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import msgspec
import pytest

from lictor import errors
from lictor.adapters import http
from lictor.clusters import etcd, registry
from lictor.clusters.protocols import Kind
from lictor.planner.cluster.observation import Configuration, Link, Seat

from lab.daemon import free_ports, wait_for
from lab.etcd import EtcdSet
from lab.serving import ignore_leaving

pytestmark = pytest.mark.daemons
KIND: Kind = etcd


@pytest.fixture
def members(tmp_path: Path) -> Iterator[EtcdSet]:
    found = EtcdSet(str(tmp_path))
    try:
        yield found
    finally:
        found.stop()


def test_it_is_found_by_its_name() -> None:
    assert registry.kind("etcd") is KIND and registry.kind("another") is None


def refusal(member: str) -> str:
    """What a member answers a client that reads; "": it lets it."""
    try:
        etcd._post(member, "kv/range", {"key": "YQ=="})
    except errors.Unavailable as error:
        return str(error)
    return ""


def test_each_call_on_real_members(members: EtcdSet) -> None:
    """A member says who it is; one is added, promoted, made the leader, and removed, each upon what was decided on."""
    members.settle()
    client, first = members.clients[1], etcd.ask(members.clients[1], members.peers[1])
    assert (first.role, first.behind, [seat.votes for seat in first.configuration.seats]) == ("primary", 0.0, [True])
    etcd.add(client, members.peers[2], first.configuration)
    second = etcd.ask(client, members.peers[1])
    assert {seat.address: seat.votes for seat in second.configuration.seats} == {
        members.peers[1]: True, members.peers[2]: False}
    assert etcd.ask_links(client, members.peers[1]) == {
        members.peers[2]: Link(False, "it has not been connected to it since its start")}
    with pytest.raises(errors.Conflict, match="other members than decided upon"):
        etcd.add(client, members.peers[3], first.configuration)
    with pytest.raises(errors.Unavailable, match="too many learner members"):
        etcd.add(client, members.peers[3], second.configuration)
    with pytest.raises(errors.NotYet, match="in sync with leader"):
        etcd.give_vote(client, members.peers[2], second.configuration)
    with pytest.raises(errors.Unavailable, match="no other voter"):
        etcd.step_down(client, second.configuration)
    with pytest.raises(errors.Refused, match="etcd takes none back"):
        etcd.take_vote(client, members.peers[2], second.configuration)
    members.size = 3
    wait_for(lambda: members.manage() and "start 2" in members.done, "the learner runs")
    wait_for(lambda: "not supported for learner" in refusal(members.clients[2]), "it refuses its clients")
    members.settle()
    third = etcd.ask(client, members.peers[1])
    promotions = [each for each in members.done if "givevote" in each]
    assert [each for each in promotions if each[0] != "("] == ["givevote 2", "givevote 3"]
    # A learner that copies has another role, so that hardly one is refused: the leader may hear of its progress late.
    assert len([each for each in promotions if "in sync with leader" in each]) <= 1, promotions
    assert third.set_id == first.set_id and all(seat.votes for seat in third.configuration.seats)
    for number in (1, 2, 3):
        others = {members.peers[other] for other in {1, 2, 3} - {number}}
        wait_for(lambda number=number, others=others: etcd.ask_links(  # type: ignore[misc]
            members.clients[number], members.peers[number]) == dict.fromkeys(others, Link(True)), "it is connected")
    etcd.step_down(client, third.configuration)
    wait_for(lambda: members.leader() not in (0, 1), "another member leads")
    with pytest.raises(errors.Conflict, match="is not the leader any more"):
        etcd.remove(client, members.peers[2], third.configuration)
    wait_for(lambda: _removes(members.clients[members.leader()], members.peers[1], third.configuration),
             "etcd finds its members connected")
    wait_for(lambda: not members.daemons[1].running, "a removed member ends by itself")


def _removes(leader: str, address: str, basis: Configuration) -> bool:
    try:
        etcd.remove(leader, address, basis)
    except errors.Unavailable:
        return False
    return True


def test_a_member_that_is_stopped_gives_no_answer() -> None:
    [port, peer] = free_ports(2)
    with pytest.raises(errors.Unavailable):
        etcd.ask(f"127.0.0.1:{port}", f"127.0.0.1:{peer}")


@pytest.mark.parametrize("status", [200, 503])
@pytest.mark.parametrize("body", [
    "", "null", "[]", "{}", '{"header": 1}', '{"header": {"cluster_id": "1", "member_id": "2"}, "raftTerm": "many"}',
    "[" * 5000, '[{"id": 1}]', '{"error": "x", "code": []}'])
def test_an_answer_that_is_no_etcds_is_none(status: int, body: str) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        ignore_leaving(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        address = f"127.0.0.1:{server.server_address[1]}"
        with pytest.raises(errors.Unavailable):
            etcd.ask(address, address)
        server.shutdown()


ACTIVE, SERVER = 'etcd_network_active_peers{Local="1f",Remote="2a"}', 'etcd_server_id{server_id="1f"} 1\n'


@pytest.mark.parametrize(("metrics", "link"), [
    (SERVER + ACTIVE + " 1\n", Link(True)),
    (SERVER + ACTIVE + " 0\n", Link(False, "its connection is lost")),
    (SERVER, Link(False, "it has not been connected to it since its start")),
    (SERVER + ACTIVE.replace('Local="1f"', 'Local="2a"') + " 1\n",  # another one's word of it
     Link(False, "it has not been connected to it since its start")),
    (SERVER + "# " + ACTIVE + " 1\n", Link(False, "it has not been connected to it since its start")),
    (SERVER + ACTIVE + " NaN\n", Link(None, "its metrics say 'NaN'")),
    (SERVER + ACTIVE + " -1\n", Link(None, "its metrics say '-1'")),
    (ACTIVE + " 1\n", None),  # whose it is, is not known
    (SERVER.replace("1f", "2a") + ACTIVE + " 1\n", None),
    ("", None), ("\xff\x00", None)])
def test_a_link_is_what_the_members_own_metrics_say_of_it(monkeypatch: pytest.MonkeyPatch, metrics: str,
                                                          link: Link | None) -> None:
    answers = {
        "/v3/maintenance/status": '{"header": {"cluster_id": "1", "member_id": "31"}, "raftTerm": 1}',
        "/members": '[{"id": 31, "peerURLs": ["http://a:1"]}, {"id": 42, "peerURLs": ["http://b:1"]}]',
        "/metrics": metrics}

    def exchange(method: str, url: str, **_: object) -> http.Answer:
        return http.Answer(200, Message(), answers[url.removeprefix("http://a:1")].encode("latin-1"))

    monkeypatch.setattr(http, "exchange", exchange)
    if link:
        assert etcd.ask_links("a:1", "a:1") == {"b:1": link}
        return
    with pytest.raises(errors.Unavailable, match="has no metrics of the member 1f"):
        etcd.ask_links("a:1", "a:1")


@pytest.mark.parametrize("member_id", ["", "one", "-1", "1" * 5000, "²"])
def test_an_id_that_is_none_is_no_answer(monkeypatch: pytest.MonkeyPatch, member_id: str) -> None:
    status = msgspec.json.encode({"header": {"cluster_id": "1", "member_id": member_id}, "raftTerm": 1})
    monkeypatch.setattr(http, "exchange", lambda *_, **__: http.Answer(
        200, Message(), status if "status" in _[1] else b"[]"))
    with pytest.raises(errors.Unavailable, match="an id that cannot be read"):
        etcd.ask_links("a:1", "a:1")


def test_a_member_starts_with_the_list_of_all() -> None:
    def of(configuration: Configuration | None) -> list[str]:
        made = etcd.environment("db-2", "10.0.0.2:2379", "10.0.0.2:2380", configuration)
        return [made["ETCD_INITIAL_CLUSTER"], made["ETCD_INITIAL_CLUSTER_STATE"], made["ETCD_ADVERTISE_CLIENT_URLS"]]

    assert of(None) == ["db-2=http://10.0.0.2:2380", "new", "http://10.0.0.2:2379"]
    assert of(Configuration((Seat("10.0.0.1:2380"), Seat("10.0.0.2:2380", False)))) == [
        "db-2=http://10.0.0.2:2380,other-1=http://10.0.0.1:2380", "existing", "http://10.0.0.2:2379"]
