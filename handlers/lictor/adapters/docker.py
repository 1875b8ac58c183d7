"""The Docker engine, by the one importer of its SDK. Every call has a deadline, and errors are lictor's own."""

import contextlib
import functools
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import docker
import docker.errors
import docker.utils
import docker.utils.json_stream

from lictor import errors
from lictor.adapters import log

_FRAME_HEADER_BYTES = 8
_STOP_S = 30  # beside the grace
_EVENTS = ["start", "pause", "unpause", "kill", "die", "rename", "health_status"]
_NOT_OF_THE_HOST = ("tmpfs", "nfs", "nfs4", "cifs")  # types of mounts of the driver `local`
# Docker has status 500 for most that fails in a pull or a start, and none for what fails in a pull that has begun: the
# words must tell.
_REFUSED_START = re.compile(r"unable to find (?:user|group) |failed to initialize logging driver: "
                            r"(?!.*(?:dial|connect|lookup|time ?out|EOF))")
_REFUSED_PULL = re.compile(r"not found|manifest unknown|no matching manifest|invalid reference|denied|unauthorized"
                           r"|forbidden|no basic auth credentials", re.IGNORECASE)


def connect(environ: Mapping[str, str] = os.environ, *, timeout_s: int = 30) -> "Client":
    """Connect to the engine that DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH name, as `docker` does."""
    return Client(connect_api(environ, timeout_s=timeout_s))


def connect_api(environ: Mapping[str, str] = os.environ, *, timeout_s: int = 30) -> Any:
    """Connect with the SDK's own client, for the modules that wrap other parts of it."""
    try:
        options = docker.utils.kwargs_from_env({key: value.strip() for key, value in environ.items()})
    except docker.errors.TLSParameterError as error:
        raise errors.Refused(f"DOCKER_CERT_PATH: {error.msg}") from error
    with translate_errors("connect"):
        return _WithDeadline(_within(timeout_s, lambda: docker.APIClient(**options, timeout=timeout_s)), timeout_s)


class _WithDeadline:
    """The SDK's client. The SDK limits the time of each read; here the whole call has a deadline.

    A call that is late is left behind in its thread.
    """

    def __init__(self, api: Any, timeout_s: float) -> None:
        self._api, self._timeout_s = api, timeout_s

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


