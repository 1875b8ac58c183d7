"""The engine `compose`: containers of a user's own Compose project, made by Compose itself from the unchanged file.

A second file beside the user's adds the image and lictor's labels. Compose only makes containers; Docker starts, stops
and removes them, because `up` would also start containers that are stopped. Compose picks its own names and numbers, so
lictor's number is in a label.
"""

import contextlib
import json
import os
import re
import tempfile

from lictor import errors, model
from lictor.adapters import docker, files, process
from lictor.engines import labels, own_containers
from lictor.spec import compose_project, service_spec

FENCED = False  # as with docker: a container belongs to its node

_LABEL_ONE_OFF = "com.docker.compose.oneoff"  # "True": made by `run`, which is no instance of the service
_PROBE_TIMEOUT_S = 30.0
_CREATE_TIMEOUT_S = 120.0
_LAST_LINES = 5
_CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\r\x00-\x08]")  # Compose moves the cursor even in a pipe
_UNREACHABLE = re.compile(r"Error while fetching server API version|connect to (?:the )?Docker|timed out")

stop = own_containers.stop
remove = own_containers.remove
in_flight = own_containers.in_flight
logs = own_containers.logs


def containers(service: str | None = None) -> list[model.Container]:
    return own_containers.containers(service, made_by="compose")


def start(spec: service_spec.Spec, *, number: int, color: str, release: str, gated: bool = False) -> model.Container:
    client = docker.connect()
    for kept in _numbered(spec.name, color, number):
        if (kept.status, kept.release) != ("exited", release):
            raise errors.Conflict(f"compose: {kept.name} is number {number} of {model.catalog_name(spec.name, color)}")
        client.start(kept.id)
        return own_containers.read_started(client, kept.id)
    client.ensure_image(spec.image, timeout_s=own_containers.PULL_TIMEOUT_S)
    own = labels.of_container(spec, number=number, color=color, release=release, gated=gated)
    try:
        _create(client, spec, color, own)
        made = _numbered(spec.name, color, number)
        if len(made) != 1:
            raise errors.Conflict(f"compose: made {len(made)} of {spec.name}; another program has changed their number")
        client.start(made[0].id)
    except errors.LictorError:
        with contextlib.suppress(errors.LictorError):  # the first reason is the one that helps
            for container in _numbered(spec.name, color, number):
                client.remove(container.id)
        raise
    return own_containers.read_started(client, made[0].id)


def _numbered(service: str, color: str, number: int) -> list[model.Container]:
    return [container for container in containers(service) if (container.color, container.number) == (color, number)]


def _create(client: docker.Client, spec: service_spec.Spec, color: str, own_labels: dict[str, str]) -> None:
    """Have Compose make one more container of the file's service, without starting any."""
    assert spec.project is not None
    paths = _paths(spec.project)
    text = files.read_needed(paths[0], "compose:")
    service = color or spec.project.service or spec.name
    extension = compose_project.extension(text, paths[0], service, {"image": spec.image, "labels": own_labels})
    program = [*_program(compose_project.is_version_1(text, paths[0])), "--project-directory", spec.project.folder,
               *(["--project-name", spec.project.name] if spec.project.name else [])]
    argv = [*program, *(word for path in paths for word in ("--file", path))]
    alone = files.locked_folder(spec.project.folder, timeout_s=_CREATE_TIMEOUT_S)
    with tempfile.TemporaryDirectory(prefix="lictor-") as folder, alone:
        own = os.path.join(folder, "lictor.yml")
        files.write_atomic(own, json.dumps(extension), durable=False)  # any JSON is YAML
        # Counted right before, and alone: with a count that is too low Compose would end containers. lictor's own file
        # is left out, as it would add a service that the user's files do not have.
        listed = _run([*argv, "ps", "--all", "--quiet", service], timeout_s=_PROBE_TIMEOUT_S).split()
        count = sum(_is_instance(client, container_id) for container_id in listed)
        _run([*argv, "--file", own, "up", "--no-start", "--no-deps", "--no-recreate", "--no-build",
              "--scale", f"{service}={count + 1}", service], timeout_s=_CREATE_TIMEOUT_S)


def _is_instance(client: docker.Client, container_id: str) -> bool:
    found = client.inspect(container_id)
    return found is not None and found["Config"]["Labels"].get(_LABEL_ONE_OFF) != "True"


def _paths(given: compose_project.Project) -> list[str]:
    """Find the compose file and its override, which Compose reads by itself only if no file is named."""
    if given.file:
        return [os.path.join(given.folder, given.file)]
    for name in compose_project.FILES:
        if os.path.exists(os.path.join(given.folder, name)):
            stem, _ = os.path.splitext(name)
            overrides = [file for file in (f"{stem}.override.yml", f"{stem}.override.yaml")
                         if os.path.exists(os.path.join(given.folder, file))]
            return [os.path.join(given.folder, file) for file in (name, *overrides[:1])]
    raise errors.Refused(f"compose: {given.folder} has no compose file on this node; looked for "
                         f"{', '.join(compose_project.FILES)}")


def _program(version_1: bool) -> list[str]:
    """Find the plugin of the docker command, else docker-compose; only version 1 of the latter reads old files."""
    for argv in ([] if version_1 else [["docker", "compose"]]) + [["docker-compose"]]:
        with contextlib.suppress(errors.CommandFailed):
            version = process.run([*argv, "version", "--short"], timeout_s=_PROBE_TIMEOUT_S)
            if not version_1 or version.startswith("1."):
                return argv
    raise errors.Refused("compose: the file has no `services:`, so it is of version 1, which docker-compose 1.x reads "
                         "and no later one; that is not on this node" if version_1 else
                         "compose: neither `docker compose` nor `docker-compose` is on this node")


def _run(argv: list[str], *, timeout_s: float) -> str:
    """Run Compose. The variable makes an old docker-compose ask the engine for its version of the API."""
    try:
        return process.run(argv, timeout_s=timeout_s, environ={"COMPOSE_API_VERSION": "auto", **os.environ})
    except errors.CommandFailed as error:
        # Indented lines are progress, or a traceback of Compose's own code.
        lines = [line for line in _CONTROL.sub("", error.stderr or error.stdout).splitlines() if line[:1].strip()]
        output = "; ".join(line.strip() for line in lines[-_LAST_LINES:]) or "no output"
        kind = errors.Unavailable if error.code is None or _UNREACHABLE.search(output) else errors.Refused
        how = "ran out of time" if error.code is None else f"exit code {error.code}"
        raise kind(f"compose: {how}: {output}") from error
