"""lictor-route end to end: real watches of a real Consul, a real nginx, and processes that are killed on the way."""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lictor import errors
from lictor.adapters import files, process
from lictor.adapters.consul.client import Client as ConsulClient
from lictor.events import agent_config, script, service_watch
from lictor.routing import follow, peers, route_store, templates
from lictor.routing import nginx as lictor_nginx
from lictor.spec.settings import Settings, load_settings

from lab.client import Client
from lab.consul import Consul
from lab.daemon import wait_for
from lab.nginx import Nginx
from support import handlers
from support.backend import Backend
from support.modes import in_both_modes
from support.paths import text_of
from support.routed import published

NAME = "books"
PATH = "/api/v1/books"


class Node(NamedTuple):
    consul: Consul
    nginx: Nginx
    settings: Settings
    environ: dict[str, str]

    def register(self, *backends: Backend, name: str = NAME, prefix: str = "") -> None:
        for each in backends:
            self.consul.register({"Name": name, "ID": prefix + each.name, "Address": "127.0.0.1", "Port": each.port,
                                  "Meta": {"lictor-engine": "docker"},
                                  "Check": {"TTL": "10m", "Status": "passing", "CheckID": each.name}})

    def set_status(self, backend: Backend, status: str) -> None:
        self.consul.request("PUT", f"/v1/agent/check/update/{backend.name}", {"Status": status})

    def deregister(self, *backends: Backend) -> None:
        for each in backends:
            self.consul.request("PUT", f"/v1/agent/service/deregister/{each.name}")

    def wait_passing(self, count: int) -> None:
        wait_for(lambda: len(self.consul.passing(NAME)) == count, f"{count} instances pass")

    def payload(self) -> bytes:
        return json.dumps(self.consul.request("GET", f"/v1/health/service/{NAME}")).encode()

    def route(self, payload: bytes, *, index: str = "") -> subprocess.CompletedProcess[bytes]:
        """Run the handler as Consul does; the finished process."""
        return subprocess.run(self.argv, input=payload, capture_output=True, timeout=150,
                              env={**self.environ, "CONSUL_INDEX": index})

    @property
    def argv(self) -> list[str]:
        return [*process.handler_argv("lictor-route"), NAME, "--state-dir", self.settings.state_dir]

    def sweep(self) -> None:
        client = ConsulClient.connect(environ=self.consul.environ)
        follow.sweep(self.settings, client.everything([]), client)

    def want(self, **changes: object) -> None:
        route_store.write_route(self.settings.state_dir, NAME, {
            "name": NAME, "service": NAME, "path": PATH, "host": "", "traffic": "healthy", "node": "node-1",
            "empty_ok": False, "removed": False, **changes})

    def refresh(self, **changes: object) -> None:
        self.want(**changes)
        follow.refresh(self.settings, [NAME], ConsulClient.connect(environ=self.consul.environ))

    @property
    def served(self) -> peers.PublishedRoute:
        return published(self.settings, NAME)

    def who_answers(self) -> set[str | int]:
        """Who has answered 20 requests; statuses other than 200 as they are."""
        answers = {self.nginx.get(PATH) for _ in range(20)}
        return {json.loads(body)["instance"] if status == 200 else status for status, body in answers}


@pytest.fixture
def node(tmp_path: Path, consul: Consul, nginx: Nginx, mode: str) -> Iterator[Node]:
    """Routes `books`, which nobody has seen yet; Consul runs no watch."""
    started = consul.daemon
    state_dir = str(tmp_path / "state")
    for folder in script.FOLDERS:
        os.makedirs(os.path.join(state_dir, folder))
    (tmp_path / "lictor.toml").write_text(
        f'state_dir = "{state_dir}"\n[nginx]\nmode = "{mode}"\nconf_dir = "{nginx.conf_dir}"\n'
        f'main_conf = "{nginx.main_conf}"\npid_file = "{nginx.pid_file}"\n')
    lictor_nginx.prepare(nginx.conf_dir, templates.Templates(live=mode == "live"))
    nginx.start()
    environ = {**os.environ, **consul.environ, "LICTOR_CONFIG": str(tmp_path / "lictor.toml")}
    made = Node(consul, nginx, load_settings(environ), environ)
    made.want()
    try:
        yield made
    finally:
        if consul.daemon is not started:  # with watches, which start handlers
            consul.stop(signal.SIGKILL)
        handlers.end(str(tmp_path / "lictor.toml"))


