"""The engines by their names in a spec. A new engine is a module of that name, and its name here."""

import importlib
from collections import UserDict
from typing import Any, TypeVar

from lictor.engines.protocols import ContainerEngine, Scheduler, TaskEnder

Engine = TypeVar("Engine")


class _Engines(UserDict[str, Engine]):
    """An engine's module is imported when it is looked up first: few nodes have use for every engine's library."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.data: dict[str, Any] = dict.fromkeys(names)

    def __getitem__(self, name: str) -> Engine:
        if self.data[name] is None:
            self.data[name] = importlib.import_module(f"lictor.engines.{name}")
        found: Engine = self.data[name]
        return found


CONTAINER_ENGINES = _Engines[ContainerEngine]("docker", "compose")
SCHEDULERS = _Engines[Scheduler]("swarm", "command", "webhook")
TASK_ENDERS = _Engines[TaskEnder]("swarm")
