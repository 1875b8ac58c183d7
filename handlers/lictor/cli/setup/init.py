"""`lictor init` prepares this node once, and says what it did and what is left to do; `--remove` takes it back."""

import contextlib
import os
import tomllib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from lictor import errors
from lictor.adapters import files, process
from lictor.adapters.text import describe_error
from lictor.cli.setup import detect, left_to_do, unit_files
from lictor.cli.setup.install_manifest import Manifest
from lictor.cli.setup.node_setup import SNIPPET, UNITS, Setup, drop_in
from lictor.cli.setup.unit_files import ENVIRONMENT, REGISTRAR_UNIT, SERVE_SOCKET, SERVE_UNIT
from lictor.events import agent_config, http_door, script
from lictor.routing import nginx, nginx_mode, templates
from lictor.spec.settings import AUTO, DEFAULT_PATH, Nginx, Settings, Watch, parse_settings


class Report(NamedTuple):
    """Lines for people: what was done or left alone, and what is left to do for them."""

    done: list[str]
    todo: list[str]


def run(*, config_path: str = DEFAULT_PATH, token_file: str = "", force: bool = False, door_kind: str = "",
        root: str = "/", environ: Mapping[str, str] = os.environ) -> Report:
    """Write the settings file first, then all that the settings ask for. A second run mends what is missing.

    `token_file` is passed to every handler. A `door_kind` of "" keeps the door of the settings. `root` stands before
    each path that is touched, and not in what is written. `environ` says where Consul and Docker are.
    """
    node, environment = detect.detect(root), unit_files.environment_file(environ)
    with _as_root():
        manifest = Manifest(root, force=force)
        with manifest.saved():
            watch = Watch(door_kind or _present_door(manifest, config_path), config_dir=node.consul_dir)
            manifest.write(config_path, unit_files.settings_file(node.nginx, watch))
            setup = Setup(manifest, _read_settings(manifest, config_path), node, token_file)
            if setup.settings.watch.door != watch.door:
                raise errors.Refused(f"{config_path} has been changed, so lictor init leaves it as it is; write door = "
                                     f"\"{watch.door}\" under [watch] there, then once more: lictor init")
            if environment:
                manifest.write(ENVIRONMENT, environment)
            _make_folders(setup)
            _configure_agent(setup)
            _write_units(setup)
    todo = left_to_do.list_steps(setup)
    if environment and not node.has_systemd:
        todo.append(f"give the Consul agent and lictor-registrar what {ENVIRONMENT} holds as their environment")
    done = [*(manifest.lines or ["everything is in place"]), *_describe_mode(setup)]
    return Report(done, [*todo, "see what is still missing: lictor doctor"])


def remove(*, config_path: str = DEFAULT_PATH, force: bool = False, root: str = "/") -> Report:
    """Take away what `run` wrote, unless it was changed since, or is still in use."""
    with _as_root():
        manifest = Manifest(root, force=force)
    if not manifest.files:
        return Report(["nothing of lictor init's is on this node"], [])
    setup = Setup(manifest, _read_settings(manifest, config_path), detect.detect(root), "")
    keep, todo = _in_use(setup)
    if keep:
        keep[config_path] = "it says where the rest is"
    with _as_root(), manifest.saved():
        manifest.remove(keep)
    return Report(manifest.lines, [*todo, "then once more: lictor init --remove"] if keep else _removed_todo(setup))


def _describe_mode(setup: Setup) -> list[str]:
    """Say which mode was chosen, if it is for lictor to choose, or will be: a sweep looks closer."""
    server = setup.settings.nginx
    if not server or server.mode != AUTO:
        return []
    if noted := _read_noted_mode(setup):
        return [f"nginx: mode {noted.name}: {noted.why}"]
    if setup.has_lua():
        return ["nginx: mode live, unless the first sweep finds a reason against it: its Lua module is there"]
    return ["nginx: mode reload, as its Lua module is not there: each change of peers is a reload. To have none: "
            "apt-get install libnginx-mod-http-lua"]


def _read_noted_mode(setup: Setup) -> nginx_mode.Mode | None:
    return nginx_mode.read_noted(setup.manifest.path(setup.settings.state_dir))


def _in_use(setup: Setup) -> tuple[dict[str, str], list[str]]:
    """Find the files that must stay, each with the reason, and what is to be done before they can go."""
    keep, todo, server = dict[str, str](), list[str](), setup.settings.nginx
    if server and setup.is_included(server, SNIPPET):
        why = f"{server.main_conf} still includes it, and nginx would not start without it"
        keep = {path: why for path in setup.manifest.files if path.startswith(server.conf_dir + "/")}
        keep[drop_in(setup.node.nginx_unit)] = why
        todo.append(f"take the lines that include {server.conf_dir} out of nginx's configuration")
    for unit in filter(setup.is_enabled, (REGISTRAR_UNIT, SERVE_SOCKET, SERVE_UNIT)):
        keep[f"{UNITS}/{unit}"] = "it is enabled"
        todo.append(f"systemctl disable --now {unit}")
    return keep, todo


