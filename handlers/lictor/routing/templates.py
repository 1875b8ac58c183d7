"""Templates of nginx's configuration, which users may override; and a second look at the text that they give, because
nginx itself accepts whatever a hostile value would smuggle in."""

import functools
import re
from collections.abc import Iterable, Iterator
from typing import Any

import jinja2

from lictor import errors, model
from lictor.adapters import files
from lictor.routing import conf_files, conf_text

HEADER = conf_text.MARK + ", and written anew without asking; what it says is decided by templates/{template}.\n"

_TOKEN = re.compile(r"""
    \s+ | \#[^\n]* | (?P<sign>[{};]) |
    (?P<word> "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' | (?:\\.|\$\{[^}]*\}|[^\s{};\\])+ )
    """, re.DOTALL | re.VERBOSE)
_PATH = re.compile(r"/(?:[A-Za-z0-9._~-]+(?:/[A-Za-z0-9._~-]+)*/?)?", re.ASCII)
_HOST = re.compile(r"(?=.{1,200}\Z)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*", re.ASCII)
_BALANCING = {"zone", "least_conn", "ip_hash", "hash", "random", "keepalive", "keepalive_requests", "keepalive_time",
              "keepalive_timeout"}
_SERVERS = {False: "include {{ peers_file }};",
            True: 'server 127.0.0.1:9; balancer_by_lua_block { lictor.balance("{{ name }}"); }'}


class Templates:
    """The templates in force: those in the user's folder, else those that came with lictor."""

    def __init__(self, folder: str = "", *, live: bool = False) -> None:
        self.live = live
        ours = jinja2.PackageLoader("lictor.routing", "default_templates")  # in a checkout a link to templates/
        self._environment = jinja2.Environment(
            loader=jinja2.ChoiceLoader([jinja2.FileSystemLoader(folder), ours]) if folder else ours,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)

    def text(self, template: str, **values: Any) -> str:
        """Render a file of nginx's, with a header; raises Refused, naming the template, when it can't be rendered."""
        return HEADER.format(template=template) + self.render(template, live=self.live, **values)

    def render(self, template: str, **values: Any) -> str:
        """Render just what the template says; raises Refused, naming the template, when it can't be rendered."""
        try:
            return self._environment.get_template(template).render(**values)
        except jinja2.TemplateError as error:
            raise errors.Refused(f"templates/{template}: {type(error).__name__}: {error}") from error

    def shared(self, conf_dir: str) -> dict[str, str]:
        """Render the files that all services need; by path below conf_dir."""
        names = ["lictor.conf", "live.lua"] if self.live else ["lictor.conf"]
        return {name: self.text(f"{name}.j2", conf_dir=conf_dir) for name in names}

    def upstream(self, name: str, conf_dir: str) -> str:
        """Render upstreams/lictor_NAME.conf; raises Refused if it has other servers than the file of its peers."""
        if not model.is_name(name):
            raise errors.Refused(f"upstream {name[:100]!r} must not reach a configuration")
        path = conf_files.peers_path(conf_dir, name)
        expected = [["include", path]]
        if self.live:  # nginx wants a server, and never asks it
            expected = [["server", conf_text.NO_PEER], ["balancer_by_lua_block"], [f'lictor.balance("{name}")']]
        rule = f"for {name} it must give one upstream lictor_{name} with `{_SERVERS[self.live]}`"
        try:
            text = self.text("upstream.conf.j2", name=name, peers_file=path)
        except errors.Refused as error:
            raise errors.Refused(f"{error}; {rule}") from error
        (head, directives), *more = _blocks(text, "upstream.conf.j2", only=["upstream"])
        found = [words for words in directives if words[0] not in _BALANCING]
        if more or head != ["upstream", f"lictor_{name}"] or sorted(found) != sorted(expected):
            raise errors.Refused(f"templates/upstream.conf.j2: {rule}, and only directives of balancing and keepalive "
                                 f"beside; it gives {' '.join(head)} with {[' '.join(words) for words in found]}")
        return text

    def location(self, name: str, path: str, conf_dir: str) -> str:
        """Render the location that nginx takes requests at; raises Refused for a hostile path, or another location."""
        if not _PATH.fullmatch(path) or len(path) > 255 or {".", ".."} & set(path.split("/")):
            raise errors.Refused(f"path {path[:100]!r} must not reach a configuration")
        empty_file = f"{conf_dir}/peers/{name}.empt[y]"  # a pattern, as to nginx it is no error if no file matches
        text = self.text("location.conf.j2", name=name, path=path, empty_file=empty_file)
        for head, _ in _blocks(text, "location.conf.j2", only=["location"]):
            if head[-1] != path:
                raise errors.Refused(f"templates/location.conf.j2: location {head[-1]} is not at {path}")
        if self.live and f"http://lictor_{name}" in text and "lictor.leave()" not in text:
            raise errors.Refused("templates/location.conf.j2: in live mode it needs what the one that came with lictor "
                                 "has for that, log_by_lua_block { lictor.leave(); } above all")
        return text

    def server(self, host: str, folder: str) -> str:
        """Render the server of a host, which includes the locations in `folder`; raises Refused for a hostile host."""
        if not _HOST.fullmatch(host):
            raise errors.Refused(f"host {host[:100]!r} must not reach a configuration")
        text = self.text("server.conf.j2", host=host, folder=folder)
        _blocks(text, "server.conf.j2", only=["server"])
        return text


@functools.lru_cache(maxsize=2)
def _templates(folder: str, live: bool, _folder_ns: int) -> Templates:
    return Templates(folder, live=live)


def templates(folder: str, *, live: bool) -> Templates:
    """Return the Templates of the last call unless a file has come or gone since; an edited one is read again."""
    return _templates(folder, live, files.modified_ns(folder))


def _blocks(text: str, template: str, *, only: Iterable[str]) -> list[tuple[list[str], list[list[str]]]]:
    """Return the outermost blocks, each with its head and the directives inside; raises Refused for anything else."""
    blocks: list[tuple[list[str], list[list[str]]]] = []
    words: list[str] = []
    depth = 0
    for token in _tokens(text, template):
        if token not in "{};":
            words.append(token)
            continue
        is_in_place = bool(words) != (token == "}") and (depth or token == "{" and words[0] in only)
        if not is_in_place:
            raise errors.Refused(f"templates/{template}: stray {' '.join([*words, token])!r:.100}")
        if words and depth:
            blocks[-1][1].append(words)
        elif words:
            blocks.append((words, []))
        words, depth = [], depth + {"{": 1, ";": 0, "}": -1}[token]
    if depth or words or not blocks:
        raise errors.Refused(f"templates/{template}: it must give nothing but {' or '.join(only)} blocks, closed")
    return blocks


def _tokens(text: str, template: str) -> Iterator[str]:
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if not match:
            raise errors.Refused(f"templates/{template}: cannot be read at {text[position:position + 40]!r}")
        position = match.end()
        if match.lastgroup:
            yield match[match.lastgroup]
