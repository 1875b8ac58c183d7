"""Steps that `lictor init` leaves to people, in their order."""

import os

from lictor import errors
from lictor.adapters import files, process
from lictor.cli.setup import detect, handlers_user, unit_files
from lictor.cli.setup.node_setup import SNIPPET, Setup
from lictor.cli.setup.unit_files import ENVIRONMENT, REGISTRAR_UNIT, SERVE_SOCKET, SERVE_UNIT
from lictor.events import agent_config
from lictor.routing import nginx_socket


def list_steps(setup: Setup) -> list[str]:
    """List what has to be done before lictor works here."""
    return [*_python_todo(setup), *_nginx_todo(setup), *_residents_todo(setup),
            *([] if _has_restarted(setup) else _agent_todo(setup))]


def _python_todo(setup: Setup) -> list[str]:
    """Try the handlers' Python as their user: root may run what that user cannot even read."""
    user, argv = handlers_user.find(setup.settings, setup.manifest.root), process.handler_argv("lictor-reconcile")
    if user is None:
        return []
    try:
        user.run([*argv, "--help"])
    except errors.CommandFailed as error:
        return [f"no handler can start: {user.name}, which runs them, cannot run {argv[0]}: "
                f"{handlers_user.describe_failure(error)}. Install lictor where that user may read it, such as "
                "/opt/lictor, and from there once more: lictor init"]
    return []


def _nginx_todo(setup: Setup) -> list[str]:
    server, unit = setup.settings.nginx, setup.nginx_unit
    if not server:
        return []
    todo = []
    if server.mode == "live" and not setup.has_lua():
        todo.append(unit_files.LUA_REMEDY)
    if not setup.is_included(server, SNIPPET):
        todo.append(f"as the last line of the http block of {server.main_conf}: include {server.conf_dir}/{SNIPPET}; "
                    "(the first server of a port is its default, and that should stay one of yours)")
    if not setup.is_included(server, "locations/"):
        todo.append("into your own server block, for services without a host: "
                    f"include {server.conf_dir}/locations/*.conf;")
    if todo and unit:
        todo.append(f"then: {server.binary} -t && systemctl daemon-reload && systemctl reload {unit}")
    elif todo:
        todo += [f"then: {server.binary} -t, and reload nginx",
                 f"have whatever starts nginx do this before: rm -f {server.conf_dir}/{nginx_socket.SOCKET} "
                 "(a nginx that was killed leaves it, and the next one could not start)"]
    return todo


def _residents_todo(setup: Setup) -> list[str]:
    if not setup.node.has_systemd:
        return [f"keep {name} running: {' '.join(process.handler_argv(name))}" for name in setup.residents]
    is_http = setup.settings.watch.door == "http"
    sockets = [SERVE_SOCKET] if is_http else []
    units = [REGISTRAR_UNIT, *sockets, *([SERVE_UNIT] if setup.settings.runs_serve else [])]
    missing = [unit for unit in units if not setup.is_enabled(unit)]
    todo = [f"systemctl daemon-reload && systemctl enable --now {' '.join(missing)}"] if missing else []
    unused = [unit for unit in (SERVE_SOCKET, SERVE_UNIT) if unit not in units and setup.is_enabled(unit)]
    if unused:
        todo.append(f"systemctl disable --now {' '.join(unused)}, which the settings have no use for")
    return todo


def _has_restarted(setup: Setup) -> bool:
    """Decide whether each agent that loads this configuration was started after what it reads at its start only."""
    static = f"{setup.settings.watch.config_dir}/{agent_config.STATIC_FILE}"
    written = max(files.modified_ns(setup.manifest.path(path)) for path in (
        static, setup.agent_drop_in, ENVIRONMENT))
    agents = handlers_user.list_agents(setup.settings, setup.manifest.root)
    return bool(agents) and all(1e9 * detect.read_start(folder) > written for folder in agents)


def _agent_todo(setup: Setup) -> list[str]:
    unit = setup.node.agent_unit
    if not unit:
        rights = "; the user it runs as needs Docker's socket, nginx's signals, and the folders named above"
        return ["restart the Consul agent once" + (rights if setup.settings.watch.door == "script" else "")]
    return [f"restart the agent once: systemctl daemon-reload && systemctl restart {unit}",
            f"where Consul has ACLs, by the policies of {_policies()}: agent.hcl for acl.tokens.default of the agent's "
            "configuration; those of the handlers together for one token, in a file that the agent's user may read, "
            "then lictor --token-file FILE init; lictor.hcl for people"]


def _policies() -> str:
    above = os.path.dirname(os.path.dirname(process.handler_path("lictor-route")))
    checkout = os.path.join(above, "consul.d/acl")
    return checkout if os.path.isdir(checkout) else os.path.join(above, "share/lictor/consul.d/acl")
