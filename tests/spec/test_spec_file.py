"""A spec as a person writes it: what is refused, and in which words; and what it is brought into."""

import json
from pathlib import Path
from typing import Any

import pytest

from lictor import errors
from lictor.cli import apply
from lictor.spec import service_spec, spec_file

LEAST = "name: books\nimage: books:1\nport: 8080\n"


def read(text: str) -> dict[str, Any]:
    table = spec_file.read(LEAST + text, "/srv/books/books.yaml")
    table = spec_file.convert(table, "books.yaml")
    json.dumps(table, allow_nan=False).encode()
    return table


@pytest.mark.parametrize(("text", "said"), [
    ("route: {path: /n, hots: a}", "unknown key route.hots; known are path, host"),
    ("replicas: {least: 1}", "unknown key replicas.least; known are initial, min, max"),
    ("project: {foldr: /srv}", "unknown key project.foldr; known are folder, file, name, service"),
    ("hots: a", "unknown key hots; known are name, engine, "),
    ("replicas: 3", "replicas is '3'; it must be a table with the keys initial, min, max"),
    ("route: /books", "route is '/books'; it must be a table with the keys path, host"),
    ("replicas: {max: many}", "replicas.max is 'many'; it must be a whole number"),
    ("replicas: {max: 010}", "replicas.max is '010'; it must be a whole number"),
    ("replicas: {max: 1_0}", "replicas.max is '1_0'; it must be a whole number"),
    ("resources: {cpus: .nan}", "resources.cpus is '.nan'; it must be a number"),
    ("resources: {cpus: nan}", "resources.cpus is nan; it must be within 0..1024"),
    ("read_only: yes", "read_only is 'yes'; it must be true or false"),
    ("user: []", "user is []; it must be a string"),
    ("user: ", "user is None; it must be a string"),
    ("logging: {options: {max-file: }}", "logging.options.max-file is None; it must be a string"),
    ("environment: [1]", "environment.1 has no value, and there is nobody's to pass through; write 1=VALUE"),
    ("environment: [PATH]", "environment.PATH has no value, and there is nobody's to pass through; write PATH=VALUE"),
    ("environment: {PATH: null}", "environment.PATH has no value"),
    ("environment: {PATH: ~}", "environment.PATH has no value"),
    ("environment: {PATH: }", "environment.PATH has no value"),
    ("environment: ['']", "environment holds a value without a name; write NAME=VALUE"),
    ("environment: ['=x']", "environment holds a value without a name"),
    ("environment: {'': x}", "environment holds a value without a name"),
    ("environment: !!set {A, B}", "environment has the tag 'tag:yaml.org,2002:set'; write the value without a tag in "),
    ("labels: {a: !secret b}", "labels.a has the tag '!secret'; write the value without a tag in "),
    ("labels: {[a]: b}", "labels holds a key that is no text in "),
    ('labels: {a: "\\ud800"}', "labels.a holds '\\ud800'; it must be text that UTF-8 can hold, without a zero byte"),
    ('labels: {"\\ud800": a}', "labels holds the key '\\ud800'; it must be text that UTF-8 can hold"),
    ('"\\ud800": a', "it holds the key '\\ud800'; it must be text"),
    ('environment: {A: "x\\0y"}', "environment.A holds 'x\\x00y'; it must be text that UTF-8 can hold, without a zero"),
    ("labels: {a: b, a: c}", 'a stands twice in "/srv/books/books.yaml", line 4'),
    ("labels: {a: b}\nname: other", 'name stands twice in "/srv/books/books.yaml", line 5, column 1'),
    ("labels:\n  a: b\n  a: c", 'labels.a stands twice in "/srv/books/books.yaml", line 6, column 3'),
    ("read_only: !!bool maybe", "read_only has the tag 'tag:yaml.org,2002:bool'; write the value without a tag in "),
    ("labels: {<<: a}", "<< is not followed by a table in "),
    ("labels: &a {b: *a}", "/srv/books/books.yaml: is nested too deeply, or holds itself"),
    ("labels: {a: '\a'}", "/srv/books/books.yaml: line 4 holds '\\x07', which YAML does not allow"),
    ("check: {http: /, interval: 0s}", "interval is 0s; it must be at least 1ms"),
    ("check: {http: /, timeout: 0.0004s}", "timeout is 0.0004s; it must be at least 1ms"),
    ("check: {http: /, timeout: 0s}", "timeout is 0s; it must be at least 1ms"),
    ("heal: {budget: -1}", "heal.budget is -1; it must be within 0..1000"),
    ("heal: {per: 0s}", "heal.per is 0s; it must be within 1s..24h"),
    ("release: {deadline: 0s, healthy_for: 0s}", "release.deadline is 0s; it must be within 1s..8760h"),
    ("release: {healthy_for: 2m}", "release.healthy_for is 120s; it must be within the deadline, 60s"),
    ("drain: 8761h", "drain is 8761h; it must be within 0s..8760h"),
    (f"check: {{http: /, interval: {'9' * 400}h}}", "is infh; it must be at most 1000000h"),
    ("release: {keep: 99999h}", "release.keep is 99999h; it must be within 0s..8760h"),
    ("resources: {memory: 64}", "resources.memory is 64 bytes; it must be within 4m..65536g, or 0 for no limit"),
    ("resources: {memory: 65537g}", "bytes; it must be within 4m..65536g"),
    ("route: {path: /b}\nautoscale: {}", "autoscale: exactly one of p50, p95 and p99 is allowed; given: none"),
    ("route: {path: /b}\nautoscale: {p95: 250ms, p99: 1s}", "p50, p95 and p99 is allowed; given: p95, p99"),
    ("route: {path: /b}\nautoscale: {p90: 250ms}", "unknown key autoscale.p90; known are p50, p95, p99, window, "),
    ("route: {path: /b}\nautoscale: {p95: 250}", "autoscale.p95: '250' is no duration"),
    ("route: {path: /b}\nautoscale: {p95: 0s}", "autoscale.p95 is 0s; it must be within 1ms..60s"),
    ("route: {path: /b}\nautoscale: {p95: 2m}", "autoscale.p95 is 120s; it must be within 1ms..60s"),
    ("route: {path: /b}\nautoscale: {p95: 1s, window: 10s}", "autoscale.window is 10s; it must be within 20s..5m"),
    ("route: {path: /b}\nautoscale: {p95: 1s, down_after: 2h}", "autoscale.down_after is 2h; it must be within 1m..1h"),
    ("route: {path: /b}\nautoscale: {p95: 1s, ignore: [health]}",
     "autoscale.ignore holds 'health'; it must be paths such as /health"),
    ("route: {path: /b}\nautoscale: {p95: 1s, ignore: /health}", "autoscale.ignore is '/health'; it must be a list"),
    (f"route: {{path: /b}}\nautoscale: {{p95: 1s, ignore: [{', '.join(['/h'] * 21)}]}}",
     "autoscale.ignore has 21 paths; it may have 20"),
    ("route: {path: /b}\nautoscale: 250ms", "autoscale is '250ms'; it must be a table with the keys p50, p95, p99"),
    ("autoscale: {p95: 250ms}", "autoscale needs a route: nginx measures the response times"),
    ("engine: none\nroute: {path: /b}\nautoscale: {p95: 250ms}", "this one's engine is none"),
    ("volumes: ['a:/a']", "volumes holds 'a:/a'; it must be SOURCE:/TARGET or SOURCE:/TARGET:MODE"),
    ("volumes: ['/a:/b:ro,quickly']", "volumes holds '/a:/b:ro,quickly'; it must be"),
    ("env_file: ['']", "env_file is ''; it must be a file's path"),
    ("volumes: [nonsense]", "volumes holds 'nonsense'; it must be SOURCE:/TARGET"),
    ("volumes: ['data:relative']", "volumes holds 'data:relative'"),
    ("x: [", 'in "/srv/books/books.yaml", line 4'),
    (f"x: {'[' * 3000}", "/srv/books/books.yaml: is nested too deeply, or holds itself"),
    ("x0: &x0 [1, 1]\n" + "\n".join(f"x{n}: &x{n} [*x{n - 1}, *x{n - 1}]" for n in range(1, 40)),
     "/srv/books/books.yaml: holds more than 10000 values, each alias counted as what it stands for"),
    ("x0: &x0 {a: 1, b: 1}\n" + "\n".join(f"x{n}: &x{n} {{<<: [*x{n - 1}, *x{n - 1}]}}" for n in range(1, 40)),
     "/srv/books/books.yaml: holds more than 10000 values, each alias counted as what it stands for"),
])
def test_what_is_wrong_is_said_with_its_key(text: str, said: str) -> None:
    with pytest.raises(errors.Refused) as refused:
        read(text)
    assert said in str(refused.value) and str(refused.value).count("\n") == 0


