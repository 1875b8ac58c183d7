"""The place from which services are reconciled: this node's settings, its Consul agent, its name in the catalogue."""

from typing import NamedTuple

from lictor.adapters import retry
from lictor.adapters.consul.client import Client
from lictor.reconcile.other_clocks import OtherClocks
from lictor.spec.settings import Settings


class Context(NamedTuple):
    """`node` is this node's name in the catalogue; `client` speaks to the agent of this node."""

    settings: Settings
    client: Client
    node: str

    @property
    def clocks(self) -> OtherClocks:
        return OtherClocks(self.settings.state_dir, self.node)


def connect(settings: Settings, token_file: str | None, *, patience_s: float = 0.0) -> Context:
    """Ask the local agent for this node's name. An agent that is restarting has `patience_s` to answer."""
    consul = Client.connect(token_file=token_file)
    return Context(settings, consul, retry.unavailable(consul.agent, timeout_s=patience_s).name)
