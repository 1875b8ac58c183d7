"""Handlers whose user may not look at certificates, as at those in /etc/letsencrypt/live: nginx has the last word."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator

import pytest

from lictor.routing import nginx as lictor_nginx
from lictor.routing import publish, route_store
from lictor.routing.tls import certificate, renewal
from lictor.spec.settings import Settings

from lab.daemon import wait_for
from lab.nginx import Nginx
from support.backend import Backend
from support.certificates import Authority, serial_number
from support.modes import in_both_modes
from support.routed import nginx_of, published
from support.secured import HOST, issue, make_node, plain, put, refused, reloads

_NOBODY, _DAY_S = 65534, 86_400.0


@pytest.fixture
def folder() -> Iterator[str]:
    """A folder below one that everybody may enter, unlike pytest's."""
    path = tempfile.mkdtemp(prefix="lictor-")
    os.chmod(path, 0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


@pytest.fixture
def server(folder: str) -> Iterator[Nginx]:
    """nginx, whose master is root's."""
    found = Nginx(f"{folder}/nginx")
    try:
        yield found
    finally:
        found.stop()


@pytest.fixture
def node(folder: str, server: Nginx, mode: str) -> Settings:
    """A node all of whose files are the handlers' user's, but for the certificates."""
    given = make_node(folder, server, mode)
    os.makedirs(f"{folder}/live", mode=0o700)
    for path in (given.state_dir, server.conf_dir):
        for place, _, names in os.walk(path):
            for each in (place, *(os.path.join(place, name) for name in names)):
                os.chown(each, _NOBODY, 0)
    return given


@contextlib.contextmanager
def handler() -> Iterator[None]:
    """Have no more rights than a user who may signal nginx."""
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def publish_as_handler(node: Settings, *names: str) -> list[str]:
    with handler():
        return publish.publish(node, names)


@in_both_modes
def test_a_host_has_tls_by_files_that_only_nginx_may_read(node: Settings, authority: Authority) -> None:
    pair = issue(node, authority, HOST)
    with Backend("one") as one:
        put(node, "books", one.port, tls="redirect")
        assert publish_as_handler(node, "books") == ["books"]
        wait_for(lambda: plain().status == 308, "the host redirects")
        assert authority.ask(HOST).number == serial_number(pair.certificate)
        with handler():
            assert not refused(node) and certificate.stamp(nginx_of(node), pair) is None


@in_both_modes
def test_if_nginx_refuses_them_the_services_of_the_host_are_served_without(
        node: Settings, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lictor_nginx, "_CONFIRM_TIMEOUT_S", 3.0)  # nobody says why nginx refuses: that takes so long
    pair = issue(node, authority, HOST)
    authority.issue(f"{authority.folder}/other.pem", pair.key, HOST)
    with Backend("one") as one, Backend("two") as two:
        put(node, "books", one.port, tls=True)
        put(node, "carts", two.port, path="/carts")
        assert publish_as_handler(node, "books", "carts") == ["books", "carts"]
        wait_for(lambda: plain().status == plain(path="/carts").status == 200, "both are served without TLS")
        with handler():
            found = refused(node)
        assert [*found] == ["books"], found
        assert f"This user may not read {pair.certificate}; nginx's error log says" in found["books"]

        put(node, "books", two.port, tls=True)
        assert publish_as_handler(node, "books") == ["books"]
        wait_for(lambda: '"two"' in plain().body, "its peers go on following")

        issue(node, authority, HOST)
        end_back_off(node, "books")
        assert publish_as_handler(node, "books", "carts") == ["books"]
        assert authority.ask(HOST, "/carts").status == 200
        with handler():
            assert not refused(node)


def end_back_off(node: Settings, name: str) -> None:
    """Have the time pass after which what was refused is tried again."""
    now = published(node, name)
    assert now.refusal
    route_store.write_published(node.state_dir, name, now._replace(refusal=now.refusal._replace(until=0.0)))


@in_both_modes
def test_a_renewal_shows_by_what_nginx_presents(node: Settings, server: Nginx, authority: Authority,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    """nginx is told to read its files in the last third of the certificate's time only, and twice a day at most."""
    pair = issue(node, authority, HOST)

    def reread_after(days: float) -> bool:
        before = reloads(server)
        with handler(), monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda: began + days * _DAY_S)
            renewal.follow(node)
        return reloads(server) > before

    with Backend("one") as one:
        put(node, "books", one.port, tls=True)
        publish_as_handler(node, "books")
        began = time.time()
        assert not reread_after(0) and not reread_after(59)
        issue(node, authority, HOST)
        assert not reread_after(59.5)
        assert reread_after(61) and authority.ask(HOST).number == serial_number(pair.certificate)
        assert [reread_after(61 + hours / 24) for hours in (0.5, 2, 11, 13, 14)] == [False, False, False, True, False]
