import json
import re
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lictor import model
from lictor.routing import peers, route_store

ROUTE = {"name": "books", "service": "books", "path": "/books", "host": "", "traffic": "healthy", "node": "node-1",
         "empty_ok": False, "removed": False, "needs_consent": False}
NOW_S = 1000.0


def seen(number: int, *, status: str = "passing", alive: bool = True, maintenance: str | None = None,
         node: str = "node-1", address: str | None = None, port: int = 80, service: str = "books",
         weight: int = 1, **fields: Any) -> model.Instance:
    given = f"10.0.0.{number}" if address is None else address
    return model.Instance(node, f"books-{number}", service, given, port, status, alive, maintenance,
                          **{"container_id": "", "weight": weight, "is_registrars": True, **fields})


def serving(*numbers: int, empty_since: float | None = None, ailing: Sequence[int] = ()) -> peers.PublishedRoute:
    return peers.PublishedRoute(tuple(peers.Peer(f"10.0.0.{number}", 80) for number in numbers),
                           tuple(("node-1", f"books-{number}") for number in numbers), empty_since=empty_since,
                           ailing=tuple(("node-1", f"books-{number}") for number in ailing))


def decide(now: peers.PublishedRoute | None, instances: list[model.Instance], *, certain: bool = False,
           own: Set[peers.Endpoint] = frozenset(), **route: object) -> peers.Decision:
    return peers.decide({**ROUTE, **route}, now, instances, now_s=NOW_S, certain=certain, own=own)


def numbers(decision: peers.Decision) -> list[int]:
    return [int(each.address.rpartition(".")[2]) for each in decision.peers]


@pytest.mark.parametrize(("traffic", "fields", "receives"), [
    ("healthy", {"status": "passing"}, True), ("healthy", {"status": "warning"}, True),
    ("healthy", {"status": "critical"}, False), ("healthy", {"alive": False}, False),
    ("healthy", {"maintenance": "x"}, False), ("healthy", {"maintenance": ""}, False),
    ("healthy", {"service": "books-green"}, False), ("healthy", {"address": "127.0.0.1", "node": "node-2"}, False),
    ("healthy", {"address": "127.0.0.1"}, True), ("healthy", {"address": "::1", "node": "node-2"}, False),
    ("healthy", {"address": "::ffff:127.0.0.1", "node": "node-2"}, False), ("healthy", {"address": "fd00::1"}, True),
    ("any", {"status": "critical"}, True), ("any", {"alive": False}, True), ("any", {"maintenance": "x"}, False),
    ("any", {"service": "books-green"}, False),
    ("healthy", {"status": "warning", "weight": 0}, False), ("any", {"status": "warning", "weight": 0}, True),
])
def test_who_receives_traffic(traffic: str, fields: dict[str, Any], receives: bool) -> None:
    decision = decide(None, [seen(1, **fields)], traffic=traffic)
    assert (decision.kind, bool(decision.peers)) == ("publish", receives)