@pytest.fixture
def backends() -> Iterator[list[Backend]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Backend(name)) for name in ("a", "b", "c")]


@in_both_modes
def test_nginx_follows_a_watch(node: Node, backends: list[Backend], tmp_path: Path) -> None:
    a, b, c = backends
    settings = agent_config.routes(node.settings, {NAME: NAME}, ["--config", node.settings.path], process.handler_argv)
    with open(f"{node.consul.config_dir}/watches.json", "w", encoding="utf-8") as file:
        file.write(agent_config.text(settings))
    node.consul.stop()
    node.consul.start(env=node.environ)
    wait_for(lambda: node.who_answers() == {503}, "there is none yet")
    node.register(a)
    wait_for(lambda: node.who_answers() == {"a"}, "the first serves")
    node.register(b, c)
    wait_for(lambda: node.who_answers() == {"a", "b", "c"}, "all serve")
    node.set_status(b, "critical")
    wait_for(lambda: node.who_answers() == {"a", "c"}, "the critical one is out")
    node.consul.request("PUT", f"/v1/agent/service/maintenance/{a.name}?enable=true&reason=x")
    wait_for(lambda: node.who_answers() == {"c"}, "the one in maintenance is out")
    node.set_status(c, "critical")
    wait_for(lambda: node.consul.passing(NAME) == [], "none passes")
    wait_for(lambda: node.who_answers() == {"b", "c"}, "better the ailing ones that were served than none")
    told = '{"instances": [["node-1", "b"], ["node-1", "c"]]}'
    wait_for(lambda: node.consul.get(f"lictor/nodes/{NAME}/node-1") == told,
             "the reconcile that was started has told the others")


@in_both_modes
def test_both_colours_are_followed_while_one_is_tried(node: Node, backends: list[Backend]) -> None:
    """An event shows the instances of one colour only, and takes nothing from the other."""
    a, b, c = backends
    green = f"{NAME}-green"
    watches = agent_config.routes(node.settings, {NAME: NAME, green: NAME}, ["--config", node.settings.path],
                                  process.handler_argv)
    with open(f"{node.consul.config_dir}/watches.json", "w", encoding="utf-8") as file:
        file.write(agent_config.text(watches))
    node.want(canary={"service": green, "share": 0.5}, measure=True)
    node.consul.stop()
    node.consul.start(env=node.environ)
    node.register(a)
    wait_for(lambda: node.who_answers() == {"a"}, "the live one serves")
    node.register(b, c, name=green)
    wait_for(lambda: node.who_answers() == {"a", "b", "c"}, "those that are tried have their share")
    told = '{"instances": [["node-1", "a"], ["node-1", "b"], ["node-1", "c"]]}'
    wait_for(lambda: node.consul.get(f"lictor/nodes/{NAME}/node-1") == told, "drains wait for those too")
    node.set_status(b, "critical")
    wait_for(lambda: node.who_answers() == {"a", "c"}, "an unhealthy one is tried no more")
    node.set_status(a, "critical")
    wait_for(lambda: node.consul.passing(NAME) == [], "the live one does not pass")
    node.set_status(c, "critical")
    wait_for(lambda: node.who_answers() == {"a"}, "the live one keeps its traffic, and no other has any")
    node.set_status(b, "passing")
    wait_for(lambda: node.who_answers() == {"a", "b"}, "it is tried again")
    node.sweep()
    assert node.who_answers() == {"a", "b"}
    node.refresh()
    wait_for(lambda: node.who_answers() == {"a"}, "it was given up")
    node.refresh(service=green)
    wait_for(lambda: node.who_answers() == {"b"}, "it is the live one")


