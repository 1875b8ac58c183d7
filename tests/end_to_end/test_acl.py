"""The policies of consul.d/acl on a Consul that denies by default: enough for each handler, and no more."""

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lictor import errors
from lictor.adapters import heartbeat, process
from lictor.adapters.consul.client import Client
from lictor.events import agent_config
from lictor.spec.settings import Settings

from lab.client import Client as Visitor
from lab.consul import Consul
from lab.daemon import Daemon, free_ports, wait_for
from lab.docker import Docker
from lab.http import ask
from lab.node import BOOKS, Node
from support.command import begin
from support.paths import REPOSITORY

pytestmark = pytest.mark.daemons

MASTER = "11111111-1111-1111-1111-111111111111"
POLICIES = {path.stem: path for path in sorted((REPOSITORY / "consul.d/acl").glob("*.hcl"))}

REQUESTS = {
    "read desired": ("GET", "/v1/kv/services/?recurse", ""),
    "write desired": ("PUT", "/v1/kv/services/books/replicas", "3"),
    "read lictor's": ("GET", "/v1/kv/lictor/?recurse", ""),
    "write lictor's": ("PUT", "/v1/kv/lictor/history/books/2", "{}"),
    "write other keys": ("PUT", "/v1/kv/other", "1"),
    "read instances": ("GET", "/v1/health/service/books", ""),
    "tell what was counted": ("PUT", "/v1/kv/lictor/traffic/books/node-1", "{}"),
    "tell where a set is": ("PUT", "/v1/kv/lictor/seeds/books", "10.0.0.5:27017"),
    "remember loads": ("PUT", "/v1/kv/lictor/autoscale/books", "{}"),
    "close a breaker": ("PUT", "/v1/kv/lictor/state/books", "{}"),
    "give back the budget": ("PUT", "/v1/kv/lictor/budget", "[]"),
    "register": ("PUT", "/v1/agent/service/register", '{"Name": "books"}'),
    "register lictor": ("PUT", "/v1/agent/service/register", '{"Name": "lictor"}'),
    "put into maintenance": ("PUT", "/v1/agent/service/maintenance/books?enable=false", ""),
    "read agent": ("GET", "/v1/agent/self", ""),
    "reload agent": ("PUT", "/v1/agent/reload", ""),
    "lock": ("PUT", "/v1/session/create", '{"Name": "lictor"}'),
    "change policies": ("GET", "/v1/acl/policies", ""),
}
ALLOWED = {
    "agent": {"read desired", "read instances", "register lictor"},
    "lictor": {"read desired", "write desired", "read lictor's", "close a breaker", "give back the budget",
               "read instances", "read agent"},
    "lictor-autoscale": {"read desired", "write desired", "read lictor's", "write lictor's", "tell what was counted",
                         "remember loads", "read instances", "read agent", "lock"},
    "lictor-heal": set(),
    "lictor-page": {"read desired", "read lictor's", "read instances", "read agent"},
    "lictor-reconcile": {"read desired", "write desired", "read lictor's", "write lictor's", "tell what was counted",
                         "tell where a set is", "remember loads", "close a breaker", "give back the budget",
                         "read instances", "register", "register lictor", "put into maintenance", "read agent",
                         "reload agent", "lock"},
    "lictor-route": {"read instances"},
    "lictor-scale": {"read desired", "read instances", "read agent", "reload agent"},
}
ALLOWED["lictor-registrar"] = ALLOWED["lictor-reconcile"]  # which it starts


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Consul, dict[str, str]]]:
    """A Consul that denies by default, without a token of its own, and a token for each policy."""
    config = {"acl": {"enabled": True, "default_policy": "deny", "enable_key_list_policy": True,
                      "tokens": {"master": MASTER, "agent": MASTER}}}
    consul = Consul(str(tmp_path_factory.mktemp("consul")), config=config, token=MASTER, keep_data=True)
    try:
        consul.start()
        wait_for(lambda: consul.request("GET", "/v1/acl/policies"), "ACLs are up")
        wait_for(lambda: consul.request("GET", f"/v1/health/node/{consul.node}"), "the node may have sessions")
        consul.register({"Name": "books", "Port": 1})
        consul.put("services/books/spec", "{}")
        consul.put("lictor/history/books/1", "{}")
        made = {}
        for name, path in POLICIES.items():
            command(consul, "policy", "create", "-name", name, "-rules", f"@{path}")
            made[name] = command(consul, "token", "create", "-policy-name", name, "-format", "json")
        yield consul, {name: made[name].split('"SecretID": "')[1][:36] for name in made}
    finally:
        consul.stop()


