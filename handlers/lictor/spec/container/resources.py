"""The keys `resources` and `logging` of a spec. Pure."""

import msgspec

from lictor.spec.quantities import Memory


class Resources(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The limits of one instance; 0 means no limit."""

    cpus: float = 0.0
    memory: Memory = Memory(0)

    def __post_init__(self) -> None:
        if not 0 <= self.cpus <= 1024:  # which NaN is not either
            raise ValueError(f"cpus is {self.cpus!r}; it must be within 0..1024")


class Logging(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Docker's log driver and its options."""

    driver: str = ""
    options: dict[str, str] = {}
