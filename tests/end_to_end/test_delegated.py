"""A service that a program of the user's, or Jenkins, scales and releases, through all of lictor: told, gated,
switched."""

import itertools
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lictor.planner import service_state

from lab.docker import Docker
from lab.node import QUICK, Node
from support import jenkins
from support.jenkins import Jenkins, Job

NAME = "books-service"
# What stands for a playbook: NAME COUNT COLOR IMAGE, and that many are registered, of that colour, and no others.
_PROGRAM = """#!{python}
import json, os, sys, urllib.request

def call(method, path, body=None):
    request = urllib.request.Request("http://" + os.environ["CONSUL_HTTP_ADDR"] + path, method=method,
                                     data=None if body is None else json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or b"null")

name, count, color, image = sys.argv[1:]
with open({told!r}, "a") as file:
    print(name, count, color, image, file=file)
for number in range(1, 6):
    service_id = f"{{name}}-{{color}}-{{number}}"
    if number <= int(count):
        status = "critical" if image.endswith("bad") else "passing"
        call("PUT", "/v1/agent/service/register", {{
            "ID": service_id, "Name": f"{{name}}-{{color}}", "Address": "127.0.0.1", "Port": 40000 + number,
            "Meta": {{"lictor-engine": "command"}}, "Check": {{"TTL": "1h", "Status": status}}}})
    elif service_id in call("GET", "/v1/agent/services"):
        call("PUT", f"/v1/agent/service/deregister/{{service_id}}")
print("played")
"""
SPEC: dict[str, Any] = {
    "name": NAME, "image": f"{NAME}:1.0", "replicas": {"initial": 2, "max": 5}, "drain": "1s",
    "release": {"strategy": "blue-green", "healthy_for": "1s", "deadline": "15s"}}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "play"
    path.write_text(_PROGRAM.format(python=sys.executable, told=str(tmp_path / "told")))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def start(docker: Docker, tmp_path: Path) -> Iterator[Callable[[str], Node]]:
    """A node with more settings."""
    nodes = []

    def started(settings: str) -> Node:
        nodes.append(Node(str(tmp_path / "node"), docker, timer="2s", settings=QUICK + settings))
        return nodes[0].start()
    yield started
    for each in nodes:
        each.stop()


def passing(node: Node, color: str) -> int:
    return len(node.consul.passing(f"{NAME}-{color}"))


def test_a_program_scales_and_releases(start: Callable[[str], Node], program: Path) -> None:
    template = json.dumps([str(program), "{name}", "{replicas}", "{color}", "{image}"])
    follow_through(start(f"[command]\nscale = {template}\n"), "command", program)


def test_jenkins_scales_and_releases(start: Callable[[str], Node], program: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(jenkins.TOKEN)
    token.chmod(0o600)
    environ: dict[str, str] = {}

    def play(given: dict[str, str]) -> None:
        subprocess.run([program, NAME, given["count"], given["color"], given["image"]], check=True, timeout=200,
                       env={**os.environ, **environ})
    job = Job({"count": "", "color": "", "image": ""}, log="played\n", script=play)
    with Jenkins({f"scale-{NAME}": job}) as server:
        node = start(f"""
[webhook.scale]
url = "{server.url}job/scale-{{name}}/buildWithParameters"
method = "POST"
form = {{count = "{{replicas}}", color = "{{color}}", image = "{{image}}"}}
[webhook.jenkins]
url = "{server.url}"
user = "{jenkins.USER}"
token_file = "{token}"
""")
        environ |= node.environ
        follow_through(node, "webhook", program)


def test_what_no_node_carries_out_is_refused_and_said_everywhere(start: Callable[[str], Node], program: Path) -> None:
    """For each of the engines whose orders a node gives; until the settings of one have `[command]`."""
    node, lacking = start(""), {"command": "has [command]", "webhook": "has [webhook]", "swarm": "is a manager of a"}
    node.wait_for(lambda: node.consul.get("lictor/acts/node-1"), "it is known")
    nobody = {f"books-{each}": f"nobody acts: no node with lictor (node-1) {lacking[each]}" for each in lacking}
    for engine in lacking:
        path = program.parent / engine
        path.write_text(json.dumps({**SPEC, "name": f"books-{engine}", "engine": engine}))
        done = node.run("apply", str(path))
        assert done.returncode == 0 and f": new; but {nobody[f'books-{engine}']}" in done.stdout, done
    for name, said in nobody.items():
        for words in (("scale", name, "3"), ("deploy", name, "books:2"), ("deploy", name, "books:2", "--wait")):
            done = node.run(*words)
            assert done.returncode == 1 and f"{name}: {said}" in done.stderr, done
        assert node.run("plan", name).returncode == 3 and said in node.run("plan").stdout
    examined, rows = node.run("doctor").stdout, json.loads(node.run("status", "--json").stdout)
    assert all(f"{name}: {said}" in examined for name, said in nobody.items())
    assert all(row["says"].startswith(nobody[row["name"]]) and row["nobody"] == row["says"] for row in rows)

    def check() -> str:
        return str(node.consul.request("GET", "/v1/agent/checks")["lictor-reconcile"]["Output"])
    node.wait_for(lambda: all(f"{name}: {said}" in check() for name, said in nobody.items()), "the check says it")
    for name in ("books-webhook", "books-swarm"):
        assert "; but nobody acts" in node.run("remove", name).stdout
    template = json.dumps([str(program), "{name}", "{replicas}", "{color}", "{image}"])
    with open(node.settings_path, "a") as file:
        file.write(f"[command]\nscale = {template}\n")
    node.wait_for(lambda: json.loads(node.run("status", "--json").stdout)[0]["nobody"] == "", "one acts now")
    assert node.run("scale", "books-command", "3").returncode == 0
    node.wait_for(lambda: len(node.consul.passing("books-command-blue")) == 3, "it acts")


def follow_through(node: Node, engine: str, program: Path) -> None:
    """From nothing to two, to four, to another release, and past one that never passes."""
    node.write_and_apply({**SPEC, "engine": engine})
    node.wait_for(lambda: passing(node, "blue") == 2, "two are there", 60)
    node.consul.put(f"services/{NAME}/replicas", "4")
    node.wait_for(lambda: passing(node, "blue") == 4, "four are there", 60)
    done = node.run("deploy", NAME, f"{NAME}:2.0", "--wait", timeout_s=200)
    assert done.returncode == 0, done.stdout + done.stderr
    node.wait_for(lambda: (passing(node, "blue"), passing(node, "green")) == (0, 4), "only green is left", 60)
    failed = node.run("deploy", NAME, f"{NAME}:bad", "--wait", timeout_s=200)
    assert failed.returncode == 1 and "not all passed" in failed.stdout + failed.stderr, failed
    node.wait_for(lambda: not node.consul.request("GET", f"/v1/health/service/{NAME}-blue"), "the bad are gone", 60)
    assert node.consul.get(f"services/{NAME}/color") == "green" and passing(node, "green") == 4
    told = [line for line, _ in itertools.groupby((program.parent / "told").read_text().splitlines())]  # one told twice
    assert told == [f"{NAME} {count} {color} {NAME}:{version}" for count, color, version in (
        (2, "blue", "1.0"), (4, "blue", "1.0"), (4, "green", "2.0"), (0, "blue", "1.0"), (4, "blue", "bad"),
        (0, "blue", "bad"))]
    assert "played" in node.run("why", NAME).stdout
    state = service_state.decode((node.consul.get(f"{service_state.KEY_PREFIX}{NAME}") or "{}").encode())
    assert not state.release.rollout
