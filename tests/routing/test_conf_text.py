import pytest
from hypothesis import given
from hypothesis import strategies as st

from lictor.routing import conf_text, templates
from lictor.routing.peers import Peer

PEERS = [Peer("127.0.0.1", 32768), Peer("10.0.0.7", 8080, 3), Peer("fd00::1", 8080)]
TEMPLATES = templates.Templates()


def servers(peers: list[Peer]) -> list[str]:
    return [conf_text.server(each) for each in peers]


@pytest.mark.parametrize(("before", "after", "alike"), [
    ([Peer("10.0.0.1", 80)], [Peer("10.0.0.2", 8080), Peer("fd00::1", 1, 65535)], True),
    (PEERS, PEERS[:1], True),
    ([], PEERS, False),
    (PEERS, [], False),
])
def test_the_shape_of_an_upstream_is_that_without_its_addresses_and_weights(before: list[Peer], after: list[Peer],
                                                                            alike: bool) -> None:
    shapes = [conf_text.shape(TEMPLATES.upstream("books", peers)) for peers in (before, after)]
    assert (shapes[0] == shapes[1]) is alike
    assert shapes[0] != conf_text.shape(TEMPLATES.upstream("shelves", before))


SOME_PEERS = st.lists(st.builds(
    Peer, st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str), st.integers(1, 65535),
    st.one_of(st.just(1), st.integers(1, 65535))).filter(lambda peer: peer[:2] != ("127.0.0.1", 9)),
    min_size=1, max_size=4)


@given(SOME_PEERS, SOME_PEERS)
def test_other_servers_give_what_the_template_gives(before: list[Peer], after: list[Peer]) -> None:
    assert conf_text.with_servers(TEMPLATES.upstream("books", before), servers(after)) == TEMPLATES.upstream(
        "books", after)


def test_a_port_that_begins_like_the_one_that_stands_for_no_peer_is_a_peer() -> None:
    text = TEMPLATES.upstream("books", [Peer("127.0.0.1", 9001)])
    assert conf_text.with_servers(text, ["127.0.0.1:9002"]) == TEMPLATES.upstream("books", [Peer("127.0.0.1", 9002)])


@given(SOME_PEERS, SOME_PEERS)
def test_nobody_is_followed_by_what_the_template_gives(before: list[Peer], after: list[Peer]) -> None:
    text = conf_text.with_nobody(TEMPLATES.upstream("books", before))
    assert text is not None
    assert conf_text.SERVER.findall(text) == [conf_text.NO_PEER] and conf_text.with_nobody(text) == text
    assert conf_text.with_servers(text, servers(after)) == TEMPLATES.upstream("books", after)
    assert conf_text.with_nobody(TEMPLATES.upstream("books", [])) is None


TEXT = TEMPLATES.upstream("books", PEERS)


@pytest.mark.parametrize(("text", "after"), [
    (TEXT, []),
    (TEMPLATES.upstream("books", []), PEERS),
    (templates.Templates(live=True).upstream("books", PEERS), PEERS),
    ("", PEERS),
    (TEXT.replace("[fd00::1]:8080", "[fd00::1]:8080 backup"), PEERS),
    (TEXT.replace("server [fd00::1]", "\n    server [fd00::1]"), PEERS),
    (TEXT.replace("}", "# server 10.0.0.1:80\n}"), PEERS),
    ("upstream x {\n    server 10.0.0.1:80; server 10.0.0.2:80;\n}\n", PEERS),
])
def test_what_only_the_template_knows_is_left_to_it(text: str, after: list[Peer]) -> None:
    assert conf_text.with_servers(text, servers(after)) is None


@pytest.mark.parametrize("server", ["10.0.0.1", "10.0.0.1:80; } server { root /etc", "x:80", "10.0.0.1:80\n", "\\1:80",
                                    "10.0.0.1:80 weight=0", "10.0.0.1:80 weight=x", "10.0.0.1:80 weight=1 backup"])
def test_nothing_hostile_becomes_a_server(server: str) -> None:
    assert conf_text.with_servers(TEXT, [server]) is None
