"""What Consul's servers denied the agent to tell reaches the catalogue soon after the token has its rights again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.consul import Consul
from lab.daemon import wait_for
from lab.docker import Docker
from support.registrar import Start, guarded_consul, make_token

CHECK = {"SERVICE_NAME": "books", "SERVICE_CHECK_HTTP": "/health", "SERVICE_CHECK_INTERVAL": "300ms"}


@pytest.fixture
def consul(tmp_path: Path) -> Iterator[Consul]:
    with guarded_consul(tmp_path / "consul") as consul:
        yield consul


def status(consul: Consul, path: str) -> str:
    """Say what the agent (/v1/agent/checks) or the catalogue (/v1/health/checks/books) has of the container's check."""
    answer = consul.request("GET", path)
    checks = answer.values() if isinstance(answer, dict) else answer
    return ", ".join(each["Status"] for each in checks if each["ServiceName"] == "books")


def test_a_change_of_health_that_was_denied_is_told_again(consul: Consul, docker: Docker, start: Start,
                                                          tmp_path: Path) -> None:
    token = make_token(consul)
    token_file = tmp_path / "token"
    token_file.write_text(token["SecretID"])
    labels = [word for key, value in CHECK.items() for word in ("--label", f"{key}={value}")]
    docker.docker("run", "-d", "--name", "one", "-p", "127.0.0.1::8080", *labels, "books-service:1.0")
    start("--token-file", str(token_file))
    wait_for(lambda: status(consul, "/v1/health/checks/books") == "passing", "the catalogue knows that it passes")

    consul.request("PUT", f"/v1/acl/token/{token['AccessorID']}", {**token, "Policies": []})
    wait_for(lambda: not consul.request("GET", "/v1/agent/services", token=token["SecretID"]), "it has no rights")
    docker.docker("exec", "one", "/bin/busybox", "rm", "/www/health")
    wait_for(lambda: status(consul, "/v1/agent/checks") == "critical", "its agent knows that it is critical")
    wait_for(lambda: "blocked by ACLs" in Path(consul.folder, "consul.log").read_text(), "the agent may not tell")
    assert status(consul, "/v1/health/checks/books") == "passing"

    consul.request("PUT", f"/v1/acl/token/{token['AccessorID']}", token)
    wait_for(lambda: status(consul, "/v1/health/checks/books") == "critical", "the catalogue knows", timeout_s=20)
    docker.docker("exec", "one", "/bin/busybox", "touch", "/www/health")
    wait_for(lambda: status(consul, "/v1/health/checks/books") == "passing", "its check runs on", timeout_s=20)