def test_an_image_that_is_a_number_is_shown() -> None:
    with pytest.raises(errors.Refused, match=r"x: image is 1.0; it must be a string"):
        service_spec.parse_spec({"name": "books", "image": 1.0}, "x")
    with pytest.raises(errors.Refused, match="x: environment.DEBUG is True; it must be a string or a whole number"):
        service_spec.parse_spec({"name": "books", "image": "i", "environment": {"A": "1", "DEBUG": True}}, "x")
    with pytest.raises(errors.Refused, match="x: logging.options.max-file is True; it must be a string"):
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
    table = spec_file.convert(spec_file.read("name: books\nimage: 1.10\n", "x.yaml"), "x.yaml")
    assert table["image"] == "1.10"
    with pytest.raises(errors.Refused, match="port is '22:22'; it must be 1 to 65535"):
        spec_file.convert(spec_file.read("name: books\nimage: b\nport: 22:22\n", "x.yaml"), "x.yaml")


def test_what_is_stored_has_numbers_and_flags_and_a_reader_of_json_takes_it() -> None:
    table = read("replicas: {initial: 2, max: 5}\nread_only: true\nresources: {cpus: 0.50, memory: 64m}\n"
                 "check: {tcp: true, interval: 2s}\nheal: {budget: 4, per: 10m}\nroute: ~\n")
    assert table == {"name": "books", "image": "books:1", "port": 8080, "replicas": {"initial": 2, "max": 5},
                     "read_only": True, "resources": {"cpus": 0.5, "memory": "64m"},
                     "check": {"tcp": True, "interval": "2s"}, "heal": {"budget": 4, "per": "10m"}, "route": None}
    assert service_spec.parse_spec(table, "").replicas.max == 5