def _removed_todo(setup: Setup) -> list[str]:
    server, unit = setup.settings.nginx, setup.node.agent_unit
    todo = ["restart the Consul agent once, which still runs the handlers" + (
        f": systemctl daemon-reload && systemctl restart {unit}" if unit else "")]
    left = [folder for folder in (server.conf_dir if server else "", setup.settings.state_dir)
            if folder in setup.manifest.folders]
    if left:
        todo.append(f"then remove what the handlers left, which nothing else uses: rm -r {' '.join(left)}")
    todo.append("then, for NODE this node's name in Consul: consul kv delete lictor/acts/NODE")
    if server:
        todo.append("then, so that no release waits for this nginx, for NODE its name in Consul: consul kv get -keys "
                    "-separator= lictor/nodes/ | grep '/NODE$' | xargs -rn1 consul kv delete")
    return todo


@contextlib.contextmanager
def _as_root() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise errors.Refused(f"{describe_error(error)}; lictor init needs to be run as root") from error


def _read_settings(manifest: Manifest, config_path: str) -> Settings:
    try:
        return parse_settings(tomllib.loads(files.read(manifest.path(config_path)) or ""), config_path)
    except tomllib.TOMLDecodeError as error:
        raise errors.Refused(f"{config_path}: {error}") from error


def _present_door(manifest: Manifest, config_path: str) -> str:
    try:
        return _read_settings(manifest, config_path).watch.door
    except errors.Refused:  # the file is overwritten, or else refused when it is read again
        return Watch().door


def _make_folders(setup: Setup) -> None:
    manifest, settings, user = setup.manifest, setup.settings, setup.node.agent_user
    for folder in ("", *script.FOLDERS):
        manifest.make_folder(os.path.join(settings.state_dir, folder).rstrip("/"))
    manifest.make_folder(settings.watch.config_dir)
    manifest.own(settings.state_dir, user, 0o750)
    if settings.nginx:
        manifest.make_folder(settings.nginx.conf_dir)
        nginx.prepare(manifest.path(settings.nginx.conf_dir), templates.Templates(
            manifest.path(settings.templates_dir), live=_is_live(setup, settings.nginx)))
        manifest.adopt(settings.nginx.conf_dir)
        manifest.own(settings.nginx.conf_dir, user, 0o750)
    if user:
        manifest.share(settings.watch.config_dir, user)


def _is_live(setup: Setup, server: Nginx) -> bool:
    """Decide which snippet stands there at first. If lictor is to choose, it is that of the mode in force, else of mode
    reload, with which any nginx starts; the first publication brings the other one."""
    noted = _read_noted_mode(setup) if server.mode == AUTO else None
    return setup.has_lua() and "live" in (server.mode, noted and noted.name)


def _configure_agent(setup: Setup) -> None:
    """Write the agent's configuration."""
    manifest, settings, user = setup.manifest, setup.settings, setup.node.agent_user
    secret = _write_secret(setup)
    static = f"{settings.watch.config_dir}/{agent_config.STATIC_FILE}"
    text = agent_config.text(agent_config.static(settings, setup.options, process.handler_argv, secret))
    manifest.write(static, text, mode=0o600 if secret else 0o644)
    if secret:
        manifest.show(static, user)
    routes = f"{settings.watch.config_dir}/{agent_config.ROUTES_FILE}"
    if not os.path.exists(manifest.path(routes)):
        text = agent_config.text(agent_config.routes(settings, {}, setup.options, process.handler_argv))
        manifest.write(routes, text, generated=True, mode=0o640)
        manifest.own(routes, user, 0o640)
    if setup.node.agent_unit:
        text = unit_files.agent_drop_in(settings, user, setup.node.docker_group)
        manifest.write(setup.agent_drop_in, text)


def _write_secret(setup: Setup) -> str:
    """Write the secret of the http door, if that is the door; the user that runs lictor-serve may read it."""
    path, manifest = setup.settings.watch.secret_file, setup.manifest
    if setup.settings.watch.door != "http":
        return ""
    text = files.read(manifest.path(path)) or http_door.make_secret()
    manifest.write(path, text, generated=True, mode=0o600)
    manifest.own(path, setup.node.agent_user, 0o600)
    return text.strip()


def _write_units(setup: Setup) -> None:
    manifest, settings = setup.manifest, setup.settings
    if settings.nginx and setup.nginx_unit:
        manifest.write(drop_in(setup.nginx_unit), unit_files.nginx_drop_in(settings.nginx.conf_dir))
    if not setup.node.has_systemd:
        return
    for name, unit in setup.residents.items():
        argv = [*process.handler_argv(name), *setup.options]
        manifest.write(f"{UNITS}/{unit}", unit_files.resident(unit, argv, settings, setup.node))
    if settings.watch.door == "http":
        manifest.write(f"{UNITS}/{SERVE_SOCKET}", unit_files.serve_socket(settings))
