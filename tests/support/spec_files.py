"""Spec files that are wrong, and what is said of each, and some that are taken, for the tests of the reader and of the
schema."""

import ast
import json
from collections.abc import Iterator
from typing import Any

import yaml

from lictor import errors
from lictor.spec import spec_file

from support import pages
from support.paths import REPOSITORY

LEAST = "name: books\nimage: books:1\nport: 8080\n"  # stands before each of them

WRONG = [
    ("route: {path: /n, hots: a}", "unknown key route.hots; did you mean host?"),
    ("replicas: {least: 1}", "unknown key replicas.least; known are initial, min, max"),
    ("project: {foldr: /srv}", "unknown key project.foldr; did you mean folder? Known are folder, file, name, service"),
    ("hots: a", "unknown key hots; did you mean route.host?"),
    ("imgae: a", "unknown key imgae; did you mean image?"), ("interval: 2s", "did you mean check.interval?"),
    ("restart: always", "unknown key restart; did you mean heal (lictor itself restarts instances)?"),
    ("colour: blue", "unknown key colour; known are name, engine, node, project"),
    ("replicas: many", "replicas is 'many'; it must be a whole number, or a table with the keys initial, min, max"),
    ("replicas: 501", "the counts are min 0, initial 501, max 501; they must not descend, and lie within 0..500"),
    ("route: books", "route.path is 'books'; it must begin with a slash"),
    ("route: []", "route holds 0; it must be within 1..20"),
    (f"route: [{', '.join(f'/{number}' for number in range(21))}]", "route holds 21; it must be within 1..20"),
    ("route: [/a, books]", "route[1].path is 'books'; it must begin with a slash"),
    ("route: [/a, [/b]]", "route[1] is a list; it must be a path, or a table with the keys path, host"),
    ("route: [/a, {path: /b, hots: c}]", "unknown key route[1].hots; did you mean host?"),
    ("route: [/a, {host: c}]", "route[1].path is missing"),
    ("route: [/a, {path: /b, strip: yes}]", "route[1].strip is 'yes'; it must be true or false"),
    ("route: [/a, {path: /b, timeout: 25h}]", "route[1].timeout is 25h; it must be within 1s..24h"),
    ("route: [/a, {path: /b, max_body: 2000g}]", "route[1].max_body is 2147483648000 bytes; it must be at most 1024g"),
    ("route: [/a, {path: /b, allow: [h]}]", "route[1].allow holds 'h'"),
    ("route: [/a, /b, {path: /a}]", "route[2] is /a, which is that of route[0]; two routes cannot have the same"),
    ("route: [{path: /a, scheme: grpc}, /b]", "route has the scheme 'grpc' and 'http'; all routes of a service must"),
    ("route: [{path: /, host: a, scheme: https}, {path: /, host: b, scheme: https}]",
     "route has the server_name 'a' and 'b'; all routes of a service must have the same, as they share"),
    ("route: [{path: /a, scheme: https, server_name: s}, {path: /b, scheme: https, server_name: s, insecure: 'true'}]",
     "route has the insecure False and True; all routes of a service"),
    ("route: [{path: /a, sticky: A}, /b]", "route has the sticky 'A' and ''; all routes of a service must have"),
    ("route: [/a, {path: /a, match: exact}]", "route[1] is /a, which is that of route[0]"),
    ("route: [{path: /, host: a, aliases: [b]}, {path: /c, host: b}]", "route[1] is b, which is that of host a"),
    ("route: [{path: /, host: b}, {path: /c, host: a, aliases: [b]}]", "route[1] is b, which is that of host b"),
    ("check: tcp", "check.http is 'tcp'; it must be a path such as /health"),
    ("cpus: many", "resources.cpus is 'many'; it must be a number"),
    ("cpus: 1\nresources: {cpus: 2}", "unknown key cpus; did you mean resources.cpus?"),
    ("drain: -30", "drain: '-30' is no duration; write it such as 500ms, 2s, 1m30s or 1h"),
    ("drain: 1.5", "drain: '1.5' is no duration"), ("drain: 30 s", "drain: '30 s' is no duration"),
    ("engine: dokcer", "engine is 'dokcer'; did you mean docker? This version knows docker, compose, swarm"),
    ("replicas: {max: many}", "replicas.max is 'many'; it must be a whole number"),
    ("replicas: {max: 010}", "replicas.max is '010'; it must be a whole number"),
    ("replicas: {max: 1_0}", "replicas.max is '1_0'; it must be a whole number"),
    ("resources: {cpus: .nan}", "resources.cpus is '.nan'; it must be a number"),
    ("resources: {cpus: nan}", "resources.cpus is nan; it must be within 0..1024"),
    ("read_only: yes", "read_only is 'yes'; it must be true or false"),
    ("user: []", "user is []; it must be a string"),
    ("user: ", "user is empty; it must be a string"),
    ("logging: {options: {max-file: }}", "logging.options.max-file is empty; it must be a string"),
    ("environment: [1]", "environment.1 has no value, and there is nobody's to pass through; write 1=VALUE"),
    ("environment: [PATH]", "environment.PATH has no value, and there is nobody's to pass through; write PATH=VALUE"),
    ("environment: {PATH: null}", "environment.PATH has no value"),
    ("environment: {PATH: ~}", "environment.PATH has no value"),
    ("environment: {PATH: }", "environment.PATH has no value"),
    ("environment: ['']", "environment holds a value without a name; write NAME=VALUE"),
    ("environment: ['=x']", "environment holds a value without a name"),
    ("environment: {'': x}", "environment holds a value without a name"),
    ("environment: !!set {A, B}", "environment has the tag 'tag:yaml.org,2002:set'; write the value without a tag"),
    ("labels: {a: !secret b}", "labels.a has the tag '!secret'; write the value without a tag"),
    ("labels: {[a]: b}", "labels holds a key that is no text"),
    ('labels: {a: "\\ud800"}', "labels.a holds '\\ud800'; it must be text that UTF-8 can hold, without a zero byte"),
    ('labels: {"\\ud800": a}', "labels holds the key '\\ud800'; it must be text that UTF-8 can hold"),
    ('"\\ud800": a', "it holds the key '\\ud800'; it must be text"),
    ('environment: {A: "x\\0y"}', "environment.A holds 'x\\x00y'; it must be text that UTF-8 can hold, without a zero"),
    ("labels: {a: b, a: c}", "/srv/books/books.yaml:4: labels.a stands twice"),
    ("labels: {a: b}\nname: other", "/srv/books/books.yaml:5: name stands twice"),
    ("labels:\n  a: b\n  a: c", "/srv/books/books.yaml:6: labels.a stands twice"),
    ("read_only: !!bool maybe", "read_only has the tag 'tag:yaml.org,2002:bool'; write the value without a tag"),
    ("labels: {<<: a}", "labels holds << without a table behind it"),
    ("labels: &a {b: *a}", "/srv/books/books.yaml: is nested too deeply, or holds itself"),
    ("labels: {a: '\a'}", "/srv/books/books.yaml:4: holds '\\x07', which YAML does not allow"),
    ("check: {http: /, interval: 0s}", "interval is 0s; it must be at least 1ms"),
    ("check: {http: /, timeout: 0.0004s}", "timeout is 0.0004s; it must be at least 1ms"),
    ("check: {http: /, timeout: 0s}", "timeout is 0s; it must be at least 1ms"),
    ("heal: {budget: -1}", "heal.budget is -1; it must be within 0..1000"),
    ("heal: {per: 0s}", "heal.per is 0s; it must be within 1s..24h"),
    ("release: {deadline: 0s, healthy_for: 0s}", "release.deadline is 0s; it must be within 1s..8760h"),
    ("release: {healthy_for: 2m}", "release.healthy_for is 120s; it must be within the deadline, 60s"),
    ("drain: 8761h", "drain is 8761h; it must be within 0s..8760h"),
    ("check: {http: /, port: 65536}", "check.port is 65536; it must be 1 to 65535"),
    ("check: {http: /, port: a}", "check.port is 'a'; it must be a whole number"),
    (f"check: {{http: /, interval: {'9' * 400}h}}", "is infh; it must be at most 1000000h"),
    ("release: {keep: 99999h}", "release.keep is 99999h; it must be within 0s..8760h"),
    ("release: {canary: 10%}", "release.canary is for the strategy blue-green; release.strategy is 'rolling'"),
    ("release: {strategy: blue-green, canary: 10%}",
     "release.canary needs a route: nginx gives the new colour its share"),
    ("route: /b\nrelease: {strategy: blue-green, canary: 60%}", "release.canary is 60%; it must be within 1%..50%"),
    ("route: /b\nrelease: {strategy: blue-green, canary: 0%}", "release.canary is 0%; it must be within 1%..50%"),
    ("route: /b\nrelease: {strategy: blue-green, canary: 10}",
     "release.canary: '10' is no share; write it such as 10%"),
    ("route: /b\nrelease: {strategy: blue-green, canary: 2.5%}", "release.canary: '2.5%' is no share"),
    ("route: /b\nrelease: {strategy: blue-green, canary: [10%]}", "release.canary: ['10%'] is no share"),
    ("route: /b\nrelease: {strategy: blue-green, canary: 10%, for: 5s}",
     "release.for is 5s; it must be within 10s..24h"),
    ("release: {for: 6m}", "release.for is 6m, and release.canary is not given; it is for a canary"),
    ("route: {path: /b, scheme: grpc}\nrelease: {strategy: blue-green, canary: 10%}",
     "release.canary is for HTTP, and route.scheme is grpc"),
    ("engine: none\nroute: /b\nrelease: {strategy: blue-green, canary: 10%}", "this one's engine is none"),
    ("resources: {memory: 64}", "resources.memory is 64 bytes; it must be within 4m..65536g, or 0 for no limit"),
    ("resources: {memory: 65537g}", "bytes; it must be within 4m..65536g"),
    ("route: {path: /b}\nautoscale: {}", "autoscale: exactly one of p50, p95 and p99 is allowed; given: none"),
    ("route: {path: /b}\nautoscale: {p95: 250ms, p99: 1s}", "p50, p95 and p99 is allowed; given: p95, p99"),
    ("route: {path: /b}\nautoscale: {p90: 250ms}", "unknown key autoscale.p90; known are p50, p95, p99, window, "),
    ("route: {path: /b}\nautoscale: {p95: 250}", "autoscale.p95: '250' has no unit; write it such as 250ms or 1s"),
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
    ("route: {path: /b, scheme: grpc}\nautoscale: {p95: 250ms}", "autoscale is for HTTP, and route.scheme is grpc"),
    ("route: {path: /b, scheme: grpc}\nrelease: {smoke: /s}", "release.smoke is '/s'; with route.scheme grpc it"),
    ("engine: none\nroute: {path: /b}\nautoscale: {p95: 250ms}", "this one's engine is none"),
    ("volumes: ['a:/a']", "volumes holds 'a:/a'; it must be SOURCE:/TARGET or SOURCE:/TARGET:MODE"),
    ("volumes: ['/a:/b:ro,quickly']", "volumes holds '/a:/b:ro,quickly'; it must be"),
    ("env_file: ['']", "env_file is ''; it must be a file's path"),
    ("volumes: [nonsense]", "volumes holds 'nonsense'; it must be SOURCE:/TARGET"),
    ("volumes: ['data:relative']", "volumes holds 'data:relative'"),
    ("x: [", "/srv/books/books.yaml:4: while parsing a flow "),
    ("user: a: b", "/srv/books/books.yaml:4: mapping values are not allowed here: put quotes around a value with ': '"),
    ("\tuser: a", ": indent with blanks"), ("user: @a", ": put quotes around a value that begins with it"),
    (f"x: {'[' * 3000}", "/srv/books/books.yaml: is nested too deeply, or holds itself"),
    ("x0: &x0 [1, 1]\n" + "\n".join(f"x{n}: &x{n} [*x{n - 1}, *x{n - 1}]" for n in range(1, 40)),
     "/srv/books/books.yaml: holds more than 10000 values, each alias counted as what it stands for"),
    ("x0: &x0 {a: 1, b: 1}\n" + "\n".join(f"x{n}: &x{n} {{<<: [*x{n - 1}, *x{n - 1}]}}" for n in range(1, 40)),
     "/srv/books/books.yaml: holds more than 10000 values, each alias counted as what it stands for"),
]
# What no schema can tell: amounts within bounds, one value beside another, texts by their characters, names that stand
# twice (a reader keeps the last one), and numbers in forms that another reader of YAML understands.
_BEYOND = ("0.0004s}", "2m}", "2h}", "10s}", "8761h", "99999h}", "is infh", "65537g}", "stands twice",
          "holds 'x\\x00y'", "'010'", "'1_0'", "'.nan'", "'yes'", "unknown key cpus", "env_file is ''",
          "25h}]", "for: 5s}", "for: 6m}", "2000g}]", "allow holds 'h'", "which is that of", "is grpc", "scheme grpc",
          "all routes of a service")
