"""The CONSUL_* variables, as the consul command reads them: where Consul is, and how to speak to it."""

import base64
import os
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from lictor import errors
from lictor.adapters import files, log
from lictor.adapters.http import Endpoint
from lictor.adapters.secret_files import read_token, require_one_word

_DEFAULT_ADDRESS = "127.0.0.1:8500"
_DEFAULT_PORTS = {"http": 80, "https": 443}  # for a host without a port, as in any URL
_HOST_AND_PORT = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?/?",
                            re.ASCII)
_TLS_FILES = ("CONSUL_CACERT", "CONSUL_CAPATH", "CONSUL_CLIENT_CERT", "CONSUL_CLIENT_KEY")
_FLAGS = {**dict.fromkeys(("1", "t", "T", "true", "True", "TRUE"), True),
          **dict.fromkeys(("0", "f", "F", "false", "False", "FALSE"), False)}


class Environment(NamedTuple):
    """The endpoint that the variables name; `headers` go with every request, and hold the secrets."""

    endpoint: Endpoint
    headers: dict[str, str]


def read_environment(environ: Mapping[str, str], token_file: str | None) -> Environment:
    """Read the variables and files once; a bad one is Refused, by the variable's name and without its secret."""
    environ = {key: value.strip() for key, value in environ.items() if key.startswith("CONSUL_")}
    endpoint = _endpoint(environ)
    token = _token(environ, token_file)
    headers = {"X-Consul-Token": token} if token else {}
    if environ.get("CONSUL_HTTP_AUTH"):
        headers["Authorization"] = "Basic " + base64.b64encode(environ["CONSUL_HTTP_AUTH"].encode()).decode()
    return Environment(endpoint, headers)


class Source:
    """The environment of a client that lives long: if a file has changed, or on a 403, the files are read again."""

    def __init__(self, environ: Mapping[str, str], token_file: str | None) -> None:
        paths = [token_file or environ.get("CONSUL_HTTP_TOKEN_FILE"), *map(environ.get, _TLS_FILES)]
        self._paths = [path.strip() for path in paths if path]
        self._read: Callable[[], Environment] = lambda: read_environment(environ, token_file)
        self._stamp = files.stamp(self._paths)
        self._current = self._read()
        self.token_changes = 0

    def current(self) -> Environment:
        """Return the environment of today. While a file cannot be read, as somebody replaces it, the old one stays."""
        if files.stamp(self._paths) != self._stamp:
            self.read_again()
        return self._current

    def read_again(self) -> bool:
        """Read the files, whatever their times say; returns whether there are other secrets."""
        stamp = files.stamp(self._paths)
        try:
            read = self._read()
        except errors.Refused as error:
            if stamp != self._stamp:
                log.event("read-token", outcome="refused", reason=f"the earlier one stays: {error}")
            self._stamp = stamp
            return False
        is_other = read.headers != self._current.headers
        self._stamp, self._current = stamp, read
        self.token_changes += is_other
        return is_other


def _endpoint(environ: Mapping[str, str]) -> Endpoint:
    given = environ.get("CONSUL_HTTP_ADDR") or _DEFAULT_ADDRESS
    scheme, rest = given.split("://", 1) if "://" in given else ("http", given)
    if _flag(environ, "CONSUL_HTTP_SSL", default=False) and scheme == "http":
        scheme = "https"
    if scheme == "unix" and os.path.isabs(rest):
        return Endpoint("localhost", 0, socket_path=rest)
    if scheme not in _DEFAULT_PORTS or not (address := _parse_host_and_port(rest, _DEFAULT_PORTS[scheme])):
        shown = re.sub(r"[^/]*@", "...@", given)  # an address with a user has the password too
        raise errors.Refused(f"CONSUL_HTTP_ADDR is {shown!r}; it must be host:port, http://host:port, "
                             "https://host:port, [ipv6]:port or unix:///path")
    if scheme == "http":
        return Endpoint(*address)
    return Endpoint(*address, tls=_tls(environ), server_name=environ.get("CONSUL_TLS_SERVER_NAME") or address[0])


def _parse_host_and_port(text: str, default_port: int) -> tuple[str, int] | None:
    match = _HOST_AND_PORT.fullmatch(text)
    port = int(match["port"] or default_port) if match else 0
    return (match["ipv6"] or match["host"], port) if match and 1 <= port <= 65535 else None


def _flag(environ: Mapping[str, str], variable: str, *, default: bool) -> bool:
    given = environ.get(variable)
    if not given:
        return default
    if given not in _FLAGS:
        raise errors.Refused(f"{variable} is {given!r}; it must be true or false")
    return _FLAGS[given]


def _token(environ: Mapping[str, str], token_file: str | None) -> str:
    path = token_file or environ.get("CONSUL_HTTP_TOKEN_FILE")
    return read_token(path) if path else require_one_word(environ.get("CONSUL_HTTP_TOKEN", ""), "CONSUL_HTTP_TOKEN")


def _tls(environ: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not _flag(environ, "CONSUL_HTTP_SSL_VERIFY", default=True):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif environ.get("CONSUL_CACERT"):
        with _refuse_unreadable("CONSUL_CACERT", environ["CONSUL_CACERT"]):
            context.load_verify_locations(cafile=environ["CONSUL_CACERT"])
    elif environ.get("CONSUL_CAPATH"):
        with _refuse_unreadable("CONSUL_CAPATH", environ["CONSUL_CAPATH"]):
            for entry in os.scandir(environ["CONSUL_CAPATH"]):  # OpenSSL alone would want names that are hashes
                context.load_verify_locations(cafile=entry.path)
    else:
        context.load_default_certs()
    certificate, key = environ.get("CONSUL_CLIENT_CERT"), environ.get("CONSUL_CLIENT_KEY")
    if bool(certificate) != bool(key):
        raise errors.Refused("CONSUL_CLIENT_CERT and CONSUL_CLIENT_KEY: set both or neither")
    if certificate:
        with _refuse_unreadable("CONSUL_CLIENT_CERT, CONSUL_CLIENT_KEY", f"{certificate}, {key}"):
            context.load_cert_chain(certificate, key, password=lambda: "")  # else OpenSSL asks on the terminal
    return context


@contextmanager
def _refuse_unreadable(variable: str, path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # ssl.SSLError is one
        raise errors.Refused(f"{variable} is {path}: {error.strerror or error}") from error
