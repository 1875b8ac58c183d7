"""What the README shows to copy is what lictor takes, and the defaults that it names are those."""

import re
import tomllib
from typing import Any

import pytest
import yaml

from lictor.spec import service_spec
from lictor.spec.settings import parse_settings

from support.paths import REPOSITORY

with open(REPOSITORY / "README.md", encoding="utf-8") as _file:
    _TEXT = _file.read()
_YAML, _TOML = (re.findall(rf"^```{kind}\n(.*?)^```$", _TEXT, re.DOTALL | re.MULTILINE) for kind in ("yaml", "toml"))


def test_all_keys_of_a_spec_are_there_with_their_defaults() -> None:
    (table,) = [each for each in map(yaml.safe_load, _YAML) if "placement" in each]
    assert sorted(table) == sorted(service_spec.Spec.__struct_fields__)
    shown = {"name", "image", "port", "route", "check"}
    least = service_spec.parse_spec({key: table[key] for key in shown}, "README")
    assert service_spec.parse_spec(table, "README") == least
    assert least.check == service_spec.Check(http="/health") and least.route == service_spec.Route("/")


@pytest.mark.parametrize("text", _TOML)
def test_the_settings_are_taken(text: str) -> None:
    settings = parse_settings(tomllib.loads(text), "README")
    assert settings.command or settings.webhook


@pytest.mark.parametrize("table", [each for each in map(yaml.safe_load, _YAML) if "name" not in each])
def test_what_is_shown_of_a_spec_is_taken(table: dict[str, Any]) -> None:
    assert service_spec.parse_spec({"name": "books", "image": "books:1", "port": 80, **table}, "README")
