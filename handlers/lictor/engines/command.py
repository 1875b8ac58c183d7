"""Programs of this node, such as ansible-playbook, that are told how many instances there should be.

What fails is Unavailable, whatever the exit code: most tools have one code for a host that is down and for a playbook
that is wrong, and only the first may pass by itself.
"""

import os

from lictor import errors, model
from lictor.adapters import process, text
from lictor.adapters.process import CalledOff
from lictor.spec import delegation_settings, placeholders, service_spec
from lictor.spec.settings import Settings

_OWN_SECRETS = ("CONSUL_HTTP_TOKEN", "CONSUL_HTTP_AUTH")  # lictor's, and not for whatever the program starts


def acts_here(settings: Settings) -> bool:
    return settings.command is not None


def groups(service: str | None = None) -> list[model.Group] | None:
    return None


def scale(settings: Settings, spec: service_spec.Spec, *, color: str, replicas: int, release: str,
          called_off: CalledOff | None = None) -> str:
    return _scale(_templates(settings), placeholders.Values(spec.name, replicas, spec.image, color), called_off)


def redeploy(settings: Settings, spec: service_spec.Spec, *, color: str, replicas: int, release: str,
             called_off: CalledOff | None = None) -> str:
    templates, values = _templates(settings), placeholders.Values(spec.name, replicas, spec.image, color)
    if templates.redeploy:
        return _run("command.redeploy", templates.redeploy, values, templates.timeout_s, called_off)
    placeholders.require(templates.scale, values, "command.scale", release=True)
    return _scale(templates, values, called_off)


def remove(settings: Settings, spec: service_spec.Spec, *, color: str, called_off: CalledOff | None = None) -> str:
    return _scale(_templates(settings), placeholders.Values(spec.name, 0, spec.image, color), called_off)


def _templates(settings: Settings) -> delegation_settings.Command:
    if settings.command is None:
        raise errors.Refused("command.scale is not set on this node")
    return settings.command


def _scale(templates: delegation_settings.Command, values: placeholders.Values, called_off: CalledOff | None) -> str:
    return _run("command.scale", templates.scale, values, templates.timeout_s, called_off)


def _run(key: str, words: tuple[str, ...], values: placeholders.Values, timeout_s: float,
         called_off: CalledOff | None) -> str:
    placeholders.require(words, values, key)
    environ = {name: value for name, value in os.environ.items() if name not in _OWN_SECRETS}
    try:
        output = process.run([placeholders.fill(word, values) for word in words], timeout_s=timeout_s, environ=environ,
                             called_off=called_off)
    except errors.CommandFailed as error:
        how = f"ran out of its {timeout_s:g} s" if error.code is None else f"exit code {error.code}"
        said = text.last_lines(f"{error.stdout}\n{error.stderr}")
        raise errors.Unavailable(f"{key}: {words[0]}: {how}: {said or 'no output'}") from error
    return text.last_lines(output)
