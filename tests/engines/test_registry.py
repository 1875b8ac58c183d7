"""The engines are found by name. mypy tests here that each of them is a module of its kind."""

import subprocess
import sys

from lictor.engines import command, compose, docker, registry, swarm, webhook
from lictor.engines.protocols import ContainerEngine, Scheduler, TaskEnder

from support.paths import HANDLERS

CONTAINER_ENGINES: dict[str, ContainerEngine] = {"docker": docker, "compose": compose}
SCHEDULERS: dict[str, Scheduler] = {"swarm": swarm, "command": command, "webhook": webhook}
TASK_ENDERS: dict[str, TaskEnder] = {"swarm": swarm}


def test_each_engine_is_found_by_its_name() -> None:
    assert dict(registry.CONTAINER_ENGINES) == CONTAINER_ENGINES
    assert dict(registry.SCHEDULERS) == SCHEDULERS
    assert dict(registry.TASK_ENDERS) == TASK_ENDERS
    assert registry.CONTAINER_ENGINES.get("nomad") is None


def test_a_node_loads_no_library_before_there_is_something_to_do_with_it() -> None:
    code = (f"import sys; sys.path.insert(0, {str(HANDLERS)!r}); from lictor.events import survey, timer; "
            "print(*sys.modules)")
    loaded = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"click", "consul", "docker", "jinja2", "requests", "rich", "tenacity", "yaml"} & set(loaded.split())
