"""Containers of a Compose project of the user's own, made by Compose itself from the unchanged file.

Compose only makes them: a second file that goes with the user's adds the image and lictor's labels. What is there is
started, stopped and removed through Docker, because `up` would start whatever was stopped as well. Compose picks a
container's name and number by itself, so ours is in a label, as always.
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
_CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\r\x00-\x08]")  # it moves the cursor even where there is none
_UNREACHABLE = re.compile(r"Error while fetching server API version|connect to (?:the )?Docker|timed out")

stop = own_containers.stop
remove = own_containers.remove
in_flight = own_containers.in_flight
logs = own_containers.logs


def containers(service: str | None = None) -> list[model.Container]:
    return own_containers.containers(service, made_by="compose")


def start(spec: service_spec.Spec, *, number: int, color: str, release: str, gated: bool = False) -> model.Container:
    client = docker.connect()
    for each in _numbered(spec.name, color, number):
        if (each.status, each.release) != ("exited", release):
            raise errors.Conflict(f"compose: {each.name} is number {number} of {model.catalog_name(spec.name, color)}")
        client.start(each.id)
        return own_containers.read_started(client, each.id)
    client.ensure_image(spec.image, timeout_s=own_containers.PULL_TIMEOUT_S)
    own = labels.of_container(spec, number=number, color=color, release=release, gated=gated)
    try:
        _create(client, spec, color, own)
        made = _numbered(spec.name, color, number)
        if len(made) != 1:
            raise errors.Conflict(f"compose: made {len(made)} of {spec.name}; somebody else has changed their number")
        client.start(made[0].id)
    except errors.LictorError:
        with contextlib.suppress(errors.LictorError):  # the first reason is the one that helps
            for each in _numbered(spec.name, color, number):
                client.remove(each.id)
        raise
    return own_containers.read_started(client, made[0].id)


def _numbered(service: str, color: str, number: int) -> list[model.Container]:
    return [each for each in containers(service) if (each.color, each.number) == (color, number)]


def _create(client: docker.Client, spec: service_spec.Spec, color: str, own_labels: dict[str, str]) -> None:
    """Have Compose make one more than there are of the file's service, without starting any."""
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
        # Right before, and alone: of a count that is too low Compose would end what is more. Without our own file,
        # which would add the service if the user's have none of that name.
        listed = _run([*argv, "ps", "--all", "--quiet", service], timeout_s=_PROBE_TIMEOUT_S).split()
        count = sum(_is_instance(client, each) for each in listed)
        _run([*argv, "--file", own, "up", "--no-start", "--no-deps", "--no-recreate", "--no-build",
              "--scale", f"{service}={count + 1}", service], timeout_s=_CREATE_TIMEOUT_S)


def _is_instance(client: docker.Client, container_id: str) -> bool:
    found = client.inspect(container_id)
    return found is not None and found["Config"]["Labels"].get(_LABEL_ONE_OFF) != "True"


def _paths(given: compose_project.Project) -> list[str]:
    """The compose file, and what extends it: Compose reads that by itself only where it is told no file at all."""
    if given.file:
        return [os.path.join(given.folder, given.file)]
    for name in compose_project.FILES:
        if os.path.exists(os.path.join(given.folder, name)):
            stem, _ = os.path.splitext(name)
            extending = [f"{stem}.override{each}" for each in (".yml", ".yaml")]
            found = [each for each in extending if os.path.exists(os.path.join(given.folder, each))]
            return [os.path.join(given.folder, each) for each in (name, *found[:1])]
    raise errors.Refused(f"compose: {given.folder} has no compose file on this node; looked for "
                         f"{', '.join(compose_project.FILES)}")


def _program(version_1: bool) -> list[str]:
    """The plugin of the docker command, else the program of its own; only the latter's version 1 reads old files."""
    for argv in ([] if version_1 else [["docker", "compose"]]) + [["docker-compose"]]:
        with contextlib.suppress(errors.CommandFailed):
            version = process.run([*argv, "version", "--short"], timeout_s=_PROBE_TIMEOUT_S)
            if not version_1 or version.startswith("1."):
                return argv
    raise errors.Refused("compose: the file has no `services:`, so it is of version 1, which docker-compose 1.x reads "
                         "and no later one; that is not on this node" if version_1 else
                         "compose: neither `docker compose` nor `docker-compose` is on this node")


def _run(argv: list[str], *, timeout_s: float) -> str:
    """Old docker-compose speaks a version of Docker's API that newer engines refuse, unless told to ask for it."""
    try:
        return process.run(argv, timeout_s=timeout_s, environ={"COMPOSE_API_VERSION": "auto", **os.environ})
    except errors.CommandFailed as error:
        # What is indented shows how far it came, or where in its own code it failed.
        lines = [each for each in _CONTROL.sub("", error.stderr or error.stdout).splitlines() if each[:1].strip()]
        said = "; ".join(each.strip() for each in lines[-_LAST_LINES:]) or "no word"
        kind = errors.Unavailable if error.code is None or _UNREACHABLE.search(said) else errors.Refused
        how = "ran out of time" if error.code is None else f"exit code {error.code}"
        raise kind(f"compose: {how}: {said}") from error
