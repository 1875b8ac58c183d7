"""Where Consul is and how to speak to it: the CONSUL_* variables, as the consul command reads them."""

import base64
import os
import re
import ssl
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from lictor import errors
from lictor.adapters import log

_DEFAULT_ADDRESS = "127.0.0.1:8500"
_DEFAULT_PORTS = {"http": 80, "https": 443}  # for a host without a port, as in any URL
_HOST_AND_PORT = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?/?",
                            re.ASCII)
_TOKEN = re.compile(r"[!-~]+", re.ASCII)
_LINE = re.compile(r"[ -~]+", re.ASCII)
_FLAGS = {**dict.fromkeys(("1", "t", "T", "true", "True", "TRUE"), True),
          **dict.fromkeys(("0", "f", "F", "false", "False", "FALSE"), False)}


class Address(NamedTuple):
    """`socket_path` is set for unix:// and empty otherwise."""

    scheme: str
    host: str
    port: int
    socket_path: str = ""

    def __str__(self) -> str:
        if self.socket_path:
            return f"unix://{self.socket_path}"
        return f"{self.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


class Settings(NamedTuple):
    """`headers` go with every request, and hold the secrets; `tls` is None for plain HTTP."""

    address: Address
    headers: dict[str, str]
    tls: ssl.SSLContext | None
    server_name: str


def read(environ: Mapping[str, str], token_file: str | None) -> Settings:
    """Read the variables and files once; a bad one is Refused, by the variable's name and without its secret."""
    address = _address(environ)
    token = _token(environ, token_file)
    headers = {"X-Consul-Token": token} if token else {}
    if environ.get("CONSUL_HTTP_AUTH"):
        headers["Authorization"] = "Basic " + base64.b64encode(environ["CONSUL_HTTP_AUTH"].encode()).decode()
    tls = _tls(environ) if address.scheme == "https" else None
    return Settings(address, headers, tls, environ.get("CONSUL_TLS_SERVER_NAME") or address.host)


def _address(environ: Mapping[str, str]) -> Address:
    given = environ.get("CONSUL_HTTP_ADDR") or _DEFAULT_ADDRESS
    scheme, rest = given.split("://", 1) if "://" in given else ("http", given)
    wants_tls = _flag(environ, "CONSUL_HTTP_SSL", default=False)
    if scheme == "unix" and os.path.isabs(rest):
        return Address("unix", "localhost", 0, rest)
    matched = _HOST_AND_PORT.fullmatch(rest)
    port = int(matched["port"] or 0) if matched else 0
    if matched is None or scheme not in _DEFAULT_PORTS or port > 65535 or matched["port"] and not port:
        shown = re.sub(r"[^/]*@", "...@", given)  # whoever writes a user into it writes the password too
        raise errors.Refused(f"CONSUL_HTTP_ADDR is {shown!r}; it must be host:port, http://host:port, "
                             "https://host:port, [ipv6]:port or unix:///path")
    if wants_tls:
        scheme = "https"
    return Address(scheme, matched["ipv6"] or matched["host"], port or _DEFAULT_PORTS[scheme])


def _flag(environ: Mapping[str, str], variable: str, *, default: bool) -> bool:
    given = environ.get(variable)
    if not given:
        return default
    if given not in _FLAGS:
        raise errors.Refused(f"{variable} is {given!r}; it must be true or false")
    return _FLAGS[given]


def read_token(path: str) -> str:
    """The token in a file; Refused says what is wrong with the file, and not what stands in it."""
    return _one_word(read_secret(path), f"token file {path}")


def read_secret(path: str) -> str:
    """The one line in a file, which may have spaces: the value of a header."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            if os.fstat(file.fileno()).st_mode & stat.S_IROTH:
                log.event("read-token", file=path, warning="everybody on this machine can read it; chmod o-r")
            token = file.read(4096).strip()
    except OSError as error:
        raise errors.Refused(f"token file {path}: {error.strerror}") from error
    if not token:
        raise errors.Refused(f"token file {path} is empty")
    if not _LINE.fullmatch(token):
        raise errors.Refused(f"token file {path}: a token is one line of printable ASCII; this is not")
    return token


def _token(environ: Mapping[str, str], token_file: str | None) -> str:
    source = token_file or environ.get("CONSUL_HTTP_TOKEN_FILE")
    return read_token(source) if source else _one_word(environ.get("CONSUL_HTTP_TOKEN", ""), "CONSUL_HTTP_TOKEN")


def _one_word(token: str, source: str) -> str:
    if token and not _TOKEN.fullmatch(token):  # it would end up in a header
        raise errors.Refused(f"{source}: a token is one word of printable ASCII; this is not")
    return token


def _tls(environ: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not _flag(environ, "CONSUL_HTTP_SSL_VERIFY", default=True):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif environ.get("CONSUL_CACERT"):
        with _naming("CONSUL_CACERT", environ["CONSUL_CACERT"]):
            context.load_verify_locations(cafile=environ["CONSUL_CACERT"])
    elif environ.get("CONSUL_CAPATH"):
        with _naming("CONSUL_CAPATH", environ["CONSUL_CAPATH"]):
            for entry in os.scandir(environ["CONSUL_CAPATH"]):  # OpenSSL alone would want names that are hashes
                context.load_verify_locations(cafile=entry.path)
    else:
        context.load_default_certs()
    certificate, key = environ.get("CONSUL_CLIENT_CERT"), environ.get("CONSUL_CLIENT_KEY")
    if bool(certificate) != bool(key):
        raise errors.Refused("CONSUL_CLIENT_CERT and CONSUL_CLIENT_KEY: set both or neither")
    if certificate:
        with _naming("CONSUL_CLIENT_CERT, CONSUL_CLIENT_KEY", f"{certificate}, {key}"):
            context.load_cert_chain(certificate, key, password=lambda: "")  # else OpenSSL asks on the terminal
    return context


@contextmanager
def _naming(variable: str, path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # ssl.SSLError is one
        raise errors.Refused(f"{variable} is {path}: {error.strerror or error}") from error
