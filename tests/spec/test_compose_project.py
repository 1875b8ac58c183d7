"""The spec's key `project`, and what is refused beside it."""

from typing import Any

import pytest

from lictor import errors
from lictor.planner import desired
from lictor.spec import compose_project, service_spec

SPEC: dict[str, Any] = {"name": "books", "engine": "compose", "image": "books:1", "port": 8080,
                        "project": {"folder": "/srv/books"}}


def test_a_compose_spec_needs_little_and_its_project_is_part_of_the_release() -> None:
    spec = service_spec.parse_spec(SPEC, "test")
    moved = service_spec.parse_spec({**SPEC, "project": {"folder": "/srv/other books"}}, "test")
    assert desired.fingerprint(spec) != desired.fingerprint(moved)


@pytest.mark.parametrize(("keys", "said"), [
    ({"project": None}, "project is missing; engine compose needs its folder"),
    ({"engine": "docker"}, "project is for engine compose only, and engine is 'docker'"),
    ({"environment": {"A": "1"}, "volumes": ["/a"]}, "engine compose but in the compose file"),
    ({"resources": {"cpus": 1}}, "resources is for containers that lictor makes"),
    ({"logging": {"driver": "none"}}, "logging is for containers that lictor makes"),
    ({"read_only": True}, "read_only is for containers that lictor makes"),
    ({"port": "127.0.0.1::8080"}, "give its number alone"),
    ({"project": {}}, "project.folder is missing; it must be a string"),
    ({"project": {"folder": "/srv/books", "profile": "x"}}, "unknown key project.profile"),
    ({"project": {"folder": "srv/books"}}, "must be a folder's whole path"),
    ({"project": {"folder": "/srv/../etc"}}, "must be a folder's whole path"),
    ({"project": {"folder": "/srv/.."}}, "must be a folder's whole path"),
    ({"project": {"folder": "/srv/./books"}}, "must be a folder's whole path"),
    ({"project": {"folder": "/srv/bo\noks"}}, "must be a folder's whole path"),
    ({"project": {"folder": "/srv/books", "file": "../x.yml"}}, "file is '../x.yml'; it must be a plain name"),
    ({"project": {"folder": "/srv/books", "file": "--help"}}, "file is '--help'; it must be a plain name"),
    ({"project": {"folder": "/srv/books", "name": "-Books"}}, "must be a Compose project's name"),
    ({"project": {"folder": "/srv/books", "service": "-d"}}, "service is '-d'; it must be a plain name"),
    ({"project": {"folder": "/srv/books", "service": "x"}, "release": {"strategy": "blue-green"}},
     "project.service is for rolling"),
])
def test_what_does_not_fit_is_refused(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(errors.Refused) as caught:
        service_spec.parse_spec({**SPEC, **keys}, "test")
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "extension"), [
    ("blue: {image: i}", {"blue": {"image": "i"}}),
    ("services: {blue: {image: i}}", {"services": {"blue": {"image": "i"}}}),
    ("version: '3.4'\nservices: {}", {"version": "3.4", "services": {"blue": {"image": "i"}}}),
    ("services: {blue: {ports: !reset []}}", {"services": {"blue": {"image": "i"}}}),
    ('{"services": {"blue": {}}}', {"services": {"blue": {"image": "i"}}}),
])
def test_what_extends_a_file_is_of_its_version(text: str, extension: dict[str, Any]) -> None:
    assert compose_project.extension(text, "f", "blue", {"image": "i"}) == extension
    assert compose_project.is_version_1(text, "f") == ("services" not in extension)


@pytest.mark.parametrize(("text", "said"), [("", "f: is no compose file"), ("- a", "f: is no compose file"),
                                            ("a: [", "f: while parsing")])
def test_what_is_no_compose_file_is_refused(text: str, said: str) -> None:
    with pytest.raises(errors.Refused, match=said):
        compose_project.is_version_1(text, "f")


@pytest.mark.parametrize(("output", "shown"), [  # what docker-compose 1.29 printed, and Docker through it
    ('Invalid interpolation format for "environment" option in service "blue": "hunter2$"', '"blue": "(left out)"'),
    ('Invalid interpolation format for "labels" option in service "blue": "-----\nA "hunter2": "x"\n$"\n',
     '"blue": "(left out)"'),
    ("Missing mandatory value for \"environment\" option interpolating {'A': '${X:?set it}', 'B': 'hunter2 in service "
     "\\\"'} in service \"blue\": set it", 'option interpolating (left out) in service "blue": set it'),
    ('services.blue.environment.A contains {"a": "hunter2"}, which is an invalid type, it should be a string, number',
     "A contains (left out), which is an invalid type, it should be a string, number"),
    ('services.blue.environment contains ["hunter2"], which is an invalid type', "contains (left out), which"),
    ('services.blue.environment contains "hunter2", which is an invalid type', "contains (left out), which"),
    ("services.blue.environment contains non-unique items, please remove duplicates from ['A=hunter2', 'A=hunter2']",
     "remove duplicates from (left out)"),
    ("services.blue.labels value ['A=hunter2', 'A=hunter2'] has non-unique elements", "(left out) has non"),
    ("Cannot create container for service blue: invalid environment variable: =hunter2\nEncountered errors",
     "invalid environment variable: (left out)\nEncountered errors"),
    ("Unsupported config option for services.blue: 'nonsense'", "blue: 'nonsense'"),
    ("services.blue.ports contains an invalid type, it should be a number", "contains an invalid type, it"),
])
def test_a_value_that_compose_repeats_may_be_a_secret(output: str, shown: str) -> None:
    found = compose_project.without_values(output)
    assert shown in found and "hunter2" not in found


@pytest.mark.parametrize("text", [
    "services:\n  blue:\n    environment:\n      A: hunter2: x", "services:\n  blue: {environment: {A: \"hunter2",
    "services:\n  a: *hunter2", "services:\n  a: &hunter2 [1}", "services:\n\t- hunter2",
    "services:\n  a: {b: @hunter2}", "a: b\n%hunter2 x",
])
def test_a_file_that_is_no_yaml_is_refused_by_its_line_and_not_with_it(text: str) -> None:
    with pytest.raises(errors.Refused, match="(?s)^compose.yml: .* in .*line [0-9]+, column") as raised:
        compose_project.is_version_1(text, "compose.yml")
    assert "hunter2" not in str(raised.value)
