"""The one importer of Docker's SDK. Each call has a deadline, and errors are lictor's own."""

import contextlib
import functools
import re
import threading
from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any

import docker
import docker.errors
import docker.utils
import docker.utils.json_stream

from lictor import errors
from lictor.adapters.docker_engine import failure
from lictor.adapters.text import describe_error

# Docker has status 500 for most that fails in a pull, and none for what fails in a pull that has begun: the words must
# tell.
_REFUSED_PULL = re.compile(r"not found|manifest unknown|no matching manifest|invalid reference|denied|unauthorized"
                           r"|forbidden|no basic auth credentials", re.IGNORECASE)


def connect(environ: Mapping[str, str], version: str, timeout_s: int) -> "Client":
    """Connect as `docker` does; the engine is asked for its version if that is "" here."""
    try:
        options = docker.utils.kwargs_from_env({key: value.strip() for key, value in environ.items()})
    except docker.errors.TLSParameterError as error:
        raise errors.Refused(f"DOCKER_CERT_PATH: {error.msg}") from error
    with translate_errors("connect"):
        api = _within(timeout_s, lambda: docker.APIClient(**options, version=version or None, timeout=timeout_s))
    return Client(api, timeout_s)


class Client:
    """The SDK's client. The SDK limits the time of each read; here the whole call has a deadline.

    A call that is late is left behind in its thread.
    """

    def __init__(self, api: Any, timeout_s: float) -> None:
        self._api, self._timeout_s = api, timeout_s

    def fetch(self, target: str) -> tuple[int, bytes]:
        """Ask for a path of the API that begins with /, and may have a query; returns the answer's status and body."""
        answer = _within(self._timeout_s, lambda: self._api._get(self._api._url(target)))
        return answer.status_code, answer.content

    def pull_image(self, image: str, timeout_s: float) -> None:
        """Pull an image; Refused if the registry has no such image, or denies it."""
        try:
            output = self.pull(image, within_s=timeout_s)
        except docker.errors.APIError as error:
            raise _pull_error(image, error.explanation or str(error)) from error
        messages: Iterator[Any] = docker.utils.json_stream.json_stream(output.split("\n"))
        for message in messages:
            if "error" in message:
                raise _pull_error(image, message["error"])

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._api, name)

        def call(*args: Any, within_s: float = 0.0, **keys: Any) -> Any:
            return _within(within_s or self._timeout_s, functools.partial(method, *args, **keys))

        return call


def _within(timeout_s: float, call: Callable[[], Any]) -> Any:
    """Return what the call returns, or raise what it raises; TimeoutError if it is not done in time."""
    outcome: list[tuple[Any, Exception | None]] = []

    def run() -> None:
        try:
            outcome.append((call(), None))
        except Exception as error:  # raised again below, in the caller's thread
            outcome.append((None, error))

    thread = threading.Thread(target=run, name="docker", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if not outcome:
        raise TimeoutError(f"not done within {timeout_s:g} s")
    result, error = outcome[0]
    if error:
        raise error
    return result


def _pull_error(image: str, reason: str) -> errors.LictorError:
    kind = errors.Refused if _REFUSED_PULL.search(reason) else errors.Unavailable
    return kind(f"docker: pull {image}: {reason}")


@contextlib.contextmanager
def translate_errors(what: str, harmless: Container[int] = ()) -> Iterator[None]:
    """Raise the SDK's errors as lictor's own, with the engine's reason; none for an answer with a `harmless` status."""
    try:
        yield
    except docker.errors.APIError as error:
        if error.status_code in harmless:
            return
        raise failure(what, error.status_code or 500, error.explanation or str(error)) from error
    except (docker.errors.DockerException, OSError) as error:
        cause = _root_cause(error)
        hint = ". Is Docker running?" if isinstance(cause, ConnectionRefusedError | FileNotFoundError) else ""
        shown = describe_error(cause) if isinstance(cause, OSError) else str(cause)
        raise errors.Unavailable(f"docker: {what}: {shown}{hint}") from error


def _root_cause(error: BaseException) -> BaseException:
    """Find the system's own error below those of the HTTP library."""
    while error.__context__:
        error = error.__context__
    return error