@in_both_modes
def test_an_event_that_changes_nothing_ends_at_once_and_other_peers_load_neither_consul_nor_jinja(
        node: Node, backends: list[Backend], mode: str,
) -> None:
    node.register(*backends[:2])
    assert node.route(node.payload(), index="7").returncode == 0
    before = node.served
    assert before.confirmed and before.consul_index == 7 and len(before.peers) == 2

    def loaded(payload: bytes) -> set[str]:
        done = subprocess.run([sys.executable, "-X", "importtime", *node.argv[1:]], input=payload, capture_output=True,
                              env={**node.environ, "CONSUL_INDEX": "8"}, timeout=150)
        assert done.returncode == 0
        return {line.rpartition("|")[2].strip() for line in done.stderr.decode().splitlines() if "import time:" in line}

    expensive = {"argparse", "tomllib", "subprocess", "dataclasses"}
    never = {"consul", "docker", "jinja2", "msgspec", "tenacity", "requests", "yaml"}
    unchanged = loaded(node.payload())
    assert not unchanged & (expensive | never)
    ours = {each.removeprefix("lictor.") for each in unchanged if each.startswith("lictor.")}
    rooms = {"adapters", "adapters.consul", "events", "routing"}
    assert ours == rooms | {"adapters.consul.payload", "adapters.files", "errors", "events.service_watch_fast", "model",
                            "routing.peers", "routing.route_store"}
    assert node.served == before._replace(consul_index=8)
    node.register(backends[2])
    assert not loaded(node.payload()) & (never - {"msgspec"})  # the settings are its records
    assert len(node.served.peers) == 3 and node.served.confirmed


def test_what_is_no_payload_changes_nothing(node: Node, backends: list[Backend]) -> None:
    node.register(backends[0])
    node.route(node.payload())
    before = node.served
    for payload in (b"", b"null", b"{}", b"[7]", b"\xff", b"[" * 9999):
        done = node.route(payload)
        assert done.returncode == 1 and b"the payload is refused" in done.stderr and done.stderr.count(b"\n") == 1
    assert node.served == before and node.who_answers() == {"a"}


def test_hostile_instances_are_skipped_by_name_and_the_others_stay(node: Node, backends: list[Backend]) -> None:
    node.register(*backends)
    hostile = json.loads(node.payload())
    values = [("Address", "1.2.3.4; } server { root /etc; }"), ("Address", "../../etc"), ("Address", "x" * 10_000),
              ("Address", "１.2.3.4"), ("Port", True), ("Port", "80; return 204"), ("Port", 70000)]
    extra = []
    for number, (key, value) in enumerate(values):
        entry = json.loads(json.dumps(hostile[0]))
        entry["Service"] |= {key: value, "ID": f"evil-{number}", "Meta": {"x": "$host; }\n{"}, "Tags": ["; } {"]}
        extra.append(entry)
    done = node.route(json.dumps([*extra, {"Node": 1}, *hostile]).encode(), index="9")
    assert done.returncode == 0
    for number in range(len(values)):
        assert f"evil-{number}" in done.stderr.decode()
    assert "entry 8 of 11" in done.stderr.decode()
    assert node.who_answers() == {"a", "b", "c"}
    peers_file = text_of(f"{node.nginx.conf_dir}/peers/{NAME}.conf")
    assert peers_file.count("server ") == 3 and "evil" not in peers_file
    before = node.served
    alone = node.route(json.dumps(extra).encode(), index="10")  # fewer, so Consul itself is asked, and knows better
    assert alone.returncode == 0 and node.served._replace(consul_index=9) == before


def test_none_is_held_for_a_minute_then_answers_503_until_one_is_back(node: Node, backends: list[Backend],
                                                                      capsys: pytest.CaptureFixture[str]) -> None:
    node.register(*backends[:2])
    node.route(node.payload())
    node.deregister(*backends[:2])
    assert b"outcome=hold" in node.route(b"[]").stderr
    assert b"outcome=hold" not in node.route(b"[]").stderr  # said once
    assert node.who_answers() == {"a", "b"}
    node.sweep()
    assert node.who_answers() == {"a", "b"}
    route_store.write_published(node.settings.state_dir, NAME, node.served._replace(empty_since=time.time() - 61))
    node.sweep()
    assert node.who_answers() == {503}
    node.register(backends[2])
    node.sweep()  # an event that was missed
    assert node.who_answers() == {"c"}
    assert capsys.readouterr().err.count("outcome=publish") == 2


