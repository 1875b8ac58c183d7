"""The kind `etcd`, by the JSON gateway of etcd 3.4 and newer, and by the list that each member gives its peers.

A newcomer is added as a learner before it starts: it needs the list of all members. etcd takes one learner at a time,
and promotes it once it is in sync. It has no version of a configuration, but applies one change at a time, committed.
"""

import re
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from lictor import errors
from lictor.adapters import http
from lictor.planner.cluster.observation import PRIMARY, SECONDARY, Configuration, Link, Report, Seat

COPYING = "copying"  # the role of a learner that etcd would not promote yet
_IN_SYNC = 0.9  # of the leader's entries, as etcd asks of a learner
_TIMEOUT_S = 5.0
_NOT_FOUND, _EXISTS, _NOT_NOW = 5, 6, (4, 8, 9, 10, 14)  # gRPC's codes
# etcd's words while a voter has not been connected for 5 s, a learner copies, or a member is about to start
_NOT_YET = ("etcdserver: unhealthy cluster", "can only promote a learner member which is in sync with leader",
            "re-configuration failed due to not enough started members")
_LONGEST_ID = 20  # digits of 64 bits
_SERVER_ID = re.compile(r'^etcd_server_id\{server_id="([0-9a-f]{1,16})"\} 1$', re.ASCII | re.MULTILINE)
_ACTIVE_PEER = re.compile(r'^etcd_network_active_peers\{Local="(?P<local>[0-9a-f]{1,16})",'
                          r'Remote="(?P<remote>[0-9a-f]{1,16})"\} (?P<count>\S{1,40})$', re.ASCII | re.MULTILINE)
T = TypeVar("T")


class _Header(msgspec.Struct):
    cluster_id: str
    member_id: str


class _Status(msgspec.Struct):
    """The status of a member; the keys are etcd's own, without those that are zero."""

    header: _Header
    raftTerm: int
    raftIndex: int = 0
    raftAppliedIndex: int = 0
    leader: str = ""


class _Member(msgspec.Struct):
    """A member, as clients are told (by `ID`), and peers (by `id`)."""

    peerURLs: list[str]
    clientURLs: list[str] = []
    ID: str = ""
    id: int = 0
    isLearner: bool = False


class _List(msgspec.Struct):
    members: list[_Member] = []


class _Failure(msgspec.Struct):
    error: str = ""
    code: int = 0


def ask(member: str, address: str) -> Report:
    status, members = _status(member), _members(address)
    leader = next((each for each in members if _id(each) == status.leader), None)
    own = next((each for each in members if _id(each) == status.header.member_id), None)
    if own and leader is own:
        role, behind = PRIMARY, 0.0
    else:
        index = _index(leader)
        behind = max(0.0, index - status.raftAppliedIndex)
        is_copying = own is not None and own.isLearner and status.raftAppliedIndex < _IN_SYNC * index
        role = COPYING if is_copying else SECONDARY
    return Report(role, status.header.cluster_id, status.raftTerm, Configuration(_seats(members)), behind)


def ask_links(member: str, address: str) -> dict[str, Link]:
    """Read from a member's metrics whether it is connected to each other one. There is no series for a connection that
    has not come about since its start. A lost one is noted within 5 s, as the others write to it more often."""
    own, members = _status(member).header.member_id, _members(address)
    active = _active_peers(member, _hex(own))
    return {seat.address: _link(active.get(_hex(seat.id))) for seat in _seats(members) if seat.id != own}


def environment(name: str, member: str, address: str, configuration: Configuration | None) -> dict[str, str]:
    others = [seat.address for seat in configuration.seats if seat.address != address] if configuration else []
    peers = {name: address, **{f"other-{number}": each for number, each in enumerate(others, start=1)}}
    return {
        "ETCD_NAME": name,
        "ETCD_LISTEN_CLIENT_URLS": f"http://0.0.0.0:{member.rpartition(':')[2]}",
        "ETCD_ADVERTISE_CLIENT_URLS": f"http://{member}",
        "ETCD_LISTEN_PEER_URLS": f"http://0.0.0.0:{address.rpartition(':')[2]}",
        "ETCD_INITIAL_ADVERTISE_PEER_URLS": f"http://{address}",
        "ETCD_INITIAL_CLUSTER": ",".join(f"{peer}=http://{each}" for peer, each in peers.items()),
        "ETCD_INITIAL_CLUSTER_STATE": "existing" if configuration else "new",
    }


def initiate(member: str, set_name: str, address: str) -> None:
    """Do nothing: a first member that is started alone has made its set."""


def add(primary: str, address: str, basis: Configuration) -> None:
    _require(primary, basis)
    _post(primary, "cluster/member/add", {"peerURLs": [f"http://{address}"], "isLearner": True})


def give_vote(primary: str, address: str, basis: Configuration) -> None:
    _require(primary, basis)
    _post(primary, "cluster/member/promote", {"ID": _id_of(address, basis)})


