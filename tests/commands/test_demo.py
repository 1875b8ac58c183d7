"""The README's first command, as a newcomer runs it."""

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

import pytest

from lab.leftovers import processes_naming
from support import isolation, pages
from support.paths import REPOSITORY


@pytest.mark.daemons
def test_every_step_is_reached_no_request_fails_and_nothing_stays_behind(tmp_path: Path) -> None:
    summary_path = tmp_path / "summary.json"
    folder = tempfile.mkdtemp(prefix="demo-", dir="/tmp")  # short: a socket's path may have 107 bytes
    argv = isolation.outside(str(REPOSITORY / "scripts/demo"), "--json", str(summary_path))  # where its Docker may run
    demo = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            env={**os.environ, "TMPDIR": folder})
    try:
        output, _ = demo.communicate(timeout=170)
    finally:
        demo.terminate()
        demo.wait(60)
    assert demo.returncode == 0, output
    assert pages.matches(shown_by_readme(), output), output
    summary = json.loads(summary_path.read_text())
    assert len(summary["steps"]) == 7 and all(step["seconds"] >= 0 for step in summary["steps"])
    assert summary["requests"] > 500 and summary["unexplained_failures"] == 0
    assert processes_naming(folder) == {}
    bridge = isolation.outside("ip", "link", "show", f"lictor{demo.pid}")
    assert subprocess.run(bridge, capture_output=True).returncode == 1
    os.rmdir(folder)  # which is empty


def shown_by_readme() -> str:
    """Return what README shows of a run, without what differs from run to run: times, counts, whose Docker it is."""
    [step] = [step for block in pages.blocks(REPOSITORY / "README.md", "console") for step in pages.steps(block)
              if step.command == "scripts/demo"]
    differing = re.compile(r"[ \d]+\.\d s|^\d+ (?=[ir])|\d+(?= failed)|(?<=\()\d+|Docker, ", re.MULTILINE)
    return differing.sub("...", step.shown).replace("unexplained)", "unexplained)...")
