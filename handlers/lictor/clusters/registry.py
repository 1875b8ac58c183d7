"""The kinds by their names in a spec. A new kind is a module of that name, its name here, and its traits there."""

import importlib
from collections.abc import Mapping
from typing import Any

from lictor.clusters.protocols import Kind

KINDS = ("etcd", "mongodb")


def kind(name: str, environment: Mapping[str, str] = {}) -> Kind | None:
    """Import a kind's module; None: this version cannot speak with its members.

    If the kind's members know users, its module has `Members`. It takes the user from the container's environment.
    """
    module: Any = importlib.import_module(f"lictor.clusters.{name}") if name in KINDS else None
    found: Kind | None = module.Members(environment) if hasattr(module, "Members") else module
    return found
