"""Settings of other proxies, as docs/routes.md shows them: each does on a real nginx what it is called."""

import base64
import http.client
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from lictor.routing import publish
from lictor.spec import service_spec, spec_file
from lictor.spec.route import Route
from lictor.spec.settings import Settings

from lab.daemon import wait_for
from lab.nginx import Nginx
from support import pages
from support.echo import Echo
from support.modes import in_both_modes
from support.paths import REPOSITORY
from support.routed import decide, put_route, put_routes, set_up, with_nginx

PAGE, TEMPLATES = REPOSITORY / "docs/routes.md", REPOSITORY / "examples/templates"
EXAMPLES = [(row[0], row[1]) for row in pages.table(PAGE, "### Settings of other proxies")]
SORRY = "Sorry, we are being mended."


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    text: str

    @property
    def path(self) -> str:
        """What the instance was asked for."""
        return str(json.loads(self.text)["path"])


class Asker:
    """Asks nginx: services without a host on its own port, others on port 80 unless said."""

    def __init__(self, nginx: Nginx) -> None:
        self.own_port = nginx.port

    def __call__(self, target: str, host: str = "", port: int = 80, body: bytes = b"", **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", port if host else self.own_port, timeout=60)
        try:
            given = {**({"Host": host} if host else {}), **headers}
            connection.request("POST" if body else "GET", target, body or None, given)
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read().decode())
        finally:
            connection.close()


def _basic(password: str) -> str:
    return f"Basic {base64.b64encode(f'reader:{password}'.encode()).decode()}"


# Whether nginx does it.
SHOWN: dict[str, Callable[[Asker], bool]] = {
    "several hosts": lambda ask: (ask("/", "books.example.com").status == ask("/", "x.example.org").status == 200
                                  and ask("/", "x.example.net").status == 404),
    "several paths": lambda ask: [ask("/first/a").path, ask("/second/a").path] == ["/first/a", "/a"],
    "exactly one path": lambda ask: ask("/exactly").status == 200 and ask("/exactly/a").status == 404,
    "path taken off": lambda ask: ask("/taken-off/a").path == "/a",
    "size of a body": lambda ask: [ask("/small", body=b"x" * size).status for size in (1024, 1025)] == [200, 413],
    "timeouts": lambda ask: ask("/slow/silent").status == 504,
    "headers to the service": lambda ask: '"X-Env": "test"' in ask("/asked").text,
    "headers to the client": lambda ask: ask("/answered").headers["X-Frame-Options"] == "DENY",
    "clients by address": lambda ask: ask("/inside").status == 403,
    "passwords": lambda ask: [ask("/private", Authorization=_basic(each)).status for each in ("right", "wrong")] == [
        200, 401],
    "rate limits": lambda ask: 429 in [ask("/often").status for _ in range(20)],
    "another try": lambda ask: {ask("/again").status for _ in range(6)} == {200},
    "page for errors": lambda ask: ask("/broken", "shop.example.com").text == SORRY,
    "lines of one's own": lambda ask: ask("/kept").headers["Cache-Control"] == "max-age=3600",
    "port of the proxy": lambda ask: (ask("/", "other-port.example.com", 8080).status == 200
                                      and ask("/", "x.example.net", 8080).status == 404),
}


@pytest.fixture
def settings(tmp_path: Path, nginx: Nginx, mode: str) -> Settings:
    """A node with the templates among the examples, on port 80 and 8080 of this process's network."""
    given = with_nginx(set_up(str(tmp_path), nginx), mode=mode)
    Path(given.templates_dir, "server.conf.j2").unlink()
    for path in TEMPLATES.glob("*.j2"):
        shutil.copy(path, given.templates_dir)
    server = Path(given.templates_dir, "server.conf.j2")
    server.write_text(server.read_text().replace("/var/www/lictor", str(tmp_path)))
    (tmp_path / "sorry.html").write_text(SORRY)
    hashed = subprocess.run(["openssl", "passwd", "-apr1", "right"], capture_output=True, text=True, check=True).stdout
    (tmp_path / "books.htpasswd").write_text(f"reader:{hashed}")
    return given


@pytest.fixture
def ends() -> Iterator[Echo]:
    """An instance whose service is just being stopped: it answers 503."""
    with Echo(503) as found:
        yield found


def routes_of(text: str, folder: Path) -> list[Route]:
    whole = f"name: x\nimage: x\nport: 80\nroute: {text.replace('/etc/nginx', str(folder))}\n"
    return service_spec.parse_spec(spec_file.load(whole, "docs/routes.md"), "docs/routes.md").routes


@in_both_modes
def test_each_example_does_what_it_is_called(settings: Settings, nginx: Nginx, tmp_path: Path, ends: Echo) -> None:
    assert [name for name, _ in EXAMPLES] == [*SHOWN]
    names = {name: name.replace(" ", "-").replace("'", "") for name in SHOWN}
    with Echo() as echo:
        for name, text in EXAMPLES:
            put_routes(settings, names[name], *(each.table for each in routes_of(text, tmp_path)))
            decide(settings, names[name], echo.port, *([ends.port] if name == "another try" else []))
        assert sorted(publish.publish(settings)) == sorted(names.values())
        ask = Asker(nginx)
        for name, is_shown in SHOWN.items():
            wait_for(partial(is_shown, ask), f"nginx does what docs/routes.md says of {name}")


@in_both_modes
def test_balancing_by_hash_is_for_mode_reload(settings: Settings, nginx: Nginx, mode: str, ends: Echo) -> None:
    """Every client here has one address, so that only one of the instances is asked."""
    with Echo() as echo:
        put_route(settings, "books", **Route("/books", settings={"hash": "remote_addr"}).table)
        decide(settings, "books", echo.port, ends.port)
        assert publish.publish(settings) == (["books"] if mode == "reload" else [])
        if mode == "reload":
            ask = Asker(nginx)
            wait_for(lambda: len({ask("/books").status for _ in range(8)}) == 1, "one of them is asked")


def test_the_page_shows_a_part_of_the_examples_and_names_all_blocks() -> None:
    example = (TEMPLATES / "location.conf.j2").read_text().splitlines()
    [shown] = pages.blocks(PAGE, "jinja")
    assert [line for line in shown.text.splitlines()[1:] if line not in example] == []
    named = [(file, block) for file, block, _ in pages.table(PAGE, "### Blocks")]
    assert {*named} == {(path.name, block) for path in (REPOSITORY / "templates").glob("*.conf.j2")
                        for block in re.findall(r"{% block (\w+)", path.read_text())}


def test_each_row_of_other_proxies_is_shown_or_names_a_key_or_a_section_or_says_no() -> None:
    rows = {row[0]: row[-1] for row in pages.table(
        REPOSITORY / "docs/moving-over.md", "## Settings of a service in other proxies")}
    keys = {*Route.__struct_fields__, *service_spec.Spec.__struct_fields__}
    assert {name for name, _ in EXAMPLES} <= {*rows}
    for name, how in rows.items():
        named = re.findall(r"(?:^|`)(?:route\.)?([a-z_]+)", how)
        is_said = "](" in how or how.startswith(("no: ", "no key: ")) or keys.intersection(named)
        assert name in SHOWN or is_said, f"{name}: {how}"
