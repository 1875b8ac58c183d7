"""What became of one request, by nginx's own variables of it. Pure; `templates/traffic.conf.j2` decides alike in Lua.

The time of an answer is $upstream_response_time of the try that gave it. $request_time also holds what the client took
to send and to read, and the tries before: more instances make neither shorter.
"""

from typing import NamedTuple

ANSWER = "a"  # an instance answered, below 500
ERROR = "e"  # an instance failed: 500 and more, an answer that breaks off before its head, or none in time (504)
UNANSWERED = "u"  # no instance could be asked
CUT = "c"  # the client went away, or the answer broke off: its time is too short
LEFT = "l"  # the client went away before anything of an answer came: it has waited so long
UPGRADE = "w"  # a websocket has ended: its time is that of a conversation
OWN = "o"  # nginx answered by itself, as it does to a body that is too large
TIMED = ANSWER + LEFT  # they are counted by their time
# Before the kind of a request while there is a canary: it is counted a second time, for the side that it asked first.
CANARY, LIVE = "n", "b"
KINDS = ANSWER + ERROR + UNANSWERED + CUT + LEFT + UPGRADE + OWN
_CLIENT_LEFT, _SWITCHED, _ERRORS = 499, 101, 500


class Request(NamedTuple):
    """One request that has ended. The texts hold a value for each try, as `a, b`, and for each location to which nginx
    itself redirected it, as `a : b`; "-" or "": no instance was asked."""

    status: int
    is_complete: bool  # the client has all of the answer
    upstream_status: str
    response_time: str
    connect_time: str
    earlier: int = 0  # locations that asked somebody before the service's own did
    asked: str = ""  # addresses, one for each try
    canary: str = ""  # addresses of a canary's instances, with a blank around each, or one blank; "": there is none


class Outcome(NamedTuple):
    """What a request counts as; the time is what an instance took, in seconds."""

    kind: str
    time_s: float = 0.0
    retries: int = 0
    side: str = ""  # CANARY or LIVE: whose instance was asked first; "": nobody's, or there is no canary

    @property
    def kind_of_side(self) -> str:
        """What it counts as for its side; "": nothing. An instance that gave no answer erred, whoever answered then."""
        if not self.side:
            return ""
        return ERROR if self.retries or self.kind in (ERROR, UNANSWERED) else ANSWER if self.kind == ANSWER else ""


def judge(request: Request) -> Outcome:
    """Judge a request by the service's own location: where nginx redirected it then is another one's."""
    times = _tries(request.response_time, request.earlier)
    if not times:
        kind = CUT if request.status == _CLIENT_LEFT else UNANSWERED if request.status >= _ERRORS else OWN
        return Outcome(kind)
    statuses, last = _tries(request.upstream_status, request.earlier), times[-1]
    status = int(statuses[-1]) if statuses and statuses[-1].isdecimal() else request.status
    return Outcome(_kind(request, status), _seconds(last) or 0.0, len(times) - 1, _side(request))


def _side(request: Request) -> str:
    """Find whose instance was asked first."""
    asked = _tries(request.asked, request.earlier) if request.canary.startswith(" ") else []
    return (CANARY if f" {asked[0]} " in request.canary else LIVE) if asked else ""


def _kind(request: Request, status: int) -> str:
    """Decide on the kind by the status of the last instance that was asked."""
    if request.status == _CLIENT_LEFT:
        return LEFT
    if status == _SWITCHED:
        return UPGRADE
    if status >= _ERRORS:
        connects = _tries(request.connect_time, request.earlier)
        return ERROR if connects and _seconds(connects[-1]) is not None else UNANSWERED
    return ANSWER if request.is_complete else CUT


def _tries(text: str, earlier: int) -> list[str]:
    """List the values of the tries in the service's own location."""
    own, = text.split(" : ")[earlier:earlier + 1] or [""]
    return [] if own in ("", "-") else own.split(", ")


def _seconds(text: str) -> float | None:
    whole, _, rest = text.partition(".")
    return float(text) if whole.isdecimal() and whole.isascii() and (rest.isdecimal() and rest.isascii()) else None
