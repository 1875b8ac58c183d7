"""All the faults by their names, and carrying one out: it never hangs, is undone in any case, and leaves a record."""

import random
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from typing import Generic

from lab.chaos import container_faults, data_faults, process_faults, token_faults
from lab.chaos.doing import Fault, M, NotDone
from lab.chaos.timeline import Done
from lab.chaos.world import World

FAULTS: dict[str, Fault[World]] = {
    "container killed": container_faults.kill_container,
    "container stopped": container_faults.stop_container,
    "container paused": container_faults.pause_briefly,
    "container paused for long": container_faults.pause_for_long,
    "impostor": container_faults.run_impostor,
    "health broken": container_faults.break_health,
    "handler killed": process_faults.kill_handler,
    "agent restarted": process_faults.restart_agent,
    "server frozen": process_faults.freeze_server,
    "docker restarted": process_faults.restart_docker,
    "nginx killed": process_faults.kill_nginx,
    "nginx refuses": process_faults.break_nginx_conf,
    "clock set": process_faults.set_clock,
    "disk full": process_faults.fill_disk,
    "bad keys": data_faults.write_bad_keys,
    "garbage registered": data_faults.register_garbage,
    "state damaged": data_faults.damage_state,
    "token taken away": token_faults.take_tokens,
    "token rotated": token_faults.rotate_token,
}
_LIMIT_S = 300.0  # for one fault and its undoing, each wait in which has a limit of its own
_ERRORS = (NotDone, OSError, ValueError, AssertionError, subprocess.SubprocessError)


class Mischief(Generic[M]):
    """Faults under way, each in a thread of its own, at most one of a kind. `records` holds those that are over."""

    def __init__(self, world: M, say: Callable[[str], None], faults: Mapping[str, Fault[M]]) -> None:
        self.world, self.say, self.faults = world, say, faults
        self.records: list[Done] = []
        self.failures: list[str] = []  # what could not be undone
        self._threads: dict[str, threading.Thread] = {}

    def begin(self, kind: str, seed: int) -> None:
        """Start a fault; `seed` is for all that it leaves to chance."""
        before = self._threads.get(kind)
        if before and before.is_alive():
            self._record(Done(kind, "", time.time(), time.time(), False, "the one before is still under way"))
            return
        self._threads[kind] = threading.Thread(target=self._carry_out, args=(kind, random.Random(seed)), daemon=True)
        self._threads[kind].start()

    def end(self) -> None:
        """Have everything undone, and wait for it."""
        self.world.ending.set()
        deadline = time.monotonic() + _LIMIT_S
        for kind, thread in self._threads.items():
            thread.join(max(deadline - time.monotonic(), 0))
            if thread.is_alive():
                self.failures.append(f"{kind} was not undone within {_LIMIT_S:g} s")

    def _carry_out(self, kind: str, chance: random.Random) -> None:
        began, doing = time.time(), None
        try:
            with self.faults[kind](self.world, chance) as doing:
                self.say(f"{kind}: {doing.target}, {doing.detail}")
                self.world.ending.wait(doing.hold_s)
        except _ERRORS as error:
            what = f"{type(error).__name__}: {error}" if not isinstance(error, NotDone) else str(error)
            if doing is None:
                self._record(Done(kind, "", began, time.time(), False, what[:300]))
            else:
                self.failures.append(f"{kind} {doing.target} could not be undone: {what}")
        if doing:
            self._record(Done(kind, doing.target, doing.began or began, time.time(), True, doing.detail, doing.victim))

    def _record(self, done: Done) -> None:
        self.records.append(done)
        if not done.done:
            self.say(f"{done.kind}: not done: {done.detail}")
