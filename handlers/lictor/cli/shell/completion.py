"""Names of services for a shell that completes a word: from Consul, soon or not at all, and without a word of failure.
"""

import contextlib
import os
import threading
from collections.abc import Mapping
from typing import Any

import click
from click.shell_completion import CompletionItem

from lictor import model
from lictor.cli.session import Session

_TIMEOUT_S = 1.0  # somebody waits for the shell


class ServiceName(click.types.StringParamType):
    """A service's name; the verbs themselves say what is wrong with it."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(each) for each in list_names(ctx.find_root().params) if each.startswith(incomplete)]


def list_names(options: Mapping[str, Any], timeout_s: float = _TIMEOUT_S) -> list[str]:
    """List the services that are applied and not removed; [] if Consul does not tell within the time.

    `options` are those in front of the verb.
    """
    found: list[str] = []

    def read() -> None:
        with contextlib.suppress(Exception):  # a shell has no place for a reason
            found.extend(_read_names(Session(
                options.get("config_path") or os.environ.get("LICTOR_CONFIG", ""), options.get("token_file"))))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(timeout_s)
    return sorted(found)


def _read_names(session: Session) -> list[str]:
    prefix = session.settings.prefix
    keys = [key.removeprefix(prefix).partition("/") for key in session.client.keys(prefix)]
    removed = {name for name, _, key in keys if key == "removed"}
    return [name for name, _, key in keys if key == "spec" and name not in removed and model.is_name(name)]
