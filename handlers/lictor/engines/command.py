"""The engine `command`: programs of this node, such as ansible-playbook, that take orders of how many instances to run.

A failure is Unavailable, whatever the exit code: most tools have one code for a host that is down and for a playbook
that is wrong, and only the first may pass by itself.
"""

from lictor import errors, model
from lictor.adapters import process, text
from lictor.adapters.process import CalledOff
from lictor.engines.protocols import Order
from lictor.spec import delegation_settings, placeholders
from lictor.spec.settings import Settings


def acts_here(settings: Settings) -> bool:
    return settings.command is not None


def groups(service: str | None = None) -> list[model.Group] | None:
    return None


def scale(settings: Settings, order: Order, called_off: CalledOff | None = None) -> str:
    templates = _templates(settings, order)
    return _run("command.scale", templates.scale, order, templates.timeout_s, called_off)


remove = scale  # to 0


def redeploy(settings: Settings, order: Order, called_off: CalledOff | None = None) -> str:
    templates = _templates(settings, order)
    if templates.redeploy:
        return _run("command.redeploy", templates.redeploy, order, templates.timeout_s, called_off)
    placeholders.require(templates.scale, order.values, "command.scale", release=True)
    return scale(settings, order, called_off)


def _templates(settings: Settings, order: Order) -> delegation_settings.Command:
    if settings.command is None:
        raise errors.Refused("command.scale is not set on this node")
    if settings.command.services and order.spec.name not in settings.command.services:
        raise errors.Refused(f"name is {order.spec.name!r}; command.services of {settings.where} allows "
                             f"{', '.join(settings.command.services)}")
    return settings.command


def _run(key: str, words: tuple[str, ...], order: Order, timeout_s: float, called_off: CalledOff | None) -> str:
    placeholders.require(words, order.values, key)
    try:
        output = process.delegate([placeholders.fill(word, order.values) for word in words], timeout_s=timeout_s,
                                  called_off=called_off)
    except errors.CommandFailed as error:
        how = f"ran out of its {timeout_s:g} s" if error.code is None else f"exit code {error.code}"
        last_lines = text.last_lines(f"{error.stdout}\n{error.stderr}")
        raise errors.Unavailable(f"{key}: {words[0]}: {how}: {last_lines or 'no output'}") from error
    return text.last_lines(output.stdout)