@in_both_modes
def test_what_is_no_peer_keeps_no_departed_one_and_is_none_itself(node: Node, backends: list[Backend]) -> None:
    a, stranger, _ = backends
    node.register(a)
    for number, fields in enumerate(list[dict[str, Any]]([
            {"Address": "books.example.com", "Port": 80}, {"Address": "10.0.0.1"},
            {"Address": "169.254.169.254", "Port": 80}, {"Address": "127.0.0.1", "Port": stranger.port},
            {"Address": "127.0.0.1", "Port": stranger.port, "Meta": {
                "lictor-engine": "docker", "lictor-protocol": "udp"}}])):
        node.consul.register({"Name": NAME, "ID": f"no-peer-{number}", **fields})
    node.consul.request("PUT", "/v1/catalog/register", {
        "Node": "external", "Address": "127.0.0.1", "NodeMeta": {"external-node": "true", "external-probe": "true"},
        "Service": {"Service": NAME, "ID": "far", "Address": "10.0.0.1", "Port": 80},
        "Check": {"CheckID": "externalNodeHealth", "Name": "x", "Status": "critical"}})
    done = node.route(node.payload())
    assert node.who_answers() == {"a"}
    assert [f"no-peer-{number}" in done.stderr.decode() for number in range(5)] == [True] * 4 + [False]
    node.deregister(a)
    assert b"outcome=hold" in node.route(node.payload()).stderr and node.who_answers() == {"a"}
    route_store.write_published(node.settings.state_dir, NAME, node.served._replace(empty_since=time.time() - 61))
    node.sweep()
    assert node.who_answers() == {503}


@in_both_modes
def test_a_maintenance_ends_the_traffic_of_the_last_one_too(node: Node, backends: list[Backend]) -> None:
    node.register(backends[0])
    node.route(node.payload())
    assert node.who_answers() == {"a"}
    node.consul.request("PUT", "/v1/agent/service/maintenance/a?enable=true&reason=paused")
    assert node.route(node.payload()).returncode == 0 and node.who_answers() == {503}


@in_both_modes
def test_where_nginx_itself_listens_is_no_peer(node: Node, backends: list[Backend]) -> None:
    """As the articles' service-NAME.json registers a service, at its proxy."""
    node.consul.register({"Name": NAME, "ID": "proxy", "Port": node.nginx.port, "Meta": {"lictor-engine": "docker"}})
    node.refresh()
    assert node.who_answers() == {503}
    node.register(backends[0])
    done = node.route(node.payload())
    assert node.who_answers() == {"a"} and f"listens on 127.0.0.1:{node.nginx.port}" in done.stderr.decode()
    before = node.served
    assert node.route(node.payload(), index="7").returncode == 0
    assert node.served == before._replace(consul_index=7) and not node.served.empty_since
    node.consul.register({"Name": NAME, "ID": "to-come", "Port": 80, "Meta": {"lictor-engine": "docker"}})
    node.refresh(host="a.example.com")  # whose server is the first to listen there
    assert node.served.instances == (("node-1", "a"),)


def test_an_empty_payload_is_not_believed_when_consul_knows_better_or_is_away(node: Node,
                                                                              backends: list[Backend]) -> None:
    node.register(*backends)
    node.route(node.payload())
    before = node.served
    assert node.route(b"[]").returncode == 0
    assert node.served == before
    node.consul.stop()
    done = node.route(b"[]")
    assert done.returncode == 75 and b"outcome=failed" in done.stderr
    assert node.served == before and node.who_answers() == {"a", "b", "c"}


def test_late_news_is_checked_against_consul(node: Node, backends: list[Backend]) -> None:
    node.register(*backends[:2])
    stale = node.payload()
    node.register(backends[2])
    node.route(node.payload(), index="20")
    node.route(node.payload(), index="5")  # says nothing new, and makes the next one no newer
    node.route(stale, index="10")
    assert node.who_answers() == {"a", "b", "c"}