@pytest.mark.parametrize(("now", "instances", "certain", "kind", "receiving"), [
    # what is served already
    (serving(1, 2), [seen(2), seen(1)], False, "unchanged", [1, 2]),
    (serving(), [], False, "unchanged", []),
    # more, or other ones
    (None, [seen(1)], False, "publish", [1]),
    (None, [], False, "publish", []),
    (serving(1), [seen(1), seen(2), seen(3)], False, "publish", [1, 2, 3]),
    (serving(), [seen(1)], False, "publish", [1]),
    # fewer: half is believed, less than that only when it is certain
    (serving(1, 2), [seen(1)], False, "publish", [1]),
    (serving(1, 2, 3), [seen(1)], False, "confirm", [1]),
    (serving(1, 2, 3), [seen(1)], True, "publish", [1]),
    (serving(1, 2), [seen(3), seen(4)], False, "publish", [3, 4]),
    # panic: the unfit ones stay where they are most, but never come in
    (serving(1, 2), [seen(1, status="critical"), seen(2)], False, "publish", [2]),
    (serving(1, 2), [seen(1, status="critical"), seen(2, alive=False)], False, "unchanged", [1, 2]),
    (serving(1, 2, 3), [seen(1), seen(2, status="critical"), seen(3, alive=False)], False, "unchanged", [1, 2, 3]),
    (serving(1, 2, 3), [seen(1), seen(2, status="critical"), seen(3, maintenance="x")], True, "publish", [1]),
    (serving(1), [seen(1), seen(2, status="critical"), seen(3, status="critical")], False, "unchanged", [1]),
    (serving(1), [seen(1, status="critical"), seen(2, status="critical")], False, "unchanged", [1]),
    (serving(1, 2), [seen(1, status="critical"), seen(3)], False, "publish", [3]),
    # but those that were served before, and left as they became unfit
    (serving(3, ailing=(1, 2)), [seen(each, status="critical") for each in (1, 2, 3, 4)], True, "publish", [1, 2, 3]),
    (serving(2, 3, ailing=(1,)), [seen(1, alive=False), seen(2), seen(3)], False, "unchanged", [2, 3]),
    (serving(2, ailing=(1,)), [seen(1, maintenance="x"), seen(2, status="critical")], False, "unchanged", [2]),
    # none: held, because empty is not believed yet
    (serving(1, 2), [], False, "confirm", []),
    (serving(1, 2), [], True, "hold", [1, 2]),
    (serving(1, 2), [seen(1, maintenance="x")], True, "publish", [2]),
    (serving(2), [], True, "hold", [2]),
    (serving(1, 2), [seen(1, maintenance="x"), seen(2, maintenance="")], True, "publish", []),
    (serving(1), [seen(1, maintenance="x")], False, "confirm", []),
    (serving(1), [seen(1, maintenance="x"), seen(2, status="critical")], True, "publish", []),
    # a refused one is as good as none: it keeps no other in traffic
    (serving(1, 2), [seen(1, address="a.example.com")], True, "hold", [1, 2]),
    (serving(1, empty_since=NOW_S - 59), [seen(2, port=0)], True, "hold", [1]),
    (serving(1, empty_since=NOW_S - 60), [seen(2, port=0)], True, "publish", []),
    (serving(1, empty_since=NOW_S - 60), [seen(2, port=0), seen(3, address="a.example.com")], True, "publish", []),
    (serving(1, 2, 3), [seen(1), seen(4, port=0)], True, "publish", [1]),
    (serving(1), [seen(1, status="critical"), seen(2, port=0)], False, "unchanged", [1]),
    (serving(), [seen(2, port=0)], False, "unchanged", []),
    # what speaks UDP is not even one
    (serving(1), [seen(1, status="critical"), seen(2, is_udp=True)], False, "unchanged", [1]),
    # one container's other port, whose registration has no check; and another's, or nobody's
    (None, [seen(1, status="critical", container_id="c"), seen(2, container_id="c"), seen(3, container_id="d")], True,
     "publish", [3]),
    (None, [seen(1, status="critical"), seen(2)], True, "publish", [2]),
    (None, [seen(1, status="critical", is_udp=True, container_id="c"), seen(2, container_id="c")], True, "publish",
     [2]),
    (serving(1, empty_since=NOW_S - 60), [seen(1, is_udp=True)], True, "publish", []),
    (serving(1, empty_since=NOW_S - 59), [], True, "hold", [1]),
    (serving(1, empty_since=NOW_S - 60), [], False, "confirm", []),
    (serving(1, empty_since=NOW_S - 60), [], True, "publish", []),
])
def test_decisions(now: peers.PublishedRoute | None, instances: list[model.Instance], certain: bool, kind: str,
                   receiving: list[int]) -> None:
    decision = decide(now, instances, certain=certain)
    assert (decision.kind, numbers(decision)) == (kind, receiving)


@pytest.mark.parametrize(("weights", "status", "weight"), [
    ({"Passing": 2, "Warning": 3}, "passing", 2), ({"Passing": 2, "Warning": 3}, "warning", 3),
    ({"Passing": 2, "Warning": 3}, "critical", 2), ({"Passing": 3, "Warning": 0}, "warning", 0),
    ({"Passing": 65535}, "passing", 65535), ({"Passing": 2}, "warning", 1), ({}, "passing", 1), (None, "passing", 1),
    *[({"Passing": each}, "passing", 1) for each in (0, 65536, -1, True, False, "9", 2.0, None, [2])],
])
def test_one_weighs_what_its_status_says_and_1_where_consul_would_refuse_that(weights: object, status: str,
                                                                              weight: int) -> None:
    entry = {"Node": {"Node": "node-1"}, "Service": {"ID": "a", "Service": "books", "Port": 80, "Weights": weights},
             "Checks": [{"CheckID": "service:a", "ServiceID": "a", "Status": status}]}
    assert model.instance(entry).weight == weight


def test_another_weight_alone_is_published_and_of_two_at_one_address_the_heavier_counts() -> None:
    assert decide(serving(1), [seen(1, weight=2)])[:2] == ("publish", (peers.Peer("10.0.0.1", 80, 2),))
    twins = [seen(1, weight=3), seen(2, address="10.0.0.1", weight=2)]
    assert decide(serving(1), twins).peers == (peers.Peer("10.0.0.1", 80, 3),)


