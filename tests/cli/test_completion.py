"""A shell completes names of services: by what Consul has, soon or not at all."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import click
import pytest

from lictor.cli.main import VERBS, main
from lictor.cli.shell import completion

from lab import forked
from lab.consul import Consul
from lab.daemon import wait_for
from support.command import Command

LICTOR = f"{sys.prefix}/bin/lictor"
NAMED = {"autoscale", "deploy", "exec", "hold", "logs", "plan", "remove", "resume", "rollback", "scale", "status",
         "why"}


@pytest.fixture
def lictor(consul: Consul, tmp_path: Path) -> Command:
    for name in ("books", "books-2", "carts"):
        consul.put(f"services/{name}/spec", json.dumps({"name": name}))
    for key in ("old/spec", "old/removed", "no name/spec", "loose", "half/replicas"):
        consul.put(f"services/{key}", "")
    return Command(consul, tmp_path)


def wait_offered(environ: Mapping[str, str], *words: str, expected: list[str]) -> None:
    """Complete until the names come: a shell is not kept waiting, so that a starved Consul's are not offered."""
    wait_for(lambda: complete(environ, *words) == expected, f"{expected} are offered")


def complete(environ: Mapping[str, str], *words: str) -> list[str]:
    asked = {"_LICTOR_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(("lictor", *words)),
             "COMP_CWORD": str(len(words))}
    done = forked.lictor([], environ={**environ, **asked})
    assert (done.returncode, done.stderr) == (0, "")
    return [line.removeprefix("plain,") for line in done.stdout.splitlines() if line]


def test_services_that_are_applied_and_not_removed_are_offered(lictor: Command) -> None:
    wait_offered(lictor.environ, "why", "b", expected=["books", "books-2"])
    wait_offered(lictor.environ, "scale", "c", expected=["carts"])
    wait_offered(lictor.environ, "exec", "carts", expected=["carts"])
    assert complete(lictor.environ, "stat") == ["status"]
    assert complete(lictor.environ, "deploy", "books", "b") == []


def test_every_verb_with_a_name_offers_services() -> None:
    found = set()
    for verb in [verb for verbs in VERBS.values() for verb in verbs]:
        command = main.get_command(click.Context(main), verb)
        assert command
        found |= {verb for each in command.params if isinstance(each.type, completion.ServiceName)}
    assert found >= NAMED


def test_bash_itself_completes(lictor: Command) -> None:
    script = (f'PATH={os.path.dirname(LICTOR)}:$PATH; eval "$(_LICTOR_COMPLETE=bash_source lictor)"\n'
              'COMP_WORDS=(lictor logs c); COMP_CWORD=2; _lictor_completion lictor; echo "${COMPREPLY[@]}"')

    def is_offered() -> bool:
        done = subprocess.run(["bash", "-c", script], env=lictor.environ, capture_output=True, text=True, check=True)
        return (done.stdout, done.stderr) == ("carts\n", "")
    wait_for(is_offered, "bash has the name")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_script_for_each_shell_of_the_handbook(lictor: Command, shell: str) -> None:
    done = forked.lictor([], environ={**lictor.environ, "_LICTOR_COMPLETE": f"{shell}_source"})
    assert done.returncode == 0 and f"_LICTOR_COMPLETE={shell}_complete" in done.stdout


@pytest.mark.parametrize("broken", [
    {"CONSUL_HTTP_ADDR": "127.0.0.1:9"}, {"CONSUL_HTTP_ADDR": "no address"}, {"LICTOR_CONFIG": "/nowhere/lictor.toml"},
    {"CONSUL_HTTP_TOKEN_FILE": "/nowhere/token"}])
def test_a_failure_offers_nothing_and_says_nothing(lictor: Command, broken: dict[str, str]) -> None:
    assert complete({**lictor.environ, **broken}, "why", "b") == []


def test_a_consul_that_does_not_answer_is_not_waited_for(lictor: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        monkeypatch.setenv("CONSUL_HTTP_ADDR", f"127.0.0.1:{deaf.getsockname()[1]}")
        monkeypatch.setenv("LICTOR_CONFIG", lictor.environ["LICTOR_CONFIG"])
        assert completion.list_names({}, timeout_s=0.2) == []
