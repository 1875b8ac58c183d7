"""Options of a route, as `max_body`, in the text of its locations. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lictor import errors
from lictor.spec.route import require_options

_LONGEST_WAIT_S = 60.0
_ABSENT: dict[str, Any] = {"scheme": "http", "server_name": "", "insecure": False, "sticky": "", "strip": False,
                           "timeout": None, "max_body": None, "wait": None, "allow": [], "request_headers": {},
                           "response_headers": {}, "settings": {}}
_PASS = ("proxy_pass", "grpc_pass")


class Shared(dict[str, str]):
    """Settings of a service's upstream, which all of its routes share: a template that reads one of which they have
    different values is refused, as any of these would be wrong for some."""

    def __init__(self, settings: Iterable[Mapping[str, str]]) -> None:
        self._given = dict[str, set[str]]()
        for key, value in (pair for each in settings for pair in each.items()):
            self._given.setdefault(key, set()).add(value)
        super().__init__({key: min(values) for key, values in self._given.items() if len(values) == 1})

    def __missing__(self, key: str) -> str:
        if key in self._given:
            values = " and ".join(sorted(self._given[key]))
            raise errors.Refused(f"settings.{key} is {values} in routes of one service; they share an upstream, which "
                                 "takes one value")
        raise KeyError(key)


def make_variables(options: Mapping[str, Any]) -> dict[str, Any]:
    """Make the variables that a template has for these options; raises Refused for a hostile one."""
    try:
        if not all(isinstance(each, str) for each in options.get("allow") or ()):
            raise ValueError("allow holds no text")
        require_options(options)
        timeout, most, wait = options.get("timeout"), options.get("max_body"), options.get("wait")
        if wait is not None and not 0 < wait <= _LONGEST_WAIT_S:
            raise ValueError(f"wait is {wait:g}s")
        known = {**_ABSENT, **{key: value for key, value in options.items() if key in _ABSENT}}
        return {**known, "timeout": None if timeout is None else f"{round(1000 * timeout)}ms",
                "max_body": None if most is None else int(most)}
    except (ValueError, TypeError, AttributeError, ArithmeticError) as error:
        raise errors.Refused(f"route.{str(error)[:300]}; it must not reach a configuration") from error


def require_rendered(variables: Mapping[str, Any], blocks: Iterable[Sequence[Sequence[str]]]) -> None:
    """Raise Refused if the locations do not have what `make_variables` gave: a template of the user's may be older.

    `blocks` are the directives of each location, as lists of words, quoted or not.
    """
    wanted = _list_wanted(variables)
    bare = [[[*map(_unquote, words)] for words in directives] for directives in blocks]
    asking = [directives for directives in bare if any(words[0] in _PASS for words in directives)]
    for directives in asking or bare:
        _require_in(directives, wanted)
        _require_url(directives, variables)


def _require_in(directives: Sequence[Sequence[str]], wanted: Iterable[tuple[str, tuple[str, ...]]]) -> None:
    present = {tuple(words[:count]) for words in directives for count in (2, 3)}
    for option, directive in wanted:
        if directive not in present:
            raise errors.Refused(f"templates/location.conf.j2: route.{option} is given, and the location has no "
                                 f"`{' '.join(directive)}`. The template that came with lictor shows where it stands")


def _require_url(directives: Sequence[Sequence[str]], variables: Mapping[str, Any]) -> None:
    scheme, urls = variables["scheme"], [words[1] for words in directives if words[0] in _PASS]
    if scheme != _ABSENT["scheme"] and not any(url.startswith(f"{scheme}://") for url in urls):
        raise errors.Refused(f"templates/location.conf.j2: route.scheme is {scheme}, and the URL of "
                             f"{_module(scheme)}_pass does not begin with {scheme}://")
    if variables["strip"] and not any(url.endswith("/") for url in urls):
        raise errors.Refused("templates/location.conf.j2: route.strip is given, and the URL of proxy_pass does not end "
                             "with /")


def _module(scheme: str) -> str:
    """Name the module of nginx's that asks by the scheme, as its directives begin."""
    return "grpc" if scheme == "grpc" else "proxy"


def _unquote(word: str) -> str:
    return word[1:-1] if word[:1] in ("'", '"') else word


def _list_wanted(variables: Mapping[str, Any]) -> list[tuple[str, tuple[str, ...]]]:
    """List the directives that a location has to have, each with its option; an older one may have other values."""
    wanted: list[tuple[str, tuple[str, ...]]] = []
    module = _module(variables["scheme"])
    if variables["scheme"] == "https" and not variables["insecure"]:
        wanted.append(("scheme", ("proxy_ssl_verify", "on")))
    if variables["server_name"]:
        wanted += [("server_name", ("proxy_ssl_name", variables["server_name"])),
                   ("server_name", ("proxy_ssl_server_name", "on"))]
    if variables["sticky"]:
        wanted += [("sticky", ("set", "$lictor_sticky", f"$cookie_{variables['sticky']}")),
                   ("sticky", ("add_header", "Set-Cookie", "$lictor_set_cookie"))]
    if variables["timeout"]:
        wanted.append(("timeout", (f"{module}_read_timeout", variables["timeout"])))
    if variables["max_body"] is not None:
        wanted.append(("max_body", ("client_max_body_size", str(variables["max_body"]))))
    if variables["allow"]:
        wanted += [("allow", ("deny", "all")), *(("allow", ("allow", each)) for each in variables["allow"])]
    wanted += [(f"request_headers.{name}", (f"{module}_set_header", name, value))
               for name, value in variables["request_headers"].items()]
    wanted += [(f"response_headers.{name}", ("add_header", name, value) if value else (f"{module}_hide_header", name))
               for name, value in variables["response_headers"].items()]
    return wanted
