"""The field: every contender there can be, those that are there, and why the others are not."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from lab.bench.contender import Contender
from lab.bench.peers import ConsulTemplate, ConsulTemplateDouble, Script, Traefik
from lab.bench.variants import VARIANTS, Lictor, Variant
from lab.bench.world import World


class Entry(NamedTuple):
    """A contender, and whether it can take part on this machine."""

    name: str
    missing: str  # why it can't take part; "" when it can
    make: Callable[[World, str], Contender]
    acts_on_all: bool = False  # on every change in the catalogue, whichever service it is routed for


def _lictor(variant: Variant) -> Callable[[World, str], Contender]:
    return lambda world, folder: Lictor(variant, world, folder)


def everybody() -> list[Entry]:
    return [
        *(Entry(each.name, each.missing(), _lictor(each)) for each in VARIANTS),
        Entry(Script.name, "", Script),
        Entry(ConsulTemplate.name, ConsulTemplate.missing(), ConsulTemplate),
        Entry(ConsulTemplateDouble.name, ConsulTemplateDouble.missing(), ConsulTemplateDouble),
        Entry(Traefik.name, Traefik.missing(), Traefik, acts_on_all=True),
    ]


def present(only: Sequence[str] = ()) -> list[Entry]:
    """Who can take part; `only` are parts of the names that are wanted."""
    return [each for each in everybody() if not each.missing and any(text in each.name for text in only or [""])]
