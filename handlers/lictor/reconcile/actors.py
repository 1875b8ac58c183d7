"""lictor/acts/NODE: whether a node gives orders to each scheduler, so that every node can see when none does."""

import contextlib
import json
from collections.abc import Collection, Mapping

from lictor import errors
from lictor.adapters.consul.client import Client
from lictor.engines.registry import SCHEDULERS
from lictor.reconcile.context import Context
from lictor.spec.service_spec import DELEGATED

PREFIX = "lictor/acts/"  # and then NODE

Acts = Mapping[str, Mapping[str, bool]]  # node -> engine -> whether it gives orders; what is missing is unknown


def tell(context: Context, used: Collection[str]) -> None:
    """Write for which engines this node gives orders, if Consul does not hold that already.

    Only if a service is `used` to an engine, or nothing is known of it yet, the engine itself is asked: that takes
    longer than the rest.
    """
    key = f"{PREFIX}{context.node}"
    entry = context.client.get(key)
    known = _decode(entry.value) if entry else {}
    acts = dict(known)
    for engine in SCHEDULERS:
        if engine in DELEGATED or engine in used or engine not in known:
            with contextlib.suppress(errors.Unavailable):  # what was known of it still holds
                acts[engine] = SCHEDULERS[engine].acts_here(context.settings)
    if acts != known:
        context.client.put(key, json.dumps(acts))


def read(client: Client) -> Acts:
    """Read what all nodes have told."""
    return {key.removeprefix(PREFIX): _decode(entry.value) for key, entry in client.tree(PREFIX).items()}


def _decode(value: bytes) -> dict[str, bool]:
    try:
        table = json.loads(value)
        return {str(engine): acts for engine, acts in table.items() if isinstance(acts, bool)}
    except (ValueError, AttributeError, RecursionError):
        return {}
