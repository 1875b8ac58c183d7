"""A file with several mistakes: all are told at once, each with its line, and nothing that follows from them."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lictor import errors
from lictor.spec import service_spec, spec_file

PATH = "/srv/books/books.yaml"


def told(text: str, path: str = PATH) -> list[str]:
    with pytest.raises(errors.Refused) as refused:
        spec_file.load(text, path)
    texts = [*refused.value.texts]
    assert str(refused.value) == "\n".join(texts) and all(text.startswith(path) for text in texts)
    return [text.removeprefix(path) for text in texts]


def begins(text: str, *expected: str) -> None:
    found = told(text)
    assert len(found) == len(expected) and all(map(str.startswith, found, expected)), found


def test_each_mistake_has_its_line() -> None:
    begins("""\
name: Books
image: books:1
hots: a
route:
  path: api
  hots: x
replicas: {initial: 3, max: 1}
user:
drain: soon
environment:
  A:
  B: x
  C:
volumes:
- data:/data
- nonsense
- ./here:relative
resources: {cpus: lots, memory: 1m}
heal: {budget: -1, per: 0s}
labels:
  a: !x b
  c: d
  c: e
""",
           ":1: name is 'Books'; it must be 1 to 63", ":3: unknown key hots; did you mean route.host?",
           ":5: route.path is 'api'", ":6: unknown key route.hots; did you mean host?",
           ":7: replicas: the counts are min 0, initial 3, max 1", ":8: user is empty; it must be a string",
           ":9: drain: 'soon' is no duration", ":11: environment.A has no value", ":13: environment.C has no value",
           ":16: volumes holds 'nonsense'", ":17: volumes holds '/srv/books/here:relative'",
           ":18: resources.cpus is 'lots'", ":18: resources.memory is 1048576 bytes; it must be within 4m",
           ":19: heal.per is 0s", ":19: heal.budget is -1", ":21: labels.a has the tag '!x'",
           ":23: labels.c stands twice")


@pytest.mark.parametrize(("text", "expected"), [
    ("nme: books\nimage: b", [":1: unknown key nme; did you mean name?"]),
    ("name: !x books\nimage: b", [":1: name has the tag '!x'"]),
    ("name: b\nimgae: b", [":2: unknown key imgae; did you mean image?"]),
    ("name: b\nengine: dokcer\nproject: {folder: srv}", [":2: engine is 'dokcer'; did you mean docker?",
                                                         ":3: project.folder is 'srv'"]),
    ("name: b\nimage: b\nport: 99999\nroute: /b\nautoscale: {p95: 1s}", [":3: port is '99999'"]),
    ("name: b\nimage: b\nport: 80\nroute: {path: b}\nautoscale: {p95: 1s}", [":4: route.path is 'b'"]),
    ("name: b\nimage: b\nport: 80\nroute: {}\nautoscale: {p95: 1s}", [":4: route.path is missing"]),
    ("name: b\nimage: b\nroute: /b\ncheck: {}", [":3: route needs a port", ":4: check: exactly one of"]),
    ("name: b\nimage: b\nrelease: {deadline: x, healthy_for: 2m}", [":3: release.deadline: 'x' is no duration"]),
    ("name: b\nimage: b\nengine: command\nuser: a\nread_only: true\nport: 80", [
        ":4: user is for containers that lictor makes", ":5: read_only is for containers that lictor makes"]),
    ("name: b\nimage: b\nx: 1\nx: 2\ny: 3", [":3: unknown key x", ":4: x stands twice", ":5: unknown key y"]),
    ("name: b\nimage: b\nlogging: {options: {a: }}\ncap_drop: [[]]\nvolumes: [{}]", [
        ":3: logging.options.a is empty", ":4: cap_drop[0] is []", ":5: volumes[0] is {}"]),
])
def test_nothing_is_told_that_follows_from_another_mistake(text: str, expected: list[str]) -> None:
    begins(text, *expected)


def test_json_has_lines_too_and_may_be_indented_by_tabs() -> None:
    table: dict[str, Any] = {"name": "books", "image": "books:1", "labels": {"a\tb": "c\td"}, "hots": 1, "drain": -1}
    text = json.dumps(table, indent="\t").replace(": ", ":\t")
    assert [each.partition(";")[0] for each in told(text)] == [":7: unknown key hots", ":8: drain: '-1' is no duration"]
    del table["hots"], table["drain"]
    assert spec_file.load(json.dumps(table, indent="\t"), PATH) == table


@pytest.mark.parametrize(("text", "names"), [
    ("version: '3'\nservices:\n  web: {image: a}\n  db: {image: b}\n", "web, db"),
    ("services: {a: {image: x}, b: {image: x}, c: {image: x}, d: {image: x}}", "a, b, c, ..."),
    ("name: shop\nservices: {web: {image: a}}", "web"), ("web: {build: .}\ndb: {image: b}", "web, db"),
    ("services: {web: {ports: [80]}}\nvolumes: {data: }", "web"),
])
def test_a_compose_file_is_told_as_one(text: str, names: str) -> None:
    assert told(text, "/srv/shop/docker-compose.yml") == [
        f": this is a Compose file, with {names}. A spec is about one service. With `engine: compose` and `project: "
        "{folder: /srv/shop}` it runs one of such a file (docs/engines.md)"]
    assert "`project: {folder: ...}`" in told(text, "/dev/stdin")[0]


@pytest.mark.parametrize("text", ["services: [a]\nname: b", "services:\nname: b", "route: {path: /}\ncheck: {http: /}",
                                  "services: {}\nname: b"])
def test_what_is_no_compose_file_is_told_as_a_spec(text: str) -> None:
    assert not any("Compose" in each for each in told(text))


def test_so_many_mistakes_are_enough() -> None:
    assert len(told("name: b\nimage: b\n" + "".join(f"x{n}y: 1\n" for n in range(500)))) <= 100


KEYS = [*service_spec.Spec.__struct_fields__, "cpus", "mem_limit", "hots"]
BELOW = ["path", "host", "initial", "max", "http", "tcp", "interval", "kind", "name", "folder", "soft", "nofile", "A",
         "options", "driver", "cpus", "memory", "test", "p95", "ignore", "strategy", "x"]
SCALARS = st.sampled_from(["", "a", "books:1", "/a", "8080", "-1", "5s", "true", "none", "docker", "compose", "etcd",
                           None, "A=b", "data:/d", "a b", "9" * 30, "10.0.0.1"])
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
    st.sampled_from(BELOW), inner, max_size=4), max_leaves=8)


@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=8))
def test_whatever_a_file_holds_it_is_told_by_lines_or_taken(table: dict[str, Any]) -> None:
    try:
        stored = spec_file.load(json.dumps(table, indent=1), PATH)
    except errors.Refused as refused:
        texts = refused.texts
    else:
        assert service_spec.parse_spec(stored, "").name == stored["name"]
        return
    assert all(re.match(rf"{PATH}:\d+: |{PATH}: (?:this is a Compose|holds no keys)", text) for text in texts)
    assert len(set(texts)) == len(texts) and not any("[...]" in text for text in texts)
