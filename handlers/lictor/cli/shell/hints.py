"""Hints for verbs that people know from other tools. Pure."""

import difflib
from collections.abc import Sequence

from lictor.adapters.text import one_line

HINTS = {
    **dict.fromkeys(("ps", "ls", "list", "top", "services"), "`lictor status` lists services"),
    **dict.fromkeys(("inspect", "describe", "show", "info", "get"), "`lictor status NAME` shows one service"),
    **dict.fromkeys(("events", "history", "log"), "`lictor why NAME` tells what happened, and `lictor logs NAME` what "
                                                  "its containers print"),
    **dict.fromkeys(("rm", "delete", "destroy", "down"), "`lictor remove NAME` ends a service and its containers"),
    **dict.fromkeys(("stop", "kill"), "`lictor scale NAME 0` ends all instances; `lictor hold NAME` keeps hands off"),
    **dict.fromkeys(("up", "run", "create", "add"), "`lictor apply FILE` describes a service, and lictor starts it"),
    "start": "`lictor scale NAME N` sets how many instances run, and `lictor apply FILE` describes a service",
    "restart": "`lictor deploy NAME IMAGE` replaces all instances by those of an image, and lictor starts what `docker "
               "stop` ends again",
    **dict.fromkeys(("update", "upgrade", "release", "set"), "`lictor deploy NAME IMAGE` releases an image, and "
                                                             "`lictor apply FILE` changes the rest"),
    **dict.fromkeys(("undo", "rollout"), "`lictor rollback NAME` goes back to the release before"),
    **dict.fromkeys(("diff", "preview"), "`lictor plan` prints what would be done now"),
    **dict.fromkeys(("disable", "drain"), "`lictor hold NAME` keeps hands off a service"),
    "pause": "`lictor hold NAME --pause` lets all requests of a service wait",
    **dict.fromkeys(("unpause", "enable", "continue"), "`lictor resume NAME` ends a hold"),
    **dict.fromkeys(("attach", "sh", "ssh", "shell", "bash"), "`lictor exec NAME sh` runs a shell in an instance"),
    **dict.fromkeys(("tail", "follow"), "`lictor logs NAME -f` follows what its containers print"),
    **dict.fromkeys(("check", "health", "test"), "`lictor doctor` tests this node, and `lictor status` shows services"),
    **dict.fromkeys(("install", "setup", "uninstall"), "`lictor init` prepares this node, and `lictor init --remove` "
                                                       "takes that back"),
    "help": "`lictor --help` lists the verbs, and `lictor VERB --help` tells of one",
    "version": "`lictor --version` prints it",
}


def explain(word: str, verbs: Sequence[str]) -> str:
    """Explain that there is no such verb, and name the one that does it."""
    near = difflib.get_close_matches(word, verbs, n=1)
    hint = HINTS.get(word) or (f"did you mean `lictor {near[0]}`?" if near else "`lictor --help` lists the verbs")
    return f"there is no verb `{one_line(word[:40])}`; {hint}"