def command(consul: Consul, *words: str) -> str:
    return subprocess.run(["consul", "acl", *words], env={**os.environ, **consul.environ}, text=True, check=True,
                          capture_output=True, timeout=120).stdout


def test_there_is_a_policy_for_everyone() -> None:
    assert set(POLICIES) == set(ALLOWED)


@pytest.mark.parametrize("name", sorted(ALLOWED))
def test_a_policy_allows_what_is_needed_and_nothing_else(tokens: tuple[Consul, dict[str, str]], name: str) -> None:
    consul, secrets = tokens
    allowed = {what for what, request in REQUESTS.items() if passes(consul, secrets[name], *request)}
    assert allowed == ALLOWED[name]


def passes(consul: Consul, secret: str, method: str, path: str, body: str) -> bool:
    """Whether something comes back: Consul answers some forbidden reads as if nothing were there."""
    request = urllib.request.Request(f"http://{consul.address}{path}", data=body.encode() or None, method=method,
                                     headers={"X-Consul-Token": secret})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bool(method == "PUT" or answer.read().strip() not in (b"[]", b"null"))
    except urllib.error.HTTPError as error:
        if error.code not in (403, 404):
            raise
        return False


def test_watches_and_the_timer_work_with_the_agents_token(tokens: tuple[Consul, dict[str, str]],
                                                          tmp_path: Path) -> None:
    consul, secrets = tokens
    argv = ["/bin/sh", "-c", f'cat > "{tmp_path}/$0.tmp" && mv "{tmp_path}/$0.tmp" "{tmp_path}/$0"']
    settings = agent_config.static(Settings(), [], lambda name: [*argv, name])
    for check in agent_config.checks(settings):
        check["interval"] = "3s"
    (Path(consul.config_dir) / agent_config.STATIC_FILE).write_text(agent_config.text(settings))
    default = {"acl": {"tokens": {"default": secrets["agent"]}}}
    (Path(consul.config_dir) / "tokens.json").write_text(json.dumps(default))
    consul.reload()
    wait_for(lambda: "services/books/spec" in (tmp_path / "lictor-scale").read_text(), "the watch may read the keys")
    wait_for(lambda: consul.passing("lictor"), "the timer's service is registered and passes")


def test_the_page_is_read_with_a_policy_that_writes_nothing(tokens: tuple[Consul, dict[str, str]],
                                                             tmp_path: Path) -> None:
    consul, secrets = tokens
    address, config, token = f"127.0.0.1:{free_ports(1)[0]}", tmp_path / "lictor.toml", tmp_path / "token"
    config.write_text(f'state_dir = "{tmp_path}/state"\nnginx = false\n[metrics]\nlisten = "{address}"\n')
    token.write_text(secrets["lictor-page"])
    daemon = Daemon([*process.handler_argv("lictor-serve"), "--token-file", str(token)], f"{tmp_path}/serve.log",
                    {"CONSUL_HTTP_ADDR": consul.address, "LICTOR_CONFIG": str(config)})
    try:
        wait_for(lambda: ask(address, "GET", "/metrics")[0] == 200, "lictor-serve answers")
        status, text = ask(address, "GET", "/v1/services/books", timeout_s=60)
        assert status == 200 and json.loads(text)["failure"] == "", text
    finally:
        daemon.stop()


def test_whoever_lives_long_goes_on_with_another_token(tokens: tuple[Consul, dict[str, str]], tmp_path: Path) -> None:
    """The file's time and size do not tell: Consul's 403 does."""
    consul, secrets = tokens
    path = tmp_path / "token"
    path.write_text("0" * 36)
    client = Client.connect(token_file=str(path), environ=consul.environ)
    with pytest.raises(errors.Refused, match="403"):
        client.get("services/books/spec")
    at_ns = path.stat().st_mtime_ns
    path.write_text(secrets["lictor"])
    os.utime(path, ns=(at_ns, at_ns))
    assert client.get("services/books/spec")
    assert client.token_changes == 1


