"""Looking at everything all the time: is it well, what runs, and how does it stand at the end."""

import contextlib
import http.client
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterable

from lab.chaos import verdict
from lab.chaos.sampler import Sampler
from lab.chaos.timeline import Sample, Standing
from lab.chaos.world import SERVICES, WANTED, World

_EVERY_S = 0.5
_ERRORS = (OSError, ValueError, AssertionError, subprocess.SubprocessError, http.client.HTTPException)


class Watch(Sampler):
    """Samples from a thread of its own. `draining`: by container's id, when it was last seen not to drain."""

    def __init__(self, world: World, say: Callable[[str], None]) -> None:
        super().__init__()
        self.world, self.say = world, say
        self.samples: list[Sample] = []
        self.draining: dict[str, float] = {}

    @property
    def trouble(self) -> str:
        """Why not everything was well when it was last looked at."""
        return self.samples[-1].trouble if self.samples else "not looked at yet"

    def _run(self) -> None:
        while not self._ending.is_set():
            began = time.time()
            sample = self._look(began)
            if self.samples and self.samples[-1].trouble and not sample.trouble:
                self.say("    all is well again")
            self.samples.append(sample)
            self._ending.wait(_EVERY_S)

    def _look(self, at: float) -> Sample:
        running: frozenset[str] = frozenset()
        try:
            containers = self.world.containers()
            running = frozenset(each["id"] for each in containers)
            checks = self.world.ask_agent("/v1/agent/checks")
            self._note_drains(checks, {each["name"]: each["id"] for each in containers})
            troubles = (self._trouble(each, containers, checks) for each in SERVICES.values())
            return Sample(at, next(filter(None, troubles), ""), running)
        except _ERRORS as error:
            return Sample(at, f"{type(error).__name__}: {error}"[:200], running)

    def _trouble(self, service: str, containers: list[dict[str, str]], checks: dict[str, dict[str, str]]) -> str:
        mine = {each["id"]: each for each in containers if each["service"] == service}
        if len(mine) != WANTED or any(each["status"] != "running" for each in mine.values()):
            return f"{service}: {len(mine)} containers run"
        if self.world.passing(service) != set(mine):
            return f"{service}: not just those that run pass"
        # The agent knows first: a change that a server denied reaches the catalogue minutes later.
        if any(each["Status"] != "passing" for each in checks.values() if each["ServiceName"] == service):
            return f"{service}: not all pass at their own agent"
        if {each.partition("/")[0] for each in self.world.answering(service)} != {
                each["name"] for each in mine.values()}:
            return f"{service}: not just those that run answer"
        return ""

    def _note_drains(self, checks: Iterable[str], ids: dict[str, str]) -> None:
        """By what the agent has in maintenance; one that is gone is not forgotten."""
        marked = [each.split(":") for each in checks
                  if each.startswith("_service_maintenance:")]  # _service_maintenance:HOST:CONTAINER:PORT
        draining = {ids[words[2]] for words in marked if len(words) > 2 and words[2] in ids}
        before = self.samples[-1].at if self.samples else 0.0
        for container in ids.values():
            if container in draining:
                self.draining.setdefault(container, before)
            else:
                self.draining.pop(container, None)


def judge(world: World) -> list[str]:
    """Name what is not as it must be at the end, or cannot be seen."""
    try:
        return verdict.standing(stand(world))
    except _ERRORS as error:
        return [f"it cannot be seen how things stand: {type(error).__name__}: {error}"]


def stand(world: World) -> Standing:
    """Look at everything once; raises OSError and the like when that cannot be seen."""
    containers = world.containers()
    checks = world.ask_agent("/v1/agent/checks") or {}
    planned = world.node.run("plan")
    told = world.node.run("status", "--json")
    assert told.returncode == 0, told.stderr
    return Standing(
        wanted=dict.fromkeys(SERVICES.values(), WANTED),
        running=[(each["service"], each["number"], each["name"]) for each in containers],
        passing=_passing(world, {each["id"]: each["name"] for each in containers}),
        served={service: _answering(world, service) for service in SERVICES.values()},
        maintenance=[each for each in checks if each.startswith(("_service_maintenance", "_node_maintenance"))],
        sessions=world.list_leaked_sessions(),
        ended=sorted(set(world.impostors) - set(world.docker.docker("ps", "-q", "--no-trunc").split())),
        locks=world.server.request("GET", "/v1/kv/lictor/locks/?keys") or [],
        temporaries=_files(world.node.folder, lambda name, _: name.startswith(".") and name.endswith(".tmp")),
        garbage=_files(world.node.nginx.conf_dir, lambda _, path: "evil" in _text(path)),
        plan="" if planned.returncode == 0 and planned.stdout.strip() == "nothing to do" else
        (planned.stdout + planned.stderr).strip(),
        says={each["name"]: each["says"] for each in json.loads(told.stdout)},
    )


def _passing(world: World, names: dict[str, str]) -> dict[str, list[str]]:
    return {service: [names.get(each, each) for each in world.passing(service)] for service in SERVICES.values()}


def _answering(world: World, service: str) -> list[str]:
    return sorted({each.partition("/")[0] for each in world.answering(service)})


def _files(folder: str, wanted: Callable[[str, str], bool]) -> list[str]:
    paths = [(name, os.path.join(where, name)) for where, _, names in os.walk(folder) for name in names]
    return sorted(path for name, path in paths if wanted(name, path))


def _text(path: str) -> str:
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
    return ""