class Client:
    """One engine. Containers are plain dicts as the Engine API writes them; `container` is an id or a name.

    Every method raises Unavailable if the engine can't be reached or fails, Conflict if a name is taken or another call
    is under way, Refused for a request that the engine will never accept; each with the engine's own reason.
    """

    def __init__(self, api: Any) -> None:
        self._api = api  # a docker.APIClient, whose type stubs are too incomplete to help

    def engine_id(self) -> str:
        with translate_errors("info"):
            return str(self._api.info()["ID"])

    def running(self) -> list[dict[str, Any]]:
        """List running containers, paused ones included, in short form (Id, Names, Labels, State, Status, Ports)."""
        with translate_errors("list"):
            found: list[dict[str, Any]] = self._api.containers()
            return found

    def labelled(self, *labels: str) -> list[dict[str, Any]]:
        """List all containers with these labels (`key` or `key=value`), running or not, in short form."""
        with translate_errors("list"):
            found: list[dict[str, Any]] = self._api.containers(all=True, filters={"label": list(labels)})
            return found

    def inspect(self, container: str) -> dict[str, Any] | None:
        """Describe a container; None if there is none."""
        with translate_errors(f"inspect {container}"):
            try:
                found: dict[str, Any] = self._api.inspect_container(container)
                return found
            except docker.errors.NotFound:
                return None

    def image_config(self, image: str) -> dict[str, Any]:
        """Return the configuration of an image (Labels, Env); Refused if there is none."""
        with translate_errors(f"inspect {image}"):
            return self._api.inspect_image(image).get("Config") or {}

    def ensure_image(self, image: str, *, timeout_s: float) -> None:
        """Pull an image that is absent, with the credentials of ~/.docker/config.json, or of DOCKER_CONFIG.

        Refused if the registry has no such image, or denies it.
        """
        with translate_errors(f"inspect {image}"):
            try:
                self._api.inspect_image(image)
                return
            except docker.errors.NotFound:
                log.event("pull", image=image, outcome="started", reason="the image is not on this node")
        began = time.monotonic()
        outcome = "failed"
        try:
            self._pull(image, timeout_s)
            outcome = "done"
        finally:
            log.event("pull", image=image, outcome=outcome, ms=round((time.monotonic() - began) * 1000))

    def _pull(self, image: str, timeout_s: float) -> None:
        with translate_errors(f"pull {image}"):
            try:
                output = self._api.pull(image, within_s=timeout_s)
            except docker.errors.APIError as error:
                raise _pull_error(image, error.explanation or str(error)) from error
            messages: Iterator[Any] = docker.utils.json_stream.json_stream(output.split("\n"))
            for message in messages:
                if "error" in message:
                    raise _pull_error(image, message["error"])

    def create(self, name: str, definition: dict[str, Any]) -> str:
        """Create a container from the body of the Engine API's `POST /containers/create`; returns its id."""
        with translate_errors(f"create {name}"):
            made = self._api.create_container_from_config(definition, name)
        for warning in made.get("Warnings") or ():
            log.event("create", container=name, warning=warning)
        return str(made["Id"])

    def volume_device(self, name: str) -> str:
        """Find what of the host a volume mounts in place of a folder of the engine's own; "" if nothing, or no volume.
        """
        with translate_errors(f"inspect volume {name}"):
            try:
                found = self._api.inspect_volume(name)
            except docker.errors.NotFound:
                return ""
        options = found.get("Options") or {}
        is_bound = not {"bind", "rbind"}.isdisjoint(str(options.get("o")).split(","))  # whatever its type is
        is_hosts = found["Driver"] == "local" and (is_bound or options.get("type") not in _NOT_OF_THE_HOST)
        return str(options.get("device", "")) if is_hosts else ""

    def require_networks(self, names: Iterable[str]) -> None:
        require_networks(self._api, names)

    def connect_network(self, container: str, network: str) -> None:
        with translate_errors(f"connect {container} to {network}"):
            self._api.connect_container_to_network(container, network)

    def start(self, container: str) -> None:
        with translate_errors(f"start {container}"):
            self._api.start(container)

    def stop(self, container: str, *, grace_s: int) -> None:
        """Ask a container to end, and end it by force after `grace_s`; an ended or absent container is no error."""
        with translate_errors(f"stop {container}"), contextlib.suppress(docker.errors.NotFound):
            self._api.stop(container, timeout=grace_s, within_s=grace_s + _STOP_S)

    def remove(self, container: str) -> None:
        """Remove a container, even a running one, with its anonymous volumes; an absent container is no error."""
        with translate_errors(f"remove {container}"):
            try:
                self._api.remove_container(container, v=True, force=True)
            except docker.errors.NotFound:
                pass
            except docker.errors.APIError as error:
                if error.status_code != 409:  # 409: it is being removed already
                    raise

    def kill(self, container: str, signal: str) -> None:
        """Send a signal such as HUP to a container's first process."""
        with translate_errors(f"signal {container}"):
            self._api.kill(container, signal)

    def logs(self, container: str, *, lines: int) -> str:
        """Return the last lines of stdout and stderr together."""
        with translate_errors(f"logs of {container}"):
            return str(self._api.logs(container, tail=lines), "utf-8", "replace")

    def execute(self, container: str, argv: list[str], *, timeout_s: float) -> tuple[int, str]:
        """Run a program in a container; returns its exit code, and stdout and stderr together."""
        with translate_errors(f"execute {argv[0]} in {container}"):
            execution = self._api.exec_create(container, argv)["Id"]
            stream = self._api.exec_start(execution, socket=True)
            with contextlib.closing(getattr(stream, "_sock", stream)) as connection:
                output = b"".join(_split_frames(_read_all(connection, timeout_s)))
            code = self._api.exec_inspect(execution)["ExitCode"]
        return (1 if code is None else int(code)), output.decode("utf-8", "replace")

    def events(self) -> Iterator[dict[str, Any]]:
        """Listen to starts, pauses, signals, ends, renamings and health changes, until the engine goes away.

        It waits without limit, so it belongs into a thread, with a client of its own.
        """
        with translate_errors("events"):
            stream: Iterator[dict[str, Any]] = self._api.events(
                decode=True, filters={"type": "container", "event": _EVENTS})
            return stream


def require_networks(api: Any, names: Iterable[str]) -> None:
    """Raise Refused unless there is a network of exactly each name.

    The engine would also take how an id begins, and so the network of the host by another word than `host`.
    """
    for name in names:
        with translate_errors(f"look for network {name}"):
            found = name == "default" or name.startswith("container:") or any(
                network["Name"] == name for network in api.networks(names=[name]))
        if not found:
            raise errors.Refused(f"docker: networks holds {name[:100]!r}; there is no network of this name")


def _pull_error(image: str, reason: str) -> errors.LictorError:
    kind = errors.Refused if _REFUSED_PULL.search(reason) else errors.Unavailable
    return kind(f"docker: pull {image}: {reason}")


def _read_all(connection: socket.socket, timeout_s: float) -> bytes:
    deadline = time.monotonic() + timeout_s
    chunks: list[bytes] = []
    while not chunks or chunks[-1]:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        chunks.append(connection.recv(65536))
    return b"".join(chunks)


def _split_frames(data: bytes) -> Iterator[bytes]:
    """Split the engine's frames: number of the stream, three zeros, four bytes of length, the output."""
    while len(data) >= _FRAME_HEADER_BYTES:
        end = _FRAME_HEADER_BYTES + int.from_bytes(data[4:_FRAME_HEADER_BYTES], "big")
        yield data[_FRAME_HEADER_BYTES:end]
        data = data[end:]


@contextlib.contextmanager
def translate_errors(what: str) -> Iterator[None]:
    """Raise the SDK's errors as lictor's own, with the engine's reason."""
    try:
        yield
    except docker.errors.APIError as error:
        status, reason = error.status_code or 500, error.explanation or str(error)
        is_passing = status >= 500 and not _REFUSED_START.search(reason)
        kind = errors.Conflict if status == 409 else errors.Unavailable if is_passing else errors.Refused
        raise kind(f"docker: {what}: {reason}") from error
    except (docker.errors.DockerException, OSError) as error:
        raise errors.Unavailable(f"docker: {what}: {_root_cause(error)}") from error


def _root_cause(error: BaseException) -> BaseException:
    """Find the system's own error below those of the HTTP library."""
    while error.__context__:
        error = error.__context__
    return error
