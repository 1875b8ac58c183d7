"""The options of lictor-registrar: registrator's, with one dash or two; and lictor's own."""

import argparse
import ipaddress
import os
import re
import sys

from lictor.events import script

_REGISTRY = re.compile(r"consul(-tls|-unix)?:(?://)?(.*)", re.DOTALL)
_FLAGS = ("internal", "explicit", "cleanup")
_GO_FLAG = re.compile(rf"-{{1,2}}({'|'.join(_FLAGS)})=(1|t|true|0|f|false)", re.IGNORECASE)
_NOTHING = "changes nothing: "


def parser(description: str) -> argparse.ArgumentParser:
    options = script.make_parser(description)

    def add(name: str, **settings: object) -> None:
        options.add_argument(f"--{name}", f"-{name}", dest=name.replace("-", "_"), **settings)  # type: ignore[arg-type]

    add("internal", action="store_true", help="register the containers' own addresses and ports")
    add("ip", type=_address, metavar="ADDRESS",
        help="register this for ports published on all addresses; else the agent's own counts")
    add("useIpFromLabel", metavar="LABEL", help="register the address that this label of a container holds")
    add("explicit", action="store_true", help="register only containers that have a SERVICE_NAME")
    add("tags", type=_tags, default="", metavar="TAG,TAG", help="give all registrations these tags too")
    add("resync", type=_seconds, default=5.0, metavar="SECONDS",
        help="compare Docker with the agent this often: 5, at most 10; only differences are written")
    add("deregister", choices=("always", "on-success"), default="always",
        help="on-success: a container that failed stays registered until it is removed")
    add("cleanup", action="store_true",
        help="remove registrator's entries of this host's containers that do not run; its own always go")
    add("take-over", action="store_true",
        help="take over what registrator, or nobody, registered under the id of a container that runs here")
    add("ignore-image", action="store_true",
        help="heed the labels and variables that a container was given, and none that its image has")
    for name in ("ttl", "ttl-refresh"):
        add(name, type=int, metavar="SECONDS", help=f"{_NOTHING}registrator's Consul backend has no use for it either")
    for name in ("retry-attempts", "retry-interval"):
        add(name, type=int, metavar="NUMBER", help=f"{_NOTHING}Consul is tried again for ever, within seconds")
    options.add_argument("registry", nargs="?", type=_registry, metavar="consul://HOST:PORT",
                         help="the agent, also consul-tls:// or consul-unix://; else $CONSUL_HTTP_ADDR")
    return options


def read_words(words: list[str]) -> list[str]:
    """Translate registrator's flags with a value (-internal=true), which argparse does not know."""
    read = []
    for word in words:
        match = _GO_FLAG.fullmatch(word)
        read += [word] if not match else [f"--{match[1].lower()}"] if match[2].lower() in ("1", "t", "true") else []
    return read


def use_registry(address: str | None) -> None:
    """Make this process, and all that it starts, ask the agent that was named."""
    if address:
        os.environ["CONSUL_HTTP_ADDR"] = address


def arguments() -> list[str]:
    return read_words(sys.argv[1:])


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no IP address") from error


def _seconds(text: str) -> float:
    """Parse an interval; 0, by which registrator never compares, is the usual one: here it costs nothing."""
    try:
        if 0 <= float(text) < float("inf"):
            return float(text) or 5.0
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")


def _tags(text: str) -> str:
    if "{{" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is a template, which lictor-registrar does not know")
    return text


def _registry(text: str) -> str:
    match = _REGISTRY.fullmatch(text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not consul://HOST:PORT; lictor registers with Consul only")
    kind, rest = match[1], match[2].rstrip("/")
    if kind == "-unix":
        return f"unix://{rest}"
    return f"https://{rest}" if kind == "-tls" and rest else rest
