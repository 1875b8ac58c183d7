"""The README's first command, as a newcomer runs it."""

import json
import re
from pathlib import Path

import pytest

from support import leaving, pages
from support.paths import REPOSITORY


@pytest.mark.daemons
def test_every_step_is_reached_no_request_fails_and_nothing_stays_behind(tmp_path: Path) -> None:
    summary_path = tmp_path / "summary.json"
    code, output = leaving.run(REPOSITORY / "scripts/demo", "--json", summary_path, timeout_s=240,
                               outside=True)  # where its Docker may run
    assert code == 0, output
    assert pages.matches(shown_by_readme(), output), output
    summary = json.loads(summary_path.read_text())
    assert len(summary["steps"]) == 7 and all(step["seconds"] >= 0 for step in summary["steps"])
    assert summary["requests"] > 100 and summary["unexplained_failures"] == 0


def shown_by_readme() -> str:
    """Return what README shows of a run, without what differs from run to run: times, counts, whose Docker it is."""
    [step] = [step for block in pages.blocks(REPOSITORY / "README.md", "console") for step in pages.steps(block)
              if step.command == "scripts/demo"]
    differing = re.compile(r"[ \d]+\.\d s|^\d+ (?=[ir])|\d+(?= failed)|(?<=\()\d+|Docker, ", re.MULTILINE)
    return differing.sub("...", step.shown).replace("unexplained)", "unexplained)...")
