"""Verbs that people know from other tools: they are told which verb does that here, and it exists."""

import re

import click
import pytest
from click.testing import CliRunner

from lictor.cli.main import VERBS, main
from lictor.cli.shell import hints

KNOWN = {verb for verbs in VERBS.values() for verb in verbs}


@pytest.mark.parametrize(("word", "named"), [
    ("ps", "status"), ("ls", "status"), ("rm", "remove"), ("down", "remove"), ("events", "why"), ("history", "why"),
    ("stop", "scale"), ("up", "apply"), ("restart", "deploy"), ("statsu", "status"), ("rolback", "rollback"),
])
def test_a_verb_that_is_none_is_explained(word: str, named: str) -> None:
    done = CliRunner().invoke(main, [word, "books"])
    assert done.exit_code == 2 and done.stdout == ""
    assert done.stderr.startswith(f"Error: there is no verb `{word}`; ") and f"`lictor {named}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("word", ["xyzzy", "\x1b[31m", "a\nb", "x" * 1000, "²"])
def test_any_other_word_is_told_where_the_verbs_are(word: str) -> None:
    done = CliRunner().invoke(main, [word])
    assert done.exit_code == 2 and done.stderr.endswith("`lictor --help` lists the verbs\n")
    assert "\x1b" not in done.stderr and len(done.stderr) < 150 and len(done.stderr.splitlines()) == 1


def test_options_in_front_of_a_verb_are_still_explained_by_themselves() -> None:
    assert "No such option" in CliRunner().invoke(main, ["--jason", "ps"]).stderr
    assert "there is no verb `ps`" in CliRunner().invoke(main, ["--config", "x", "ps"]).stderr


@pytest.mark.parametrize("word", hints.HINTS)
def test_hints_name_verbs_and_options_that_there_are(word: str) -> None:
    assert word not in KNOWN
    commands = re.findall(r"`lictor ([^`]+)`", hints.HINTS[word])
    assert commands
    for command in commands:
        verb, *rest = command.split()
        assert verb in {*KNOWN, "VERB", "--help", "--version"}, command
        if verb in KNOWN:
            found = main.get_command(click.Context(main), verb)
            options = {each for parameter in found.params for each in parameter.opts} if found else set()
            assert {each for each in rest if each.startswith("-")} <= {*options, "--help"}, command
