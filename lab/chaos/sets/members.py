"""Asking each member, from inside its own network, who it is, whom it follows, and whether it takes a write."""

import itertools
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from lab import etcd_gateway
from lab.chaos.sets.timeline import Seat, Word

_CLIENT_PORT = 2379
_PROBES = itertools.count(1)
_TIMEOUT_S = 1.0


class Running(NamedTuple):
    """A container that runs a member."""

    number: int
    container: str  # id
    pid: int


def ask_all(pool: ThreadPoolExecutor, running: Iterable[Running]) -> tuple[Word, ...]:
    """Ask all members side by side; one that gives no answer is left out."""
    return tuple(word for word in pool.map(_ask, running) if word)


def port_of(number: int) -> int:
    return _CLIENT_PORT + 2 * (number - 1)


def number_of(peer_url: str) -> int:
    """Find the number of the member at an address of a set's list; 0: it is none of ours."""
    port = int(peer_url.rpartition(":")[2])
    number, rest = divmod(port - 1 - _CLIENT_PORT, 2)
    return number + 1 if rest == 0 and number >= 0 else 0


def _ask(running: Running) -> Word | None:
    """Ask for the term, write, ask for the members, and for the term again: a leader all the while has the members that
    are in force."""
    netns, port = f"/proc/{running.pid}/ns/net", port_of(running.number)
    address, peer = f"127.0.0.1:{port}", f"127.0.0.1:{port + 1}"
    try:
        first = etcd_gateway.status(address, netns=netns, timeout_s=_TIMEOUT_S)
    except OSError:
        return None
    word = Word(running.number, running.container, first.set_id, first.member_id, first.term,
                str(first.body.get("leader", "")))
    began = time.time()
    try:
        probe = etcd_gateway.put(address, f"probe-{running.number}", str(next(_PROBES)), netns=netns,
                                 timeout_s=_TIMEOUT_S)
        word = word._replace(acknowledged=probe.revision, term=probe.term, began=began, ended=time.time())
        seats = tuple(Seat(str(each["id"]), number_of(each["peerURLs"][0]), not each.get("isLearner", False))
                      for each in etcd_gateway.members(peer, netns=netns, timeout_s=_TIMEOUT_S))
        last = etcd_gateway.status(address, netns=netns, timeout_s=_TIMEOUT_S)
    except (OSError, ValueError, KeyError, IndexError):
        return word
    leader = str(last.body.get("leader", ""))
    is_steady = first.term == probe.term == last.term and word.leader == leader
    return word._replace(term=last.term, leader=leader, seats=seats,
                         leads=is_steady and leader == word.member_id)
