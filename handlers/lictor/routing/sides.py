"""Two sides of a service's peers: the live colour's, and those of a canary, which gets a share of the requests. Pure.

Both are one list of nginx's, so that a request which an instance of either side refuses is retried at any other. The
weights of a side keep their proportions, and all of a side together weigh its share. What of the live side is believed
or held is decided as without a canary.

Must never happen:
- The live side loses a peer because of what the canary's instances do.
- An unhealthy instance of the canary receives traffic: there is neither a panic threshold nor a hold on its side.
"""

import math
from collections.abc import Sequence, Set
from typing import Any

from lictor import model
from lictor.routing import peers
from lictor.routing.peers import Decision, Endpoint, Peer, PublishedRoute

_NOBODY = Decision("unchanged", (), (), "")
_PARTS = 1000  # a share is so many of a thousand
_MOST_WEIGHT = 65535  # as Consul has it; nginx takes 99999


def catalog_names(route: dict[str, Any]) -> list[str]:
    """List the names in the catalogue whose instances are the peers of a route."""
    return [route["service"], *([route["canary"]["service"]] if route["canary"] else [])]


def decide(route: dict[str, Any], published: PublishedRoute | None, instances: Sequence[model.Instance], *,
           now_s: float, certain: bool, own: Set[Endpoint] = frozenset()) -> Decision:
    """Decide as `peers.decide` about the instances of both colours that were observed. An event shows those of one: as
    the others are missing then, it has to be confirmed."""
    if route["removed"] or not (route["canary"] or published and published.canary):
        return peers.decide(route, published, instances, now_s=now_s, certain=certain, own=own)
    before = published and _live_part(route, published, instances)
    live = peers.decide(route, before, instances, now_s=now_s, certain=certain, own=own)
    canary = route["canary"]  # decided as if it was never served: so nothing of it is held
    tried = canary and peers.decide({**route, "service": canary["service"]}, None, instances, now_s=now_s,
                                    certain=certain, own=own)
    joined = _joined(live, tried or _NOBODY, canary["share"] if canary else 0.0)
    if published is None:  # what was published is lost: an event of the canary alone would give it all requests
        return joined if certain else joined._replace(kind="confirm")
    return _compared(joined, published, certain=certain)


def counts_by_side(published: PublishedRoute) -> bool:
    """Tell whether nginx counts both sides of a canary apart by all files that it may be serving."""
    return all(each and each.ignored is not None and (each.by_side or each.mode == "live")
               for each in published.places)


def _compared(joined: Decision, published: PublishedRoute, *, certain: bool) -> Decision:
    """Compare what was decided of both sides with what is published; whether the live side is held is decided."""
    if joined.kind == "confirm" or not certain and 2 * len(joined.canary) < len(published.canary):
        return joined._replace(kind="confirm")
    if (joined.peers, joined.instances, joined.canary) != (published.peers, published.instances, published.canary):
        return joined._replace(kind="publish")
    return joined if joined.kind == "hold" else joined._replace(kind="unchanged")


def _joined(live: Decision, tried: Decision, share: float) -> Decision:
    """Join what was decided of both sides; it is of the live side's kind."""
    return live._replace(
        peers=share_out(live.peers, tried.peers, share), instances=tuple(sorted({*live.instances, *tried.instances})),
        canary=tried.instances, refused=(*live.refused, *tried.refused),
        reason=f"{live.reason}; canary: {tried.reason}" if tried.reason else live.reason)


def share_out(live: Sequence[Peer], canary: Sequence[Peer], share: float) -> tuple[Peer, ...]:
    """Weigh the peers of both sides so that all of the canary's together have this share; a side alone has all."""
    live = [each._replace(is_canary=False) for each in live]
    taken = {(each.address, each.port) for each in live}
    canary = [each._replace(is_canary=True) for each in canary if (each.address, each.port) not in taken]
    if not (live and canary):
        return (*live, *canary)
    parts = round(share * _PARTS)
    live_weight, canary_weight = (sum(each.weight for each in side) for side in (live, canary))
    return _reduced([each._replace(weight=each.weight * canary_weight * (_PARTS - parts)) for each in live]
                    + [each._replace(weight=each.weight * live_weight * parts) for each in canary])


def _reduced(some: Sequence[Peer]) -> tuple[Peer, ...]:
    """Divide the weights by what they have in common, and make them of a size that nginx takes."""
    divisor = math.gcd(*(each.weight for each in some))
    most = max(each.weight for each in some) // divisor
    if most <= _MOST_WEIGHT:
        return tuple(each._replace(weight=each.weight // divisor) for each in some)
    return tuple(each._replace(weight=max(1, round(each.weight // divisor * _MOST_WEIGHT / most))) for each in some)


def _live_part(route: dict[str, Any], published: PublishedRoute,
               instances: Sequence[model.Instance]) -> PublishedRoute:
    """Return what is published without the canary's part. If the canary has become the live colour, that part is live
    as well: both are held should none of its instances be seen."""
    own = {(each.node, each.service_id) for each in instances if each.service == route["service"]}
    if not own.isdisjoint(published.canary):
        return published
    return published._replace(
        peers=tuple(each for each in published.peers if not each.is_canary),
        instances=tuple(each for each in published.instances if each not in published.canary))
