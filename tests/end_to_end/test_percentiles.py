"""Percentiles of three nodes with uneven shares: lictor's, of histograms that are added, beside nginx's own log."""

import asyncio
import contextlib
import itertools
import math
import os
import random
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lictor import errors
from lictor.adapters import files
from lictor.adapters.consul.client import Client
from lictor.events import script
from lictor.planner.autoscale import traffic
from lictor.reconcile.autoscale import node_traffic
from lictor.reconcile.context import Context
from lictor.routing import announce, peers, publish, route_store, templates
from lictor.routing import nginx as lictor_nginx
from lictor.routing.traffic import meter
from lictor.routing.traffic.counts import SLOT_S
from lictor.spec.settings import Nginx as NginxSettings
from lictor.spec.settings import Settings

from lab.consul import Consul
from lab.daemon import wait_for
from lab.nginx import Nginx
from support.paths import text_of

pytestmark = pytest.mark.daemons

WAYS = {"counted": "Lua", "logged": "log"}  # a service for each way in which nginx counts
TOOK_MS = ((1470, 5, 30), (525, 20, 140), (105, 100, 900))  # requests of each node: 70, 25 and 5 %, and their times
CLIENTS_A_NODE = 12
SHARES = (0.5, 0.95, 0.99)


class RoutingNode:
    """A node with an nginx of its own that routes one measured service."""

    def __init__(self, folder: Path, consul: Consul, name: str, service: str, port: int) -> None:
        self.name, self.service = name, service
        for each in script.FOLDERS:
            os.makedirs(folder / "state" / each)
        self.nginx = Nginx(str(folder))
        self.client = Client.connect(environ=consul.environ)
        self.settings = Settings(state_dir=str(folder / "state"), nginx=NginxSettings(
            mode="reload", conf_dir=self.nginx.conf_dir, main_conf=self.nginx.main_conf,
            pid_file=self.nginx.pid_file))
        if WAYS[service] == "log":
            text = text_of(self.nginx.main_conf).replace("include /etc/nginx/modules-enabled/*.conf;", "")
            files.write_atomic(self.nginx.main_conf, text)
        route_store.write_route(self.settings.state_dir, service, {
            "name": service, "service": service, "path": f"/{service}", "host": "", "traffic": "healthy",
            "node": "node-1", "empty_ok": False, "removed": False, "measure": True, "ignore": []})
        route_store.write_published(self.settings.state_dir, service, peers.PublishedRoute(
            (peers.Peer("127.0.0.1", port),), ()))

    def start(self) -> None:
        """Start nginx, have it serve the route, and tell so."""
        lictor_nginx.prepare(self.nginx.conf_dir, templates.Templates())
        self.nginx.start()
        wait_for(lambda: publish.publish(self.settings) == [self.service], "nginx serves it")
        announce.tell(self.client, self.settings.state_dir, self.name, [self.service])
        wait_for(self.tell, "nginx counts")

    def tell(self) -> bool:
        """Tell what nginx has counted; raises Unavailable while it does not answer."""
        meter.tell(self.client, self.settings, self.name, time.time())
        return True

    def times_s(self) -> list[float]:
        """Read the time of each request in nginx's own log; none of them was tried twice."""
        lines = [line.split() for line in text_of(f"{self.nginx.folder}/access.log").splitlines()]
        return [float(line[5]) for line in lines if line[7].startswith(f"/{self.service}/") and line[1] == "200"]


@pytest.fixture
def instance() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
        yield listening


