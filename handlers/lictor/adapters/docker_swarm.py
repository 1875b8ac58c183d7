"""Swarm mode of the Docker engine: services and tasks, plain dicts as the Engine API writes them."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from lictor import errors
from lictor.adapters.docker_engine import Engine

_OUT_OF_DATE = "update out of sequence"  # the status alone does not tell


def connect(environ: Mapping[str, str] = os.environ, *, timeout_s: int = 30) -> "Client":
    """Connect to the engine of this node, which knows the Swarm if it is a manager."""
    return Client(Engine(environ, timeout_s=timeout_s))


class Client:
    """The Swarm by one of its managers; errors are those of `docker.Client`.

    `definition` is a service's spec, the body of `POST /services/create`. Swarm looks no image up before it makes a
    service: each node pulls it, or takes its own; so an image without a registry will do. The credentials of the docker
    command go along.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def is_manager(self) -> bool:
        return bool(self._engine.read("info", "info")["Swarm"]["ControlAvailable"])

    def is_member(self) -> bool:
        return bool(self._engine.read("info", "info")["Swarm"]["LocalNodeState"] == "active")

    def services(self, label: str) -> list[dict[str, Any]]:
        """List the services with a label: `key` or `key=value`."""
        found: list[dict[str, Any]] = self._engine.read("list services", "services", label=[label])
        return found

    def tasks(self, label: str) -> list[dict[str, Any]]:
        """List the tasks of the services with a label; also the last few that ended, each with its error."""
        found: list[dict[str, Any]] = self._engine.read("list tasks", "tasks", label=[label])
        return found

    def service(self, name: str) -> dict[str, Any] | None:
        """Find the service of exactly this name. An inspection would also find a service whose id begins like that."""
        found: list[dict[str, Any]] = self._engine.read(f"look for service {name}", "services", name=[name])
        return next((service for service in found if service["Spec"]["Name"] == name), None)

    def require_networks(self, names: Iterable[str]) -> None:
        self._engine.require_networks(names)

    def create(self, definition: Mapping[str, Any]) -> None:
        with self._engine.sdk(f"create service {definition['Name']}") as sdk:
            sdk.create_service(**_arguments(definition))

    def update(self, service: str, definition: Mapping[str, Any], *, version: int) -> None:
        """Update a service; Conflict if its `Version.Index` is not `version` any more."""
        what = f"update service {definition['Name']}"
        try:
            with self._engine.sdk(what) as sdk:
                sdk.update_service(service, version, **_arguments(definition))
        except errors.LictorError as error:
            if _OUT_OF_DATE not in str(error):
                raise
            raise errors.Conflict(f"docker: {what}: another writer changed it first") from error

    def remove(self, service: str) -> None:
        """Remove a service; an absent service is no error."""
        with self._engine.sdk(f"remove service {service}", harmless=(404,)) as sdk:
            sdk.remove_service(service)


def _arguments(definition: Mapping[str, Any]) -> dict[str, Any]:
    names = {"Name": "name", "Labels": "labels", "TaskTemplate": "task_template", "Mode": "mode",
             "UpdateConfig": "update_config", "RollbackConfig": "rollback_config", "EndpointSpec": "endpoint_spec"}
    return {name: definition[key] for key, name in names.items() if key in definition}
