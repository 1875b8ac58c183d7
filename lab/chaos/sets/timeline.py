"""What a chaos run on a set of etcd writes down, for the verdict to judge. Times are seconds since the epoch."""

from typing import NamedTuple


class Seat(NamedTuple):
    """A member by the list of one of them; `number` 0: at no address of the service's."""

    id: str
    number: int
    votes: bool = True


class Word(NamedTuple):
    """What a member said of itself in one round. It is asked from inside its own network, so no partition hides it.

    `acknowledged` is the revision of this round's probe, a write that it acknowledged; 0: it did not. With `leads` it
    was the leader of this very term before that and after, so that its `seats`, read in between, are those in force.
    """

    number: int
    container: str  # id
    set_id: str
    member_id: str
    term: int
    leader: str  # id of the member that it follows; "": none
    seats: tuple[Seat, ...] = ()
    leads: bool = False
    acknowledged: int = 0
    began: float = 0.0  # of the probe
    ended: float = 0.0


class Round(NamedTuple):
    """One look at all members that run, and at the volumes of the service: name -> mark.

    The mark is put beside a volume when it is first seen, and goes with it: one of the same name that was made later
    has another. A volume that is "empty" after its mark has lost what was in it.
    """

    at: float
    ended: float
    words: tuple[Word, ...]
    volumes: dict[str, str] | None  # None: Docker gave no answer


class Read(NamedTuple):
    """A read with the quorum of a key that had been acknowledged before; at which revision, and whether it was there.
    """

    key: str
    began: float
    ended: float
    revision: int
    is_there: bool


class End(NamedTuple):
    """How the set stands at the end."""

    size: int  # the desired one
    seats: tuple[Seat, ...]
    running: list[str]  # names of its containers
    names: list[str]  # of those that the seats stand for
    primaries: list[str]  # as Consul's tag has it
    leader: str
    images: list[str]
    image: str
    locks: list[str]
    sessions: list[str]
    plan: str
    says: str
