"""A real Prometheus scrapes a real node, and each query of the Grafana board has an answer."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lictor.adapters import files, process

from lab.daemon import Daemon, free_ports, wait_for
from lab.docker import Docker
from lab.http import ask
from lab.node import BOOKS, MODE, QUICK, Node
from lab.prometheus import Prometheus
from support.paths import REPOSITORY

BOARD = REPOSITORY / "examples" / "grafana" / "lictor.json"
SECRET = "a-secret-that-prometheus-shows-as-bearer-token"


@pytest.fixture
def mode() -> str:
    return MODE


@pytest.fixture
def node(tmp_path: Path, docker: Docker, mode: str) -> Iterator[Node]:
    files.write_atomic(f"{tmp_path}/secret", f"{SECRET}\n", mode=0o600)
    address = f"127.0.0.1:{free_ports(1)[0]}"
    made = Node(str(tmp_path), docker, timer="2s", mode=mode, settings=(
        f'{QUICK}[metrics]\nlisten = "{address}"\nsecret_file = "{tmp_path}/secret"\n'
        f'textfile = "{tmp_path}/lictor.prom"\n'))
    try:
        yield made.start()
    finally:
        made.stop()


@pytest.fixture
def serve(node: Node) -> Iterator[Daemon]:
    """lictor-serve beside a script door: the metrics and the page are all that it serves."""
    daemon = Daemon(process.handler_argv("lictor-serve"), f"{node.folder}/serve.log", node.environ)
    yield daemon
    daemon.stop()


@pytest.fixture
def prometheus(node: Node, serve: Daemon) -> Iterator[Prometheus]:
    assert node.settings.metrics
    found = Prometheus(node.folder, {"scrape_configs": [{
        "job_name": "lictor", "scrape_interval": "1s", "static_configs": [{"targets": [node.settings.metrics.listen]}],
        "authorization": {"credentials_file": node.settings.metrics.secret_file}}]})
    yield found
    found.stop()


def queries() -> list[str]:
    """The board's queries, as Grafana sends them for all services."""
    board = json.loads(BOARD.read_text())
    found = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    return [each.replace("$service", ".*").replace("$__rate_interval", "1m") for each in found]


def require_agreement(node: Node) -> None:
    """The page, the command and the metrics say the same of a service, and of the node."""
    assert node.settings.metrics
    address, headers = node.settings.metrics.listen, {"Authorization": f"Bearer {SECRET}"}

    def read(path: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(ask(address, "GET", path, headers=headers, timeout_s=60)[1])
        return found

    def is_well() -> bool:
        shown, = read("/v1/services")["services"]
        row, = json.loads(node.run("status", "--json").stdout)
        assert {key: shown[key] for key in shown.keys() & row.keys()} == {key: row[key] for key in shown.keys() & row}
        return shown["says"] == "as desired" and [each["state"] for each in shown["instances"]] == ["passing"]

    wait_for(is_well, "the page and status call the service well")
    assert [each["kind"] for each in read("/v1/services/books-service")["story"]][:1] == ["start"]

    def node_is_well() -> bool:
        found, = read("/v1/nodes")["nodes"]
        return (found["name"], found["state"]) == ("node-1", "well") and found["containers"].startswith("1 registered")

    wait_for(node_is_well, "the node is well")
    assert read("/v1/nodes")["nodes"][0]["nginx"] == f"answers, mode {MODE}"


@pytest.mark.timeout(600)
def test_prometheus_scrapes_a_node_and_each_query_of_the_board_has_an_answer(
        node: Node, prometheus: Prometheus) -> None:
    node.apply(replicas=2)
    node.wait_served("books-service-1", "books-service-2")
    wait_for(lambda: prometheus.query('lictor_service_passing_instances{service="books-service"} == 2'), "two pass")

    def is_measured() -> bool:
        for _ in range(5):
            node.answers()
        return bool(prometheus.query('lictor_requests_total{outcome="answered"} > 5'))

    wait_for(is_measured, "requests are counted", 120, every_s=0.2)
    node.run("scale", "books-service", "1")
    unanswered = set(queries())
    assert len(unanswered) > 20

    def are_answered() -> bool:
        node.answers()
        for each in list(unanswered):
            if prometheus.query(each):
                unanswered.remove(each)
        return not unanswered

    try:
        wait_for(are_answered, "each query has an answer", 120)
    except AssertionError as error:
        raise AssertionError(f"no answer to {sorted(unanswered)}") from error
    for state in prometheus.query("up"):
        assert state["value"][1] == "1"
    wait_for(lambda: {"start", "drain"} <= {each["metric"]["kind"] for each in prometheus.query(
        'lictor_actions_total{outcome="done"}')}, "what was done is counted")
    assert prometheus.query('lictor_releases_total{service="books-service",outcome="done"}')[0]["value"][1] == "1"
    confirmed = prometheus.query("lictor_event_to_confirmed_seconds_count")[0]["value"][1]
    assert int(confirmed) >= 1
    require_agreement(node)
    textfile = files.read(f"{node.folder}/lictor.prom") or ""
    assert re.search(r'^lictor_service_passing_instances\{service="books-service"} \d', textfile, re.MULTILINE)


def test_the_listener_answers_who_shows_the_secret_and_no_other_and_takes_a_new_one(node: Node, serve: Daemon) -> None:
    assert node.settings.metrics
    address = node.settings.metrics.listen
    wait_for(lambda: ask(address, "GET", "/metrics")[0], "the listener answers")

    def status(**headers: str) -> int:
        return ask(address, "GET", "/metrics", headers=headers)[0]

    assert status() == status(Authorization="Bearer guessed") == 401
    assert status(Authorization=f"Bearer {SECRET}") == 200
    assert ask(address, "POST", "/metrics", headers={"Authorization": f"Bearer {SECRET}"})[0] == 501
    pid = serve.pid
    files.write_atomic(node.settings.metrics.secret_file, SECRET[::-1], mode=0o600)
    wait_for(lambda: status(Authorization=f"Bearer {SECRET[::-1]}") == 200, "the new secret counts")
    assert status(Authorization=f"Bearer {SECRET}") == 401 and serve.running and serve.pid == pid
    files.write_atomic(node.settings.metrics.secret_file, "short", mode=0o600)
    wait_for(lambda: "the old settings stay" in serve.log(), "a secret that is none is refused")
    assert status(Authorization=f"Bearer {SECRET[::-1]}") == 200
    assert SECRET not in serve.log() and SECRET not in node.log()


@pytest.mark.parametrize("mode", ["live"])
def test_requests_that_have_waited_are_counted(node: Node) -> None:
    node.apply(route={**BOOKS["route"], "wait": "60s"})
    node.wait_served("books-service-1")
    node.docker.docker("kill", "books-service-1")
    assert node.answers() == "books-service-1"  # it has waited for the next one of that name
    wait_for(lambda: re.search(r'^lictor_waits_total\{outcome="served",service="books-service"} [1-9]',
                               files.read(f"{node.folder}/lictor.prom") or "", re.MULTILINE), "it is counted")
    assert re.search("; [1-9] have waited, 0 of them in vain", node.run("status", "books-service").stdout)
