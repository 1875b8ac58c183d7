"""Programs that lictor runs are run for their versions; those of the user are only looked for."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from lictor import errors
from lictor.cli.main import main
from lictor.cli.setup import doctor, findings, programs
from lictor.cli.setup.findings import Finding


@pytest.mark.parametrize(("name", "text", "says"), [
    ("docker", "#!/bin/sh\n[ $1 = --version ] && echo Docker 1", "bin/docker: Docker 1"),
    ("nginx", "#!/bin/sh\n[ $1 = -v ] && echo nginx/1 >&2", "bin/nginx: nginx/1"),
    ("docker-compose", "#!/bin/sh\necho no docker module >&2; exit 1", "--version fails: no docker module"),
    ("ansible-playbook", "#!/not/there/python3\n", "bin/ansible-playbook --version fails: "),
    ("page", "#!/bin/sh\ntouch $0.run\n", "bin/page is there; it is not run"),  # it may act, whatever it is told
    ("page", "#!/usr/bin/env -S sh -e\n", "bin/page is there"),
    ("page", "#!/not/there/python3\n", "page is run by /not/there/python3, which is not there"),
    ("page", "#!/usr/bin/env not-there\n", "page is run by not-there, which is not there"),
    ("page", "", "bin/page is there"),
    ("other", "", "page is not there, or may not be run. PATH is "),
])
def test_a_program_is_run_or_else_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str,
                                             says: str) -> None:
    (tmp_path / "bin").mkdir()
    path = tmp_path / "bin" / name
    path.write_text(text)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    try:
        said = programs.require("page" if name == "other" else name)
    except errors.Refused as error:
        said = str(error)
    assert says in said and not os.path.exists(f"{path}.run")


def test_a_value_that_no_rule_foresees_is_a_finding_of_its_own_test() -> None:
    def fail() -> str:
        raise ValueError("odd")

    test = findings.Probe("a", fail, "mend it", "b")
    assert findings.find(test, None) == Finding("a", False, "unreadable: ValueError('odd')", "mend it")
    for needed, is_run in ((Finding("b", True, ""), True), (Finding("b", None, "", is_remark=True), True),
                           (Finding("b", None, ""), False), (Finding("b", False, ""), False)):
        assert (findings.find(test, needed).verdict == findings.FAILED) is is_run


FOUND = [Finding("a", True, "well"), Finding("b", None, "off", "do", is_remark=True),
         Finding("c", None, "not tested: x")]


@pytest.mark.parametrize(("further", "code"), [([], 0), ([Finding("d", False, "down", "start it")], 1)])
def test_a_remark_is_neither_well_nor_a_failure(monkeypatch: pytest.MonkeyPatch, further: list[Finding],
                                                code: int) -> None:
    monkeypatch.setattr(doctor, "examine", lambda *_, **__: [*FOUND, *further])
    done = CliRunner().invoke(main, ["doctor"])
    assert done.exit_code == code
    assert done.output.splitlines()[:4] == ["ok   a: well", "note b: off", "     remedy: do", "?    c: not tested: x"]
    done = CliRunner().invoke(main, ["doctor", "--json"])
    tables = json.loads(done.output)
    assert done.exit_code == code and [each["verdict"] for each in tables] == [
        findings.OK, findings.REMARK, findings.UNTESTED, *[findings.FAILED for _ in further]]
    assert [each["ok"] for each in tables] == [True, None, None, *[False for _ in further]]
