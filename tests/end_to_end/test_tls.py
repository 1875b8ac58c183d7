"""TLS of a host on a whole node: asked for by a spec, given by the settings, and renewed under the sweep's eyes."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lictor.adapters import files
from lictor.spec.settings import load_settings

from lab.docker import Docker
from lab.node import BOOKS, Node
from support.certificates import Authority, serial_number

HOST = "books.example.com"


@pytest.fixture
def secured(docker: Docker, tmp_path: Path, mode: str) -> Iterator[Node]:
    """A node whose settings say where certificates are."""
    node = Node(str(tmp_path / "node"), docker, mode=mode)
    text = files.read(node.settings_path) or ""
    files.write_atomic(node.settings_path, text.replace("[nginx]\n", f"""[nginx]
certificate = "{tmp_path}/live/{{host}}.pem"
key = "{tmp_path}/live/{{host}}.key"
acme_webroot = "{tmp_path}/acme"
"""))
    node.settings = load_settings({"LICTOR_CONFIG": node.settings_path})
    try:
        yield node.start()
    finally:
        node.stop()


def test_a_certificate_that_comes_and_is_renewed_reaches_clients_by_the_sweep(secured: Node, tmp_path: Path) -> None:
    authority = Authority(str(tmp_path / "authority"))
    challenge = tmp_path / "acme" / ".well-known" / "acme-challenge" / "token"
    challenge.parent.mkdir(parents=True)
    challenge.write_text("proof")
    secured.apply(route={"path": "/", "host": HOST, "tls": "redirect"})

    def number() -> str:
        try:
            answer = authority.ask(HOST, "/api/v1/books")
        except OSError:
            return ""
        return answer.number if answer.status == 200 and "instance" in json.loads(answer.body) else ""

    def check() -> str:
        return secured.handler("lictor-reconcile").stdout

    refusal = f"its tls is refused: certificate {tmp_path}/live/{HOST}.pem: No such file or directory"
    secured.wait_for(lambda: f"{refusal}. nginx serves it by plain HTTP" in check(), "the check tells what is missing")
    assert refusal in secured.run("status", BOOKS["name"]).stdout.replace("\n", " ")

    path, key = f"{tmp_path}/live/{HOST}.pem", f"{tmp_path}/live/{HOST}.key"
    authority.issue(path, key, HOST)
    secured.wait_for(lambda: number() == serial_number(path), "the host has TLS")
    secured.wait_for(lambda: "refused" not in check(), "the check has no complaint")
    assert f"https://{HOST}/" in secured.run("status", BOOKS["name"]).stdout
    said = {each["name"]: each for each in json.loads(secured.run("doctor", "--json").stdout)}
    assert said["certificates"]["ok"] and said["front door"]["ok"], (said["certificates"], said["front door"])

    authority.issue(path, key, HOST)
    secured.wait_for(lambda: number() == serial_number(path), "the renewed certificate is presented")
    os.unlink(path)
    secured.wait_for(lambda: f"{refusal}. nginx goes on with the certificate" in check(), "the check tells of its loss")
    assert number()