def test_a_weight_of_0_at_warning_ends_traffic_as_in_consuls_mesh_but_not_that_of_all_at_once() -> None:
    one, other = [seen(each, status="warning", weight=0) for each in (1, 2)]
    assert (numbers(decide(serving(1, 2), [one, seen(2)])), numbers(decide(serving(2), [one, seen(2)]))) == ([2], [2])
    panic = decide(serving(1, 2), [one, other])
    assert (panic.kind, panic.peers) == ("unchanged", (peers.Peer("10.0.0.1", 80, 1), peers.Peer("10.0.0.2", 80, 1)))


@given(st.permutations(range(1, 6)), st.integers(1, 5), st.booleans())
@settings(deadline=None)
def test_those_that_fail_one_by_one_end_as_if_at_once(order: list[int], count: int, certain: bool) -> None:
    now = serving(1, 2, 3, 4, 5)
    for failed in range(1, count + 1):
        instances = [seen(each, status="critical" if each in order[:failed] else "passing") for each in range(1, 6)]
        at_once = decide(serving(1, 2, 3, 4, 5), instances, certain=certain)
        decision = decide(now, instances, certain=certain)
        assert (decision.peers, decision.ailing) == (at_once.peers, at_once.ailing)
        now = peers.PublishedRoute(decision.peers, decision.instances, ailing=decision.ailing)


def test_one_that_is_gone_and_comes_back_was_never_served() -> None:
    now = serving(2, 3, ailing=(1,))
    decision = decide(now, [seen(2), seen(3)])
    assert (decision.kind, decision.ailing) == ("unchanged", ())


def test_a_refused_one_is_counted_where_none_is_left_and_0_replicas_are_believed_beside_it() -> None:
    held = decide(serving(1), [seen(2, port=0)], certain=True)
    assert held.reason == ("on hold: 0 of 1 instances are healthy, 1 are refused. The last peers stay until that has "
                           "been so for 60 s.")
    assert decide(serving(1), [seen(2, port=0)], certain=True, empty_ok=True)[:2] == ("publish", ())


@pytest.mark.parametrize(("fields", "route", "why"), [
    ({"address": "127.0.0.1", "is_registrars": False}, {}, "lictor-registrar did not register it"),
    ({"address": "127.0.0.53", "is_registrars": False}, {}, "lictor-registrar did not register it"),
    ({"address": "::1", "is_registrars": False}, {}, "lictor-registrar did not register it"),
    ({"address": "::ffff:127.0.0.1", "is_registrars": False}, {}, "lictor-registrar did not register it"),
    ({"address": "10.0.0.9", "port": 8080}, {}, "nginx itself listens on 10.0.0.9:8080"),
    ({"address": "::ffff:10.0.0.9", "port": 8080}, {}, "nginx itself listens on 10.0.0.9:8080"),
    ({"address": "fd00::9", "port": 80}, {}, r"nginx itself listens on \[fd00::9\]:80"),
    ({"address": "127.0.0.1", "port": 8080}, {}, "nginx itself listens on 127.0.0.1:8080"),
    ({}, {"needs_consent": True}, "tag lictor-route=true"),
    ({"node": "n" * 600}, {}, "longer than 512"),
])
def test_a_sound_address_that_requests_must_not_go_to_is_refused_by_name(fields: dict[str, Any], route: dict[str, Any],
                                                                         why: str) -> None:
    own = {("10.0.0.9", 8080), ("fd00::9", 80), ("127.0.0.1", 8080)}
    decision = decide(None, [seen(1, **fields), seen(2, consents=True)], own=own, **route)
    assert numbers(decision) == [2]
    assert len(decision.refused) == 1 and re.search(f"'books-1' of node 'n.*': .*{why}", decision.refused[0])


