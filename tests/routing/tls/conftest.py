"""Fixtures of hosts with TLS: an authority, and a node whose hosts listen on the ports of the web."""

from pathlib import Path

import pytest

from lictor.spec.settings import Settings

from lab.nginx import Nginx
from support.certificates import Authority
from support.secured import make_node


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(str(tmp_path / "authority"))


@pytest.fixture
def settings(tmp_path: Path, nginx: Nginx, mode: str) -> Settings:
    """A node whose hosts have lictor's own template, so that they listen on the ports of the web."""
    return make_node(str(tmp_path), nginx, mode)
