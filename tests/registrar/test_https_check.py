"""A check by https, as labels ask for it: Consul's agent verifies the certificate, unless they say otherwise."""

import http.server
import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lictor.registrar.checks import make_check
from lictor.registrar.ports import Port

from lab.consul import Consul
from lab.daemon import wait_for


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Serve with a certificate that nobody trusts."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-subj", "/CN=books", "-keyout", f"{tmp_path}/key", "-out", f"{tmp_path}/pem"],
                   check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem", tmp_path / "key")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_any_certificate_is_taken_only_where_the_labels_say_so(consul: Consul, port: int) -> None:
    reached = Port(8080, "tcp", "", f"127.0.0.1:{port}", port)
    for name, more in (("strict", {}), ("lenient", {"check_tls_skip_verify": "true"})):
        check, _, idle = make_check({"check_https": "/health", "check_interval": "100ms", **more}, reached, None)
        assert check and not idle
        consul.request("PUT", "/v1/agent/service/register", json.dumps(
            {"Name": name, "Check": {**check, "CheckID": name}}))

    def state(name: str) -> tuple[str, str]:
        found = consul.request("GET", "/v1/agent/checks")[name]
        return found["Status"], found["Output"]
    wait_for(lambda: state("lenient")[0] == "passing", "it is taken")
    wait_for(lambda: "certificate" in state("strict")[1], "it was refused")
    assert state("strict")[0] == "critical"