@pytest.mark.parametrize(("entry", "fields"), [
    ({"Service": {"Tags": ["udp"]}}, {"is_udp": True}), ({"Service": {"Tags": ["a", "udp"]}}, {"is_udp": True}),
    *[({"Service": {"Meta": {key: "udp"}}}, {"is_udp": True}) for key in ("protocol", "lictor-protocol")],
    ({"Service": {"Tags": ["udp-gateway"]}}, {}),
    ({"Service": {"Meta": {"protocol": "tcp", "lictor-protocol": "tcp"}}}, {}),
    ({"Service": {"Tags": None, "Meta": None}}, {}), ({"Service": {"Tags": ["lictor-route=true"]}}, {"consents": True}),
    ({"Service": {"Meta": {"lictor-route": "true"}}}, {"consents": True}),
    ({"Service": {"Tags": ["lictor-route=false", "lictor-route"], "Meta": {"lictor-route": "yes"}}}, {}),
    ({"Service": {"Meta": {"lictor-engine": "docker", "lictor-container": "c"}}},
     {"is_registrars": True, "container_id": "c"}),
    ({"Checks": [{"CheckID": "serfHealth", "Status": "critical"}]}, {"node_alive": False}),
    ({"Checks": [{"CheckID": "externalNodeHealth", "Status": "critical"}]}, {}),
    ({"Node": {"Meta": {"external-node": "true"}}, "Checks": [{"CheckID": "externalNodeHealth", "Status": "critical"}]},
     {"node_alive": False}),
    ({"Node": {"Meta": {"external-node": "true", "external-probe": "true"}},
      "Checks": [{"CheckID": "externalNodeHealth", "Status": "passing"},
                 {"CheckID": "other", "Status": "critical"}]}, {}),
])
def test_what_a_registration_says_of_itself_and_its_node_of_its_health(entry: dict[str, Any],
                                                                       fields: dict[str, Any]) -> None:
    whole = {"Node": {"Node": "n", **entry.get("Node", {})}, "Checks": entry.get("Checks", []),
             "Service": {"ID": "a", "Service": "books", "Port": 80, **entry.get("Service", {})}}
    plain = model.Instance("n", "a", "books", "", 80, "passing", True, None, "")
    assert model.instance(whole) == plain._replace(**fields)


def test_an_empty_catalogue_is_true_at_once_when_replicas_is_0_or_the_service_is_removed() -> None:
    assert decide(serving(1), [], certain=True, empty_ok=True)[:2] == ("publish", ())
    assert decide(serving(1), [seen(1)], removed=True)[:2] == ("publish", ())
    assert decide(serving(), [seen(1)], removed=True).kind == "unchanged"


@pytest.mark.parametrize("fields", [
    {"address": address} for address in (
        "", "books.example.com", "10.0.0.1;", "10.0.0.01", "１0.0.0.1", "0.0.0.0", "::", "224.0.0.1", "fe80::1%eth0",
        "10.0.0.1\n", " 10.0.0.1", "10.0.0.1/32", "[::1]", "0.0.0.1", "0.255.0.1", "169.254.169.254", "169.254.0.1",
        "::ffff:169.254.169.254", "240.0.0.1", "255.255.255.255", "::ffff:240.0.0.1", "::ffff:0.0.0.1", "239.1.2.3",
        "ff02::1", "fe80::1", "febf::1", "::7f00:1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:1::", "fd00:ec2::254",
        "fd20:ce::254", "100.100.100.200", "::ffff:224.0.0.1", "unix:/run/docker.sock", "x" * 10_000, 167772161, None,
        ["10.0.0.1"])
] + [{"port": port} for port in (0, -1, 65536, True, "80", "8０", 80.0, None, [80], 10**30)])
def test_a_hostile_address_or_port_is_refused_by_name_and_the_others_stay(fields: dict[str, Any]) -> None:
    bad = seen(1)._replace(**fields)
    decision = decide(serving(2), [bad, seen(2)])
    assert (decision.kind, numbers(decision)) == ("unchanged", [2])
    assert len(decision.refused) == 1 and "'books-1' of node 'node-1'" in decision.refused[0]
    assert len(decision.refused[0]) < 400
    held = decide(serving(2), [bad], certain=True)
    assert (held.kind, numbers(held)) == ("hold", [2])
    over = decide(serving(2, empty_since=1.0), [bad], certain=True)
    assert (over.kind, numbers(over)) == ("publish", [])


def test_the_same_address_twice_is_one_peer_and_the_order_is_stable() -> None:
    twins = [seen(2), seen(1), seen(3, address="10.0.0.1")]
    assert numbers(decide(None, twins)) == [1, 2]
    assert decide(None, twins)[:3] == decide(None, twins[::-1])[:3]


