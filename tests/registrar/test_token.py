"""A token that is replaced while the registrar runs, on a Consul that denies by default."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.consul import Consul
from lab.daemon import wait_for
from lab.docker import Docker
from support.registrar import Start, guarded_consul, heartbeat, make_token


@pytest.fixture
def consul(tmp_path: Path) -> Iterator[Consul]:
    with guarded_consul(tmp_path / "consul") as consul:
        yield consul


def delete_token(consul: Consul, token: dict[str, Any]) -> None:
    consul.request("DELETE", f"/v1/acl/token/{token['AccessorID']}")


def catalogue(consul: Consul) -> dict[str, str]:
    """By container: the status of its only check, as the catalogue has it; all that a router would see."""
    return {entry["Service"]["ID"].split(":")[1]: entry["Checks"][-1]["Status"]
            for entry in consul.request("GET", "/v1/health/service/books")}


def run(docker: Docker, name: str) -> str:
    return docker.docker("run", "-d", "--name", name, "-p", "127.0.0.1::8080", "--label", "SERVICE_NAME=books",
                         "--label", "SERVICE_CHECK_HTTP=/health", "--label", "SERVICE_CHECK_INTERVAL=300ms",
                         "books-service:1.0")


@pytest.mark.parametrize("while_it_runs", [True, False], ids=["runs", "stopped"])
def test_no_entry_is_lost_with_the_token_that_registered_it(consul: Consul, docker: Docker, start: Start,
                                                            tmp_path: Path, while_it_runs: bool) -> None:
    """The new file is there before the old token is deleted; Consul carries on with the token of each registration."""
    old, token_file = make_token(consul), tmp_path / "token"
    token_file.write_text(old["SecretID"])
    for name in ("dies", "dies-later"):
        run(docker, name)
    registrar = start("--token-file", str(token_file))
    wait_for(lambda: catalogue(consul) == {"dies": "passing", "dies-later": "passing"}, "both pass")
    if not while_it_runs:
        registrar.stop()
        docker.docker("kill", "dies")
    new = make_token(consul)
    token_file.write_text(new["SecretID"])
    if while_it_runs:
        wait_for(lambda: heartbeat(tmp_path)["token"] == new["AccessorID"], "all is registered with the new one")
    delete_token(consul, old)
    if not while_it_runs:
        registrar = start("--token-file", str(token_file))
    docker.docker("rm", "-f", "dies")
    wait_for(lambda: catalogue(consul) == {"dies-later": "passing"}, "the catalogue has heard of its end")
    docker.docker("kill", "dies-later")
    wait_for(lambda: catalogue(consul) == {}, "and of that one's")
    assert "deregistration blocked" not in agents_log(consul)  # else the catalogue is mended when it is looked at
    assert registrar.running


def test_what_the_catalogue_kept_for_a_lost_token_goes(consul: Consul, docker: Docker, start: Start,
                                                       tmp_path: Path) -> None:
    """An agent that was told by a deleted token to deregister something forgets it, and the catalogue does not."""
    engine = docker.docker("info", "--format", "{{.ID}}")
    old, token_file = make_token(consul), tmp_path / "token"
    consul.request("PUT", "/v1/agent/service/register", {"Name": "books", "ID": "vm:kept:8080", "Port": 1, "Meta": {
        "lictor-engine": engine, "lictor-container": "gone"}, "Check": {"TTL": "1h", "Status": "passing"}},
        token=old["SecretID"])
    wait_for(lambda: catalogue(consul) == {"kept": "passing"}, "the catalogue has it")
    delete_token(consul, old)
    wait_for(lambda: "blocked by ACLs" in deregistered(consul), "the agent could not tell")
    assert consul.request("GET", "/v1/agent/services") == {} and catalogue(consul) == {"kept": "passing"}
    token_file.write_text(make_token(consul)["SecretID"])
    registrar = start("--token-file", str(token_file))
    wait_for(lambda: catalogue(consul) == {}, "it is gone")
    wait_for(lambda: "the catalogue has kept it" in registrar.log(), "and the log, written after the act, says why")


def deregistered(consul: Consul) -> str:
    consul.request("PUT", "/v1/agent/service/deregister/vm:kept:8080")
    return agents_log(consul)


def agents_log(consul: Consul) -> str:
    return Path(consul.folder, "consul.log").read_text()


def test_its_policy_suffices_for_what_it_starts(consul: Consul, docker: Docker, start: Start, tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(make_token(consul)["SecretID"])
    start("--token-file", str(token_file))
    consul.put("services/books/spec", json.dumps({
        "name": "books", "image": "books-service:1.0", "port": "127.0.0.1::8080", "replicas": {"initial": 1},
        "node": "node-1"}))
    docker.docker("run", "-d", "--name", "any", "--label", "lictor.service=books", "books-service:1.0")
    docker.docker("kill", "any")  # as if it were one of the service's, so that lictor looks after the service
    wait_for(lambda: "books-1" in docker.containers("status=running"), "reconcile has started what is missing")
    wait_for(lambda: consul.request("GET", "/v1/kv/lictor/history/books/?keys"), "and has written it down")
    log = Path(tmp_path, "state", "lictor.log").read_text()
    assert "ermission denied" not in log and not re.search(r"\b403\b", log)  # which an id may hold
