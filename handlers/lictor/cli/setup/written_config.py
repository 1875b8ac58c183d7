"""Files that lictor has written for the agent, as they stand on this node."""

import os
from typing import Any

from lictor.adapters import files
from lictor.events import agent_config
from lictor.spec.settings import Settings


def read_routes(settings: Settings) -> dict[str, Any]:
    """Read lictor-watches.json; {} if it is not there."""
    return files.read_json(os.path.join(settings.watch.config_dir, agent_config.ROUTES_FILE)) or {}


def read_argv(settings: Settings, handler: str) -> list[str]:
    """Read how the agent starts a handler, without its options; [] if lictor.json does not say."""
    return next((argv[:2] for argv in _argvs(settings) if argv[1:] and os.path.basename(argv[1]) == handler), [])


def read_token_file(settings: Settings) -> str | None:
    """Read which token file the agent gives the handlers."""
    pairs = (pair for argv in _argvs(settings) for pair in zip(argv, argv[1:], strict=False))
    return next((path for option, path in pairs if option == "--token-file"), None)


def _argvs(settings: Settings) -> list[list[str]]:
    """List the argv of each check in lictor.json."""
    written = files.read_json(os.path.join(settings.watch.config_dir, agent_config.STATIC_FILE))
    try:
        return [[str(word) for word in check["args"]] for check in agent_config.checks(written)]
    except (TypeError, KeyError):
        return []
