"""The tests of this node's nginx for `lictor doctor`: it runs, may be signalled, and serves what lictor published."""

import os
from collections.abc import Iterator

from lictor import errors
from lictor.adapters import docker, files
from lictor.adapters.consul.client import Client
from lictor.cli.setup import certificate_tests, front_door, old_workers, unit_files
from lictor.cli.setup.findings import Probe, Remark, Untested
from lictor.routing import nginx, nginx_mode, nginx_processes, nginx_socket, publish, route_store, user_servers
from lictor.spec.settings import AUTO, Nginx, Settings

SIGNAL = "nginx signal"  # the name of the test that any process with CAP_KILL passes


def list_tests(settings: Settings, server: Nginx, client: Client | None) -> Iterator[Probe]:
    """List the tests, in the order in which failures should be mended."""
    yield Probe("nginx", lambda: _master(server), "start nginx (if it can't listen on its socket, first: rm "
                f"{server.conf_dir}/{nginx_socket.SOCKET}); pid_file or container in the settings name it")
    if not server.container:
        yield Probe(SIGNAL, lambda: _signal(server), "a process of another user than nginx's needs CAP_KILL, which "
                    "lictor init gives the unit", "nginx")
    yield Probe("nginx configuration", lambda: _main_conf(server), "correct it", "nginx", of_root=True)
    if nginx_mode.read(settings).name == "reload":
        yield Probe("nginx reloads", lambda: old_workers.examine(settings, server, client), "correct the configuration",
                    "nginx", of_root=True)
    yield Probe("nginx servers", lambda: _servers(server, route_store.names_without_host(settings.state_dir)),
                "correct it, or let the agent's user read it", "nginx")
    yield Probe("nginx generation", lambda: _generation(server), f"include {server.conf_dir}/lictor.conf at the end of "
                f"the http block of {server.main_conf}, and reload it", "nginx")
    yield Probe("front door", lambda: front_door.examine(settings, server),
                f"include {server.conf_dir}/locations/*.conf in the server that users ask, and reload nginx", "nginx")
    if certificate_tests.is_needed(settings, server):
        yield Probe("certificates", lambda: certificate_tests.examine(settings, server),
                    "put the files in their places, or correct certificate and key in the settings", "nginx generation")
    if server.mode == "live":
        yield Probe("live mode", lambda: _lua(settings, server), unit_files.LUA_REMEDY, "conf_dir")
    else:
        yield Probe("nginx mode", lambda: _mode(settings), "nginx has to answer `nginx -t`", "conf_dir")


def _master(server: Nginx) -> str:
    if server.container:
        if not ((docker.connect().inspect(server.container) or {}).get("State") or {}).get("Running"):
            raise errors.Unavailable(f"the container {server.container} is not running")
        return f"container {server.container}"
    if not nginx_processes.has_master(server.pid_file):
        raise errors.Unavailable(f"{server.pid_file} names no process that is nginx's master")
    return f"process {_read_pid(server)}"


def _signal(server: Nginx) -> str:
    pid = _read_pid(server)
    os.kill(pid, 0)
    return f"process {pid} may be signalled"


def _read_pid(server: Nginx) -> int:
    return int((files.read(server.pid_file) or "").strip())


def _main_conf(server: Nginx) -> str:
    if not nginx.can_validate_main_conf(server):
        raise Untested("only root can read all of it")
    warnings = nginx.validate(server, server.main_conf)
    if warnings:
        raise Remark(f"{server.main_conf} is valid{''.join(f'; nginx warns: {each}' for each in warnings[:3])}")
    return f"{server.main_conf} is valid"


def _servers(server: Nginx, without_host: list[str]) -> str:
    """Test that the user's own servers can be compared with routes: nginx itself says little of a clash."""
    if server.container and not os.path.exists(server.main_conf):
        raise Untested(f"{server.main_conf} is not on this machine, so what it answers is not compared with routes")
    users = user_servers.read(server)
    if users.unread:
        raise errors.Refused("; ".join(users.unread))
    if forgotten := user_servers.explain_forgotten(server, users, without_host):
        raise errors.Refused(forgotten)
    return f"{len(users.servers)} in {server.main_conf} are compared with routes"


def _generation(server: Nginx) -> str:
    generation = nginx.answered(server.conf_dir)
    if generation is None:
        raise errors.Unavailable(f"nginx does not answer on the socket in {server.conf_dir}")
    return f"nginx serves generation {generation}"


def _mode(settings: Settings) -> str:
    """Choose the mode anew, if it is for lictor to choose: what is in force was chosen by the last sweep."""
    mode = nginx_mode.read(settings)
    chosen = nginx_mode.choose(settings) if settings.nginx and settings.nginx.mode == AUTO else mode
    if chosen.name != mode.name:
        raise Remark(f"{mode.name} is in force until a sweep chooses {chosen.name}, within minutes: {chosen.why}")
    return f"{chosen.name}: {chosen.why}"


def _lua(settings: Settings, server: Nginx) -> str:
    publish.check_live(settings, server)
    return "nginx has its Lua module"
