"""MongoDB's wire protocol on a socket of loopback: one thread a connection, one answer a request.

Rules: a request is OP_MSG with a body and document sequences, or OP_QUERY for a first hello [MongoDB Wire Protocol].
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

import bson
import bson.errors

_HEADER = struct.Struct("<iiii")
_OP_REPLY, _OP_QUERY, _OP_MSG = 1, 2004, 2013
_MORE_TO_COME = 2

Document = dict[str, Any]
Handler = Callable[[str, Document], Document]  # of a database and a command


class Listener:
    """Answers on one port until it is closed; then it refuses connections, as a member does that has ended."""

    def __init__(self, port: int, connect: Callable[[], Handler], *, host: str = "127.0.0.1") -> None:
        self._connect, self._open, self._is_closed = connect, set[socket.socket](), False
        self._socket = socket.create_server((host, port))
        threading.Thread(target=self._accept, name=f"mongod:{port}", daemon=True).start()

    def close(self) -> None:
        """Close the port and all connections."""
        self._is_closed = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        for each in [self._socket, *self._open]:
            with contextlib.suppress(OSError):
                each.close()

    def drop_connections(self) -> None:
        for each in list(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._is_closed:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        handler = self._connect()
        with contextlib.suppress(OSError, struct.error, bson.errors.BSONError), connection:
            while header := _receive(connection, _HEADER.size):
                length, request_id, _, operation = _HEADER.unpack(header)
                body = _receive(connection, length - _HEADER.size)
                if answer := _answer(operation, body, request_id, handler):
                    connection.sendall(answer)
        self._open.discard(connection)


def _receive(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        part = connection.recv(size - len(found))
        if not part:
            return b""
        found += part
    return found


def _answer(operation: int, body: bytes, request_id: int, handler: Handler) -> bytes:
    if operation == _OP_QUERY:
        end = body.index(b"\0", 4)
        command = bson.decode(body[end + 9:])
        document = bson.encode(handler(body[4:end].decode().partition(".")[0], command))
        return _message(_OP_REPLY, request_id, struct.pack("<iqii", 8, 0, 0, 1) + document)
    if operation != _OP_MSG:
        raise OSError(f"operation {operation}")
    [flags] = struct.unpack_from("<I", body)
    command = _command(body[4:])
    reply = handler(command.pop("$db"), command)
    is_awaited = not flags & _MORE_TO_COME
    return _message(_OP_MSG, request_id, struct.pack("<Ib", 0, 0) + bson.encode(reply)) if is_awaited else b""


def _command(sections: bytes) -> Document:
    """Put a body and its document sequences together."""
    found: Document = {}
    while sections:
        [size] = struct.unpack_from("<i", sections, 1)
        section, rest = sections[1:1 + size], sections[1 + size:]
        if sections[0] == 0:
            found = {**bson.decode(section), **found}
        else:
            end = section.index(b"\0", 4)
            found[section[4:end].decode()] = bson.decode_all(section[end + 1:])
        sections = rest
    return found


def _message(operation: int, request_id: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), 0, request_id, operation) + body
