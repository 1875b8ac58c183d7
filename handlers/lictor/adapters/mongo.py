"""Commands to one MongoDB server by pymongo, which is loaded only when a service with such members is acted for."""

import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from lictor import errors
from lictor.adapters import text

try:
    import bson.errors
    import pymongo
    import pymongo.errors
except ImportError as error:
    raise errors.Refused("mongodb: pymongo is not installed. No member can be asked; install lictor[mongodb]."
                         ) from error

_CONNECT_S = 2.0
_LONGEST_ERROR = 200
# pymongo decodes what a server says before lictor validates it, and raises what a malformed answer leads it to.
_MALFORMED = (bson.errors.BSONError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError,
              ValueError)

Run = Callable[..., Mapping[str, Any]]  # of a command's document and, if it is not admin, its database


class Login(NamedTuple):
    """A user of the database `admin`."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Login({self.user!r})"


class Failure(errors.Unavailable):
    """A server's own no, with MongoDB's code for it."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


@contextlib.contextmanager
def session(server: str, login: Login | None, timeout_s: float) -> Iterator[Run]:
    """Connect to one server itself, whatever its role. All commands of a session share one time limit."""
    with pymongo.timeout(timeout_s):
        with _translated(server, login):
            client = _connect(server, login, timeout_s)

        def run(command: dict[str, Any], database: str = "admin") -> Mapping[str, Any]:
            with _translated(server, login):
                return client[database].command(command)

        with client:
            yield run


def _connect(server: str, login: Login | None, timeout_s: float) -> "pymongo.MongoClient[dict[str, Any]]":
    host, port = server.rpartition(":")[0].strip("[]"), int(server.rpartition(":")[2])
    # A server that is not there is told at once; pymongo would try again until the time is over.
    socket.create_connection((host, port), min(_CONNECT_S, timeout_s)).close()
    return pymongo.MongoClient(
        f"[{host}]" if ":" in host else host, port, directConnection=True, maxPoolSize=1, appname="lictor",
        retryReads=False, retryWrites=False, serverMonitoringMode="poll",
        serverSelectionTimeoutMS=round(timeout_s * 1000), connectTimeoutMS=round(_CONNECT_S * 1000),
        **_credentials(login))


def _credentials(login: Login | None) -> dict[str, Any]:
    return {"username": login.user, "password": login.password, "authSource": "admin"} if login else {}


@contextlib.contextmanager
def _translated(server: str, login: Login | None) -> Iterator[None]:
    try:
        yield
    except pymongo.errors.OperationFailure as error:
        raise _failure(server, login, error, error.details, error.code) from error
    except pymongo.errors.NotPrimaryError as error:
        raise _failure(server, login, error, error.details, None) from error
    except (pymongo.errors.PyMongoError, OSError, *_MALFORMED) as error:
        raise errors.Unavailable(f"mongodb: {server} gives no answer: {_said(error, login)}") from error


def _failure(server: str, login: Login | None, error: Exception, details: Any, code: int | None) -> errors.Unavailable:
    found = code if code is not None else details.get("code") if isinstance(details, Mapping) else None
    return Failure(f"mongodb: {server} says no: {_said(error, login)}", found if isinstance(found, int) else 0)


def _said(error: Exception, login: Login | None) -> str:
    """Take the first part of what was said, without pymongo's dumps of answer and topology, and our password."""
    words = str(error).partition(", full error:")[0].partition(", Timeout:")[0]
    return text.one_line(text.hide(words, [login.password] if login else []))[:_LONGEST_ERROR]
