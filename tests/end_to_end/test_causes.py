"""Why a service is not as it should be is said in the words of whoever knows it, by every verb where one looks."""

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lab.daemon import wait_for
from lab.docker import Docker
from lab.node import BOOKS, QUICK, Node

SOON_S = 60  # a busy machine may take as long; a quiet one takes 1 to 10 s
COMPOSE = """
services:
  blank:
    image: books-service:1.0
    ports: ["8080"]
    environment: ["DB_URL=${DB_URL}"]
"""


class Cause(NamedTuple):
    """A cause: the changed keys of a spec, what happens beside it, and what is said of it."""

    spec: dict[str, Any]
    says: str
    happens: Callable[[Node], object] = lambda node: None
    image: str = ""  # that is deployed; "": the spec's once more


def take_path(node: Node) -> None:
    """Have another service want the path of this one: `apply` refuses that, and a key does not."""
    spec = {"name": "twin", "engine": "none", "route": {"path": "/path"}}
    path = Path(node.folder) / "twin.json"
    path.write_text(json.dumps(spec))
    done = node.run("apply", str(path))
    assert done.returncode == 1 and CAUSES["path"].says in done.stderr
    wait_for(lambda: is_as_desired(node, "path"), "the one that was there first is served", SOON_S)
    node.consul.put("services/twin/spec", json.dumps(spec))


def start_by_hand(node: Node) -> None:
    node.docker.docker("run", "-d", "--name", "byhand", "-p", "127.0.0.1::8080", "-l", "SERVICE_NAME=foreign",
                       "books-service:1.0")


CAUSES = {
    "check-path": Cause({"check": {"http": "/nowhere", "interval": "1s"}}, "404 Not Found"),
    "check-port": Cause({"port": "127.0.0.1::8081"}, 'Get "http://127.0.0.1:'),
    "exits": Cause({"image": "causes:exits"}, "exited with exit code 3: no database to be found"),
    "never-passes": Cause({}, "404 Not Found", lambda node: wait_for(
        lambda: is_as_desired(node, "never-passes"), "the release before is live", SOON_S), "causes:ill"),
    "no-image": Cause({"image": "127.0.0.1:1/none:1"}, "dial tcp 127.0.0.1:1: connect: connection refused"),
    "blank": Cause({"engine": "compose", "project": {}, "port": 8080}, "the variable DB_URL of"),
    "path": Cause({}, "route is /path, which is that of path", take_path),
    "taken": Cause({}, "path /taken is answered by location /taken in"),
    "foreign": Cause({}, "byhand", start_by_hand),
}
NOT_DEPLOYED = {"path"}  # its twin is only routed
NAMES = {"path": "twin"}  # the service that suffers, where it is another one


@pytest.fixture(scope="module")
def node(docker_engine: Docker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("causes")
    (folder / "project").mkdir()
    (folder / "project/docker-compose.yml").write_text(COMPOSE)
    docker_engine.build_books("causes:exits", "2.0", "start")
    docker_engine.build_books("causes:ill", "3.0", "health")
    node = Node(str(folder / "node"), docker_engine, timer="2s",
                settings=f'{QUICK}\n[allow]\nprojects = ["{folder}/project"]\n')
    main_conf = Path(node.nginx.main_conf)
    main_conf.write_text(main_conf.read_text().replace("location =", "location /taken { return 200; }\nlocation =", 1))
    try:
        yield node.start()
    finally:
        node.stop()
        docker_engine.clear()


def is_as_desired(node: Node, name: str) -> bool:
    return says(node, name) == "as desired"


def says(node: Node, name: str) -> str:
    rows = json.loads(node.run("status", "--json").stdout or "[]")
    return next((str(row["says"]) for row in rows if row["name"] == name), "")


def make_spec(node: Node, name: str) -> dict[str, Any]:
    changes = dict(CAUSES[name].spec)
    if "project" in changes:
        changes["project"] = {"folder": str(Path(node.folder).parent / "project")}
    return {**BOOKS, "name": name, "route": {"path": f"/{name}"}, **changes}


@pytest.mark.parametrize("name", CAUSES)
def test_a_cause_is_told_by_every_verb_in_the_words_of_whoever_knows_it(node: Node, name: str) -> None:
    cause, suffers, spec = CAUSES[name], NAMES.get(name, name), make_spec(node, name)
    deploys = ("deploy", suffers, cause.image or spec["image"], "--wait", "--timeout", "1s")
    node.write_and_apply(spec)
    try:
        cause.happens(node)
        if cause.image:
            node.run(*deploys[:3])
        wait_for(lambda: cause.says in says(node, suffers), f"status says {cause.says!r}", SOON_S)
        for verb in [("status", suffers), ("plan", suffers), ("why", suffers, "-n", "3"),
                     *([] if name in NOT_DEPLOYED else [deploys])]:
            wait_for(functools.partial(tells, node, verb, cause.says), f"{verb} says it", SOON_S)
    finally:
        for each in {name, suffers}:
            node.run("remove", each)


def tells(node: Node, verb: Sequence[str], text: str) -> bool:
    done = node.run(*verb)
    return text in done.stdout + done.stderr
