"""`[command]` and `[webhook]` of the settings: how a node tells Ansible, Jenkins and the like what is wanted.

They are templates, and stand in a file of the node: whoever may write to Consul's KV must not choose what is run.
"""

import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from lictor import errors
from lictor.spec import placeholders, settings_reader

METHODS = ("POST", "PUT", "GET", "PATCH", "DELETE")

_IDEMPOTENT = ("GET", "PUT", "DELETE")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_LINE = re.compile(r"[ -~]*", re.ASCII)
_OWN_HEADERS = ("host", "connection", "content-length", "content-type", "transfer-encoding")
_SECRET_HEADERS = ("authorization", "proxy-authorization", "cookie")
_REQUEST_KEYS = ("url", "method", "headers", "headers_files", "form", "json", "retry")


class Command(NamedTuple):
    """`[command]`: argument lists; without `redeploy`, `scale` is used for it too."""

    scale: tuple[str, ...]
    redeploy: tuple[str, ...] = ()
    timeout_s: float = 600.0


class Request(NamedTuple):
    """`[webhook.scale]` and `[webhook.redeploy]`: all values but those of `headers_files` are templates."""

    url: str
    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = ()
    headers_files: tuple[tuple[str, str], ...] = ()  # the file's content is the header's value
    form: tuple[tuple[str, str], ...] | None = None
    json: Any = None  # in it a string that is {replicas} and no more becomes a number; other values stay strings
    retry: bool = False


class Jenkins(NamedTuple):
    """`[webhook.jenkins]`: the requests start builds of the Jenkins at `url`, and these are waited for."""

    url: str  # ends with a slash
    user: str
    token_file: str
    crumb: bool = True


class Webhook(NamedTuple):
    """`[webhook]`: `timeout_s` is for the whole, repeated requests and a build that is waited for included."""

    scale: Request
    redeploy: Request | None = None
    timeout_s: float = 600.0
    jenkins: Jenkins | None = None


def command(table: dict[str, Any], path: str) -> Command:
    settings_reader.know(table, ("scale", "redeploy", "timeout"), path, "command.")
    scale, redeploy = (
        settings_reader.words(table.get(key, []), path, f"command.{key}") for key in ("scale", "redeploy")
    )
    if not scale:
        raise errors.Refused(f"{path}: command.scale is missing; it must be a list of strings, first the program")
    _placeholders(scale, path, "command.scale", needed=("name", "replicas"))
    if redeploy:
        _placeholders(redeploy, path, "command.redeploy", needed=("name",))
    for key, words in (("scale", scale), ("redeploy", redeploy)):
        if words and placeholders.used(words[0]):
            raise errors.Refused(f"{path}: command.{key} begins with {words[0]!r}; the program itself must not be a "
                                 "template: a service's name would choose what is run")
    return Command(scale, redeploy, settings_reader.seconds(table.get("timeout", "10m"), path, "command.timeout"))


def webhook(table: dict[str, Any], path: str) -> Webhook:
    settings_reader.know(table, ("scale", "redeploy", "timeout", "jenkins"), path, "webhook.")
    jenkins = _jenkins(settings_reader.table(table, "jenkins", path, "webhook."), path) if "jenkins" in table else None
    scale = _request(table, "scale", path, jenkins, needed=("name", "replicas"))
    redeploy = _request(table, "redeploy", path, jenkins, needed=("name",)) if "redeploy" in table else None
    timeout_s = settings_reader.seconds(table.get("timeout", "10m"), path, "webhook.timeout")
    return Webhook(scale, redeploy, timeout_s, jenkins)


def texts(request: Request) -> list[str]:
    """All that are templates in it."""
    pairs = (*request.headers, *(request.form or ()))
    return [request.url, *(value for _, value in pairs), *_strings(request.json)]


def _request(webhook_table: dict[str, Any], key: str, path: str, jenkins: Jenkins | None, *,
             needed: tuple[str, ...]) -> Request:
    table, where = settings_reader.table(webhook_table, key, path, "webhook."), f"webhook.{key}"
    settings_reader.know(table, _REQUEST_KEYS, path, f"{where}.")
    given = settings_reader.texts(table, ("url", "method"), path, f"{where}.")
    request = Request(settings_reader.url(given.get("url", ""), path, f"{where}.url", secrets="headers_files"),
                      given.get("method", "POST"))
    settings_reader.allow(request.method, METHODS, path, f"{where}.method")
    if "form" in table and "json" in table:
        raise errors.Refused(f"{path}: {where}.form and {where}.json are both set; only one of them is allowed")
    request = request._replace(
        headers=_headers(table, "headers", path, where),
        headers_files=_headers(table, "headers_files", path, where),
        form=_pairs(table, "form", path, where) if "form" in table else None,
        json=_json(settings_reader.table(table, "json", path, f"{where}."), path, where) if "json" in table else None,
        retry=settings_reader.flag(
            table.get("retry", not jenkins and request.method in _IDEMPOTENT), path, f"{where}.retry"
        ),
    )
    if jenkins:
        _refuse_what_jenkins_does_not_take(request, jenkins, path, where)
    _placeholders(texts(request), path, where, needed=needed)
    return request