TAKEN = [
    "replicas: 3", "replicas: '3'", "replicas: {initial: 1, max: '5'}", "route: /api", "check: /health", "cpus: '0.5'",
    "cpus: 2", "mem_limit: 64m", "drain: 30", "drain: '30'", "drain: 1m30s", "resources: {cpus: '0.5', memory: 128MiB}",
    "resources: {memory: 67108864}", "user: 1000", "user: 33:33", "port: ~", "route: ", "check: null", "project: ",
    "read_only: true", "read_only: 'true'", "environment: {A: 1, B: true, C: 1.5, D: ''}", "environment: [A=, B=x=y]",
    "labels: {a: , b: 1}", "labels: [a, b=c]", "env_file: books.env", "env_file: [a, /b]", "command: a b",
    "command: [a, 1]", "volumes: [./data:/data, ../up:/up:ro, named:/n, /abs:/abs, /alone]", "networks: []",
    "route: {path: /b, match: exact, host: a.example.com, aliases: [b.example.com, '*.c.example.com']}",
    "route: [/b]\nautoscale: {p95: 1s}", "route: [/b, {path: /, host: b.example.com, strip: 'true', timeout: 5}]",
    "route: {path: /b, scheme: https, server_name: b.internal}", "route: {path: /b, scheme: https, insecure: true}",
    "route: {path: /b.v1.Books, scheme: grpc, host: b.example.com}", "route: {path: /b, scheme: http, server_name: ''}",
    "route: /b\nautoscale: {p95: 250ms, window: 60, ignore: [/status]}", "check: {tcp: true, start: 60}",
    "check: {http: /h, interval: 500ms}", "logging: {driver: syslog, options: {max-file: 3}}",
    "release: {strategy: blue-green, smoke: /s, keep: 10m}", "release: {canary: }",
    "route: /b\nrelease: {strategy: blue-green, canary: 10%, for: 10m}",
    "route: /b\nrelease: {strategy: blue-green, canary: 50%}", "heal: {budget: 0, per: 24h}", "image: 1.10",
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
# Rules that bind keys to each other.
RULES = [
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
    "cluster: {kind: etcd, name: e}\nreplicas: {min: 1}\nvolumes: ['data:/d']\nrelease: {strategy: blue-green}",
]


def whole(text: str) -> str:
    given = yaml.load(text, yaml.BaseLoader) or {}
    return "".join(line for line in LEAST.splitlines(keepends=True) if line.partition(":")[0] not in given) + text


def _literals() -> Iterator[dict[str, Any]]:
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


def list_specs() -> Iterator[dict[str, Any]]:
    """List the sound specs among them."""
    for table in _literals():
        try:
            spec_file.load(json.dumps(table), "/srv/books/books.json")
        except (errors.Refused, TypeError):  # another record with a name, or one that a test has refused
            continue
        yield table


def is_beyond_schemas(text: str, said: str) -> bool:
    """Whether no schema can tell what is wrong with a text."""
    return any(text.endswith(each) or each in said for each in _BEYOND)
