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