def test_an_alias_and_a_merge_key_stand_for_what_they_name() -> None:
    table = read("labels: &l {a: b, c: d}\nlogging: {options: *l}\nenvironment: {<<: [*l, {e: f}], a: x}\n")
    assert table["logging"]["options"] == {"a": "b", "c": "d"}
    assert table["environment"] == {"a": "x", "c": "d", "e": "f"}


def test_a_port_without_tcp_cannot_be_asked() -> None:
    for more in ("route: {path: /}", "check: {tcp: true}", "release: {smoke: /x}"):
        with pytest.raises(errors.Refused, match="port is '8080/udp'; a route, a check and a smoke path ask by TCP"):
            spec_file.convert(spec_file.read(f"name: b\nimage: b:1\nport: 8080/udp\n{more}\n", "x.yaml"), "x.yaml")


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
    table = spec_file.read(text, "books.json")
    spec_file.convert(table, "books.json")
    assert table["labels"] == {"\U0001f4da": "\U0001f600 and \ufeff"}


def test_what_is_checked_is_what_is_read_from_consul() -> None:
    for odd in (float("nan"), "\ud800"):
        with pytest.raises(errors.Refused, match="^x: cannot be stored as JSON: "):
            spec_file.convert({"name": "books", "image": "books:1", "labels": {"a": odd}}, "x")


def test_a_file_needs_no_name_of_its_own_when_it_is_given_one(tmp_path: Path) -> None:
    path = tmp_path / "books.yaml"
    path.write_text("image: books:1\n")
    assert apply.read([str(path)], name="acme")[0][1]["name"] == "acme"


@pytest.mark.parametrize("text", ["env_file: books.env", "volumes: ['./data:/data']"])
def test_a_relative_path_needs_a_folder(text: str) -> None:
    with pytest.raises(errors.Refused, match="and there is no folder that this is relative to; write the whole path"):
        spec_file.read(LEAST + text, "/dev/stdin")
    assert spec_file.read(LEAST + "env_file: /srv/books.env", "/dev/stdin")["env_file"] == ["/srv/books.env"]


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
