"""Texts of nginx's files that no template decides: the peers of a service. Pure, and without Jinja2, which takes longer
to load than everything else that a change of peers takes."""

import re
from collections.abc import Sequence

from lictor import errors, model
from lictor.routing.peers import Peer

MARK = "# Written by lictor"
NO_PEER = "127.0.0.1:9"
_HEADER = MARK + ", and written anew at each change of peers without asking; no template decides what it says.\n"
_SERVER = re.compile(r"(?:[0-9.]{7,15}|\[[0-9a-f:.]{2,45}\]):[0-9]{1,5}(?: weight=[1-9][0-9]{0,4})?", re.ASCII)
_CONSISTENT = re.compile(r"\bhash\s[^;]*\bconsistent\s*;", re.ASCII)
_MOST_WEIGHT = 1000  # of all peers together, each of which keeps 1 at least
_MOST_WEIGHT_OF_SIDES = 10_000  # a canary's peers have a small share each
_AT_ONCE = 50  # addresses: nginx takes words of some 4 kB
_EMPTY = _HEADER + "add_header Retry-After 5 always;\nreturn 503;\n"


def peers(name: str, some: Sequence[Peer], upstream: str = "") -> dict[str, str | None]:
    """Return the files of a service's peers by path below conf_dir; None: the file has to go. Raises Refused for a peer
    that must not reach a configuration. `upstream` is the text that includes them.

    peers/NAME.conf, which its upstream includes, holds its servers; peers/empty/NAME.conf, which its location includes,
    is there while there is none, and peers/canary/NAME.conf while some are a canary's.
    """
    servers = [_server(each) for each in some]
    if not all(_SERVER.fullmatch(each) for each in servers):
        raise errors.Refused(f"servers {servers!r:.200} of {name[:100]!r} must not reach a configuration")
    if _CONSISTENT.search(upstream):
        servers = [_server(each) for each in _scaled(some)]
    # max_fails=0: Consul's checks say which instance is down, not a single failed request.
    lines = [f"server {each} max_fails=0;\n" for each in servers] or [f"server {NO_PEER} down;\n"]
    return {f"peers/{name}.conf": _HEADER + "".join(lines), empty_path(name): None if servers else _EMPTY,
            canary_path(name): _canary(some)}


def no_peers(name: str) -> dict[str, str | None]:
    """Return the same for a service whose peers are not in files."""
    return {f"peers/{name}.conf": None, empty_path(name): None, canary_path(name): None}


def empty_path(name: str) -> str:
    """Return the path, below conf_dir, of the file that is there while the service has no peer."""
    return f"peers/empty/{name}.conf"


def canary_path(name: str) -> str:
    """Return the path, below conf_dir, of the file that names the peers of a canary."""
    return f"peers/canary/{name}.conf"


def _canary(some: Sequence[Peer]) -> str | None:
    """Set the addresses of a canary's peers, with a blank around each, in a variable; None without any."""
    addresses = [model.host_port(each.address, each.port) for each in some if each.is_canary]
    parts = [" ".join(addresses[at:at + _AT_ONCE]) for at in range(0, len(addresses), _AT_ONCE)]
    lines = ['set $lictor_canary " ";\n', *(f'set $lictor_canary "${{lictor_canary}}{each} ";\n' for each in parts)]
    return _HEADER + "".join(lines) if parts else None


def _scaled(some: Sequence[Peer]) -> list[Peer]:
    """Lower weights in proportion, as nginx makes and sorts 160 points of each at every reload: Consul's highest weight
    would take it hundreds of megabytes."""
    total = sum(each.weight for each in some)
    most = _MOST_WEIGHT_OF_SIDES if any(each.is_canary for each in some) else _MOST_WEIGHT
    return [each._replace(weight=max(1, each.weight * most // total)) if total > most else each for each in some]


def _server(peer: Peer) -> str:
    """ADDRESS:PORT, and its weight unless that is 1, as nginx assumes without."""
    return model.host_port(peer.address, peer.port) + (f" weight={peer.weight}" if peer.weight != 1 else "")
