"""The demo: one service behind nginx is scaled, killed, broken and scaled down again, under steady requests."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lab.client import Client
from lab.daemon import wait_for
from lab.docker import Docker, running_engine
from lab.node import Node

_SERVICE = "books-service"
_IMAGE = "lictor-demo-books:1.0"
_STEP_LIMIT_S = 60.0


class Timeline:
    """Prints each step as it begins and ends, and keeps the seconds."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.steps: list[dict[str, Any]] = []

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.began:6.1f} s] {text}", flush=True)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.say(f"{name} ...")
        began = time.monotonic()
        yield
        seconds = round(time.monotonic() - began, 2)
        self.steps.append({"name": name, "seconds": seconds})
        self.say(f"{name}: done in {seconds:.1f} s")


def main(argv: list[str] | None = None) -> int:
    arguments = _arguments(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    timeline = Timeline()
    folder = tempfile.mkdtemp(prefix="lictor-demo-")
    engine = running_engine(folder)
    node = Node(folder, engine, keep_data=True)  # an agent without a data folder forgets registrations at a reload
    failed: AssertionError | None = None
    try:
        with timeline.step("Consul, nginx and lictor come up" if engine.external else
                           "Docker, Consul, nginx and lictor come up"):
            _come_up(engine, node)
        summary = _act(node, timeline)
        _report(summary, arguments.json)
        if arguments.keep:
            _keep(node)
    except AssertionError as error:
        failed = error
        print(f"\nFAILED: {error}\n\nWhat the handlers said last:\n{node.log()[-3000:]}", file=sys.stderr)
    finally:
        _leave_nothing(node, engine, folder)
    return 1 if failed or summary["unexplained_failures"] else 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    options = argparse.ArgumentParser(prog="scripts/demo", description=__doc__, epilog="Everything runs on free ports "
                                      "of 127.0.0.1 and in a temporary folder; nothing is left behind.")
    options.add_argument("--keep", action="store_true", help="afterwards leave it running, to play with, until Ctrl-C")
    options.add_argument("--json", metavar="FILE", help="write the summary there as well")
    return options.parse_args(argv)


def _come_up(engine: Docker, node: Node) -> None:
    engine.start()
    taken = engine.containers(f"name=^{_SERVICE}-")
    assert not taken, f"this Docker has containers of such names already: {', '.join(taken)}"
    engine.build_books(_IMAGE)
    node.start()


def _act(node: Node, timeline: Timeline) -> dict[str, Any]:
    with timeline.step("lictor apply: the first instance is served"):
        node.apply(image=_IMAGE)
        node.wait_served(f"{_SERVICE}-1", timeout_s=_STEP_LIMIT_S)
    with Client(node.nginx.port, "/api/v1/books", pause_s=0.05) as client:
        stage = _Stage(node, client, timeline)
        wait_for(lambda: client.last_answer, "the clients get answers", _STEP_LIMIT_S)
        stage.scale(3)
        killed_at = stage.kill()
        stage.break_health()
        stage.scale(2)
        time.sleep(1)  # the last changes are over: what would fail now is counted too
    lost = [each for each in client.failures if killed_at <= each.at <= killed_at + 1]
    return {
        "requests": client.requests, "failures": len(client.failures), "in_flight_in_the_killed_container": len(lost),
        "unexplained_failures": len(client.failures) - len(lost),
        "resets_of_reused_connections": client.resets_of_reused,
        "failed_requests": sorted({each.seen for each in client.failures}), "steps": timeline.steps,
    }


class _Stage:
    """The steps, each of which ends when nginx serves what it should."""

    def __init__(self, node: Node, client: Client, timeline: Timeline) -> None:
        self.node, self.client, self.timeline = node, client, timeline

    def scale(self, count: int) -> None:
        before = len(self._answering())
        key = f"services/{_SERVICE}/replicas"
        with self.timeline.step(f"consul kv put {key} {count}: nginx serves {before} -> {count}"):
            subprocess.run(["consul", "kv", "put", key, str(count)], check=True,
                           env={**os.environ, **self.node.environ}, capture_output=True)
            self._wait(lambda: len(self._answering()) == count, f"nginx serves {count} instances")
        if count < before:
            with self.timeline.step(f"the surplus is drained and removed: {before} -> {count} containers"):
                self._wait(lambda: len(self._containers()) == count, f"{count} containers are left")

    def kill(self) -> float:
        """Kill an instance; the moment of the kill."""
        victim = self._containers()[0]
        boots = {each for each in self._answering() if each.startswith(f"{victim}/")}
        with self.timeline.step(f"docker kill {victim}: recreated and served again"):
            killed_at = time.monotonic()
            self.node.docker.docker("kill", victim)
            self._wait(lambda: len(self._answering()) == 3 and not boots & self._answering(),
                       f"{victim} is served again")
        return killed_at

    def break_health(self) -> None:
        victim = self._containers()[0]
        boots = {each for each in self._answering() if each.startswith(f"{victim}/")}
        with self.timeline.step(f"{victim}'s health check breaks: replaced, drained and removed"):
            self.node.docker.docker("exec", victim, "busybox", "rm", "/www/health")
            self._wait(lambda: len(self._answering()) == 3 and not boots & self._answering()
                       and victim not in self._containers(), f"another one stands in for {victim}")

    def _answering(self) -> set[str]:
        """Who has answered within the last half second."""
        return self.client.answered_since(time.monotonic() - 0.5)

    def _containers(self) -> list[str]:
        return self.node.docker.containers(f"label=lictor.service={_SERVICE}", "status=running")

    def _wait(self, condition: Callable[[], object], what: str) -> None:
        wait_for(condition, what, _STEP_LIMIT_S)


def _report(summary: dict[str, Any], path: str | None) -> None:
    print(f"\n{summary['requests']} requests, {summary['failures']} failed"
          f" ({summary['in_flight_in_the_killed_container']} of them in flight in the container that was killed; "
          f"{summary['unexplained_failures']} unexplained)", *summary["failed_requests"])
    print(f"{summary['resets_of_reused_connections']} idle kept-alive connections were closed by nginx's reloads "
          "just as the client wrote; clients send those again by themselves")
    if path:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(summary, file, indent=2)


def _keep(node: Node) -> None:
    print("\nIt goes on running until Ctrl-C. To play with it:")
    print("".join(f"  export {name}={value}\n" for name, value in node.environ.items())
          + f"  curl {node.nginx.url}/api/v1/books\n"
          f"  consul kv put services/{_SERVICE}/replicas 4\n"
          f"  {os.path.join(sys.prefix, 'bin', 'lictor')} status\n"
          f"  http://{node.consul.address}/ui", flush=True)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        print()


def _leave_nothing(node: Node, engine: Docker, folder: str) -> None:
    node.stop()
    engine.stop()
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main())
