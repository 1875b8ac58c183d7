"""The containers, images, volumes and networks of a Docker engine. Every call has a deadline."""

import contextlib
import os
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lictor import errors
from lictor.adapters import log
from lictor.adapters.docker_engine import DEFAULT_SOCKET, Engine

_FRAME_HEADER_BYTES = 8
_STOP_S = 30  # beside the grace
_EVENTS = ["start", "pause", "unpause", "kill", "die", "rename", "health_status"]
_NOT_OF_THE_HOST = ("tmpfs", "nfs", "nfs4", "cifs")  # types of mounts of the driver `local`


def connect(environ: Mapping[str, str] = os.environ, *, timeout_s: int = 30) -> "Client":
    """Connect to the engine that DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH name, as `docker` does."""
    return Client(Engine(environ, timeout_s=timeout_s))


def host(environ: Mapping[str, str] = os.environ) -> str:
    """Name the engine that `connect` asks, for the command `docker`: that may have a context of its own."""
    return environ.get("DOCKER_HOST", "").strip() or f"unix://{DEFAULT_SOCKET}"


class Client:
    """One engine. Containers are plain dicts as the Engine API writes them; `container` is an id or a name.

    Every method raises Unavailable if the engine can't be reached or fails, Conflict if a name is taken or another call
    is under way, Refused for a request that the engine will never accept; each with the engine's own reason.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def engine_id(self) -> str:
        return str(self._engine.read("info", "info")["ID"])

    def running(self) -> list[dict[str, Any]]:
        """List running containers, paused ones included, in short form (Id, Names, Labels, State, Status, Ports)."""
        found: list[dict[str, Any]] = self._engine.read("list", "containers", "json")
        return found

    def labelled(self, *labels: str) -> list[dict[str, Any]]:
        """List all containers with these labels (`key` or `key=value`), running or not, in short form."""
        found: list[dict[str, Any]] = self._engine.read("list", "containers", "json", every=True, label=labels)
        return found

    def inspect(self, container: str) -> dict[str, Any] | None:
        """Describe a container; None if there is none."""
        found: dict[str, Any] | None = self._engine.find(f"inspect {container}", "containers", container, "json")
        return found

    def image_config(self, image: str) -> dict[str, Any]:
        """Return the configuration of an image (Labels, Env); Refused if there is none."""
        return self._engine.read(f"inspect {image}", "images", image, "json").get("Config") or {}

    def ensure_image(self, image: str, *, timeout_s: float, policy: str = "missing") -> None:
        """Pull an image that is absent, with the credentials of ~/.docker/config.json, or of DOCKER_CONFIG.

        Refused if the registry has no such image, or denies it. If `policy` is "always", a present image is pulled too,
        and taken as it is if its registry does not answer; if "never", an absent one is refused.
        """
        is_here = bool(self._engine.find(f"inspect {image}", "images", image, "json"))
        if not is_here and policy == "never":
            raise errors.Refused(f"docker: {image} is not on this node, and its pull_policy is never")
        if not is_here:
            self._pull(image, timeout_s, "the image is not on this node")
        elif policy == "always":
            with contextlib.suppress(errors.Unavailable):  # which is in the log
                self._pull(image, timeout_s, "its pull_policy is always")

    def _pull(self, image: str, timeout_s: float, reason: str) -> None:
        log.event("pull", image=image, outcome="started", reason=reason)
        began = time.monotonic()
        outcome = "failed"
        try:
            with self._engine.sdk(f"pull {image}") as sdk:
                sdk.pull_image(image, timeout_s)
            outcome = "done"
        finally:
            log.event("pull", image=image, outcome=outcome, ms=round((time.monotonic() - began) * 1000))

    def create(self, name: str, definition: dict[str, Any]) -> str:
        """Create a container from the body of the Engine API's `POST /containers/create`; returns its id."""
        with self._engine.sdk(f"create {name}") as sdk:
            made = sdk.create_container_from_config(definition, name)
        for warning in made.get("Warnings") or ():
            log.event("create", container=name, warning=warning)
        return str(made["Id"])

    def volume_device(self, name: str) -> str:
        """Find what of the host a volume mounts in place of a folder of the engine's own; "" if nothing, or no volume.
        """
        found = self._engine.find(f"inspect volume {name}", "volumes", name)
        if found is None:
            return ""
        options = found.get("Options") or {}
        is_bound = not {"bind", "rbind"}.isdisjoint(str(options.get("o")).split(","))  # whatever its type is
        is_hosts = found["Driver"] == "local" and (is_bound or options.get("type") not in _NOT_OF_THE_HOST)
        return str(options.get("device", "")) if is_hosts else ""

    def volumes(self, part: str) -> dict[str, str]:
        """List the volumes whose names have this part, each with its folder on this host; "": it has none, or the
        engine may be another host's."""
        listed = self._engine.read("list volumes", "volumes", name=[part])["Volumes"] or ()
        return {each["Name"]: each["Mountpoint"] if self._engine.is_here and each["Driver"] == "local" else ""
                for each in listed}

    def require_networks(self, names: Iterable[str]) -> None:
        self._engine.require_networks(names)

    def connect_network(self, container: str, network: str) -> None:
        with self._engine.sdk(f"connect {container} to {network}") as sdk:
            sdk.connect_container_to_network(container, network)

    def start(self, container: str) -> None:
        with self._engine.sdk(f"start {container}") as sdk:
            sdk.start(container)

    def stop(self, container: str, *, grace_s: int) -> None:
        """Ask a container to end, and end it by force after `grace_s`; an ended or absent container is no error."""
        with self._engine.sdk(f"stop {container}", harmless=(404,)) as sdk:
            sdk.stop(container, timeout=grace_s, within_s=grace_s + _STOP_S)

    def remove(self, container: str) -> None:
        """Remove a container, even a running one, with its anonymous volumes; an absent container is no error."""
        with self._engine.sdk(f"remove {container}", harmless=(404, 409)) as sdk:  # 409: it is being removed already
            sdk.remove_container(container, v=True, force=True)

    def kill(self, container: str, signal: str) -> None:
        """Send a signal such as HUP to a container's first process."""
        with self._engine.sdk(f"signal {container}") as sdk:
            sdk.kill(container, signal)

    def logs(self, container: str, *, lines: int) -> str:
        """Return the last lines of stdout and stderr together."""
        with self._engine.sdk(f"logs of {container}") as sdk:
            return str(sdk.logs(container, tail=lines), "utf-8", "replace")

    def stream_logs(self, container: str, *, tail: int | None, since: float = 0.0,
                    follow: bool = False) -> Iterator[bytes]:
        """Read what a container printed, stdout and stderr together, in pieces: the last lines, or all (None).

        If `follow`, it waits without limit until the container ends, so it belongs into a thread, with a client of its
        own.
        """
        with self._engine.sdk(f"logs of {container}") as sdk:
            pieces = sdk.logs(container, stream=True, follow=follow, tail="all" if tail is None else tail,
                              since=since or None)
            with contextlib.suppress(struct.error):  # the engine went away within a frame
                yield from pieces

    def execute(self, container: str, argv: list[str], *, timeout_s: float) -> tuple[int, str]:
        """Run a program in a container; returns its exit code, and stdout and stderr together."""
        with self._engine.sdk(f"execute {argv[0]} in {container}") as sdk:
            execution = sdk.exec_create(container, argv)["Id"]
            stream = sdk.exec_start(execution, socket=True)
            with contextlib.closing(getattr(stream, "_sock", stream)) as connection:
                output = b"".join(_split_frames(_read_all(connection, timeout_s)))
            code = sdk.exec_inspect(execution)["ExitCode"]
        return (1 if code is None else int(code)), output.decode("utf-8", "replace")

    def events(self) -> Iterator[dict[str, Any]]:
        """Listen to starts, pauses, signals, ends, renamings and health changes, until the engine goes away.

        It waits without limit, so it belongs into a thread, with a client of its own.
        """
        with self._engine.sdk("events") as sdk:
            stream: Iterator[dict[str, Any]] = sdk.events(
                decode=True, filters={"type": "container", "event": _EVENTS})
            return stream


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
