"""What can be said of the text of nginx's files without rendering one. Pure, and without Jinja2, which takes longer to
load than everything else that a change of peers takes."""

import re
from collections.abc import Sequence

from lictor import model
from lictor.routing import peers

MARK = "# Written by lictor"
SERVER = re.compile(r"(?:[0-9.]{7,15}|\[[0-9a-f:.]{2,45}\]):[0-9]{1,5}(?: weight=[1-9][0-9]{0,4})?", re.ASCII)
NO_PEER = "127.0.0.1:9"
_NOBODY = "# Nobody is left, and the template that can say so is refused.\n"


def server(peer: peers.Peer) -> str:
    """ADDRESS:PORT, and its weight unless that is 1, as nginx does without."""
    return model.host_port(peer.address, peer.port) + (f" weight={peer.weight}" if peer.weight != 1 else "")


def shape(text: str) -> list[str]:
    """The lines of a configuration without the peers' addresses and weights, and without regard to their number."""
    lines = [SERVER.sub("", line) for line in text.splitlines()]
    return [line for line, before in zip(lines, ["", *lines], strict=False) if line != before]


def with_servers(text: str, servers: Sequence[str]) -> str | None:
    """An upstream's text with these servers (as by server()) in place of its own; None where it takes the template to
    know what it would say: the servers' lines are not all alike and in one place, or it has none, or gets none."""
    has_none = NO_PEER in SERVER.findall(text) and not text.endswith(_NOBODY)
    if has_none or not servers or not all(SERVER.fullmatch(each) for each in servers):
        return None
    text = text.removesuffix(_NOBODY)
    lines = text.splitlines(keepends=True)
    own = [number for number, line in enumerate(lines) if SERVER.search(line)]
    if not own or own != list(range(own[0], own[-1] + 1)) or len({SERVER.sub("", lines[each]) for each in own}) > 1:
        return None
    before, after = SERVER.split(lines[own[0]], maxsplit=1)
    if SERVER.search(after):
        return None
    return "".join([*lines[:own[0]], *(f"{before}{each}{after}" for each in servers), *lines[own[-1] + 1:]])


def with_nobody(text: str) -> str | None:
    """An upstream's text with one server that nobody is at, until with_servers() puts others in its place; None as
    there."""
    found = with_servers(text, [NO_PEER])
    return found + _NOBODY if found else None
