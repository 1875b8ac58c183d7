"""`[command]` and `[webhook]` of the settings: a node's orders to Ansible, Jenkins and the like.

The texts are templates, and stand in a file of the node: a writer of Consul's KV must not choose what is run.
"""

import json
import re
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec

from lictor.spec import placeholders, plain_tables, validation_errors
from lictor.spec.quantities import Duration

METHODS = ("POST", "PUT", "GET", "PATCH", "DELETE")
Argv = Annotated[tuple[str, ...], msgspec.Meta(description="a list of strings, first the program")]
Url = Annotated[str, msgspec.Meta(description="http://HOST or https://HOST, with :PORT and /PATH as you like")]

_IDEMPOTENT = ("GET", "PUT", "DELETE")
_HEADER = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
# A word that is a file's name in part: @NAME, /FOLDER/NAME, or NAME.yml.
_FILE = r"@\{PLACEHOLDER\}|(?:^|=)@?[/.~][^=\s]*\{PLACEHOLDER\}|\{PLACEHOLDER\}[\w-]*\.\w"
_LINE = "[ -~]*"
_OWN_HEADERS = ("host", "connection", "content-length", "content-type", "transfer-encoding")
_SECRET_HEADERS = ("authorization", "proxy-authorization", "cookie")


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"timeout_s": "timeout"}):
    """`[command]`: argument lists; without `redeploy`, `scale` is used for it too."""

    scale: Argv
    redeploy: Argv = ()
    services: Annotated[tuple[str, ...], msgspec.Meta(description="a list of services' names")] = ()  # (): any
    timeout_s: Duration = Duration(600)

    def __post_init__(self) -> None:
        _require_timeout(self.timeout_s)
        commands = {"scale": self.scale, **({"redeploy": self.redeploy} if self.redeploy else {})}
        for key, argv in commands.items():
            if argv[:1] in ((), ("",)):
                raise ValueError(f"{key} is {[*argv]}; it must be a list of strings, first the program")
            _require_placeholders(key, argv)
            if placeholders.find_used(argv[0]):
                raise ValueError(f"{key} begins with {argv[0]!r}; the program itself must not be a template: a "
                                 "service's name would choose what is run")
            for word in argv:
                if not self.services and (re.search(_FILE.replace("PLACEHOLDER", "name"), word)
                                          or "name" in placeholders.find_used(word) and "/" in word):
                    raise ValueError(f"services is missing; it must list the services' names, as {key} holds {word!r}: "
                                     "who names services would choose the file")
                if re.search(_FILE.replace("PLACEHOLDER", "image"), word):
                    raise ValueError(f"{key} holds {word!r}; {{image}} must not stand in a file's name: who writes the "
                                     "key of an image would choose the file")


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[webhook.scale]` and `[webhook.redeploy]`: all values but those of `headers_files` are templates."""

    url: Url
    method: str = "POST"
    headers: dict[str, str] = {}
    headers_files: dict[str, str] = {}  # the file's content is the header's value
    form: dict[str, str] | None = None
    json: dict[str, Any] | None = None  # a string in it that is {replicas} and no more becomes a number
    retry: bool | None = None

    def __post_init__(self) -> None:
        plain_tables.require_url("url", self.url, secrets="headers_files")
        plain_tables.require_one_of("method", self.method, METHODS)
        if self.form is not None and self.json is not None:
            raise ValueError("form and json are both set; only one of them is allowed")
        _require_headers("headers", self.headers)
        _require_headers("headers_files", self.headers_files)
        for name, path in self.headers_files.items():
            plain_tables.require_absolute(f"headers_files.{name}", path)
        for name, value in self.headers.items():
            if name.lower() in _SECRET_HEADERS:
                raise ValueError(f"headers holds {name}; its value is a secret: write it into a file, and name that in "
                                 "headers_files")
            if not re.fullmatch(_LINE, value):
                raise ValueError(f"headers.{name} is {value!r}; it must be one line of printable ASCII")
        try:
            json.dumps(self.json, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"json: {error}") from error

    @property
    def may_repeat(self) -> bool:
        """True if the request is sent again after no answer: `retry`, or else for methods that may be repeated."""
        return self.method in _IDEMPOTENT if self.retry is None else self.retry

    @property
    def templates(self) -> list[str]:
        return [self.url, *self.headers.values(), *(self.form or {}).values(), *_strings(self.json)]


class Jenkins(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[webhook.jenkins]`: the requests start builds of the Jenkins at `url`, which are waited for."""

    url: Url  # ends with a slash
    user: str
    token_file: str
    crumb: bool = True

    def __post_init__(self) -> None:
        plain_tables.require_url("url", self.url, secrets="token_file")
        plain_tables.require_absolute("token_file", self.token_file)
        if "?" in self.url:
            raise ValueError(f"url is {self.url!r}; it must be where Jenkins is, without a query")
        if not self.user or ":" in self.user or not re.fullmatch(_LINE, self.user):
            raise ValueError(f"user is {self.user!r}; it must be a user's id in Jenkins")
        msgspec.structs.force_setattr(self, "url", self.url.rstrip("/") + "/")


class Webhook(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"timeout_s": "timeout"}):
    """`[webhook]`: `timeout_s` is for the whole, repeated requests and a build that is waited for included."""

    scale: Request
    redeploy: Request | None = None
    timeout_s: Duration = Duration(600)
    jenkins: Jenkins | None = None

    def __post_init__(self) -> None:
        _require_timeout(self.timeout_s)
        requests = {"scale": self.scale, **({"redeploy": self.redeploy} if self.redeploy else {})}
        for key, request in requests.items():
            if self.jenkins:
                _require_build(key, request, self.jenkins)
            _require_placeholders(key, request.templates)


class _Tables(msgspec.Struct, frozen=True):
    command: Command | None = None
    webhook: Webhook | None = None


def convert(settings: dict[str, Any], path: str) -> dict[str, Any]:
    """Convert these two tables of the settings; raises Refused that names `path`, the key, and what is allowed."""
    return msgspec.structs.asdict(validation_errors.convert(settings, _Tables, path))


def _require_timeout(timeout_s: float) -> None:
    if not timeout_s:
        raise ValueError("timeout is 0s; it must be more than 0s")


def _require_headers(key: str, headers: dict[str, str]) -> None:
    for name in headers:
        if not re.fullmatch(_HEADER, name) or name.lower() in _OWN_HEADERS:
            raise ValueError(f"{key} holds {name!r}; it must be the name of a header, and not "
                             f"{', '.join(_OWN_HEADERS)}, which lictor sets")


def _require_build(key: str, request: Request, jenkins: Jenkins) -> None:
    if not request.url.startswith(jenkins.url):
        raise ValueError(f"{key}.url must begin with webhook.jenkins.url, {jenkins.url}: only that Jenkins is given "
                         "the token")
    if request.method != "POST" or request.may_repeat or request.json is not None:
        raise ValueError(f"{key} must be a POST with a form and without retry: with webhook.jenkins it starts a build")
    if any(name.lower() in _SECRET_HEADERS for name in request.headers_files):
        raise ValueError(f"{key}.headers_files must not hold Authorization or Cookie: lictor sends those that "
                         "webhook.jenkins asks for")


def _require_placeholders(key: str, templates: Iterable[str]) -> None:
    try:
        used = {placeholder for template in templates for placeholder in placeholders.find_used(template)}
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error
    for placeholder in ("name", "replicas") if key == "scale" else ("name",):
        if placeholder not in used:
            raise ValueError(f"{key} does not hold {{{placeholder}}}; it must, as it is used for every service")


def _strings(value: Any) -> list[str]:
    """List every string in a JSON value; keys are no templates."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [text for item in value for text in _strings(item)]
    return [value] if isinstance(value, str) else []
