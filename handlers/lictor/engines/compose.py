"""The engine `compose`: containers of a user's own Compose project, made by Compose itself from the unchanged file.

A second file beside the user's adds the image and lictor's labels. Compose only makes containers; Docker starts, stops
and removes them, because `up` would also start containers that are stopped. Compose picks its own names and numbers, so
lictor's number is in a label.
"""

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any

from lictor import errors, model
from lictor.adapters import docker, files, log, process
from lictor.engines import labels, own_containers
from lictor.spec import compose_project, service_spec

FENCED = False  # as with docker: a container belongs to its node

_LABEL_ONE_OFF = "com.docker.compose.oneoff"  # "True": made by `run`, which is no instance of the service
_PROBE_TIMEOUT_S = 30.0
_CREATE_TIMEOUT_S = 120.0
_LAST_LINES = 5
_CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\r\x00-\x08]")  # Compose moves the cursor even in a pipe
_FOR_WHOM = re.compile(r"^ERROR: (?:for \S+ +)?")  # it tells each reason several times
_UNSET = re.compile(r'The \\?"?(\w+)\\?"? variable is not set', re.ASCII)
_TAKEN_PORT = re.compile(r"Bind for (\S+) failed: port is already allocated|listen \w+ (\S+): bind: address already")
_UNREACHABLE = re.compile(r"Error while fetching server API version|connect to (?:the )?Docker|timed out")

stop = own_containers.stop
remove = own_containers.remove
in_flight = own_containers.in_flight
logs = own_containers.logs


def containers(service: str | None = None) -> list[model.Container]:
    return own_containers.containers(service, made_by="compose")


def start(spec: service_spec.Spec, *, number: int, color: str, release: str, gated: bool = False) -> model.Container:
    assert spec.project is not None
    client = docker.connect()
    for kept in _numbered(spec.name, color, number):
        if (kept.status, kept.release) != ("exited", release):
            raise errors.Conflict(f"compose: {kept.name} is number {number} of {model.catalog_name(spec.name, color)}")
        client.start(kept.id)
        return own_containers.read_started(client, kept.id)
    client.ensure_image(spec.image, timeout_s=own_containers.PULL_TIMEOUT_S)
    try:
        _create(client, spec, number=number, color=color, release=release, gated=gated)
        made = _numbered(spec.name, color, number)
        if len(made) != 1:
            raise errors.Conflict(f"compose: made {len(made)} of {spec.name}; another program has changed their number")
        client.start(made[0].id)
    except errors.LictorError as error:
        with contextlib.suppress(errors.LictorError):  # the first reason is the one that helps
            for container in _numbered(spec.name, color, number):
                client.remove(container.id)
        if taken := _TAKEN_PORT.search(str(error)):
            raise errors.Refused(f"compose: {spec.project.folder} publishes {spec.name} at {taken[1] or taken[2]}, and "
                                 "that is taken; with the container's port alone there can be more") from error
        raise
    return own_containers.read_started(client, made[0].id)


def _numbered(service: str, color: str, number: int) -> list[model.Container]:
    return [container for container in containers(service) if (container.color, container.number) == (color, number)]


def _create(client: docker.Client, spec: service_spec.Spec, *, number: int, color: str, release: str,
            gated: bool) -> None:
    """Have Compose make one more container of the file's service, without starting any."""
    assert spec.project is not None
    paths = _paths(spec.project)
    text = files.read_needed(paths[0], "compose:")
    service = color or spec.project.service or spec.name
    program = [*find_program(compose_project.is_version_1(text, paths[0])), "--project-directory", spec.project.folder,
               *(["--project-name", spec.project.name] if spec.project.name else [])]
    argv = [*program, *(word for path in paths for word in ("--file", path))]
    keys = _resolve(argv, paths, service)["services"]
    own = labels.of_container(spec, name=keys.get("container_name", ""), number=number, color=color, release=release,
                              gated=gated, users=labels.of_file(keys.get("labels") or {}, spec.container_port))
    extension = compose_project.extension(text, paths[0], service, {"image": spec.image, "labels": own})
    # One at a time on this node: Compose counts a project's containers, and projects in two folders may have one name.
    alone = files.locked_folder("/", timeout_s=_CREATE_TIMEOUT_S)
    with tempfile.TemporaryDirectory(prefix="lictor-") as folder, alone:
        path = os.path.join(folder, "lictor.yml")
        files.write_atomic(path, json.dumps(extension), durable=False)  # any JSON is YAML
        # Counted right before, and alone: with a count that is too low Compose would end containers. lictor's own file
        # is left out, as it would add a service that the user's files do not have.
        listed = _run([*argv, "ps", "--all", "--quiet", service], timeout_s=_PROBE_TIMEOUT_S).stdout.split()
        count = sum(_is_instance(client, container_id) for container_id in listed)
        if count and keys.get("container_name"):
            raise errors.Refused(f"compose: service {service} of {paths[-1]} has the container_name "
                                 f"{keys['container_name']}, and there is one; without that key there can be more")
        _require_passed_on(client, spec, keys.get("environment") or {}, listed, paths)
        made = _run([*argv, "--file", path, "up", "--no-start", "--no-deps", "--no-recreate", "--no-build",
                     "--scale", f"{service}={count + 1}", service], timeout_s=_CREATE_TIMEOUT_S)
    _tell(paths, service, [line for line in _lines(made.stderr) if not _UNSET.search(line)])


