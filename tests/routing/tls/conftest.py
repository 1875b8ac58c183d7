"""Fixtures of hosts with TLS: an authority, and a node whose hosts listen on the ports of the web."""

import os
from pathlib import Path

import pytest

from lictor.spec.settings import Settings

from lab.nginx import Nginx
from support.certificates import Authority
from support.routed import set_up, with_nginx


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(str(tmp_path / "authority"))


@pytest.fixture
def settings(tmp_path: Path, nginx: Nginx, mode: str) -> Settings:
    """A node whose hosts have lictor's own template, so that they listen on the ports of the web."""
    given = set_up(str(tmp_path), nginx)
    os.unlink(os.path.join(given.templates_dir, "server.conf.j2"))
    return with_nginx(given, mode=mode, certificate=f"{tmp_path}/live/{{host}}/fullchain.pem",
                      key=f"{tmp_path}/live/{{host}}/privkey.pem", acme_webroot=f"{tmp_path}/acme")