@pytest.fixture
def nodes(consul: Consul, tmp_path: Path, instance: socket.socket) -> Iterator[list[RoutingNode]]:
    """Three nodes for each of the ways."""
    port = instance.getsockname()[1]
    made = [RoutingNode(tmp_path / f"{service[0]}{number}", consul, f"{service}-{number}", service, port)
            for service, number in itertools.product(WAYS, (1, 2, 3))]
    try:
        with ThreadPoolExecutor(len(made)) as pool:
            list(pool.map(RoutingNode.start, made))
        yield made
    finally:
        for each in made:
            each.nginx.stop()


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Be an instance: take as many milliseconds as the path ends with."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            await asyncio.sleep(int(head.split(b" ", 2)[1].rpartition(b"/")[2]) / 1000)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def ask(port: int, paths: Iterator[str]) -> list[str]:
    """Send requests one after the other on one connection; returns the first line of each answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = []
    for path in paths:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        answers.append(head.partition(b"\r\n")[0].decode())
        await reader.readexactly(2)
    writer.close()
    return answers


async def load(instance: socket.socket, nodes: Sequence[RoutingNode]) -> list[str]:
    """Have clients ask all nodes at once, each with times of its own."""
    chance, clients = random.Random(18), []
    for node, (requests, shortest_ms, longest_ms) in zip(nodes, TOOK_MS * len(WAYS), strict=True):
        paths = iter([f"/{node.service}/{chance.randint(shortest_ms, longest_ms)}" for _ in range(requests)])
        clients += [ask(node.nginx.port, paths) for _ in range(CLIENTS_A_NODE)]
    async with await asyncio.start_server(answer, sock=instance, backlog=512):
        answers = asyncio.gather(*clients)
        while not answers.done():  # nginx keeps its counts for a minute or two: a node reads them at each sweep
            await asyncio.wait([answers], timeout=10)
            for node in nodes:
                with contextlib.suppress(errors.Unavailable):  # it tells the next time
                    await asyncio.to_thread(node.tell)
        return [line for lines in answers.result() for line in lines]


def exact(times_s: Sequence[float], share: float) -> float:
    return sorted(times_s)[math.ceil(share * len(times_s) - 1e-9) - 1]


def test_added_histograms_give_the_percentiles_of_all_requests(consul: Consul, nodes: list[RoutingNode],
                                                               instance: socket.socket) -> None:
    """Only the node with the fewest requests has slow ones, so that a mean of the nodes' percentiles is far off."""
    context = Context(nodes[0].settings, nodes[0].client, consul.node)
    whole_from = (time.time() // SLOT_S + 1) * SLOT_S  # what came before in this slot was not counted from its begin
    wait_for(lambda: time.time() >= whole_from, "a slot begins", SLOT_S + 5)
    answers = asyncio.run(load(instance, nodes))
    requests = sum(count for count, *_ in TOOK_MS)
    assert Counter(answers) == {"HTTP/1.1 200 OK": requests * len(WAYS)} and requests >= 2000

    def counted() -> dict[str, traffic.Combined]:
        for node in nodes:  # once a minute Consul's leader removes each that no member of its gossip is
            check = {"Node": node.name, "CheckID": "serfHealth", "Name": "serf", "Status": "passing"}
            consul.request("PUT", "/v1/catalog/register", {"Node": node.name, "Address": "10.0.0.1", "Check": check})
            node.tell()
        return {service: node_traffic.read_windows(context, service, time.time()) for service in WAYS}

    last: dict[str, traffic.Combined] = {}

    def is_all_told() -> bool:
        last.update(counted())
        return all(traffic.add(each.slices).answers == requests and not each.silent for each in last.values())
    wait_for(is_all_told, "all is told")
    for service, found in last.items():
        own = [node.times_s() for node in nodes if node.service == service]
        assert [len(times_s) for times_s in own] == [count for count, *_ in TOOK_MS]
        total = traffic.add(found.slices)
        assert total.begun == requests and not total.failed and not total.retries
        of_all = [exact([took_s for times_s in own for took_s in times_s], share) for share in SHARES]
        means = [sum(exact(times_s, share) for times_s in own) / len(own) for share in SHARES]
        assert [traffic.percentile(total.times, share) for share in SHARES] == pytest.approx(of_all, rel=0.05), service
        assert means != pytest.approx(of_all, rel=0.2), service