def test_each_record_is_stored_by_the_names_of_its_fields(tmp_path: Path) -> None:
    for folder in ("peers", "unconfirmed"):
        (tmp_path / folder).mkdir()
    place = peers.Place("reload", (peers.Location("", "/books"),))
    now = serving(1)._replace(peers=(peers.Peer("10.0.0.1", 80), peers.Peer("10.0.0.2", 80, 3, True)),
                              places=(place, None), refusal=peers.Refusal(None, "", 1, 2.0),
                              canary=(("node-1", "books-1"),))
    route_store.write_published(str(tmp_path), "books", now)
    written = json.loads((tmp_path / "peers" / "books.json").read_text())
    assert written["peers"] == [{"address": "10.0.0.1", "port": 80, "weight": 1, "is_canary": False},
                                {"address": "10.0.0.2", "port": 80, "weight": 3, "is_canary": True}]
    location = {"host": "", "path": "/books", "match": "prefix", "aliases": [], "options": ""}
    assert written["places"] == [{"mode": "reload", "locations": [location], "ignored": None, "by_side": False}, None]
    assert route_store.published(str(tmp_path), "books") == now
    for earlier in ({"mode": "reload", **location, "ignored": None}, {"mode": "reload", **location}):
        assert route_store.from_table({**written, "places": [earlier, None]}) == now
    of_earlier_version = {**written, "peers": [{"address": "10.0.0.1", "port": 80, "weight": 1}]}
    del of_earlier_version["canary"]
    assert route_store.from_table(of_earlier_version) == now._replace(peers=now.peers[:1], canary=())
    place = place._replace(ignored=("/health",), locations=(
        *place.locations, peers.Location("a.example.com", "/", aliases=("b",), options='{"strip": true}')))
    refused = now._replace(refusal=peers.Refusal(place, "x", 1, 2.0))
    route_store.write_published(str(tmp_path), "books", refused)
    assert route_store.published(str(tmp_path), "books") == refused


def test_what_is_served_survives_its_file_and_a_damaged_one_is_none() -> None:
    now = serving(1, 2, empty_since=3.0, ailing=(3,))
    table = route_store.as_table(now)
    assert route_store.from_table(json.loads(json.dumps(table))) == now
    for damaged in list[object]([None, [], {}, {**table, "peers": 1}, {**table, "peers": [[1]]},
                                 {**table, "peers": [{"address": "10.0.0.1"}]}, {**table, "places": [{"mode": ""}]},
                                 {**table, "places": [{"mode": "", "locations": 1}]},
                                 {**table, "places": [{"mode": "", "locations": [{"path": "/"}]}]},
                                 {**table, "places": [{"mode": "", "locations": [], "more": 1}]},
                                 {**table, "refusal": {"times": 1}}, {**table, "strange": 1}]):
        assert route_store.from_table(damaged) is None


INSTANCES = st.lists(st.builds(
    seen, st.integers(1, 6), status=st.sampled_from(["passing", "warning", "critical"]), alive=st.booleans(),
    maintenance=st.sampled_from([None, None, "x"]), node=st.sampled_from(["node-1", "node-2"]),
    address=st.one_of(st.none(), st.text(max_size=20), st.sampled_from(["127.0.0.1", "::1", "10.0.0.9"])),
    port=st.one_of(st.just(80), st.integers(), st.booleans(), st.text(max_size=5)),
    weight=st.integers(0, 3),
    service=st.sampled_from(["books", "books", "books-green"])), max_size=8)


SERVED = st.one_of(st.none(), st.sets(st.integers(1, 6)).map(lambda some: serving(*sorted(some))))


@given(SERVED, INSTANCES, st.booleans(), st.booleans())
@settings(deadline=None)
def test_whatever_is_seen(now: peers.PublishedRoute | None, instances: list[model.Instance], certain: bool,
                          empty_ok: bool) -> None:
    decision = decide(now, instances, certain=certain, empty_ok=empty_ok)
    turned = decide(now, instances[::-1], certain=certain, empty_ok=empty_ok)
    assert decision == turned._replace(refused=decision.refused)
    assert all(type(each) is int and 0 < each < 65536 for peer in decision.peers for each in peer[1:3])
    assert decision.peers == tuple(sorted({peer[:2]: peer for peer in decision.peers}.values()))
    if now is not None:
        assert decision.kind != "confirm" or not certain
        in_maintenance = {each.service_id for each in instances if each.maintenance is not None}
        assert (decision.peers or decision.kind in ("confirm", "unchanged") or empty_ok  # never empty in one step,
                or {each for _, each in now.instances} & in_maintenance)  # unless somebody asked for it
        if decision.kind == "publish":
            after = peers.PublishedRoute(decision.peers, decision.instances, ailing=decision.ailing)
            again = decide(after, instances, certain=certain, empty_ok=empty_ok)
            assert (again.kind, again.peers) in (("unchanged", decision.peers), ("hold", decision.peers)) or not certain
            assert again.kind != "publish"
