"""One node on which the handbook's pages are told, command by command: real Consul, nginx, a Swarm of one, lictor."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Container
from pathlib import Path

from lab.daemon import wait_for
from lab.node import QUICK, Node
from lab.swarm import Swarm
from support import pages
from support.paths import REPOSITORY

# A command that only asks is repeated until it prints what the page shows: a reader would look again too.
VERBS_THAT_ASK = ("status", "plan", "why", "doctor", "autoscale", "watches", "logs", "validate", "schema", "replay")
_ASKS = re.compile(r"(?:curl|cat|ls|grep|docker (?:ps|service ls|inspect)|consul (?:kv get|catalog)|"
                   rf"lictor (?:{'|'.join(VERBS_THAT_ASK)}))\b")
_PATIENCE_S = 60.0
_LIMIT_S = 200.0
# On a starved machine instances may take longer than people would have them take.
_PATIENTLY = {"interval: 1s, timeout: 1s": "interval: 1s, timeout: 20s", "deadline: 30s": "deadline: 120s"}


class Story:
    """Use as `with Story(folder) as story`. A page's paths, such as /var/lib/lictor, are those of this node; commands
    that are `passed_over` are not run."""

    def __init__(self, folder: Path, *, passed_over: Container[str] = ()) -> None:
        self.folder, self.home, self.passed_over = folder, folder / "home", passed_over
        self.broken_off = ""  # where; the pages after it would find another node than they describe
        for name in ("engine", "node", "srv"):
            (folder / name).mkdir()
        shutil.copytree(REPOSITORY / "examples", self.home / "examples")
        for path in (self.home / "examples").rglob("*.yaml"):
            path.write_text(self.local(path.read_text()))
        self.engine = Swarm(str(folder / "engine"))
        self.node = Node(str(folder / "node"), self.engine, keep_data=True, mode="reload",
                         settings=QUICK + self._example_settings())
        self._listen_on_port_80()

    def __enter__(self) -> "Story":
        try:
            self.engine.start()
            self._build_base()
            self.node.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.node.stop()
        finally:
            self.engine.stop()

    def tell(self, page: Path) -> None:
        """Run all commands of a page; an AssertionError says which one printed something else than is shown."""
        for block in pages.blocks(page, "console"):
            for step in pages.steps(block):
                if step.command in self.passed_over:
                    continue
                assert not self.broken_off, f"not told, as {self.broken_off} comes first"
                self.broken_off = step.where
                printed = self.run(step)
                assert pages.matches(step.shown, printed), (
                    f"{step.where}: $ {step.command}\n--- the page shows\n{step.shown}--- it printed\n{printed}")
                self.broken_off = ""

    def run(self, step: pages.Step) -> str:
        """Run the command of a step, more than once if it only asks; return what it printed last."""
        printed = ""

        def is_shown() -> bool:
            nonlocal printed
            printed = self.output(step.command)
            return pages.matches(step.shown, printed)

        with contextlib.suppress(AssertionError):  # the caller says what was printed instead
            wait_for(is_shown, step.command, _PATIENCE_S if _ASKS.match(step.command) else 0, every_s=0.2)
        return printed

    def output(self, command: str) -> str:
        """Return stdout and stderr as one, and what the exit code is if it is not 0."""
        environ = {**os.environ, **self.node.environ, "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}",
                   "DOCKER_BUILDKIT": "0", "COMPOSE_API_VERSION": "auto", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(["bash", "-c", self.local(command)], env=environ, cwd=self.home, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=_LIMIT_S)
        failure = f"(exit code {done.returncode})\n" if done.returncode else ""
        return self._as_shown(done.stdout) + failure

    def local(self, text: str) -> str:
        """A page's text with the paths of this node, and times for a starved one."""
        for shown, patient in _PATIENTLY.items():
            text = text.replace(shown, patient)
        for shown, path in self._paths().items():
            text = re.sub(rf"(?<![\w/.]){re.escape(shown)}\b", path, text)
        return text

    def _as_shown(self, text: str) -> str:
        for shown, path in sorted(self._paths().items(), key=lambda pair: -len(pair[1])):
            text = text.replace(path, shown)
        return text

    def _paths(self) -> dict[str, str]:
        folder = self.folder
        return {"/etc/lictor": f"{folder}/node", "/var/lib/lictor": f"{folder}/node/state", "/srv": f"{folder}/srv",
                "/etc/nginx/lictor": f"{folder}/node/nginx/lictor", "/etc/consul.d": f"{folder}/node/consul/consul.d",
                "/opt/lictor": sys.prefix}

    def _example_settings(self) -> str:
        """Those of examples/ansible, with the Ansible of the tests, and of examples/compose."""
        text = "\n".join((REPOSITORY / f"examples/{name}/lictor.toml").read_text() for name in ("ansible", "compose"))
        return self.local(text).replace('"ansible-playbook"', f'"{sys.prefix}/bin/ansible-playbook"')

    def _listen_on_port_80(self) -> None:
        """As a user's own nginx does; the test has a network of its own."""
        nginx = self.node.nginx
        main_conf = Path(nginx.main_conf)
        main_conf.write_text(main_conf.read_text().replace(f"listen 127.0.0.1:{nginx.port};", "listen 80;"))
        nginx.port, nginx.url = 80, "http://127.0.0.1"

    def _build_base(self) -> None:
        """busybox:stable, from which examples/image is built: nothing is pulled."""
        with_busybox = self.folder / "busybox"
        with_busybox.mkdir()
        shutil.copy("/bin/busybox", with_busybox)
        (with_busybox / "Dockerfile").write_text("FROM scratch\nCOPY busybox /bin/busybox\nENV PATH=/bin\n")
        self.engine.docker("build", "-q", "-t", "busybox:stable", str(with_busybox))
