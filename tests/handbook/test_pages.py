"""What the handbook shows is so: commands print it, parsers take it, defaults are the code's, links lead somewhere."""

import json
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
import yaml

from lictor import errors
from lictor.engines import webhook
from lictor.engines.protocols import Order
from lictor.planner import desired
from lictor.routing.templates import Templates
from lictor.routing.tls.build import Build
from lictor.routing.tls.hosts import Tls
from lictor.spec import (
    check,
    cluster,
    compose_project,
    placement,
    quantities,
    route,
    service_spec,
    settings,
    spec_file,
)
from lictor.spec.container import healthcheck, resources

from support import pages
from support.certificates import Authority
from support.jenkins import TOKEN, Jenkins, Job
from support.paths import HANDLERS, REPOSITORY
from support.story import VERBS_THAT_ASK, Story

pytestmark = pytest.mark.xdist_group("handbook")  # one node for all pages

DOCS, EXAMPLES = REPOSITORY / "docs", REPOSITORY / "examples"
# README first: the other pages go on with its service. Other tests run what stands behind a command here.
TOLD = ["README.md", "docs/quickstart.md", "docs/keys.md", "docs/own-handler.md", "docs/releases.md", "docs/healing.md",
        "docs/autoscale.md", "docs/routes.md", "docs/engines.md", "docs/spec.md", "docs/moving-over.md",
        "docs/operations.md"]
ELSEWHERE = {"scripts/demo": "tests/commands/test_demo.py"}
# How many blocks no test can run, by page: a new one has to be counted here.
NOT_RUN = {"README.md": 2, "CONTRIBUTING.md": 1, "docs/autoscale.md": 1, "docs/clusters.md": 2, "docs/operations.md": 4,
           "docs/routes.md": 2, "docs/security.md": 1}
MOST_WORDS = 25


def blocks(*kinds: str) -> list[Any]:
    return [pytest.param(block, id=f"{block.page}:{block.line}")
            for page in pages.PAGES for block in pages.blocks(page, *kinds)]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with Story(tmp_path_factory.mktemp("book"), passed_over=ELSEWHERE) as told:
        told.tell(REPOSITORY / TOLD[0])
        yield told


@pytest.mark.daemons
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", TOLD[1:])
def test_commands_print_what_the_page_shows(story: Story, page: str) -> None:
    story.tell(REPOSITORY / page)


@pytest.mark.daemons
def test_the_state_folder_holds_what_architecture_lists(story: Story) -> None:
    rows = pages.table(REPOSITORY / "ARCHITECTURE.md", "## The state folder")
    listed = [re.compile(re.escape(name).replace("NAME", "[a-z0-9.-]+")) for row in rows
              for name in re.findall(r"[^`, ]+", row[0])]
    state = Path(story.node.settings.state_dir)
    found = [str(path.relative_to(state)) for path in state.rglob("*") if path.is_file() and path.name[0] != "."]
    assert found and [name for name in found if not any(each.fullmatch(name) for each in listed)] == []


def test_every_page_with_commands_is_told() -> None:
    with_commands = {block.values[0].page for block in blocks("console")}
    assert with_commands == set(TOLD)
    for command, test in ELSEWHERE.items():
        assert command in (REPOSITORY / test).read_text(encoding="utf-8")


def test_blocks_that_no_test_can_run_say_why_and_are_counted() -> None:
    found: dict[str, int] = {}
    for block in (each.values[0] for each in blocks("sh")):
        assert block.text.startswith(pages.NOT_RUN), f"{block.page}:{block.line} has to begin with {pages.NOT_RUN!r}"
        found[block.page] = found.get(block.page, 0) + 1
    assert found == NOT_RUN


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_no_command_hides_in_another_kind_of_block(page: Path) -> None:
    for block in pages.blocks(page):
        assert block.kind in pages.KINDS, f"{block.page}:{block.line}"
        assert block.kind == "console" or not re.search(r"^\$ ", block.text, re.MULTILINE), f"{block.page}:{block.line}"
    outside = pages.without_blocks(page)
    assert not re.search(r"^(?: {4}|\t)\S", outside, re.MULTILINE), "an indented block is run by nobody"


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in pages.links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in pages.anchors(target), link


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_sentences_are_short_and_begin_with_a_subject(page: Path) -> None:
    found = pages.sentences(page)
    assert [sentence for sentence in found if len(sentence.split()) > MOST_WORDS] == []
    assert [sentence for sentence in found if re.match(r"(?:[-*] )?(?:What|Who|Whoever|Those)\b", sentence)] == []


