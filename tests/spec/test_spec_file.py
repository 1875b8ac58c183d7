"""A spec as a person writes it: what is refused, and in which words; and what it is brought into."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lictor import errors
from lictor.cli.specs import files
from lictor.spec import service_spec, spec_file

from support.spec_files import LEAST, WRONG


def read(text: str) -> dict[str, Any]:
    table = spec_file.load(LEAST + text, "/srv/books/books.yaml")
    json.dumps(table, allow_nan=False).encode()
    return table


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_what_is_wrong_is_said_with_its_key(text: str, said: str) -> None:
    with pytest.raises(errors.Refused) as refused:
        read(text)
    assert said in str(refused.value) and str(refused.value).count("\n") == 0


def test_an_image_that_is_a_number_is_shown() -> None:
    with pytest.raises(errors.Refused, match=r"x: image is 1.0; it must be a string"):
        service_spec.parse_spec({"name": "books", "image": 1.0}, "x")
    with pytest.raises(errors.Refused, match="x: environment.DEBUG is true; it must be a string or a whole number"):
        service_spec.parse_spec({"name": "books", "image": "i", "environment": {"A": "1", "DEBUG": True}}, "x")
    with pytest.raises(errors.Refused, match="x: logging.options.max-file is true; it must be a string"):
        service_spec.parse_spec({"name": "books", "image": "i", "logging": {"options": {"max-file": True}}}, "x")


def test_what_was_written_stays_as_it_was_written() -> None:
    """YAML 1.1 takes these for 493, 1.1, 2013, true, false, a date, infinity, 16, and no number at all."""
    odd = {"MODE": "0755", "VERSION": "1.10", "IDS": "33:33", "DEBUG": "true", "COUNTRY": "no", "ON": "on",
           "BORN": "2020-01-01", "NEVER": "2020-13-45", "FAR": "-.inf", "SIZE": "0x10", "MANY": "1_000", "E": "1e3",
           "OCTAL": "012", "LONG": "9" * 5000}
    lines = "".join(f"  {name}: {value}\n" for name, value in odd.items())
    table = read(f"environment:\n{lines}labels:\n{lines}  1: a\nuser: 33:33\n"
                 "logging: {options: {max-file: 0x10, compress: true}}\n")
    assert table["environment"] == odd and table["labels"] == {**odd, "1": "a"} and table["user"] == "33:33"
    assert table["logging"]["options"] == {"max-file": "0x10", "compress": "true"}
    table = spec_file.load("name: books\nimage: 1.10\n", "x.yaml")
    assert table["image"] == "1.10"
    with pytest.raises(errors.Refused, match="port is '22:22'; it must be 1 to 65535"):
        spec_file.load("name: books\nimage: b\nport: 22:22\n", "x.yaml")


def test_what_is_stored_has_numbers_and_flags_and_a_reader_of_json_takes_it() -> None:
    table = read("replicas: {initial: 2, max: 5}\nread_only: true\nresources: {cpus: 0.50, memory: 64m}\n"
                 "check: {tcp: true, interval: 2s}\nheal: {budget: 4, per: 10m}\nroute: ~\n")
    assert table == {"name": "books", "image": "books:1", "port": 8080, "replicas": {"initial": 2, "max": 5},
                     "read_only": True, "resources": {"cpus": 0.5, "memory": "64m"},
                     "check": {"tcp": True, "interval": "2s"}, "heal": {"budget": 4, "per": "10m"}, "route": None}
    assert service_spec.parse_spec(table, "").replicas.max == 5
    table = read("route: [/a, {path: /b, strip: true, timeout: 5s, settings: {on: true}}]\n")
    assert table["route"] == [
        {"path": "/a"}, {"path": "/b", "strip": True, "timeout": "5s", "settings": {"on": "true"}}]
    assert service_spec.parse_spec(table, "").routes[1].strip


def test_an_alias_and_a_merge_key_stand_for_what_they_name() -> None:
    table = read("labels: &l {a: b, c: d}\nlogging: {options: *l}\nenvironment: {<<: [*l, {e: f}], a: x}\n")
    assert table["logging"]["options"] == {"a": "b", "c": "d"}
    assert table["environment"] == {"a": "x", "c": "d", "e": "f"}


def test_a_port_without_tcp_cannot_be_asked() -> None:
    for more in ("route: {path: /}", "route: [/]", "check: {tcp: true}", "release: {smoke: /x}"):
        with pytest.raises(errors.Refused, match="port is '8080/udp'; a route, a check and a smoke path ask by TCP"):
            spec_file.load(f"name: b\nimage: b:1\nport: 8080/udp\n{more}\n", "x.yaml")


def test_numbers_and_paths_are_brought_into_one_form() -> None:
    table = read("user: 1000\nlabels: {rank: 1, alone: }\nlogging: {options: {max-file: 3, max-size: 10m}}\n"
                 "resources: {cpus: 0.50}\nenvironment: {A: 1, B: ''}\nenv_file: 'books.env '\n"
                 "volumes: [' ./data:/data', '../up:/up:ro', 'named:/named', '/abs:/abs', '/alone']\n")
    assert (table["user"], table["labels"]) == ("1000", {"rank": "1", "alone": ""})
    assert table["logging"] == {"options": {"max-file": "3", "max-size": "10m"}}
    assert table["env_file"] == ["/srv/books/books.env"]
    assert table["volumes"] == ["/srv/books/data:/data", "/srv/up:/up:ro", "named:/named", "/abs:/abs", "/alone"]
    assert service_spec.parse_spec(table, "").environment_table == {"A": "1", "B": ""}


def test_json_may_write_one_character_as_two_halves() -> None:
    text = json.dumps({"name": "books", "image": "books:1", "labels": {"\U0001f4da": "\U0001f600 and \ufeff"}})
    assert "\\ud83d\\ude00" in text
    table = spec_file.load(text, "books.json")
    spec_file.convert(table, "books.json")
    assert table["labels"] == {"\U0001f4da": "\U0001f600 and \ufeff"}


def test_what_is_checked_is_what_is_read_from_consul() -> None:
    for odd in (float("nan"), "\ud800"):
        with pytest.raises(errors.Refused, match="^x: cannot be stored as JSON: "):
            spec_file.convert({"name": "books", "image": "books:1", "labels": {"a": odd}}, "x")


def test_a_file_needs_no_name_of_its_own_when_it_is_given_one(tmp_path: Path) -> None:
    path = tmp_path / "books.yaml"
    path.write_text("image: books:1\n")
    assert files.read([str(path)], name="acme")[0][1]["name"] == "acme"


def test_another_host_is_for_a_single_route() -> None:
    for route, said in (("[/a, /b]", "route is a list; a host ('a.b') is for one"), ("", "route is missing; a host")):
        with pytest.raises(errors.Refused, match=f"^x.yaml: {re.escape(said)}"):
            spec_file.load(f"{LEAST}route: {route}\n", "x.yaml", name="acme", host="a.b")


@pytest.mark.parametrize("text", ["env_file: books.env", "volumes: ['./data:/data']"])
def test_a_relative_path_needs_a_folder(text: str) -> None:
    with pytest.raises(errors.Refused, match="and there is no folder that this is relative to; write the whole path"):
        spec_file.load(LEAST + text, "/dev/stdin")
    assert spec_file.load(LEAST + "env_file: /srv/books.env", "/dev/stdin")["env_file"] == ["/srv/books.env"]


@pytest.mark.parametrize("image", ["books", "books:1.0", "registry.example.com:5000/team/books-service:V1", "a__b/c-d",
                                   f"books@sha256:{'a' * 64}", f"books:1@sha512:{'0' * 128}", "localhost/books",
                                   "books:_1"])
def test_what_docker_takes_for_an_image_is_one(image: str) -> None:
    assert service_spec.parse_image(image, "docker") == image


@pytest.mark.parametrize("image", ["", "foo:bar:baz@@", "Foo/Bar:1", "books:", "/books", "books/", "a" * 256, "a b",
                                   "books@sha256:12", "-books", "books:.1", "a___b", f"books@sha256:{'a' * 63}",
                                   f"books@sha256:{'A' * 64}", f"books@md5:{'a' * 32}"])
def test_what_docker_does_not_take_is_none(image: str) -> None:
    with pytest.raises(ValueError, match="it must be an image's name"):
        service_spec.parse_image(image, "docker")


@pytest.mark.parametrize(("engine", "is_taken"), [("docker", False), ("swarm", False), ("command", True),
                                                  ("webhook", True), ("none", True)])
def test_only_docker_asks_for_its_own_grammar(engine: str, is_taken: bool) -> None:
    table = {"name": "books", "engine": engine, "image": "releases/V2"}
    if is_taken:
        spec_file.convert(table, "x")
        return
    with pytest.raises(errors.Refused, match="x: image is 'releases/V2'; .* in lower case but for the tag"):
        spec_file.convert(table, "x")


@pytest.mark.parametrize("harmless", [
    {"image": "Foo/Bar:1"}, {"heal": {"budget": -1, "per": "0s"}}, {"release": {"deadline": "0s"}}, {"drain": "99999h"},
    {"resources": {"memory": 64}}, {"volumes": ["nonsense"]}, {"environment": ["PATH"]}, {"env_file": "books.env"},
])
def test_what_was_good_once_is_read_as_ever(harmless: dict[str, Any]) -> None:
    assert (
        service_spec.parse_spec({"name": "books", "image": "books:1", "port": "8080/udp", **harmless}, "").name
        == "books"
    )


def test_a_target_of_response_time_stays_as_it_was_written() -> None:
    table = read("route: {path: /b}\nautoscale: {p99: 1s, window: 2m, down_after: 10m, ignore: [/health]}\n")
    assert table["autoscale"] == {"p99": "1s", "window": "2m", "down_after": "10m", "ignore": ["/health"]}
    autoscale = service_spec.parse_spec(table, "").autoscale
    assert autoscale and (autoscale.share, autoscale.target_s, autoscale.window) == (0.99, 1.0, 120.0)
