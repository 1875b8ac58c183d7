"""The engines by their names in a spec. A new engine is a module, and a line here."""

from lictor.engines import command, compose, docker, swarm, webhook
from lictor.engines.protocols import ContainerEngine, Scheduler, TaskEnder

CONTAINER_ENGINES: dict[str, ContainerEngine] = {"docker": docker, "compose": compose}
SCHEDULERS: dict[str, Scheduler] = {"swarm": swarm, "command": command, "webhook": webhook}
TASK_ENDERS: dict[str, TaskEnder] = {"swarm": swarm}
