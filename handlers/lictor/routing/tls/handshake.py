"""The certificate that this node's nginx presents, as a client of it sees: no file has to be readable for that."""

import os
import socket
import ssl

from lictor import errors
from lictor.adapters import files
from lictor.routing import user_servers
from lictor.routing.tls import leaf
from lictor.routing.tls.leaf import Leaf

_TIMEOUT_S = 5.0
_LOOPBACK = {"": "127.0.0.1", "::": "::1"}


def read_presented(conf_dir: str, host: str) -> Leaf:
    """Ask nginx where the host's server listens; raises Unavailable if no certificate is presented there."""
    try:
        servers = user_servers.of_text(files.read(os.path.join(conf_dir, "servers", f"{host}.conf")) or "")
    except ValueError as error:
        raise errors.Unavailable(f"the server of {host} cannot be read: {error}") from error
    why = "its server listens nowhere"
    for address, port in sorted({each for server in servers for each in server.listeners}, key=lambda each: -each[1]):
        try:
            return leaf.of_der(_ask(_LOOPBACK.get(address, address), port, host))
        except (OSError, ValueError) as error:  # plain HTTP is spoken there, say
            why = why if why.startswith("port") else f"port {port}: {error}"
    raise errors.Unavailable(f"nginx presents no certificate for {host}: {why}")


def _ask(address: str, port: int, host: str) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # whose it is, is what is asked
    with socket.create_connection((address, port), timeout=_TIMEOUT_S) as plain, context.wrap_socket(
            plain, server_hostname=host) as secured:
        return secured.getpeercert(binary_form=True) or b""
