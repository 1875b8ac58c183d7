"""Nodes that a test registers with a serfHealth, and that no member of Consul's gossip is: its leader removes them."""

import datetime
import os
import time

from lab.consul import Consul
from lab.daemon import wait_for

_SWEEP_S = 60.0  # Consul's ReconcileInterval, from the leader's election on
_SWEEP_TAKES_S, _UNSWEPT_S = 4.0, 25.0


def wait_unswept(consul: Consul) -> None:
    """Wait until the leader, which this server is, leaves such nodes alone for a while."""
    wait_for(lambda: _SWEEP_TAKES_S < (time.time() - _elected_at(consul)) % _SWEEP_S < _SWEEP_S - _UNSWEPT_S,
             f"the leader removes no node within {_UNSWEPT_S:g} s", _SWEEP_S)


def _elected_at(consul: Consul) -> float:
    """Read when this server became the leader last."""
    with open(os.path.join(consul.folder, "consul.log"), encoding="utf-8", errors="replace") as file:
        elected = [line.split()[0] for line in file if "cluster leadership acquired" in line]
    return datetime.datetime.fromisoformat(elected[-1]).timestamp()
