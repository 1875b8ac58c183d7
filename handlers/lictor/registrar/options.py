"""The options of lictor-registrar: registrator's, with two dashes."""

import argparse
import ipaddress

from lictor.events import script


def parser(description: str) -> argparse.ArgumentParser:
    options = script.make_parser(description)
    options.add_argument("--internal", action="store_true", help="register the containers' own addresses and ports")
    options.add_argument("--ip", type=_address, metavar="ADDRESS",
                         help="register this for ports published on all addresses; else the agent's own counts")
    options.add_argument("--explicit", action="store_true", help="register only containers that have a SERVICE_NAME")
    options.add_argument("--resync", type=_seconds, default=5.0, metavar="SECONDS",
                         help="compare Docker with the agent this often: 5, at most 10; only differences are written")
    options.add_argument("--deregister", choices=("always", "on-success"), default="always",
                         help="on-success: a container that failed stays registered until it is removed")
    options.add_argument("--cleanup", action="store_true", help="changes nothing: stale registrations always go")
    return options


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no IP address") from error


def _seconds(text: str) -> float:
    try:
        if float(text) > 0:
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
