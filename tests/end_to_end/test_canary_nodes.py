"""A canary on two nodes that route, on the real programs: each in a mode of its own, and counting in its own way."""

import functools
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lictor.routing.traffic import meter

from lab.autoscale.open_load import OpenLoad
from lab.docker import Docker
from lab.node import Node
from support import canary
from support.canary import BLUE, GREEN, NAME, PATH, RATE, RELEASE, SPEC, seen_by_clients

pytestmark = pytest.mark.daemons


@pytest.fixture(scope="module")
def built(docker_engine: Docker) -> None:
    canary.build(docker_engine)


@pytest.fixture
def nodes(docker: Docker, built: None, tmp_path: Path, modes: tuple[str, str]) -> Iterator[list[Node]]:
    """The node that acts, and one that only routes; in mode reload nginx has no Lua module, and its log is read."""
    acting = Node(str(tmp_path / "node-1"), docker, timer="2s", mode=modes[0], internal=True, keep_data=True)
    other = Node(str(tmp_path / "node-2"), docker, timer="2s", mode=modes[1], registers=False, node="node-2",
                 join=acting.consul.serf_port)
    with ExitStack() as stack:
        for node, mode in zip((acting, other), modes, strict=True):
            if mode == "reload":
                node.nginx.load_no_modules()
            stack.callback(node.stop)
            node.start()
        acting.write_and_apply({**SPEC, "release": RELEASE})
        for node in (acting, other):
            node.wait_for(functools.partial(canary.serves, node, *BLUE), f"blue serves at {node.folder}", 90)
        yield [acting, other]


def release(nodes: list[Node], version: str) -> None:
    """Ask for it; returns once both nodes give it a share."""
    canary.begin(nodes[0], version)
    for node in nodes:
        node.wait_for(functools.partial(canary.is_on_trial, node), f"{node.folder} serves both colours", 90)


@pytest.mark.parametrize("modes", [("live", "reload"), ("reload", "live")])
def test_what_only_the_other_node_counts_decides(nodes: list[Node], modes: tuple[str, str]) -> None:
    acting, other = nodes
    with OpenLoad(other.nginx.port, PATH, lambda _: RATE) as load:
        release(nodes, "fails")
        acting.wait_for(lambda: canary.has_ended(acting), "the release has failed", 90)
        assert [bool(meter.behind_s(node.settings)) for node in nodes] == [mode == "reload" for mode in modes]
        for node in nodes:
            node.wait_for(functools.partial(canary.serves, node, *BLUE), f"blue is alone at {node.folder}")
    failed = canary.remembered(acting).release.failed
    assert failed and failed.why.startswith("worse as canary, by more errors: green got "), failed
    assert set(seen_by_clients(load)) == {"status 500"}
    acting.wait_for(lambda: acting.docker.containers() == BLUE, "only the old ones are left", 90)


@pytest.mark.parametrize("modes", [("live", "reload")])
def test_a_node_that_does_not_count_is_waited_for(nodes: list[Node]) -> None:
    acting, other = nodes
    with OpenLoad(acting.nginx.port, PATH, lambda _: RATE) as load:
        release(nodes, "fine")
        acting.wait_for(lambda: canary.counted(acting)[0], "both nodes have told")
        other.nginx.stop()
        said = "the nginx of node-2 did not tell what it counts: green got "
        acting.wait_for(lambda: said in acting.run("plan", NAME).stdout, "the verdict waits for node-2", 100)
        assert canary.canary_key(acting) == "green 25%"
        other.nginx.start()
        acting.wait_for(lambda: acting.consul.get(f"services/{NAME}/color") == "green", "green is live", 100)
        for node in nodes:
            node.wait_for(functools.partial(canary.serves, node, *GREEN), f"green is alone at {node.folder}")
        acting.wait_for(lambda: acting.docker.containers("status=running") == GREEN, "blue is stopped", 90)
        assert acting.served(path=PATH) == other.served(path=PATH) == set(GREEN)
    assert not seen_by_clients(load)
