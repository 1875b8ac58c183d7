"""Announcement in Consul of what this node's nginx serves: drains wait for it. It is all that a node does for a service
which it only routes, so it loads neither Docker nor the planner."""

import json
import os
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import NamedTuple

from lictor import errors
from lictor.adapters import files, log
from lictor.adapters.consul import transactions
from lictor.adapters.consul.answers import Entry
from lictor.adapters.consul.client import Client
from lictor.routing import route_store

PREFIX = "lictor/nodes/"  # and then SERVICE/NODE
_AT_ONCE = 64  # operations in one of Consul's transactions,
_AT_ONCE_BYTES = 200_000  # whose request may have 512 kB


class Serving(NamedTuple):
    """The nodes whose nginx has an instance of a service; what a lost node wrote stays in Consul."""

    nodes: list[str]
    lost: list[str]  # to Consul these do not answer
    by_instance: dict[tuple[str, str], list[str]] = {}  # the nodes that answer, by node and ID of the instance


def tell(client: Client, state_dir: str, node: str, names: Iterable[str]) -> None:
    """Write which instances of these services this node's nginx serves now, if Consul does not hold that already.
    Conflict if an earlier write of this node, which was long on its way, has come in between: the next one mends it."""
    with files.locked(os.path.join(state_dir, "locks", ":served.lock")):  # so that older news never comes last
        texts = {f"{PREFIX}{name}/{node}": json.dumps({"instances": published.instances}).encode()
                 for name in names if (published := route_store.published(state_dir, name)) and published.confirmed}
        news = _news(client, texts)
        failures = [failure for batch in batches({key: texts[key] for key in news})
                    for failure in _write(client, batch, news)]
        if failures:
            raise failures[0]


def report(state_dir: str, token_file: str | None, names: Iterable[str]) -> int:
    """Do the same as a process of its own: what fails is logged, and left to the timer. Returns an exit code."""
    names = sorted(names)
    try:
        client = Client.connect(token_file=token_file)
        tell(client, state_dir, client.agent().name, names)
        return 0
    except errors.LictorError as error:
        log.event("serving", service=" ".join(names), outcome="failed", reason=error)
        return error.exit_code


def pairs(value: bytes) -> list[tuple[str, str]] | None:
    """Read lictor/nodes/NAME/NODE: node and id of each instance; None for anything that lictor did not write."""
    try:
        return [(str(node), str(service_id)) for node, service_id in json.loads(value)["instances"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def read_serving(client: Client, names: Container[str], alive: Container[str]) -> dict[str, Serving]:
    """Read, by service, the nodes whose nginx has an instance of it; `alive` are those that answer Consul."""
    return _gather(client.tree(PREFIX, lambda key: key.split("/")[2] in names), alive)


def read_serving_of(client: Client, name: str, alive: Container[str]) -> Serving:
    """Read the same of one service."""
    return _gather(client.tree(f"{PREFIX}{name}/"), alive).get(name, Serving([], []))


def _gather(tree: Mapping[str, Entry], alive: Container[str]) -> dict[str, Serving]:
    serving = dict[str, Serving]()
    for key, entry in sorted(tree.items()):
        name, _, node = key.removeprefix(PREFIX).partition("/")
        listed = pairs(entry.value)
        if listed:
            found = serving.setdefault(name, Serving([], [], {}))
            (found.nodes if node in alive else found.lost).append(node)
            for pair in listed if node in alive else ():
                found.by_instance.setdefault(pair, []).append(node)
    return serving


def _news(client: Client, texts: dict[str, bytes]) -> dict[str, int]:
    """Return the keys that Consul does not hold with that text, each with the index that it has there.

    More than one costs a listing of what all nodes wrote: a cache of what this node wrote would not notice a key that
    was deleted, or a Consul that was restored from a snapshot, and drains rely on these keys.
    """
    known = (client.tree(PREFIX, texts.__contains__) if len(texts) > 1 else
             {key: entry for key in texts if (entry := client.get(key))})
    return {key: known[key].modify_index if key in known else 0 for key, text in texts.items()
            if key not in known or known[key].value != text}


def _write(client: Client, batch: list[tuple[str, bytes]], news: dict[str, int]) -> list[errors.LictorError]:
    """Write keys in one transaction; if one of them cannot be written, the others are written by themselves."""
    try:
        if len(batch) == 1:
            client.put(*batch[0], cas=news[batch[0][0]])
        else:
            client.commit([transactions.cas(key, text, news[key]) for key, text in batch])
    except (errors.Refused, errors.Conflict) as error:
        return [error] if len(batch) == 1 else [failure for each in batch for failure in _write(client, [each], news)]
    except errors.LictorError as error:
        return [error]
    return []


def batches(texts: dict[str, bytes]) -> Iterator[list[tuple[str, bytes]]]:
    """Split keys so that each batch fits into one transaction."""
    batch: list[tuple[str, bytes]] = []
    size = 0
    for key, text in texts.items():
        if batch and (len(batch) == _AT_ONCE or size + len(text) > _AT_ONCE_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((key, text))
        size += len(text)
    if batch:
        yield batch