@pytest.fixture
def guarded(docker: Docker, tmp_path: Path) -> Iterator[Node]:
    """A whole node on a Consul that denies by default, and that forgets at once what a token may. Its agent has a token
    of its own; its handlers have that of the file `token`."""
    node = Node(str(tmp_path / "node"), docker, timer="1s", token_file=str(tmp_path / "token"), token=MASTER,
                keep_data=True, environ={"CONSUL_HTTP_TOKEN": ""}, config={"acl": {
                    "enabled": True, "default_policy": "deny", "enable_key_list_policy": True, "token_ttl": "1s",
                    "policy_ttl": "1s", "tokens": {"master": MASTER, "agent": MASTER}}})
    try:
        node.install()
        node.nginx.start(30)
        node.consul.start(env=node.environ)
        wait_for(lambda: node.consul.request("GET", "/v1/acl/policies"), "ACLs are up")
        for name in ("agent", "lictor", "lictor-autoscale", "lictor-heal", "lictor-registrar"):
            node.consul.request("PUT", "/v1/acl/policy", {"Name": name, "Rules": POLICIES[name].read_text()})
        default = {"acl": {"tokens": {"default": make_token(node, "agent")["SecretID"]}}}
        (Path(node.consul.config_dir) / "tokens.json").write_text(json.dumps(default))
        yield node
    finally:
        node.stop()


def make_token(node: Node, policy: str = "lictor-registrar") -> dict[str, str]:
    return dict(node.consul.request("PUT", "/v1/acl/token", {"Policies": [{"Name": policy}]}))


def check_status(node: Node) -> str:
    return str((node.consul.request("GET", "/v1/agent/checks").get("lictor-reconcile") or {"Status": ""})["Status"])


def health(node: Node, name: str) -> str:
    """The status of an instance's only check, as the catalogue has it; "": it is not there."""
    return next((str(entry["Checks"][-1]["Status"])
                 for entry in node.consul.request("GET", "/v1/health/service/books-service")
                 if entry["Service"]["ID"].split(":")[1] == name), "")


def test_a_token_is_replaced_under_requests(guarded: Node, tmp_path: Path) -> None:
    """The old one is deleted before the new file is there. Until then nobody says that all is well, and afterwards what
    happened meanwhile is made up for: one instance has ended, and another fails its check."""
    node, token_file, state_dir = guarded, tmp_path / "token", guarded.settings.state_dir
    old, (dies, turns_ill, stays) = make_token(node), (f"books-service-{number}" for number in (1, 2, 3))
    token_file.write_text(old["SecretID"])
    node.consul.reload()
    node.start_registrar()
    spec = {**BOOKS, "node": "node-1", "replicas": {"initial": 3}, "heal": {"grace": "5m"}}
    node.consul.put("services/books-service/spec", json.dumps(spec))
    node.wait_served(dies, turns_ill, stays)
    wait_for(lambda: check_status(node) == "passing", "all is as desired")
    with Visitor(node.nginx.port, "/api/v1/books") as visitor:
        node.consul.request("DELETE", f"/v1/acl/token/{old['AccessorID']}")
        wait_for(lambda: (found := heartbeat.read(state_dir)) and "403" in found.trouble, "the registrar says it")
        wait_for(lambda: check_status(node) != "passing", "the check is not green")
        ended = node.docker.docker("inspect", "--format", "{{.Id}}", dies).strip()
        killed_from = time.monotonic()
        node.docker.docker("kill", dies)
        killed_by = time.monotonic()
        node.docker.docker("exec", turns_ill, "/bin/busybox", "rm", "/www/health")
        wait_for(lambda: heartbeat.read_dead(state_dir) == {ended}, "the registrar knows who is dead")
        with pytest.raises(errors.Refused, match="in trouble: .*403"):  # by doctor
            heartbeat.examine(state_dir)
        node.wait_served(turns_ill, stays)
        assert check_status(node) != "passing" and node.registrar and node.registrar.running
        assert health(node, dies) and health(node, turns_ill) == "passing"

        token_file.write_text(make_token(node)["SecretID"])
        wait_for(lambda: (found := heartbeat.read(state_dir)) and not found.trouble, "the registrar goes on")
        wait_for(lambda: health(node, turns_ill) == "critical", "the catalogue hears of it")
        wait_for(lambda: check_status(node) != "passing", "the check hears of it")
        node.wait_served(dies, stays)  # which was made anew
        node.docker.docker("exec", turns_ill, "/bin/busybox", "touch", "/www/health")
        node.wait_served(dies, turns_ill, stays)
        wait_for(lambda: check_status(node) == "passing", "all is as desired")
        wait_for(lambda: "alive" in heartbeat.examine(state_dir) and not heartbeat.read_dead(state_dir), "no dead one")
    in_flight = [each for each in visitor.failures if each.began < killed_by and each.at > killed_from]
    assert visitor.requests > 100 and len(in_flight) < 3 and visitor.failures == in_flight


