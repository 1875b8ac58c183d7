"""The engine `webhook`: HTTP services, such as Jenkins, that take orders of how many instances to run.

An answer of 4xx is Refused, as only another request could succeed; every other failure is Unavailable.
"""

import functools
import json
import time
import urllib.parse
from typing import Any

from lictor import errors, model
from lictor.adapters import http, retry, secret_files, text
from lictor.adapters.process import CalledOff
from lictor.engines import jenkins
from lictor.engines.protocols import Order
from lictor.spec import delegation_settings, placeholders
from lictor.spec.settings import Settings

_READABLE = ("application/json", "text/plain")


def acts_here(settings: Settings) -> bool:
    return settings.webhook is not None


def groups(service: str | None = None) -> list[model.Group] | None:
    return None


def scale(settings: Settings, order: Order, called_off: CalledOff | None = None) -> str:
    templates = _templates(settings)
    return _send("webhook.scale", templates.scale, order, templates, called_off)


remove = scale  # to 0


def redeploy(settings: Settings, order: Order, called_off: CalledOff | None = None) -> str:
    templates = _templates(settings)
    if templates.redeploy:
        return _send("webhook.redeploy", templates.redeploy, order, templates, called_off)
    placeholders.require(templates.scale.templates, order.values, "webhook.scale", release=True)
    return scale(settings, order, called_off)


def _templates(settings: Settings) -> delegation_settings.Webhook:
    if settings.webhook is None:
        raise errors.Refused("webhook.scale is not set on this node")
    return settings.webhook


def _send(key: str, request: delegation_settings.Request, order: Order, templates: delegation_settings.Webhook,
          called_off: CalledOff | None) -> str:
    values = order.values
    placeholders.require(request.templates, values, key)
    url = placeholders.fill(request.url, values, functools.partial(urllib.parse.quote, safe=""))
    secrets = {name: secret_files.read_secret(path) for name, path in request.headers_files.items()}
    headers = {**{name: placeholders.fill(value, values) for name, value in request.headers.items()}, **secrets}
    body = _body(request, values, headers)
    try:
        if templates.jenkins:
            return jenkins.build(templates.jenkins, url, headers=headers, body=body, secrets=tuple(secrets.values()),
                                 timeout_s=templates.timeout_s, called_off=called_off)
        return _ask(request, url, headers, body, secrets=secrets, timeout_s=templates.timeout_s, called_off=called_off)
    except errors.LictorError as error:
        error.args = (f"{key}: {request.method} {url.partition('?')[0]}: {error}",)
        raise


def _ask(request: delegation_settings.Request, url: str, headers: dict[str, str], body: bytes | None, *,
         secrets: dict[str, str], timeout_s: float, called_off: CalledOff | None) -> str:
    deadline = time.monotonic() + timeout_s

    def ask() -> str:
        left_s = max(0.1, deadline - time.monotonic())
        answer = http.exchange(request.method, url, headers=headers, body=body, timeout_s=left_s)
        last_lines = _last_lines(answer, secrets)
        http.refuse_failure(answer, last_lines)
        return f"{answer.status}: {last_lines}" if last_lines else str(answer.status)

    only = errors.Unavailable if request.may_repeat else http.NotSent
    return retry.unavailable(ask, timeout_s=timeout_s, only=only, called_off=called_off)


def _body(request: delegation_settings.Request, values: placeholders.Values, headers: dict[str, str]) -> bytes | None:
    """Encode the body; its type goes into `headers`."""
    if request.form is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        filled = [(name, placeholders.fill(value, values)) for name, value in request.form.items()]
        return urllib.parse.urlencode(filled).encode()
    if request.json is not None:
        headers["Content-Type"] = "application/json"
        return json.dumps(_filled(request.json, values)).encode()
    return None


def _filled(value: Any, values: placeholders.Values) -> Any:
    if isinstance(value, dict):
        return {key: _filled(member, values) for key, member in value.items()}
    if isinstance(value, list):
        return [_filled(element, values) for element in value]
    if value == "{replicas}":
        return values.replicas
    return placeholders.fill(value, values) if isinstance(value, str) else value


def _last_lines(answer: http.Answer, secrets: dict[str, str]) -> str:
    """Read the end of a readable answer; "" for any other."""
    if answer.headers.get_content_type() not in _READABLE:
        return ""
    words = [word for value in secrets.values() for word in (value, value.split()[-1])]  # Bearer is no secret
    return text.last_lines(answer.body.decode("utf-8", "replace"), secrets=words)
