"""Fixtures: the real programs. Docker and Consul, which start slowly, are one for each process; nginx for each test."""

import os
import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, TypeVar

import hypothesis
import pytest

from lab.consul import Consul
from lab.docker import Docker
from lab.nginx import BINARY, Nginx
from lab.swarm import Swarm
from support import isolation

E = TypeVar("E", bound=Docker)


# Fixtures that start a daemon; and those that take long, each of which one process makes, once.
_DAEMONS = {"agent", "consul", "nginx", "docker_engine", "swarm_engine"}
_SHARED = {"lab_of_all", "many", "swarm_engine"}
_LONGEST_ID = 120


def pytest_configure() -> None:
    """Leave the machine's network; without root only tests run that need no network."""
    if os.geteuid() == 0:
        isolation.leave()
    # The same inputs each time, so that no change fails by what another one left; LICTOR_EXAMPLES looks for new ones.
    hypothesis.settings.register_profile("lictor", deadline=None, derandomize="LICTOR_EXAMPLES" not in os.environ,
                                         suppress_health_check=[hypothesis.HealthCheck.too_slow])  # others are at work
    hypothesis.settings.load_profile("lictor")


def pytest_make_parametrize_id(val: object) -> str | None:
    """Shorten the ids of long values: they go to each process and back, and some values have 64 MiB."""
    if isinstance(val, str | bytes) and len(val) > _LONGEST_ID:
        return f"{val[:_LONGEST_ID]!r}... of {len(val)}"
    return None


@pytest.hookimpl(wrapper=True)  # before pytest looks at -m, and xdist at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None]:
    """Mark each test as `quick` that needs neither root nor a daemon, and put all tests of one lab into one process.

    A test needs a daemon if a fixture of it starts one, or if it or its module is marked as `daemons`. The longest
    tests come first and the quick ones last, so that at the end no process is left alone with a long one.
    """
    for item in items:
        assert isinstance(item, pytest.Function)
        if not item.get_closest_marker("daemons") and _DAEMONS.isdisjoint(item.fixturenames):
            item.add_marker("quick")
        for fixture in _SHARED.intersection(item.fixturenames):
            item.add_marker(pytest.mark.xdist_group(fixture))
    items.sort(key=_turn)
    return (yield)


def _turn(item: pytest.Item) -> int:
    if item.get_closest_marker("timeout"):
        return 0
    if item.get_closest_marker("quick"):
        return 3
    return 1 if item.path.parent.name in ("commands", "end_to_end") else 2


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As pytest's, but short: nginx's socket is below it, and a socket's path may have 107 bytes."""
    return tmp_path_factory.mktemp(request.function.__name__[:16])


@pytest.fixture(scope="session")
def docker_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    yield from _with_books(Docker(str(tmp_path_factory.mktemp("engine"))))


@pytest.fixture
def docker(docker_engine: Docker) -> Iterator[Docker]:
    """The engine, empty of containers; books-service:1.0 is there."""
    yield docker_engine
    docker_engine.clear()


@pytest.fixture(scope="session")
def swarm_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    yield from _with_books(Swarm(str(tmp_path_factory.mktemp("swarm"))))


@pytest.fixture
def swarm(swarm_engine: Swarm) -> Iterator[Swarm]:
    """The Swarm of one node, empty of services; books-service:1.0 is there."""
    yield swarm_engine
    swarm_engine.clear()


@pytest.fixture(scope="session")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consul]:
    """A dev agent, node-1, for tests that have services and keys of their own."""
    shared = Consul(str(tmp_path_factory.mktemp("consul")))
    try:
        yield shared.start()
    finally:
        shared.stop(signal.SIGKILL)  # asked to end it takes a second or two, over what is thrown away anyhow


@pytest.fixture
def consul(agent: Consul) -> Iterator[Consul]:
    """The agent with nothing registered, no key and no session. A test may also stop it, or start it otherwise."""
    agent.clear()
    started = agent.daemon
    try:
        yield agent
    finally:
        if agent.daemon is not started or not agent.daemon or not agent.daemon.running:
            agent.stop(signal.SIGKILL)
            agent.clear_files()
            agent.start()


@pytest.fixture
def nginx_binary() -> str:
    """This machine's own."""
    return BINARY


@pytest.fixture
def nginx(tmp_path: Path, nginx_binary: str) -> Iterator[Nginx]:
    """nginx, configured but not started: lictor's snippet has to be written first."""
    server = Nginx(_folder(tmp_path, "nginx"), binary=nginx_binary)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def mode() -> str:
    """How new peers reach nginx. LICTOR_MODE=live has every whole node's reach it so."""
    from lab.node import MODE
    return MODE


@pytest.fixture
def node(docker: Docker, tmp_path: Path, mode: str) -> Iterator[Any]:
    """A whole node, running: its Consul keeps its data over a restart."""
    from lab.node import Node
    whole = Node(_folder(tmp_path, "node"), docker, keep_data=True, mode=mode)
    try:
        yield whole.start()
    finally:
        whole.stop()


@pytest.fixture
def make_set() -> Iterator[Callable[..., Any]]:
    """Make a set of the double of MongoDB; one that is given a size is managed until it is as desired."""
    from lab.mongodb.managed import MongoSet
    made: list[MongoSet] = []

    def make(size: int = 0, **options: Any) -> MongoSet:
        made.append(MongoSet(size or 1, **options))
        if size:
            made[-1].settle()
        return made[-1]

    try:
        yield make
    finally:
        for each in made:
            each.stop()


def _with_books(engine: E) -> Iterator[E]:
    try:
        engine.start()
        engine.build_books()
        yield engine
    finally:
        engine.stop()


def _folder(tmp_path: Path, name: str) -> str:
    folder = tmp_path / name
    os.makedirs(folder, exist_ok=True)
    return str(folder)