def whole(text: str) -> str:
    """Put before a part of a spec what it needs."""
    given = yaml.safe_load(text)
    least = {"name": "books", "image": "books:1", "port": 8080}
    return "".join(f"{key}: {value}\n" for key, value in least.items() if key not in given) + text


@pytest.mark.parametrize("block", blocks("yaml"))
def test_yaml_is_a_spec_or_a_part_of_one(block: pages.Block) -> None:
    spec_file.load(whole(block.text), f"{block.page}:{block.line}")


@pytest.mark.parametrize("block", blocks("toml"))
def test_toml_is_a_part_of_the_settings(block: pages.Block) -> None:
    found = settings.parse_settings(tomllib.loads(block.text), f"{block.page}:{block.line}")
    kept = settings.Settings()
    assert found.command or found.webhook or found.notify or found.metrics or (
        (found.allow, found.nginx) != (kept.allow, kept.nginx))


@pytest.mark.parametrize("block", blocks("json"))
def test_json_is_json(block: pages.Block) -> None:
    assert json.loads(block.text)


@pytest.mark.daemons
@pytest.mark.parametrize("block", blocks("nginx"))
def test_nginx_takes_the_snippet(block: pages.Block, tmp_path: Path) -> None:
    conf_dir = tmp_path / "lictor"
    (conf_dir / "locations").mkdir(parents=True)
    (conf_dir / "lictor.conf").write_text("server { listen 81; }\n")
    (conf_dir / "locations" / "books.conf").write_text("location /books { return 204; }\n")
    main_conf = tmp_path / "nginx.conf"
    main_conf.write_text(f"pid {tmp_path}/pid;\nevents {{}}\n" + block.text.replace("/etc/nginx/lictor", str(conf_dir)))
    argv = ["/usr/sbin/nginx", "-t", "-c", str(main_conf), "-g", "error_log stderr;"]
    checked = subprocess.run(argv, capture_output=True, text=True)
    assert not checked.returncode, checked.stderr


def test_readme_shows_the_example_that_it_applies() -> None:
    shown = [yaml.safe_load(block.text) for block in pages.blocks(REPOSITORY / "README.md", "yaml")]
    assert shown == [yaml.safe_load((EXAMPLES / "books-service.yaml").read_text())]


def test_clusters_shows_the_examples_and_what_the_manual_says_to_do_without_a_majority() -> None:
    page = DOCS / "clusters.md"
    examples = [yaml.safe_load((EXAMPLES / each).read_text()) for each in ("mongodb.yaml", "books-with-database.yaml")]
    assert [yaml.safe_load(each.text) for each in pages.blocks(page, "yaml")[:2]] == examples
    told = cluster.KINDS["mongodb"].recovery.format(survivors="cfg.members[0] , cfg.members[4] , cfg.members[7]")
    [*_, block] = [each for each in re.findall(r"```text\n(.*?)```", page.read_text(), re.DOTALL) if "cfg" in each]
    assert told.rpartition("enter: ")[2].split("; ") == [line.strip() for line in block.splitlines() if line.strip()]


@pytest.mark.parametrize(("kind", "file"), [("python", "prometheus-targets"), ("json", "watch.json")])
def test_own_handler_shows_the_example(kind: str, file: str) -> None:
    [shown] = pages.blocks(DOCS / "own-handler.md", kind)
    assert shown.text == (EXAMPLES / "own-handler" / file).read_text()


TABLES: dict[str, Any] = {
    "## All keys": service_spec.Spec, "## route": route.Route, "## replicas": service_spec.Replicas,
    "## check": check.Check, "## release": service_spec.Release, "## heal": service_spec.Heal,
    "## resources": resources.Resources, "## logging": resources.Logging,
    "## autoscale": check.Autoscale, "## cluster": cluster.Cluster, "## placement": placement.Placement,
    "## project": compose_project.Project, "## healthcheck": healthcheck.Healthcheck}
