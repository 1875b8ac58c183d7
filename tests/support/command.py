"""The command `lictor` as people run it, with a settings file and folders of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab import forked
from lab.consul import Consul


def begin(words: Sequence[str], environ: Mapping[str, str], *, stdin: int = subprocess.DEVNULL,
          stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """Run `lictor` beside the test. It heeds SIGINT, though a shell in the background may have us ignore it."""
    heeding = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen([f"{sys.prefix}/bin/lictor", *words], stdout=stdout, stderr=subprocess.PIPE, text=True,
                                env=environ, stdin=stdin)
    finally:
        signal.signal(signal.SIGINT, heeding)


class Command:
    """Calling it runs `lictor` with these words to its end."""

    def __init__(self, consul: Consul, folder: Path) -> None:
        self.folder = folder
        settings = folder / "lictor.toml"
        settings.write_text(f'state_dir = "{folder}/state"\n[nginx]\nconf_dir = "{folder}/nginx"\n')
        os.makedirs(folder / "state" / "routes")
        self.environ = {**os.environ, **consul.environ, "LICTOR_CONFIG": str(settings)}

    def __call__(self, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """`given` is what it may read on stdin."""
        return forked.lictor(words, environ=self.environ, given=given)

    def begin(self, *words: str, stdin: int = subprocess.DEVNULL,
              stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
        """Run it beside the test."""
        return begin(words, self.environ, stdin=stdin, stdout=stdout)

    def file(self, name: str, content: object) -> str:
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    def status(self) -> list[dict[str, Any]]:
        return list(json.loads(self("status", "--json").stdout))
