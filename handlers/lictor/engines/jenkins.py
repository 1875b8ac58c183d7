"""Jenkins' conventions for the engine `webhook`: a POST puts a build into the queue; only its result is an answer.

A build that fails is Unavailable: it may succeed another time, and Jenkins does not say whether it could.
"""

import base64
import contextlib
import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from lictor import errors
from lictor.adapters import http, log, retry, secret_files
from lictor.adapters.process import CalledOff
from lictor.adapters.text import last_lines
from lictor.spec import delegation_settings

_CALL_TIMEOUT_S = 30.0
# Only the path is taken: Jenkins may know itself by another name, and no other host may get the token.
_ITEM = re.compile(r"/(queue/item/\d+)/?$", re.ASCII)
_BUILD = re.compile(r"/((?:job/[!$-.0->@-~]+/)+\d+)/?$", re.ASCII)
_CRUMB_FIELD = re.compile(r"[A-Za-z0-9.-]+", re.ASCII)
_WORD = re.compile(r"[!-~]+", re.ASCII)
_LONGEST_URL = 2000  # of those that Jenkins answers; the patterns take long for long ones


def build(settings: delegation_settings.Jenkins, url: str, *, headers: Mapping[str, str], body: bytes | None,
          secrets: tuple[str, ...], timeout_s: float, called_off: CalledOff | None = None) -> str:
    """Start a build by a POST to `url` and wait for its success; returns its URL and its last lines.

    The POST is sent once, or again if there was no connection. If the time is over, or `called_off` gives a reason,
    the build goes on in Jenkins.
    """
    session = _Session(settings, timeout_s=timeout_s, secrets=secrets, called_off=called_off)
    item = session.start(url, headers, body)
    path = session.poll(f"{item}/api/json", _started)
    if not path:
        raise errors.Unavailable(f"{settings.url}{item}: it was taken out of the queue")
    log.event("jenkins", build=f"{settings.url}{path}/", waits="it is running")
    result = session.poll(f"{path}/api/json?tree=building,result", _result)
    console = session.console(path)
    output = f"{settings.url}{path}/: {result}" + (f"\n{console}" if console else "")
    if result != "SUCCESS":
        raise errors.Unavailable(output)
    return output


class _Session:
    """The requests of one user to one Jenkins within one time limit; paths are relative to Jenkins' URL."""

    def __init__(self, settings: delegation_settings.Jenkins, *, timeout_s: float, secrets: tuple[str, ...],
                 called_off: CalledOff | None) -> None:
        token = secret_files.read_token(settings.token_file)
        basic = base64.b64encode(f"{settings.user}:{token}".encode()).decode()
        self._settings, self._secrets = settings, (token, basic, *secrets)
        self._timeout_s, self._deadline = timeout_s, time.monotonic() + timeout_s
        self._headers, self._called_off = {"Authorization": f"Basic {basic}"}, called_off

    def start(self, url: str, headers: Mapping[str, str], body: bytes | None) -> str:
        """Send the POST; returns the path of the item in the queue."""
        own = self._headers | (self._crumb() if self._settings.crumb else {})
        answer = retry.unavailable(lambda: self._ask("POST", url, {**headers, **own}, body), only=http.NotSent,
                                   timeout_s=self._left_s(), called_off=self._called_off)
        http.refuse_failure(answer)
        item = _ITEM.search(answer.headers.get("Location", "")[:_LONGEST_URL])
        if answer.status != 201 or item is None:
            raise errors.Refused(f"the answer is {answer.status}, and 201 with an item of the queue was expected; the "
                                 "url must be that of a job's buildWithParameters")
        log.event("jenkins", item=f"{self._settings.url}{item[1]}/", waits="it is in the queue")
        return item[1]

    def poll(self, path: str, found: Callable[[dict[str, Any]], str]) -> str:
        """Read what `found` finds in the JSON at `path`; again while that is Unavailable or Jenkins is silent."""
        try:
            return retry.unavailable(lambda: found(self._json(path)), timeout_s=self._left_s(),
                                     called_off=self._called_off)
        except errors.Conflict:
            raise
        except errors.Unavailable as error:
            raise errors.Unavailable(f"{self._settings.url}{path.partition('/api/')[0]}: not done within "
                                     f"{self._timeout_s:g} s, and not stopped: {error}") from error
        except errors.Refused as error:  # the build was accepted, so another try may succeed
            raise errors.Unavailable(f"{self._settings.url}{path.partition('/api/')[0]}: its end is unknown: "
                                     f"{error}") from error

    def console(self, path: str) -> str:
        """Read the last lines of a build's console; "" if they cannot be had."""
        with contextlib.suppress(errors.LictorError):
            answer = self._ask("GET", f"{self._settings.url}{path}/consoleText", self._headers, read=http.read_end)
            if answer.status == 200:
                return last_lines(answer.body.decode("utf-8", "replace"), secrets=self._secrets)
        return ""

    def _crumb(self) -> dict[str, str]:
        """Read the headers that show Jenkins that no web page in a user's browser sends the POST; {} if it asks for
        none."""
        def ask() -> http.Answer:
            answer = self._ask("GET", f"{self._settings.url}crumbIssuer/api/json", self._headers)
            if answer.status != 404:
                http.refuse_failure(answer)
            return answer

        answer = retry.unavailable(ask, timeout_s=self._left_s(), called_off=self._called_off)
        if answer.status == 404:
            return {}
        crumb = _parsed(answer)
        field, value = str(crumb.get("crumbRequestField")), str(crumb.get("crumb"))
        if not _CRUMB_FIELD.fullmatch(field) or not _WORD.fullmatch(value):
            raise errors.Unavailable("crumbIssuer/api/json does not answer with a crumb")
        cookies = [cookie.partition(";")[0].strip() for cookie in answer.headers.get_all("Set-Cookie", [])]
        return {field: value, **({"Cookie": "; ".join(cookies)} if cookies else {})}  # a crumb holds in its session

    def _json(self, path: str) -> dict[str, Any]:
        answer = self._ask("GET", self._settings.url + path, self._headers)
        http.refuse_failure(answer)
        return _parsed(answer)

    def _ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None, *,
             read: http.Reader = http.read_start) -> http.Answer:
        return http.exchange(method, url, headers=headers, body=body, read=read,
                             timeout_s=max(0.1, min(_CALL_TIMEOUT_S, self._left_s())))

    def _left_s(self) -> float:
        return self._deadline - time.monotonic()


def _started(item: dict[str, Any]) -> str:
    """Find the path of the item's build; "" if there will be none."""
    if item.get("cancelled") is True:
        return ""
    executable = item.get("executable")
    if not isinstance(executable, dict):
        raise errors.Unavailable(f"in the queue: {last_lines(str(item.get('why') or 'no reason given'))}")
    path = _BUILD.search(str(executable.get("url"))[:_LONGEST_URL])
    if path is None:
        raise errors.Refused("Jenkins does not say which build it is")
    return path[1]


def _result(found: dict[str, Any]) -> str:
    if found.get("building") is not False or not isinstance(found.get("result"), str):
        raise errors.Unavailable("it is running")
    return last_lines(str(found["result"]))


def _parsed(answer: http.Answer) -> dict[str, Any]:
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError) as error:
        raise errors.Unavailable("the answer is no JSON") from error
    if not isinstance(found, dict):
        raise errors.Unavailable("the answer is no JSON object")
    return found
