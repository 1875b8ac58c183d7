"""The kinds by their names in a spec. A new kind is a module of that name, its name here, and its traits there."""

import importlib
from typing import Any

from lictor.clusters.protocols import Kind

KINDS = ("etcd",)


def kind(name: str) -> Kind | None:
    """Import a kind's module; None: this version cannot speak with its members."""
    module: Any = importlib.import_module(f"lictor.clusters.{name}") if name in KINDS else None
    found: Kind | None = module
    return found