def test_a_changed_route_moves_and_goes(node: Node, backends: list[Backend]) -> None:
    node.register(*backends[:1])
    node.register(backends[1], name="books-green")
    node.refresh()
    assert node.who_answers() == {"a"}
    node.refresh(service="books-green")
    assert node.who_answers() == {"b"}
    node.refresh(service="books-green", path="/other")
    assert node.nginx.get(PATH)[0] == 404 and node.nginx.get("/other")[0] == 200
    node.deregister(backends[1])
    node.refresh(service="books-green", path="/other", empty_ok=True)
    assert node.nginx.get("/other")[0] == 503
    node.refresh(removed=True)
    assert node.nginx.get("/other")[0] == 404
    assert not any(names for folder in ("upstreams", "locations", "servers")
                   for _, _, names in os.walk(f"{node.nginx.conf_dir}/{folder}"))


@in_both_modes
def test_where_a_route_is_refused_the_earlier_one_follows_the_catalogue(node: Node, backends: list[Backend],
                                                                        capsys: pytest.CaptureFixture[str],
                                                                        mode: str) -> None:
    """The user's own server has the location already, which nginx hears of only from the whole configuration."""
    a, b, c = backends
    node.register(a)
    node.refresh()
    main_conf = text_of(node.nginx.main_conf)
    taken = "location = /taken { return 204; } location = "
    files.write_atomic(node.nginx.main_conf, main_conf.replace("location = ", taken, 1))
    node.refresh(path="/taken")
    assert node.who_answers() == {"a"} and "rolled-back" in capsys.readouterr().err
    node.register(b)
    done = node.route(node.payload())
    assert (done.returncode, node.who_answers()) == (0, {"a", "b"}), done.stderr
    refusal = node.served.refusal
    assert node.served.confirmed and refusal and refusal.place == peers.Place(mode, (peers.Location("", "/taken"),))
    node.register(c, name="other")
    files.write_json(f"{node.settings.state_dir}/routes/other.json", {
        "name": "other", "service": "other", "path": "/other", "host": "", "traffic": "healthy", "node": "node-1",
        "empty_ok": False, "removed": False})
    follow.refresh(node.settings, ["other"], ConsulClient.connect(environ=node.consul.environ))
    assert "rolled-back" not in capsys.readouterr().err and node.nginx.get("/other")[0] == 200
    refusal = refusal._replace(until=time.time() + 60)  # as if all this had taken no time
    route_store.write_published(node.settings.state_dir, NAME, node.served._replace(refusal=refusal))
    node.sweep()
    assert "rolled-back" not in capsys.readouterr().err and node.who_answers() == {"a", "b"}
    refusal = refusal._replace(until=time.time())
    route_store.write_published(node.settings.state_dir, NAME, node.served._replace(refusal=refusal))
    node.sweep()  # which alone tries it again, after a minute
    assert "rolled-back" in capsys.readouterr().err and node.who_answers() == {"a", "b"}
    files.write_atomic(node.nginx.main_conf, main_conf)
    node.sweep()
    assert node.nginx.get(PATH)[0] == 404 and node.nginx.get("/taken")[0] == 200
    assert node.served.confirmed and not node.served.refusal


def test_where_the_users_own_configuration_is_refused_no_route_is_to_blame(node: Node, backends: list[Backend],
                                                                           capsys: pytest.CaptureFixture[str]) -> None:
    node.register(backends[0])
    node.refresh()
    main_conf = text_of(node.nginx.main_conf)
    files.write_atomic(node.nginx.main_conf, main_conf + "nonsense;")
    node.refresh(path="/other")
    assert "without the new files too, nginx refuses it" in capsys.readouterr().err and not node.served.refusal
    files.write_atomic(node.nginx.main_conf, main_conf)
    node.sweep()
    assert node.nginx.get("/other")[0] == 200 and node.served.confirmed


def test_killed_at_any_point_it_converges_at_the_next_sweep(node: Node, backends: list[Backend]) -> None:
    """What a killed one leaves is valid for nginx, and one sweep later nginx serves what Consul says."""
    a, b, c = backends
    node.register(a, b, c)
    node.route(node.payload())
    random.seed(1)
    for number in range(15):
        (node.deregister if number % 2 else node.register)(c)
        node.wait_passing(3 - number % 2)
        killed = subprocess.Popen(node.argv, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, env=node.environ)
        assert killed.stdin
        killed.stdin.write(node.payload())
        killed.stdin.close()
        try:
            killed.wait(random.uniform(0.01, 0.25))
        except subprocess.TimeoutExpired:
            killed.kill()
            killed.wait()
        subprocess.run(["nginx", "-t", "-q", "-c", node.nginx.main_conf], check=True)
        node.sweep()
        assert node.served.confirmed
        assert node.who_answers() == ({"a", "b"} if number % 2 else {"a", "b", "c"})