def take_vote(primary: str, address: str, basis: Configuration) -> None:
    raise errors.Refused(f"etcd: {address} keeps its vote; etcd takes none back, it only removes members")


def remove(primary: str, address: str, basis: Configuration) -> None:
    _require(primary, basis)
    _post(primary, "cluster/member/remove", {"ID": _id_of(address, basis)})


def step_down(primary: str, basis: Configuration) -> None:
    status = _require(primary, basis)
    failure: errors.LictorError = errors.Unavailable("etcd: there is no other voter to hand over to")
    for seat in basis.seats:
        if not seat.votes or seat.id == status.header.member_id:
            continue
        try:
            _post(primary, "maintenance/transfer-leadership", {"targetID": seat.id})
            return
        except errors.Unavailable as error:  # that one may be away
            failure = error
    raise failure


def _status(member: str) -> _Status:
    return _decode(_post(member, "maintenance/status", {}), _Status)


def _require(primary: str, basis: Configuration) -> _Status:
    """Raise Conflict unless the member leads, and has exactly the members that were decided upon."""
    status = _status(primary)
    if status.leader != status.header.member_id:
        raise errors.Conflict(f"etcd: {primary} is not the leader any more")
    listed = _decode(_post(primary, "cluster/member/list", {}), _List)
    if _seats(listed.members) != basis.seats:
        raise errors.Conflict(f"etcd: {primary} has other members than decided upon")
    return status


def _members(address: str) -> list[_Member]:
    """Read the list that a member gives its peers: by its own word, and also while it has no vote or no majority."""
    answer = http.exchange("GET", f"http://{address}/members", headers={}, body=None, timeout_s=_TIMEOUT_S)
    http.refuse_failure(answer)
    return _decode(answer.body, list[_Member])


def _active_peers(member: str, own: str) -> dict[str, str]:
    """Read how many connections a member has to each other one, by that one's id.

    Unavailable unless the metrics are of that member.
    """
    answer = http.exchange("GET", f"http://{member}/metrics", headers={}, body=None, timeout_s=_TIMEOUT_S)
    http.refuse_failure(answer)
    text = answer.body.decode("utf-8", "replace")
    if own not in _SERVER_ID.findall(text):
        raise errors.Unavailable(f"etcd: {member} has no metrics of the member {own}")
    return {match["remote"]: match["count"] for match in _ACTIVE_PEER.finditer(text) if match["local"] == own}


def _hex(member_id: str) -> str:
    """Write an id as metrics do."""
    if not (member_id.isascii() and member_id.isdigit() and len(member_id) <= _LONGEST_ID):
        raise errors.Unavailable(f"etcd: an id that cannot be read: {member_id!r:.100}")
    return f"{int(member_id):x}"


def _link(count: str | None) -> Link:
    if count is None:
        return Link(False, "it has not been connected to it since its start")
    known = {"0": Link(False, "its connection is lost"), "1": Link(True)}
    return known.get(count, Link(None, f"its metrics say {count!r}"))


def _seats(members: Sequence[_Member]) -> tuple[Seat, ...]:
    seats = (Seat("".join(each.peerURLs[:1]).partition("://")[2], not each.isLearner, _id(each)) for each in members)
    return tuple(sorted(seats, key=lambda seat: (len(seat.id), seat.id)))


def _id(member: _Member) -> str:
    return member.ID or str(member.id)


def _index(leader: _Member | None) -> float:
    """Count the entries that the leader has committed; infinite: it cannot be known."""
    for url in leader.clientURLs if leader else ():
        try:
            return float(_status(url.partition("://")[2]).raftIndex)
        except errors.LictorError:
            continue
    return float("inf")


def _id_of(address: str, basis: Configuration) -> str:
    return next((seat.id for seat in basis.seats if seat.address == address), "")


def _post(member: str, call: str, request: dict[str, Any]) -> bytes:
    answer = http.exchange("POST", f"http://{member}/v3/{call}", headers={"Content-Type": "application/json"},
                           body=msgspec.json.encode(request), timeout_s=_TIMEOUT_S)
    if 200 <= answer.status < 300:
        return answer.body
    try:
        failure = msgspec.json.decode(answer.body, type=_Failure)
    except ValueError:
        http.refuse_failure(answer)
        raise
    text = f"etcd: {member} does not do {call}: {failure.error:.200}"
    if failure.code in (_NOT_FOUND, _EXISTS):
        raise errors.Conflict(text)
    if any(words in failure.error for words in _NOT_YET):
        raise errors.NotYet(text)
    is_for_now = failure.code in _NOT_NOW or answer.status >= 500
    raise errors.Unavailable(text) if is_for_now else errors.Refused(text)


def _decode(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind, strict=False)  # the gateway writes long numbers as texts
    except (ValueError, RecursionError) as error:
        raise errors.Unavailable(f"etcd: an answer that cannot be read: {error!s:.200}") from error