PARENTS: dict[str, dict[str, Any]] = {
    "route": {"path": "/", "host": "books.example.com"}, "check": {"tcp": True}, "project": {"folder": "/srv"},
    "healthcheck": {"test": "/probe"}, "autoscale": {"p95": "250ms"}, "cluster": {"kind": "mongodb", "name": "rs0"},
    "release": {"strategy": "blue-green", "canary": "20%"}}
OF_A_SET = {"volumes": ["data:/data/db"], "replicas": {"min": 1}}


@pytest.mark.parametrize(("heading", "struct"), TABLES.items())
def test_spec_names_every_key_with_its_default(heading: str, struct: Any) -> None:
    rows = pages.table(DOCS / "spec.md", heading)
    assert sorted(row[0] for row in rows) == sorted(struct.__struct_encode_fields__)
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for key, _, shown, *_ in rows:
        field = fields[key]
        assert (shown == "required") == field.required, key
        if not field.required:
            value = None if shown == "none" else msgspec.convert(yaml.safe_load(shown), field.type, strict=False,
                                                                 dec_hook=quantities.convert)
            default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
            assert value == default, f"{key}: the page says {shown}, the code {default!r}"


@pytest.mark.parametrize("heading", TABLES)
def test_examples_of_spec_are_taken(heading: str) -> None:
    for key, *cells in pages.table(DOCS / "spec.md", heading):
        example, parent = yaml.safe_load(cells[3]), heading.removeprefix("## ")
        assert list(example) == [key]
        table: dict[str, Any] = {"name": "books", "image": "books:1.0", "port": 8080, "route": {"path": "/books"}}
        if parent == "All keys":
            table |= example
        else:
            whole = {**PARENTS.get(parent, {}), **example}
            rival = {"http": "tcp", "https": "tcp", "p50": "p95", "p99": "p95", "disable": "test",
                     "strategy": "canary"}.get(key)
            if key == "insecure" and parent == "check":
                whole |= {"https": "/", "tcp": False}
            if key in ("insecure", "server_name") and parent == "route":
                whole |= {"scheme": "https"}
            table[parent] = {name: value for name, value in whole.items() if name != rival}
        engine = {"placement": "swarm", "project": "compose"}.get(key if parent == "All keys" else parent)
        table = {**table, **({"engine": engine} if engine else {}), **(OF_A_SET if "cluster" in table else {})}
        spec_file.load(json.dumps(table), f"docs/spec.md {key}")


def test_spec_says_which_change_is_a_release() -> None:
    rows = pages.table(DOCS / "spec.md", "## All keys")
    assert {row[0] for row in rows if row[-1] == "release"} == set(desired.MADE_FROM)


@pytest.mark.parametrize("text", [
    "name: Books", "name: ''", "port: 0", "port: 65536", "replicas: {max: 501}", "replicas: {initial: 2, min: 3}",
    "route: {path: api}", "route: {path: /a/../b}", f"route: {{path: /{'a' * 255}}}", "route: {path: /, host: A.com}",
    "check: {}", "check: {http: /, interval: 0s}", "release: {healthy_for: 2m}", "release: {deadline: 0s}",
    "heal: {budget: -1}", "heal: {per: 0s}", "resources: {cpus: 1025}", "resources: {memory: 3m}",
    "resources: {memory: 65537g}", "drain: 8761h", "labels: {lictor.x: y}", "name: a\nname: b", "environment: [HOME]",
    "volumes: [data]", "placement: {spread: [node.labels.zone]}", "project: {folder: /srv}", "autoscale: {}",
    "autoscale: {p95: 61s}", "route: {path: /b}\nautoscale: {p95: 1s, window: 10s}", "autoscale: {p95: 250ms}",
    "route: {path: /b}\nautoscale: {p50: 1s, down_after: 59s}", "route: {path: /b}\nautoscale: {p50: 1s, p95: 2s}",
    "tmpfs: [tmp]", "devices: [/dev/kvm]", "pids_limit: 4097", "traffic: some", "engine: nomad",
    "release: {strategy: canary}"])
