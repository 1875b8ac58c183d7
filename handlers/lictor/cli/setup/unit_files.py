"""The texts that `lictor init` writes beside the agent's configuration: the settings file and systemd's units. Pure but
for reading their templates, templates/*.j2."""

import json
import os
from collections.abc import Mapping
from typing import Any

from lictor.cli.setup.detect import Node
from lictor.events import connection_limits
from lictor.routing import nginx_socket
from lictor.routing.templates import Templates
from lictor.spec.settings import Nginx, Settings, Watch

REGISTRAR_UNIT = "lictor-registrar.service"
SERVE_UNIT = "lictor-serve.service"
SERVE_SOCKET = "lictor-serve.socket"
ENVIRONMENT = "/etc/lictor/environment"  # of the units and of the agent, which starts handlers
LUA_REMEDY = ("live mode needs nginx's Lua module: apt-get install libnginx-mod-http-lua, and restart nginx; if no "
              "file in /etc/nginx/modules-enabled loads it, load it in templates/check.conf.j2 too")
_DESCRIPTORS = 65536
_PASSED_ON = ("CONSUL_HTTP_ADDR", "CONSUL_HTTP_SSL", "CONSUL_HTTP_SSL_VERIFY", "CONSUL_CACERT", "CONSUL_CAPATH",
              "CONSUL_CLIENT_CERT", "CONSUL_CLIENT_KEY", "CONSUL_TLS_SERVER_NAME",  # none that is a secret itself
              "DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")


def settings_file(nginx: Nginx | None, watch: Watch) -> str:
    """Render lictor.toml with every key; a # stands before a key that has its default."""
    found, defaults = {"nginx": nginx or Nginx(), "watch": watch}, {"nginx": Nginx(), "watch": Watch()}

    def setting(table: str, key: str) -> str:
        value = getattr(found[table], key)
        return f"{'#' if value == getattr(defaults[table], key) else ''}{key} = {json.dumps(value)}"

    return _render("lictor.toml.j2", has_nginx=nginx is not None, setting=setting)


def environment_file(environ: Mapping[str, str]) -> str:
    """Render how Consul and Docker are found, without any secret; "" if the environment leaves all that at its
    defaults."""
    variables = {name: json.dumps(environ[name]) for name in _PASSED_ON if environ.get(name)}
    return _render("environment.j2", variables=variables) if variables else ""


def agent_drop_in(settings: Settings, user: str, docker_group: str) -> str:
    """Render what goes beside the agent's unit. An agent that runs as `user`, and starts the handlers, gets their
    rights; with the http door it starts the timer only."""
    return _render("agent-drop-in.conf.j2", runs_handlers=user and settings.watch.door == "script",
                   docker_group=docker_group, **_values(settings))


def nginx_drop_in(conf_dir: str) -> str:
    """Render what goes beside nginx's unit."""
    return _render("nginx-drop-in.conf.j2", socket=_quoted(f"{conf_dir}/{nginx_socket.SOCKET}"))


def resident(unit: str, argv: list[str], settings: Settings, node: Node) -> str:
    """Render the unit of lictor-registrar, or of lictor-serve. It runs as the agent's user; lictor-serve has rights
    that the agent then does not need. If it only shows the page and the metrics, it has none."""
    only_shows = unit == SERVE_UNIT and settings.watch.door != "http"
    values = {**_values(settings), **({"signals_nginx": False} if only_shows else {})}
    return _render(f"{unit}.j2", exec_start=" ".join(_quoted(word) for word in argv),
                   agent_unit=node.agent_unit or "consul.service", user=node.agent_user,
                   docker_group="" if only_shows else node.docker_group,
                   socket_unit="" if only_shows else SERVE_SOCKET, state_dir=settings.state_dir, **values)


def serve_socket(settings: Settings) -> str:
    return _render(f"{SERVE_SOCKET}.j2", address=settings.watch.address, backlog=connection_limits.PENDING)


def _values(settings: Settings) -> dict[str, Any]:
    """Gather what several units need; the - of a folder lets a unit start without it."""
    nginx_folders = [settings.nginx.conf_dir] if settings.nginx else []
    textfile = settings.metrics.textfile if settings.metrics else ""
    written = [os.path.dirname(textfile)] if textfile else []
    folders = (settings.watch.config_dir, *nginx_folders, settings.state_dir, *written)
    return {"environment_file": ENVIRONMENT, "descriptors": _DESCRIPTORS,
            "written": " ".join(f"-{folder}" for folder in folders),
            "signals_nginx": settings.nginx is not None and not settings.nginx.container}


def _render(template: str, **values: Any) -> str:
    return Templates().render(template, **values)


def _quoted(word: str) -> str:
    """Quote a word of a command line as systemd reads it."""
    return json.dumps(word.replace("%", "%%").replace("$", "$$")) if set(word) & set(" \"'%$\\") else word
