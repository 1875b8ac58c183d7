"""Authentication by SCRAM-SHA-256, as the server.

Rules: a client proves that it knows a user's password, and the server that it knows it too [SCRAM]. A member's internal
user is `__system` of the database `local`; its password is the key file without blanks [Deploy Replica Set With Keyfile
Authentication; Internal Authentication]. A user that is not there, and a wrong password, are one error, 18.
"""

import base64
import hashlib
import hmac
import os
from collections.abc import Mapping

_ITERATIONS = 4096  # the least that drivers take
MECHANISM = "SCRAM-SHA-256"


class Rejected(Exception):
    """The proof is wrong, or there is no such user."""


class Conversation:
    """One login. `users` are the passwords by name."""

    def __init__(self, users: Mapping[str, str]) -> None:
        self._users, self._first, self.user = users, b"", ""
        self._salt = os.urandom(16)

    def start(self, payload: bytes) -> bytes:
        """Answer the client's first message with salt and nonce."""
        bare = payload.removeprefix(b"n,,")
        fields = _fields(bare)
        self.user = fields["n"].replace("=2C", ",").replace("=3D", "=")
        self._nonce = fields["r"] + base64.b64encode(os.urandom(18)).decode()
        server = f"r={self._nonce},s={base64.b64encode(self._salt).decode()},i={_ITERATIONS}".encode()
        self._first = bare + b"," + server
        return server

    def finish(self, payload: bytes) -> bytes:
        """Verify the client's proof, and give the server's."""
        if self.user not in self._users:
            raise Rejected
        fields = _fields(payload)
        message = self._first + b"," + payload.rpartition(b",p=")[0]
        salted = hashlib.pbkdf2_hmac("sha256", self._users[self.user].encode(), self._salt, _ITERATIONS)
        client_key = _hmac(salted, b"Client Key")
        signature = _hmac(hashlib.sha256(client_key).digest(), message)
        proof = bytes(one ^ other for one, other in zip(client_key, signature, strict=True))
        if fields["r"] != self._nonce or not hmac.compare_digest(proof, base64.b64decode(fields["p"])):
            raise Rejected
        return b"v=" + base64.b64encode(_hmac(_hmac(salted, b"Server Key"), message))


def _fields(message: bytes) -> dict[str, str]:
    return {part[:1]: part[2:] for part in message.decode().split(",")}


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")