def test_bounds_that_spec_names_are_kept(text: str) -> None:
    with pytest.raises(errors.Refused):
        spec_file.load(whole(text), "docs/spec.md")


def _setting(table: str, key: str) -> object:
    """The default in force, as a file would write it; a duration is in seconds."""
    found = settings.parse_settings({"notify": {"command": ["x"]}})._replace(metrics=settings.Metrics())
    holder: Any = getattr(found, table) if table else found
    if table == "notify" and key == "command":
        return []
    value = getattr(holder, key, None)
    value = getattr(holder, f"{key}_s") if value is None else value
    return [*value] if isinstance(value, tuple) else value


@pytest.mark.parametrize("table", ["", "nginx", "watch", "heal", "notify", "metrics", "allow"])
def test_settings_names_every_key_with_its_default(table: str) -> None:
    for key, shown, _ in pages.table(DOCS / "settings.md", f"## {table or 'At the top'}"):
        if key == "nginx":
            continue
        value = yaml.safe_load(shown)
        if isinstance(value, str) and re.fullmatch(r"\d+(ms|s|m)", value):
            value = quantities.convert(quantities.Duration, value)
        assert value == _setting(table, key), f"{table}.{key}: the page says {shown}"


@pytest.mark.parametrize(("heading", "table"), [
    ("## At the top", ()),
    *((f"## {name}", (name,)) for name in ("nginx", "watch", "heal", "notify", "metrics", "allow", "command")),
    ("## webhook", ("webhook", "scale"))])
def test_settings_names_every_key_that_is_known(heading: str, table: tuple[str, ...]) -> None:
    given: dict[str, Any] = {"no_such_key": 1}
    for name in reversed(table):
        given = {name: given}
    with pytest.raises(errors.Refused) as refusal:
        settings.parse_settings(given, "lictor.toml")
    known = set(str(refusal.value).rpartition("known are ")[2].split(", "))
    # Each of these has a heading of its own.
    tables = set() if table else {"watch", "heal", "notify", "metrics", "allow", "command", "webhook"}
    assert {row[0] for row in pages.table(DOCS / "settings.md", heading)} == known - tables


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.yaml")), ids=lambda path: path.name)
def test_specs_among_the_examples_are_taken(path: Path) -> None:
    text = path.read_text()
    assert re.match(r"# \S.*\n# \S.*\n(?!#)", text), "two lines have to say what it shows"
    spec_file.load(text, str(path))


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.toml")), ids=lambda path: path.parent.name)
def test_settings_among_the_examples_are_taken(path: Path) -> None:
    found = settings.parse_settings(tomllib.loads(path.read_text()), str(path))
    assert found.command or found.webhook or found.allow.projects


def test_jenkins_is_told_by_the_settings_among_the_examples(tmp_path: Path) -> None:
    text = (EXAMPLES / "jenkins/books-jenkins.yaml").read_text()
    spec = service_spec.parse_spec(spec_file.load(text, ""), "")
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    with Jenkins({"books-jenkins": Job({"COUNT": "1", "IMAGE": ""})}) as jenkins:
        toml = (EXAMPLES / "jenkins/lictor.toml").read_text().replace("/etc/lictor/jenkins-token", f"{tmp_path}/token")
        here = toml.replace("https://jenkins.example.com", jenkins.url.rstrip("/"))
        given = settings.parse_settings(tomllib.loads(here))
        webhook.scale(given, Order(spec, color="", replicas=3, release=""))
        assert jenkins.builds == [("books-jenkins", {"COUNT": "3", "IMAGE": "books-service:1.0"})]


def test_every_example_is_in_the_list() -> None:
    listed = {link.rstrip("/") for link in pages.links(EXAMPLES / "README.md") if not link.startswith("..")}
    assert listed == {path.name for path in EXAMPLES.iterdir()} - {"README.md"}


