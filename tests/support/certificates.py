"""Certificates that a test makes, and a client that trusts just these."""

import http.client
import json
import os
import re
import socket
import ssl
import subprocess
from typing import NamedTuple

_TIMEOUT_S = 60


class Answer(NamedTuple):
    """An answer by TLS, and the names of the certificate that was presented."""

    status: int
    headers: dict[str, str]
    body: str
    names: list[str]
    number: str  # the certificate's serial number


class Authority:
    """Issues certificates, which only its own client trusts."""

    def __init__(self, folder: str) -> None:
        self.folder, self._issued = folder, 0
        os.makedirs(folder, exist_ok=True)
        self.root = os.path.join(folder, "root.pem")
        _openssl("req", "-x509", *_KEY, "-keyout", f"{folder}/root.key", "-out", self.root,
                 "-subj", f"/CN={os.path.basename(folder)}",
                 "-addext", "basicConstraints=critical,CA:true")

    def issue(self, certificate: str, key: str, *names: str, days: int = 90) -> None:
        """Write a new certificate with its root, and its key; each replaces the file in its place."""
        self._issued += 1
        made = os.path.join(self.folder, f"{self._issued}")
        _openssl("req", "-x509", "-CA", self.root, "-CAkey", f"{self.folder}/root.key", *_KEY, "-keyout", f"{made}.key",
                 "-out", f"{made}.pem", "-subj", f"/CN={names[0]}", "-days", f"{days}",
                 "-addext", f"subjectAltName={','.join(f'DNS:{each}' for each in names)}",
                 "-addext", "basicConstraints=critical,CA:false")
        for path in (certificate, key):
            os.makedirs(os.path.dirname(path), exist_ok=True)
        os.replace(f"{made}.pem", certificate)
        os.replace(f"{made}.key", key)

    def sign(self, host: str) -> tuple[str, str]:
        """Issue a certificate for a host in the authority's own folder; returns its file, and that of its key."""
        certificate, key = (os.path.join(self.folder, f"{host}.{kind}") for kind in ("pem", "key"))
        self.issue(certificate, key, host)
        return certificate, key

    def ask(self, host: str, path: str = "/", *, name: str = "", port: int = 443, address: str = "127.0.0.1") -> Answer:
        """Send a request by TLS; `name` stands in `Host`. Raises ssl.SSLError for a certificate of another host."""
        context = ssl.create_default_context(cafile=self.root)
        connection = http.client.HTTPConnection(name or host, port, timeout=_TIMEOUT_S)
        with socket.create_connection((address, port), timeout=_TIMEOUT_S) as plain, context.wrap_socket(
                plain, server_hostname=host) as secured:
            connection.sock = secured
            connection.request("GET", path, headers={"Host": name or host})
            found = connection.getresponse()
            presented = secured.getpeercert() or {}
            names = [f"{each[1]}" for each in presented.get("subjectAltName", ())]
            return Answer(found.status, dict(found.headers.items()), found.read().decode(), names,
                          f"{presented.get('serialNumber')}")

    def ask_by_http2(self, host: str, path: str = "/") -> tuple[str, str]:
        """Send a request by HTTP/2 if nginx takes it; returns the version that it took, and the status."""
        said = subprocess.run(
            ["curl", "-sS", "--http2", "--cacert", self.root, "--resolve", f"{host}:443:127.0.0.1", "-o", "/dev/null",
             "-w", "%{json}", f"https://{host}{path}"], check=True, capture_output=True, text=True, timeout=_TIMEOUT_S)
        table = json.loads(said.stdout)
        return table["http_version"], str(table["http_code"])


_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-sha256")


def serial_number(path: str) -> str:
    """Read the serial number of the first certificate in a file, as a client has it."""
    said = _openssl("x509", "-in", path, "-noout", "-serial")
    return re.sub("^serial=", "", said.strip())


def _openssl(*words: str) -> str:
    return subprocess.run(["openssl", *words], check=True, capture_output=True, text=True, timeout=_TIMEOUT_S).stdout