def _resolve(argv: list[str], paths: list[str], service: str) -> dict[str, Any]:
    """Have Compose resolve its files; returns what concerns the service, which is then below `services` alone.

    Refused if Compose would leave a variable blank there: it says so, and goes on. Its other warnings are logged.
    """
    output = _run([*argv, "config"], timeout_s=_PROBE_TIMEOUT_S)
    found, warnings = compose_project.resolved(output.stdout, service), _lines(output.stderr)
    for name in [match[1] for match in map(_UNSET.search, warnings) if match]:
        given = _run([*argv, "config"], timeout_s=_PROBE_TIMEOUT_S, environ={name: "1"}).stdout
        if compose_project.resolved(given, service) != found:
            raise errors.Refused(f"compose: the variable {name} of {', '.join(paths)} is not set, and would be blank "
                                 f"in service {service}; set it in {os.path.dirname(paths[0])}/.env")
    environment = found["services"].get("environment") or {}
    passed_on = [name for name, value in environment.items() if value is None]
    _tell(paths, service, [*warnings, *(f"environment.{name} has no value to pass on" for name in passed_on)])
    return found


def _require_passed_on(client: docker.Client, spec: service_spec.Spec, environment: Mapping[str, str | None],
                       listed: list[str], paths: list[str]) -> None:
    """Refuse a name without a value that an earlier container of the service has one for: that may have come from the
    shell of who ran Compose, and the new one would go without."""
    bare = {name for name, value in environment.items() if value is None}
    given = {entry.partition("=")[0] for entry in client.image_config(spec.image).get("Env") or ()} if bare else set()
    for container_id in {*listed, *(each.id for each in containers(spec.name))} if bare - given else ():
        found = (client.inspect(container_id) or {}).get("Config", {}).get("Env") or ()
        for name in sorted((bare - given) & {entry.partition("=")[0] for entry in found if "=" in entry}):
            raise errors.Refused(f"compose: environment.{name} of {paths[-1]} has no value to pass on, and "
                                 f"{container_id[:12]} has one; set it in {os.path.dirname(paths[0])}/.env")


def _lines(text: str) -> list[str]:
    """List what Compose prints, each line once, without progress and tracebacks: those are indented, or have dots."""
    printed = compose_project.without_values(_CONTROL.sub("", text))
    lines = [line for line in printed.splitlines() if line[:1].strip() and " ... " not in line]
    return [*dict.fromkeys(_FOR_WHOM.sub("", line).strip() for line in lines)]


def _tell(paths: list[str], service: str, warnings: list[str]) -> None:
    for line in warnings:
        log.event("compose", file=paths[-1], service=service, warning=line[:300])


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


def find_program(version_1: bool = False) -> list[str]:
    """Find the plugin of the docker command, else docker-compose; only version 1 of the latter reads old files."""
    if not version_1:
        with contextlib.suppress(errors.CommandFailed):
            process.run(["docker", "compose", "version", "--short"], timeout_s=_PROBE_TIMEOUT_S)
            return ["docker", "compose"]
        if shutil.which("docker-compose"):  # it starts slowly, so its version is not asked for where any will do
            return ["docker-compose"]
        raise errors.Refused("compose: neither `docker compose` nor `docker-compose` is on this node")
    with contextlib.suppress(errors.CommandFailed):
        version = process.run(["docker-compose", "version", "--short"], timeout_s=_PROBE_TIMEOUT_S).stdout
        if version.startswith("1."):
            return ["docker-compose"]
    raise errors.Refused("compose: the file has no `services:`, so it is of version 1, which docker-compose 1.x reads "
                         "and no later one; that is not on this node")


def _run(argv: list[str], *, timeout_s: float, environ: Mapping[str, str] | None = None) -> process.Output:
    """Run Compose. The variable makes an old docker-compose ask the engine for its version of the API."""
    version = os.environ.get("COMPOSE_API_VERSION", "auto")
    try:
        return process.delegate(argv, timeout_s=timeout_s, environ={"COMPOSE_API_VERSION": version, **(environ or {})})
    except errors.CommandFailed as error:
        output = "; ".join(_lines(error.stderr or error.stdout)[-_LAST_LINES:]) or "no output"
        kind = errors.Unavailable if error.code is None or _UNREACHABLE.search(output) else errors.Refused
        how = "ran out of time" if error.code is None else f"exit code {error.code}"
        raise kind(f"compose: {how}: {output}") from error
