"""The agent configuration that lictor generates: one file that stays, and one that follows the services. Pure.

`options` is what every handler is given (--config, --token-file); `argv_of` is process.handler_argv: what starts a
handler, by its name. With the http door the watches hold its `secret`, and the timer stays a script.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from lictor.spec.settings import Settings

STATIC_FILE = "lictor.json"
ROUTES_FILE = "lictor-watches.json"
CHECK_ID = "lictor-reconcile"
SECRET_HEADER = "X-Lictor-Secret"
_STATIC_WATCHES = 2
_LEAST_CONNECTIONS = 1000  # Consul's own default is 200, watches included
_DESCRIPTORS_A_WATCH = 8  # 6.7 were seen with scripts, 3.3 with the http door
_OTHER_DESCRIPTORS = 100
_HTTP_TIMEOUT = "60s"  # a publication may have to wait for others, and for a second look at Consul

# A watch that needs a leader fails while there is none, and is silent for up to three minutes then. What one that does
# not delivers may be a moment old: a handler reads again before it believes less, or something older than before.
_LEADERLESS = {"stale": True}

ArgvOf = Callable[[str], list[str]]


def static(config: Settings, options: list[str], argv_of: ArgvOf, secret: str = "") -> dict[str, Any]:
    """What lictor.json holds: the watches on desired state and on critical checks, and the timer.

    The timer is a check of a service, because a critical check of the node would condemn all services of the node.
    It begins as a warning, because critical, Consul's default, would rouse every node's lictor-heal at each start.
    """
    return {
        "enable_local_script_checks": True,
        "service": {
            "id": "lictor",
            "name": "lictor",
            "check": {
                "id": CHECK_ID,
                "name": "services are as desired",
                "args": [*argv_of("lictor-reconcile"), *options],
                "interval": "15s",
                "timeout": "10s",
                "status": "warning",
            },
        },
        "watches": [
            {"type": "keyprefix", "prefix": config.prefix, **_LEADERLESS,
             **_handled(config, "/scale", [*argv_of("lictor-scale"), *options], secret)},
            {"type": "checks", "state": "critical", **_LEADERLESS,
             **_handled(config, "/heal", [*argv_of("lictor-heal"), *options], secret)},
        ],
    }


def routes(config: Settings, services: Mapping[str, str], options: list[str], argv_of: ArgvOf,
           secret: str = "") -> dict[str, Any]:
    """What lictor-watches.json holds: a watch on each routed service, and the connections that all watches need.

    `services`: name -> name in the catalogue. The limit stands here because it grows with the watches; it follows a
    reload, though /v1/agent/self goes on showing the one of the start.
    """
    return {
        "limits": {"http_max_conns_per_client": max(_LEAST_CONNECTIONS, connections_needed(len(services)))},
        "watches": [
            {"type": "service", "service": catalog_name, **_LEADERLESS, **_handled(
                config, f"/route/{name}",
                [*argv_of("lictor-route"), name, "--state-dir", config.state_dir, *options], secret)}
            for name, catalog_name in sorted(services.items())
        ],
    }


def _handled(config: Settings, path: str, argv: list[str], secret: str) -> dict[str, Any]:
    """What a watch does with what it sees: it runs a script, or calls lictor-serve."""
    if config.watch.door == "script":
        return {"args": argv}
    return {"handler_type": "http", "http_handler_config": {
        "path": f"http://{config.watch.address}{path}", "method": "POST", "timeout": _HTTP_TIMEOUT,
        "header": {SECRET_HEADER: [secret]}}}


def is_handled(config: Settings, watch: Mapping[str, Any], secret: str) -> bool:
    """Whether a written watch comes in by the door of the settings, and with this secret."""
    there = watch.get("http_handler_config")
    return there is None if config.watch.door == "script" else bool(
        there and there["header"] == {SECRET_HEADER: [secret]} and there["path"].startswith(
            f"http://{config.watch.address}/"))


def connections_needed(route_count: int) -> int:
    """How many connections one client address must be allowed: four for each watch, so that others get through."""
    return 4 * (_STATIC_WATCHES + route_count)


def descriptors_needed(route_count: int) -> int:
    """How many the agent itself must be allowed: it is both ends of each watch, those that end and those that begin
    overlap while it reloads, and then it starts a handler of each at once."""
    return _OTHER_DESCRIPTORS + _DESCRIPTORS_A_WATCH * (_STATIC_WATCHES + route_count)


def text(settings: dict[str, Any]) -> str:
    """The bytes of the file: the same for the same settings."""
    return json.dumps(settings, indent=2) + "\n"