@pytest.mark.daemons
def test_the_template_among_the_examples_is_taken_by_nginx(tmp_path: Path) -> None:
    host, made = "books.example.com", Templates(str(EXAMPLES / "own-template/templates"), acme_webroot="/var/www/acme")
    tls = Tls(f"{tmp_path}/{host}.pem", f"{tmp_path}/{host}.key", True, Build("listen", True))
    Authority(str(tmp_path / "authority")).issue(*tls[:2], host)
    text = "".join([made.default_server(tls) or "", made.server("plain.example.com", [], str(tmp_path / "plain.d")),
                    made.server(host, ["*.example.com"], str(tmp_path / "books.d"), tls)])
    text = text.replace("/etc/ssl/lictor/clients.pem", tls.certificate)
    (tmp_path / "nginx.conf").write_text(f"pid {tmp_path}/pid;\nevents {{}}\nhttp {{\n{text}}}\n")
    checked = subprocess.run(["/usr/sbin/nginx", "-t", "-c", f"{tmp_path}/nginx.conf", "-g", "error_log stderr;"],
                             capture_output=True, text=True)
    assert not checked.returncode, checked.stderr


def test_own_handler_runs(tmp_path: Path) -> None:
    (tmp_path / "lictor.toml").write_text(f'state_dir = "{tmp_path}/state"\n')
    checks = [{"CheckID": "c", "ServiceID": "b", "Status": "passing"}]
    entry = {"Node": {"Node": "node-1", "Address": "10.0.0.1"}, "Checks": checks,
             "Service": {"ID": "b", "Service": "books", "Address": "", "Port": 8080}}
    handler = EXAMPLES / "own-handler/prometheus-targets"
    argv = [sys.executable, str(handler), "--config", f"{tmp_path}/lictor.toml", f"{tmp_path}/books.json"]
    subprocess.run(argv, input=json.dumps([entry]), text=True, check=True)
    assert json.loads((tmp_path / "books.json").read_text()) == [{"targets": ["10.0.0.1:8080"]}]
    assert handler.stat().st_mode & stat.S_IXOTH


def test_files_that_architecture_names_exist() -> None:
    for page in ("ARCHITECTURE.md", "CONTRIBUTING.md"):
        named = re.findall(r"`((?:\w+/)+\w+\.(?:py|md))`", (REPOSITORY / page).read_text())
        missing = [path for path in named if not (REPOSITORY / path).exists()
                   and not (HANDLERS / "lictor" / path).exists() and "NAME" not in path]
        assert named and missing == []


def test_rooms_and_the_line_are_those_of_the_contract() -> None:
    [line] = [block.text.strip() for block in pages.blocks(REPOSITORY / "ARCHITECTURE.md", "text")]
    contract = re.search(r"\nlayers =\n((?: +.+\n)+)", (REPOSITORY / "setup.cfg").read_text())
    assert contract
    layers = [layer.strip().replace(" | ", ", ") for layer in contract[1].splitlines()]
    assert line == " -> ".join(layers)


def test_verbs_are_those_of_the_command() -> None:
    from lictor.cli.main import main

    rows = pages.table(DOCS / "operations.md", "## Who runs which verb, as whom")
    named = {verb.split()[0] for row in rows for verb in re.findall(r"[a-z][a-z -]+", row[0])}
    assert set(main.list_commands(click.Context(main))) <= named and shutil.which("nginx")


def test_each_verb_is_repeated_by_the_story_only_if_it_asks() -> None:
    from lictor.cli.main import main

    acting = {"apply", "deploy", "exec", "hold", "init", "remove", "resume", "rollback", "scale", "serve"}
    assert acting.isdisjoint(VERBS_THAT_ASK)
    assert {*acting, *VERBS_THAT_ASK} == set(main.list_commands(click.Context(main)))


@pytest.mark.parametrize(("shown", "printed", "fits"), [
    ("a\nb\n", "a\nb\n", True), ("a\nb\n", "a\n", False), ("a\n", "a\nb\n", False), ("a  \n", "a\n", True),
    ("a ... c\n", "a b c\n", True), ("a ... c\n", "a b\nc\n", False), ("...\nb\n", "a\na\nb\n", True),
    ("...\nb\n", "b\n", True), ("a\n...\n", "b\n", False), ("", "", True), ("", "a\n", False),
    ("a.b\n", "axb\n", False)])
def test_an_output_is_compared_line_by_line(shown: str, printed: str, fits: bool) -> None:
    assert pages.matches(shown, printed) is fits