def _json(value: dict[str, Any], path: str, where: str) -> dict[str, Any]:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise errors.Refused(f"{path}: {where}.json: {error}") from error
    return value


def _jenkins(table: dict[str, Any], path: str) -> Jenkins:
    settings_reader.know(table, Jenkins._fields, path, "webhook.jenkins.")
    given = settings_reader.texts(table, ("url", "user", "token_file"), path, "webhook.jenkins.")
    url = settings_reader.url(given.get("url", ""), path, "webhook.jenkins.url", secrets="token_file").rstrip("/") + "/"
    user = given.get("user", "")
    if "?" in url:
        raise errors.Refused(f"{path}: webhook.jenkins.url is {url!r}; it must be where Jenkins is, without a query")
    if not user or ":" in user or not _LINE.fullmatch(user):
        raise errors.Refused(f"{path}: webhook.jenkins.user is {user!r}; it must be a user's id in Jenkins")
    token_file = settings_reader.absolute(given.get("token_file", ""), path, "webhook.jenkins.token_file")
    return Jenkins(url, user, token_file, settings_reader.flag(table.get("crumb", True), path, "webhook.jenkins.crumb"))


def _refuse_what_jenkins_does_not_take(request: Request, jenkins: Jenkins, path: str, where: str) -> None:
    if not request.url.startswith(jenkins.url):
        raise errors.Refused(f"{path}: {where}.url must begin with webhook.jenkins.url, {jenkins.url}: only that "
                             "Jenkins is given the token")
    if request.method != "POST" or request.retry or request.json is not None:
        raise errors.Refused(f"{path}: {where} must be a POST with a form and without retry: with webhook.jenkins it "
                             "starts a build")
    if any(name.lower() in _SECRET_HEADERS for name, _ in request.headers_files):
        raise errors.Refused(f"{path}: {where}.headers_files must not hold Authorization or Cookie: lictor sends those "
                             "that webhook.jenkins asks for")


def _headers(table: dict[str, Any], key: str, path: str, where: str) -> tuple[tuple[str, str], ...]:
    pairs = _pairs(table, key, path, where)
    for name, value in pairs:
        if not _HEADER.fullmatch(name) or name.lower() in _OWN_HEADERS:
            raise errors.Refused(f"{path}: {where}.{key} holds {name!r}; it must be the name of a header, and not "
                                 f"{', '.join(_OWN_HEADERS)}, which lictor sets")
        if key == "headers_files":
            settings_reader.absolute(value, path, f"{where}.{key}.{name}")
        elif name.lower() in _SECRET_HEADERS:
            raise errors.Refused(f"{path}: {where}.{key} holds {name}; its value is a secret: write it into a file, "
                                 f"and name that in {where}.headers_files")
        elif not _LINE.fullmatch(value):
            raise errors.Refused(f"{path}: {where}.{key}.{name} is {value!r}; it must be one line of printable ASCII")
    return pairs


def _pairs(table: dict[str, Any], key: str, path: str, where: str) -> tuple[tuple[str, str], ...]:
    found = settings_reader.table(table, key, path, f"{where}.")
    return tuple(settings_reader.texts(found, tuple(found), path, f"{where}.{key}.").items())


def _strings(value: Any) -> list[str]:
    """Every string in a JSON value; keys are no templates."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [text for each in value for text in _strings(each)]
    return [value] if isinstance(value, str) else []


def _placeholders(templates: Iterable[str], path: str, key: str, *, needed: tuple[str, ...]) -> None:
    try:
        used = {placeholder for each in templates for placeholder in placeholders.used(each)}
    except ValueError as error:
        raise errors.Refused(f"{path}: {key}: {error}") from error
    for placeholder in needed:
        if placeholder not in used:
            raise errors.Refused(f"{path}: {key} does not hold {{{placeholder}}}; it must, as it is used for every "
                                 "service")
