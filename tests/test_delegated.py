"""A service that a program of the user's scales and releases, through the whole of lictor: told, gated, switched."""

import json
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.docker import Docker
from lab.node import QUICK, Node
from lictor import state

NAME = "books-service"
# What stands for a playbook: NAME COUNT COLOR IMAGE, and that many are registered, of that colour, and no others.
_PROGRAM = """#!{python}
import json, os, sys, urllib.request

def call(method, path, body=None):
    request = urllib.request.Request("http://" + os.environ["CONSUL_HTTP_ADDR"] + path, method=method,
                                     data=None if body is None else json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=5) as answer:
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
            "Check": {{"TTL": "1h", "Status": status}}}})
    elif service_id in call("GET", "/v1/agent/services"):
        call("PUT", f"/v1/agent/service/deregister/{{service_id}}")
print("played")
"""
SPEC: dict[str, Any] = {
    "name": NAME, "engine": "command", "image": f"{NAME}:1.0", "replicas": {"initial": 2, "max": 5}, "drain": "1s",
    "release": {"strategy": "blue-green", "healthy_for": "1s", "deadline": "5s"}}


@pytest.fixture
def node(docker: Docker, tmp_path: Path) -> Iterator[Node]:
    program = tmp_path / "play"
    program.write_text(_PROGRAM.format(python=sys.executable, told=str(tmp_path / "told")))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    template = json.dumps([str(program), "{name}", "{replicas}", "{color}", "{image}"])
    whole = Node(str(tmp_path / "node"), docker, timer="2s", settings=f"{QUICK}[command]\nscale = {template}\n")
    try:
        yield whole.start()
    finally:
        whole.stop()


def passing(node: Node, color: str) -> int:
    return len(node.consul.passing(f"{NAME}-{color}"))


def test_a_program_scales_and_releases(node: Node, tmp_path: Path) -> None:
    node.write_and_apply(SPEC)
    node.wait_for(lambda: passing(node, "blue") == 2, "two are there", 60)
    node.consul.put(f"services/{NAME}/replicas", "4")
    node.wait_for(lambda: passing(node, "blue") == 4, "four are there", 60)
    done = node.run("deploy", NAME, f"{NAME}:2.0", "--wait", timeout_s=90)
    assert done.returncode == 0, done.stdout + done.stderr
    node.wait_for(lambda: (passing(node, "blue"), passing(node, "green")) == (0, 4), "only green is left", 60)
    failed = node.run("deploy", NAME, f"{NAME}:bad", "--wait", timeout_s=90)
    assert failed.returncode == 1 and "not all passed" in failed.stdout + failed.stderr, failed
    node.wait_for(lambda: not node.consul.request("GET", f"/v1/health/service/{NAME}-blue"), "the bad are gone", 60)
    assert node.consul.get(f"services/{NAME}/color") == "green" and passing(node, "green") == 4
    told = (tmp_path / "told").read_text().splitlines()
    assert told == [f"{NAME} {count} {color} {NAME}:{version}" for count, color, version in (
        (2, "blue", "1.0"), (4, "blue", "1.0"), (4, "green", "2.0"), (0, "blue", "1.0"), (4, "blue", "bad"),
        (0, "blue", "bad"))]
    assert "played" in node.run("why", NAME).stdout
    assert not state.decode((node.consul.get(f"{state.KEY_PREFIX}{NAME}") or "{}").encode()).rollout