@in_both_modes
def test_no_request_fails_while_the_peers_change_20_times(node: Node, backends: list[Backend], mode: str) -> None:
    node.register(*backends)
    node.route(node.payload())
    generations = set()
    with Client(node.nginx.port, PATH, fresh=2, pause_s=0.02) as client:
        for number in range(20):
            status = "passing" if number % 2 else "critical"
            node.set_status(backends[2], status)
            node.wait_passing(2 + number % 2)
            assert node.route(node.payload()).returncode == 0
            generations.add(node.served.generation)
        wait_for(lambda: client.requests > 100 and len(client.last_answer) == 3, "all have got some requests")
    assert client.failures == []
    assert len(generations) == (1 if mode == "live" else 20)


def test_many_handlers_at_once_leave_one_state(node: Node, backends: list[Backend]) -> None:
    a, b, c = backends
    node.register(a)
    first = node.payload()
    node.register(b, c)
    second = node.payload()
    running = []
    for number in range(12):
        handler = subprocess.Popen(node.argv, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                   env={**node.environ, "CONSUL_INDEX": str(number)})
        assert handler.stdin
        handler.stdin.write(first if number % 2 else second)
        handler.stdin.close()
        running.append(handler)
    codes = [each.wait(150) for each in running]
    node.sweep()
    assert set(codes) <= {0, 75}
    assert node.served.confirmed and node.who_answers() == {"a", "b", "c"}


def test_an_event_waits_for_the_leader_that_is_just_being_elected(node: Node, backends: list[Backend],
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer than half are left, so that a consistent read has to show it too; at first nobody can answer that."""
    node.register(*backends)
    call = script.Call(node.settings, None, argparse.Namespace())
    monkeypatch.setattr(follow, "_connect", lambda _token_file: ConsulClient.connect(environ=node.consul.environ))
    assert service_watch.handle(call, NAME, node.payload(), 1, reconcile=lambda _: None) == 0
    node.deregister(*backends[:2])
    leaders = iter([errors.Unavailable("No cluster leader")] * 2)

    class Electing:
        """Consul's client; it keeps that without a leader there is an error, and soon after there is none."""

        def health(self, service: str, *, consistent: bool = False) -> list[dict[str, Any]]:
            for each in leaders:
                raise each
            return ConsulClient.connect(environ=node.consul.environ).health(service, consistent=consistent)

    monkeypatch.setattr(follow, "_connect", lambda _token_file: Electing())
    assert service_watch.handle(call, NAME, node.payload(), 2, reconcile=lambda _: None) == 0
    assert node.who_answers() == {"c"} and next(leaders, None) is None


@in_both_modes
def test_each_gets_its_weight_at_its_status(node: Node, backends: list[Backend]) -> None:
    a, b, c = backends
    for each, passing in ((a, 5), (b, 2), (c, 1)):
        node.consul.register({"Name": NAME, "ID": each.name, "Address": "127.0.0.1", "Port": each.port,
                              "Meta": {"lictor-engine": "docker"},
                              "Weights": {"Passing": passing, "Warning": 0 if each is c else 1},
                              "Check": {"TTL": "10m", "Status": "passing", "CheckID": each.name}})

    def are_shares(*expected: int) -> bool:
        assert node.route(node.payload()).returncode == 0
        answers = [json.loads(node.nginx.get(PATH)[1])["instance"] for _ in range(160)]
        return all(abs(answers.count(each.name) - count) <= 5 for each, count in zip(backends, expected, strict=True))

    wait_for(lambda: are_shares(100, 40, 20), "5, 2 and 1 eighth", 60)
    for each in (a, c):
        node.set_status(each, "warning")
    wait_for(lambda: are_shares(53, 107, 0), "one and two thirds, and nothing", 60)
