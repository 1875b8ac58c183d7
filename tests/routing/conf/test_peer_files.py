import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lictor import errors
from lictor.routing.conf import peer_files
from lictor.routing.peers import Peer

PEERS = [Peer("127.0.0.1", 32768), Peer("10.0.0.7", 8080, 3), Peer("fd00::1", 8080)]


def servers(peers: list[Peer], upstream: str = "") -> list[str]:
    """The lines of the file that an upstream includes, without comments."""
    text = peer_files.peers("books", peers, upstream)["peers/books.conf"]
    assert text and text.startswith(peer_files.MARK)
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_each_peer_is_a_server_with_its_weight() -> None:
    assert servers(PEERS) == ["server 127.0.0.1:32768 max_fails=0;", "server 10.0.0.7:8080 weight=3 max_fails=0;",
                              "server [fd00::1]:8080 max_fails=0;"]


def test_without_a_peer_nobody_is_asked_and_the_location_says_so() -> None:
    assert servers([]) == ["server 127.0.0.1:9 down;"]
    texts = peer_files.peers("books", [])
    assert texts["peers/empty/books.conf"] and "return 503;" in texts["peers/empty/books.conf"]
    assert peer_files.peers("books", PEERS)["peers/empty/books.conf"] is None
    assert set(peer_files.no_peers("books")) == set(texts) and not any(peer_files.no_peers("books").values())


@pytest.mark.parametrize(("upstream", "weights", "written"), [
    ("hash $lictor_sticky consistent;", [3, 1], [3, 1]), ("hash $a consistent;", [500, 500], [500, 500]),
    ("keepalive 1; hash  $remote_addr$uri\n consistent ;", [65535, 65535, 1], [499, 499, 1]),
    ("hash $lictor_sticky consistent;", [100] * 1000, [1] * 1000), ("hash $lictor_sticky consistent;", [], []),
    ("hash $remote_addr; # consistent", [65535, 1], [65535, 1]), ("ip_hash;", [65535, 1], [65535, 1])])
def test_weights_of_a_consistent_hash_are_lowered_as_nginx_makes_points_of_them(
        upstream: str, weights: list[int], written: list[int]) -> None:
    found = servers([Peer(f"10.0.{index // 256}.{index % 256}", 80, weight) for index, weight in enumerate(weights)],
                    upstream)
    assert [int(match[1]) if (match := re.search(r"weight=(\d+)", line)) else 1 for line in found if "down" not in line
            ] == written


def test_a_location_is_told_of_a_canarys_peers_and_these_have_their_share_of_points() -> None:
    some = [*PEERS, Peer("10.0.1.1", 80, is_canary=True), Peer("fd00::2", 80, is_canary=True)]
    text = peer_files.peers("books", some)["peers/canary/books.conf"]
    assert text and text.splitlines()[1:] == [
        'set $lictor_canary " ";', 'set $lictor_canary "${lictor_canary}10.0.1.1:80 [fd00::2]:80 ";']
    assert peer_files.peers("books", PEERS)["peers/canary/books.conf"] is None
    many = [*(Peer(f"10.0.0.{number}", 80, 99) for number in range(100)),
            *(Peer(f"10.0.1.{number}", 80, is_canary=True) for number in range(100))]
    found = servers(many, "hash $lictor_sticky consistent;")
    assert sum(" weight=99 " in each for each in found) == 100  # a hundredth of the users, exactly


SOME_PEERS = st.lists(st.builds(
    Peer, st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str), st.integers(1, 65535),
    st.one_of(st.just(1), st.integers(1, 65535))), min_size=1, max_size=4)


@given(SOME_PEERS)
def test_whatever_address_a_peer_has_its_server_holds_that_and_nothing_else(peers: list[Peer]) -> None:
    lines = servers(peers)
    assert len(lines) == len(peers) and all(line.count(";") == 1 for line in lines)
    assert [" weight=" in line for line in lines] == [each.weight != 1 for each in peers]


@given(st.text(st.sampled_from("ab10.:/;{}\"'\\ \n#$~"), min_size=1, max_size=30))
@settings(deadline=None)
def test_a_hostile_address_gives_no_server(address: str) -> None:
    try:
        lines = servers([Peer(address, 80)])
    except errors.Refused:
        return
    assert set(address) <= set("10ab.:") and len(lines) == 1


@pytest.mark.parametrize("peer", [
    Peer("10.0.0.1; } server { root /etc", 80), Peer("x", 80), Peer("10.0.0.1\n", 80), Peer("\\1", 80), Peer("", 80),
    *(Peer("10.0.0.1", port) for port in list[Any](["80; }", "", "80\n", -1, 100000, None])),
    *(Peer("10.0.0.1", 80, weight) for weight in list[Any]([0, "x", "1 backup", -1, 100000]))])
@pytest.mark.parametrize("upstream", ["", "hash $lictor_sticky consistent;"])
def test_nothing_hostile_becomes_a_server(peer: Peer, upstream: str) -> None:
    with pytest.raises(errors.Refused, match="must not reach a configuration"):
        peer_files.peers("books", [PEERS[0], peer], upstream)
