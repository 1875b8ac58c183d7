"""Asking every verb how it is, all through a chaos run: no two may contradict each other."""

import contextlib
import http.client
import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lab.chaos.agreement import Check, Round, Said, contradictions
from lab.chaos.sampler import Sampler
from lab.chaos.world import SERVICES, World

_EVERY_S = 10.0
_PATIENCE_S = 30.0
_ROUNDS_EACH = 3  # that why and `status NAME` are asked about one service, before another one's turn comes
_ERRORS = (OSError, ValueError, AssertionError, subprocess.SubprocessError, http.client.HTTPException)


class Asking(Sampler):
    """Asks from a thread of its own. What is contradictory is asked once more at once, and counts if it is the same
    then. `failed` counts the answers that could not be had."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.rounds: list[Round] = []
        self.answers = self.failed = 0

    def _run(self) -> None:
        while not self._ending.is_set():
            began = time.monotonic()
            at, swept_at = time.time(), self._read_sweep()
            service = list(SERVICES.values())[len(self.rounds) // _ROUNDS_EACH % len(SERVICES)]
            found = frozenset(contradictions(self._ask(service)))
            if found:
                found &= frozenset(contradictions(self._ask(service)))
            self.rounds.append(Round(at, swept_at, found))
            self._ending.wait(max(_EVERY_S - (time.monotonic() - began), 0))

    def _ask(self, service: str) -> Said:
        """Ask all verbs side by side, and those that tell of one service for this one."""
        asked = [("status",), ("plan",), ("doctor",), ("why", service, "-n", "0"), ("status", service)]
        with ThreadPoolExecutor(len(asked)) as pool:
            status, plan, doctor, story, page = pool.map(lambda words: self._read(*words), asked)
        return Said(status, plan, {service: story["now"]} if story else {}, {service: page[0]} if page else {},
                    self._read_check(), doctor, self._read_shown())

    def _read(self, *words: str) -> Any:
        """Read a verb's answer; None if it has none, which is told by exit code 75 or an error."""
        with contextlib.suppress(*_ERRORS):
            done = self.world.node.run(*words, "--json", timeout_s=_PATIENCE_S)
            answer = json.loads(done.stdout)
            self.answers += 1
            return answer
        self.failed += 1
        return None

    def _read_shown(self) -> str | None:
        with contextlib.suppress(*_ERRORS):
            done = self.world.node.run("status", timeout_s=_PATIENCE_S)
            return done.stdout if done.returncode == 0 else None
        return None

    def _read_check(self) -> Check | None:
        with contextlib.suppress(*_ERRORS):
            check = self.world.ask_agent("/v1/agent/checks")["lictor-reconcile"]
            return Check(check["Status"], tuple(check["Output"].splitlines()))
        return None

    def _read_sweep(self) -> float:
        """Read when the last sweep ended; 0.0: it is unknown."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError), \
                open(os.path.join(self.world.node.settings.state_dir, "summary.json"), encoding="utf-8") as file:
            return float(json.load(file)["at"])
        return 0.0
