"""HTTP services, such as Jenkins, that are told how many instances there should be.

What they answer with 4xx is Refused, as the request has to become another first; all else that fails is Unavailable.
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
from lictor.spec import delegation_settings, placeholders, service_spec
from lictor.spec.settings import Settings

_READABLE = ("application/json", "text/plain")


def acts_here(settings: Settings) -> bool:
    return settings.webhook is not None


def groups(service: str | None = None) -> list[model.Group] | None:
    return None


def scale(settings: Settings, spec: service_spec.Spec, *, color: str, replicas: int, release: str,
          called_off: CalledOff | None = None) -> str:
    return _scale(_templates(settings), placeholders.Values(spec.name, replicas, spec.image, color), called_off)


def redeploy(settings: Settings, spec: service_spec.Spec, *, color: str, replicas: int, release: str,
             called_off: CalledOff | None = None) -> str:
    templates, values = _templates(settings), placeholders.Values(spec.name, replicas, spec.image, color)
    if templates.redeploy:
        return _send("webhook.redeploy", templates.redeploy, values, templates, called_off)
    placeholders.require(templates.scale.templates, values, "webhook.scale", release=True)
    return _scale(templates, values, called_off)


def remove(settings: Settings, spec: service_spec.Spec, *, color: str, called_off: CalledOff | None = None) -> str:
    return _scale(_templates(settings), placeholders.Values(spec.name, 0, spec.image, color), called_off)


def _templates(settings: Settings) -> delegation_settings.Webhook:
    if settings.webhook is None:
        raise errors.Refused("webhook.scale is not set on this node")
    return settings.webhook


def _scale(templates: delegation_settings.Webhook, values: placeholders.Values, called_off: CalledOff | None) -> str:
    return _send("webhook.scale", templates.scale, values, templates, called_off)


def _send(
    key: str,
    request: delegation_settings.Request,
    values: placeholders.Values,
    templates: delegation_settings.Webhook,
    called_off: CalledOff | None,
) -> str:
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
        said = _said(answer, secrets)
        http.refuse_failure(answer, said)
        return f"{answer.status}: {said}" if said else str(answer.status)

    only = errors.Unavailable if request.may_repeat else http.NotSent
    return retry.unavailable(ask, timeout_s=timeout_s, only=only, called_off=called_off)


def _body(request: delegation_settings.Request, values: placeholders.Values, headers: dict[str, str]) -> bytes | None:
    """Encoded; its type goes into `headers`."""
    if request.form is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        return urllib.parse.urlencode(
            [(name, placeholders.fill(value, values)) for name, value in request.form.items()]
        ).encode()
    if request.json is not None:
        headers["Content-Type"] = "application/json"
        return json.dumps(_filled(request.json, values)).encode()
    return None


def _filled(value: Any, values: placeholders.Values) -> Any:
    if isinstance(value, dict):
        return {key: _filled(each, values) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, values) for each in value]
    if value == "{replicas}":
        return values.replicas
    return placeholders.fill(value, values) if isinstance(value, str) else value


def _said(answer: http.Answer, secrets: dict[str, str]) -> str:
    if answer.headers.get_content_type() not in _READABLE:
        return ""
    words = [word for value in secrets.values() for word in (value, value.split()[-1])]  # Bearer and Basic are none
    return text.last_lines(answer.body.decode("utf-8", "replace"), secrets=words)
