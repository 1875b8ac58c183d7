"""The JSON schema beside the validation: it refuses nothing that is taken, and takes only what it cannot tell."""

import ast
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
from support.spec_files import LEAST, WRONG

# What no schema can tell: amounts within bounds, one value beside another, texts by their characters, names that stand
# twice (a reader keeps the last one), and numbers in forms that another reader of YAML understands.
BEYOND = ("0.0004s}", "2m}", "2h}", "10s}", "8761h", "99999h}", "is infh", "65537g}", "stands twice",
          "holds 'x\\x00y'", "'010'", "'1_0'", "'.nan'", "'yes'", "unknown key cpus", "env_file is ''")
TAKEN = [
    "replicas: 3", "replicas: '3'", "replicas: {initial: 1, max: '5'}", "route: /api", "check: /health", "cpus: '0.5'",
    "cpus: 2", "mem_limit: 64m", "drain: 30", "drain: '30'", "drain: 1m30s", "resources: {cpus: '0.5', memory: 128MiB}",
    "resources: {memory: 67108864}", "user: 1000", "user: 33:33", "port: ~", "route: ", "check: null", "project: ",
    "read_only: true", "read_only: 'true'", "environment: {A: 1, B: true, C: 1.5, D: ''}", "environment: [A=, B=x=y]",
    "labels: {a: , b: 1}", "labels: [a, b=c]", "env_file: books.env", "env_file: [a, /b]", "command: a b",
    "command: [a, 1]", "volumes: [./data:/data, ../up:/up:ro, named:/n, /abs:/abs, /alone]", "networks: []",
    "route: {path: /b, match: exact, host: a.example.com, aliases: [b.example.com, '*.c.example.com']}",
    "route: /b\nautoscale: {p95: 250ms, window: 60, ignore: [/status]}", "check: {tcp: true, start: 60}",
    "check: {http: /h, interval: 500ms}", "logging: {driver: syslog, options: {max-file: 3}}",
    "release: {strategy: blue-green, smoke: /s, keep: 10m}", "heal: {budget: 0, per: 24h}", "image: 1.10",
    "engine: swarm\nplacement: {constraints: [node.role==manager], spread: [node.labels.zone]}",
    "engine: compose\nproject: {folder: /srv/a b, file: c.yml, name: d, service: e}", "engine: none",
    "engine: command", "traffic: any", "node: n-1", "port: 127.0.0.1::8080", "port: '8080/udp'",
    "tmpfs: /run\nulimits: {nofile: 5, core: {soft: 0, hard: -1}}", "extra_hosts: ['db:10.0.0.5']", "init: true",
    "extra_hosts: {db: 10.0.0.5}\nsysctls: {net.core.somaxconn: 5}", "sysctls: [net.core.somaxconn=5]", "dns: 10.0.0.1",
    "healthcheck: {test: a, disable: false}", "healthcheck: {disable: true}", "pids_limit: 5\npull_policy: never",
    "hostname: a\nworking_dir: /a\nshm_size: 64m\ngroup_add: [1000, audio]\nsecurity_opt: [no-new-privileges]",
    "check: {http: /, tcp: false}", "check: {http: /, port: 8081}", "check: {tcp: true, port: '8080'}",
    "check: {http: /, port: }", "engine: command\npids_limit: 4096",
    "cluster: {kind: etcd, name: e}\nreplicas: {min: 1, max: 5}\nvolumes: ['data:/data']",
]


@pytest.fixture(scope="module")
def check() -> Callable[[Any], Any]:
    return fastjsonschema.compile(schema.make())


def whole(text: str) -> str:
    given = yaml.load(text, yaml.BaseLoader) or {}
    return "".join(line for line in LEAST.splitlines(keepends=True) if line.partition(":")[0] not in given) + text


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
    is_beyond = any(text.endswith(each) or each in said for each in BEYOND)
    assert refuses(check, LEAST + text) is not is_beyond


@pytest.mark.parametrize("text", [
    "engine: none\nautoscale: {p95: 1s}\nroute: /b", "autoscale: {p95: 1s}", "placement: {spread: [node.labels.z]}",
    "engine: compose", "project: {folder: /srv}", "engine: command\nuser: a", "engine: compose\nproject: {folder: /a}\n"
    "environment: {A: b}", "route: /a\nport: ", "image: A/B", "image: ''", "cluster: {kind: etcd, name: e}",
    "cluster: {kind: etcd, name: e}\nreplicas: 3\nvolumes: ['data:/d']", "check: {}", "check: {http: /, tcp: true}",
    "check: {http: /, port: 0}", "check: {http: /, port: 65536}", "check: {http: /, port: many}", "check: {port: 8081}",
    "check: {http: /, port: 8081}\nport: ", "check: {http: /, port: 8081}\ncluster: {kind: etcd, name: e}\nreplicas: "
    "{min: 1, max: 5}\nvolumes: ['data:/data']",
    "healthcheck: {}", "healthcheck: {test: a, disable: true}", "ulimits: {files: 5}", "sysctls: {vm.swappiness: 1}",
    "security_opt: [seccomp=unconfined]", "pids_limit: 5000", "engine: swarm\npull_policy: always", "hostname: a b",
    "engine: command\ntmpfs: /run", "working_dir: a", "tmpfs: run", "extra_hosts: [db]", "devices: [/dev/kvm]",
    "engine: webhook\ncpus: 1", "labels: {lictor.a: b}", "labels: [lictor.a=b]", "name: ''", "port: 70000",
    "cluster: {kind: etcd, name: e}\nreplicas: {min: 1}\nvolumes: ['data:/d']\nrelease: {strategy: blue-green}"])
def test_rules_between_keys_are_told(check: Callable[[Any], Any], text: str) -> None:
    with pytest.raises(errors.Refused):
        spec_file.load(whole(text), "/srv/books/books.yaml")
    assert refuses(check, whole(text))


def literals() -> Iterator[dict[str, Any]]:
    """Find the specs that stand in the tests, the lab, the examples and the handbook."""
    for path in [*(REPOSITORY / "tests").rglob("*.py"), *(REPOSITORY / "lab").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Dict) and any(isinstance(key, ast.Constant) and key.value == "name"
                                                  for key in node.keys):
                try:
                    yield ast.literal_eval(node)
                except ValueError:
                    continue
    texts = [path.read_text() for path in (REPOSITORY / "examples").rglob("*.yaml")]
    texts += [whole(block.text) for page in pages.PAGES for block in pages.blocks(page, "yaml")]
    yield from (yaml.load(text, yaml.CSafeLoader) for text in texts)


def test_every_spec_in_the_repository_is_taken(check: Callable[[Any], Any]) -> None:
    count = 0
    for table in literals():
        try:
            spec_file.load(json.dumps(table), "/srv/books/books.json")
        except (errors.Refused, TypeError):  # another record with a name, or one that a test has refused
            continue
        check(table)
        count += 1
    assert count > 50


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
