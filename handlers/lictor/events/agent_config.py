"""The agent configuration that lictor generates: one file that stays, and one that follows the services. Pure.

Every handler gets the `options` (--config, --token-file), and is started by `argv_of` its name, which is
process.handler_argv. With the http door the watches hold its `secret`, and the timer stays a script.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from lictor.spec.settings import Settings

STATIC_FILE = "lictor.json"
ROUTES_FILE = "lictor-watches.json"
CHECK_ID = "lictor-reconcile"
AUTOSCALE_CHECK_ID = "lictor-autoscale"
SECRET_HEADER = "X-Lictor-Secret"
_STATIC_WATCHES = 2
_LEAST_CONNECTIONS = 1000  # Consul's own default is 200, watches included
_DESCRIPTORS_A_WATCH = 8  # 6.7 were seen with scripts, 3.3 with the http door
_OTHER_DESCRIPTORS = 100
_HTTP_TIMEOUT = "60s"  # a publication may have to wait for others, and for a second look at Consul

# A watch that needs a leader fails while there is none, and then is silent for up to three minutes. A watch that needs
# none may deliver what is a moment old: a handler reads again before it believes less, or something older than before.
_LEADERLESS = {"stale": True}

ArgvOf = Callable[[str], list[str]]


def static(settings: Settings, options: list[str], argv_of: ArgvOf, secret: str = "") -> dict[str, Any]:
    """Make lictor.json: the watches on desired state and on critical checks, the timer, and the autoscaler.

    The last two are checks of a service: a critical check of the node would condemn all services of the node. They
    begin as warnings: critical, Consul's default, would rouse every node's lictor-heal at each start.
    """
    scaling = {"id": AUTOSCALE_CHECK_ID, "name": "response times are within their targets",
               "args": [*argv_of("lictor-autoscale"), "--state-dir", settings.state_dir, *options],
               "interval": "8s", "timeout": "15s", "status": "warning"}  # 10 s with its wait for the end of a slot
    check = {"id": CHECK_ID, "name": "services are as desired", "args": [*argv_of("lictor-reconcile"), *options],
             "interval": "15s", "timeout": "10s", "status": "warning"}
    return {
        "enable_local_script_checks": True,
        "service": {"id": "lictor", "name": "lictor", "check": check, "checks": [scaling]},
        "watches": [
            {"type": "keyprefix", "prefix": settings.prefix, **_LEADERLESS,
             **_handler(settings, "/scale", [*argv_of("lictor-scale"), *options], secret)},
            {"type": "checks", "state": "critical", **_LEADERLESS,
             **_handler(settings, "/heal", [*argv_of("lictor-heal"), *options], secret)},
        ],
    }


def checks(static_settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List the checks of lictor.json: the timer first, and the autoscaler."""
    service = static_settings["service"]
    return [service["check"], *service["checks"]]


def routes(settings: Settings, services: Mapping[str, str], options: list[str], argv_of: ArgvOf,
           secret: str = "") -> dict[str, Any]:
    """Make lictor-watches.json: a watch on each routed service, and the connections that all watches need.

    `services`: name in the catalogue -> name. The limit stands here because it grows with the watches. It follows a
    reload, though /v1/agent/self goes on showing the one of the start.
    """
    return {
        "limits": {"http_max_conns_per_client": max(_LEAST_CONNECTIONS, connections_needed(len(services)))},
        "watches": [
            {"type": "service", "service": catalog_name, **_LEADERLESS, **_handler(
                settings, f"/route/{name}",
                [*argv_of("lictor-route"), name, "--state-dir", settings.state_dir, *options], secret)}
            for catalog_name, name in sorted(services.items(), key=lambda pair: (pair[1], pair[0]))
        ],
    }


def _handler(settings: Settings, path: str, argv: list[str], secret: str) -> dict[str, Any]:
    """Make the handler of a watch: it runs a script, or calls lictor-serve."""
    if settings.watch.door == "script":
        return {"args": argv}
    return {"handler_type": "http", "http_handler_config": {
        "path": f"http://{settings.watch.address}{path}", "method": "POST", "timeout": _HTTP_TIMEOUT,
        "header": {SECRET_HEADER: [secret]}}}


def is_handled(settings: Settings, watch: Mapping[str, Any], secret: str) -> bool:
    """Decide whether the events of a written watch come in by the door of the settings, and with this secret."""
    handler, is_http = watch.get("http_handler_config"), settings.watch.door == "http"
    return handler is None if not is_http else handler is not None and (
        handler["header"] == {SECRET_HEADER: [secret]}
        and handler["path"].startswith(f"http://{settings.watch.address}/"))


def connections_needed(route_count: int) -> int:
    """Compute the connections that one client address needs: four for each watch, so that others get through."""
    return 4 * (_STATIC_WATCHES + route_count)


def descriptors_needed(route_count: int) -> int:
    """Compute the descriptors that the agent needs. It is both ends of each watch; while it reloads, old and new
    watches overlap, and it starts a handler of each at once."""
    return _OTHER_DESCRIPTORS + _DESCRIPTORS_A_WATCH * (_STATIC_WATCHES + route_count)


def text(settings: dict[str, Any]) -> str:
    """Encode a configuration file: the same bytes for the same settings."""
    return json.dumps(settings, indent=2) + "\n"
