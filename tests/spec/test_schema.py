"""The JSON schema beside the validation: it refuses nothing that is taken, and takes only what it cannot tell."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
import yaml

from lictor import errors
from lictor.spec import spec_file
from lictor.spec.input import schema

from support import pages
from support.paths import REPOSITORY
from support.spec_files import LEAST, RULES, TAKEN, WRONG, is_beyond_schemas, list_specs, whole


@pytest.fixture(scope="module")
def check() -> Callable[[Any], Any]:
    return fastjsonschema.compile(schema.make())


def refuses(check: Callable[[Any], Any], text: str) -> bool:
    """Whether an editor, which reads YAML its own way, has something to say."""
    try:
        check(yaml.load(text, yaml.CSafeLoader))
    except (fastjsonschema.JsonSchemaException, yaml.YAMLError, RecursionError, KeyError):  # KeyError: of a tag
        return True
    return False


@pytest.mark.parametrize("text", TAKEN)
def test_what_is_taken_is_taken_by_the_schema(check: Callable[[Any], Any], text: str) -> None:
    spec_file.load(whole(text), "/srv/books/books.yaml")
    check(yaml.load(whole(text), yaml.CSafeLoader))


@pytest.mark.parametrize(("text", "said"), [each for each in WRONG if len(each[0]) < 500])
def test_what_is_refused_is_refused_by_the_schema_as_far_as_it_can_tell(check: Callable[[Any], Any], text: str,
                                                                        said: str) -> None:
    assert refuses(check, LEAST + text) is not is_beyond_schemas(text, said)


@pytest.mark.parametrize("text", RULES)
def test_rules_between_keys_are_told(check: Callable[[Any], Any], text: str) -> None:
    with pytest.raises(errors.Refused):
        spec_file.load(whole(text), "/srv/books/books.yaml")
    assert refuses(check, whole(text))


def test_every_spec_in_the_repository_is_taken(check: Callable[[Any], Any]) -> None:
    found = [*list_specs()]
    for table in found:
        check(table)
    assert len(found) > 50


def test_each_key_is_described_and_offered(check: Callable[[Any], Any]) -> None:
    made = schema.make()
    for heading in ("All keys", "route", "check", "release", "resources"):
        for key, *_ in pages.table(REPOSITORY / "docs/spec.md", f"## {heading}"):
            top = made["properties"] if heading == "All keys" else next(
                form["properties"] for form in made["properties"][heading].get("anyOf", [made["properties"][heading]])
                if "properties" in form)
            assert len(top[key]["description"]) > 10, key
    assert made["properties"]["drain"]["description"] == "At most so long an instance drains. Default: 30s."


def test_no_value_stands_twice_in_a_list_of_values() -> None:
    """The YAML language server takes no such schema, though its standard does."""
    def walk(value: Any) -> Iterator[list[Any]]:
        if isinstance(value, dict):
            yield from [value["enum"]] if isinstance(value.get("enum"), list) else []
        for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from walk(each)

    lists = [[json.dumps(each) for each in values] for values in walk(schema.make())]
    assert len(lists) > 20 and all(len(set(values)) == len(values) for values in lists)


def test_the_command_prints_it() -> None:
    import click.testing

    from lictor.cli import main

    done = click.testing.CliRunner().invoke(main.main, ["schema"])
    assert done.exit_code == 0 and json.loads(done.stdout) == schema.make()


def test_the_page_that_describes_the_keys_is_the_handbooks() -> None:
    assert (Path(schema.__file__).parent / "spec.md").resolve() == REPOSITORY / "docs/spec.md"