def test_counts_follow_response_times_by_the_policies_alone(guarded: Node, tmp_path: Path) -> None:
    """The check has a token of its own policy, a person that of `lictor`, and the other handlers share one."""
    node, person, own = guarded, tmp_path / "person", tmp_path / "own"
    for path, policy in ((tmp_path / "token", "lictor-registrar"), (person, "lictor"), (own, "lictor-autoscale")):
        path.write_text(make_token(node, policy)["SecretID"])
    give_token_to_autoscaler(node, str(own))
    node.consul.reload()
    node.start_registrar()

    def lictor(*words: str) -> str:
        done = node.run("--token-file", str(person), *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    spec = tmp_path / "books-service.json"
    spec.write_text(json.dumps({**BOOKS, "node": "node-1", "autoscale": {"p95": "1ms"}}))
    lictor("apply", str(spec))
    node.wait_served("books-service-1")
    path = tmp_path / "traffic.jsonl"
    with Visitor(node.nginx.port, "/api/v1/books") as visitor, recording(node, str(person), path):
        wait_for(lambda: has_wish(node), "a count is wished", 120)
        wait_for(lambda: len(node.served()) > 1, "another instance serves", 120)
        wait_for(lambda: path.exists() and path.read_text().endswith("\n"), "a slice is recorded", 60)
    recorded = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(each["service"] == "books-service" and each["slice"]["begun"] for each in recorded)
    assert visitor.requests > 100 and not visitor.failures
    wait_for(lambda: lictor("autoscale", "books-service").startswith("books-service: p95 "), "a person may look")

    def wishes() -> list[tuple[int, str]]:
        history = json.loads(lictor("why", "books-service", "--json"))["history"]
        return [(each["from"], each["outcome"]) for each in history if each["kind"] == "autoscale"]
    wait_for(lambda: wishes()[:1] == [(1, "done")], "the first wish is recorded")
    for key in ("lictor/autoscale/books-service", "lictor/traffic/books-service/node-1"):
        assert node.consul.get(key), key
    assert "denied" not in autoscaler(node)["Output"] and "ACL" not in autoscaler(node)["Output"]

    own.write_text(make_token(node, "lictor-heal")["SecretID"])  # which allows nothing
    wait_for(lambda: (found := autoscaler(node))["Status"] == "warning" and "ermission denied" in found["Output"],
             "the check says that it may not look")


def give_token_to_autoscaler(node: Node, token_file: str) -> None:
    """Have the agent start it every 3 s, with another token than the other handlers have."""
    path = Path(node.consul.config_dir) / agent_config.STATIC_FILE
    settings = json.loads(path.read_text())
    check = agent_config.checks(settings)[1]
    check["args"][check["args"].index("--token-file") + 1] = token_file
    check["interval"] = "3s"
    path.write_text(agent_config.text(settings))


@contextmanager
def recording(node: Node, token_file: str, path: Path) -> Iterator[None]:
    """Have traffic recorded, as a person would."""
    words = ["--token-file", token_file, "autoscale", "books-service", "--record", str(path)]
    process = begin(words, {**os.environ, **node.environ})
    try:
        yield
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0
    finally:
        process.kill()
        process.communicate()


def has_wish(node: Node) -> bool:
    found = node.consul.get("services/books-service/replicas")
    assert found, autoscaler(node)["Output"]
    return True


def autoscaler(node: Node) -> dict[str, Any]:
    found = node.consul.request("GET", "/v1/agent/checks").get("lictor-autoscale")
    return dict(found or {"Status": "", "Output": ""})
