"""Instances that are asked by https: whose certificate is taken, and whose is not, in both modes."""

import http.client
import json
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lictor.adapters import files
from lictor.routing import publish
from lictor.spec.route import Route
from lictor.spec.settings import Settings

from lab.daemon import wait_for
from lab.nginx import Nginx
from lab.serving import Serving
from support.certificates import Authority
from support.modes import in_both_modes
from support.routed import decide, published, put_route, set_up, with_nginx

NAME, SERVER_NAME = "books", "books.internal"


class Secure(Serving):
    """Answers by TLS only, with the path, the name that it was asked by (SNI), and the number of its connections."""

    def __init__(self, certificate: str, key: str, *, least: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2) -> None:
        self.names = names = list[str | None]()
        self.connections = 0
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = least
        context.load_cert_chain(certificate, key)
        context.sni_callback = lambda _, name, __: names.append(name)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 60

            def setup(self) -> None:
                self.request = context.wrap_socket(self.request, server_side=True)  # here, in a thread of its own
                outer.connections += 1
                super().setup()

            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = json.dumps({"path": self.path, "host": self.headers["Host"]}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port: int = self.server.server_address[1]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(str(tmp_path_factory.mktemp("authority") / "ours"))


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> tuple[str, str]:
    return authority.sign(SERVER_NAME)


@pytest.fixture
def settings(tmp_path: Path, nginx: Nginx, mode: str, authority: Authority) -> Settings:
    return with_nginx(set_up(str(tmp_path), nginx), mode=mode, trusted_ca=authority.root)


def publish_with(node: Settings, *ports: int, **options: Any) -> list[str]:
    put_route(node, NAME, path="/books", options=Route("/books", scheme="https", **options).options)
    decide(node, NAME, *ports)
    return publish.publish(node, [NAME])


def ask(nginx: Nginx, method: str = "GET") -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=60)
    try:
        connection.request(method, "/books/a?x=1", b"x" if method == "POST" else None)
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text.startswith(b"{") else {}
    finally:
        connection.close()


def log_of(nginx: Nginx) -> str:
    return files.read(f"{nginx.folder}/error.log") or ""


@in_both_modes
def test_an_instance_with_a_trusted_certificate_of_the_right_name_is_asked(
        settings: Settings, nginx: Nginx, certificate: tuple[str, str]) -> None:
    with Secure(*certificate) as instance:
        assert publish_with(settings, instance.port, server_name=SERVER_NAME) == [NAME]
        wait_for(lambda: ask(nginx)[0] == 200, "the instance is asked by https")
        assert ask(nginx) == (200, {"path": "/books/a?x=1", "host": f"127.0.0.1:{nginx.port}"})
        assert {*instance.names} == {SERVER_NAME}
        before = instance.connections
        assert {ask(nginx, method)[0] for method in 20 * ("GET", "POST")} == {200}
        assert instance.connections - before <= 8  # they are kept for the next requests, by each worker
        assert publish_with(settings, instance.port, server_name=SERVER_NAME, strip=True) == [NAME]
        wait_for(lambda: ask(nginx)[1].get("path") == "/a?x=1", "the path is taken off")


@in_both_modes
def test_tls_1_3_is_spoken_with_an_instance_that_has_no_other(settings: Settings, nginx: Nginx,
                                                              certificate: tuple[str, str]) -> None:
    with Secure(*certificate, least=ssl.TLSVersion.TLSv1_3) as instance:
        publish_with(settings, instance.port, server_name=SERVER_NAME)
        wait_for(lambda: ask(nginx)[0] == 200, "the instance is asked by TLS 1.3")


@in_both_modes
@pytest.mark.parametrize(("authority_name", "signed_for", "said"), [
    ("ours", "other.internal", "does not match"), ("other", SERVER_NAME, "certificate verify error")])
def test_a_certificate_of_another_name_or_authority_is_taken_only_if_the_route_says_so(
        settings: Settings, nginx: Nginx, tmp_path: Path, authority: Authority, authority_name: str, signed_for: str,
        said: str) -> None:
    signer = authority if authority_name == "ours" else Authority(str(tmp_path / "other"))
    with Secure(*signer.sign(signed_for)) as instance:
        assert publish_with(settings, instance.port, server_name=SERVER_NAME) == [NAME]
        wait_for(lambda: ask(nginx)[0] == 502, "no instance can be asked")
        assert said in log_of(nginx)
        assert publish_with(settings, instance.port, insecure=True) == [NAME]
        wait_for(lambda: ask(nginx)[0] == 200, "any certificate is taken")


@in_both_modes
def test_one_with_a_wrong_certificate_is_passed_over(settings: Settings, nginx: Nginx, authority: Authority,
                                                     certificate: tuple[str, str]) -> None:
    with Secure(*certificate) as good, Secure(*authority.sign("other.internal")) as bad:
        publish_with(settings, good.port, bad.port, server_name=SERVER_NAME)
        wait_for(lambda: ask(nginx)[0] == 200, "the route is in force")
        assert {ask(nginx, method)[0] for method in 10 * ("GET", "POST")} == {200}


@in_both_modes
def test_an_instance_that_speaks_no_tls_is_not_asked_in_the_clear(settings: Settings, nginx: Nginx) -> None:
    heard = list[bytes]()

    def listen() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                heard.append(connection.recv(4096))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=listen, daemon=True).start()
        publish_with(settings, listener.getsockname()[1], insecure=True)
        wait_for(lambda: ask(nginx)[0] == 502 and heard, "it was tried")
        listener.shutdown(socket.SHUT_RDWR)
    assert not [each for each in heard if b"HTTP" in each]


@in_both_modes
def test_authorities_that_cannot_be_read_are_a_refusal_that_names_the_file(
        settings: Settings, nginx: Nginx, certificate: tuple[str, str]) -> None:
    with Secure(*certificate) as instance:
        assert publish_with(settings, instance.port, server_name=SERVER_NAME) == [NAME]
        missing = with_nginx(settings, trusted_ca="/nowhere/ca.pem")
        publish_with(missing, instance.port, server_name=SERVER_NAME)
        refusal = published(settings, NAME).refusal
        assert refusal and "/nowhere/ca.pem" in refusal.reason
        assert ask(nginx)[0] == 200
