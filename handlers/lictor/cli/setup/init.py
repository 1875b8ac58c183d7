"""`lictor init`: prepares this node once, says what it did and what is left to do; `--remove` takes it back."""

import contextlib
import glob
import os
import tomllib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from lictor import errors
from lictor.adapters import files, process
from lictor.cli.setup import detect, unit_files
from lictor.cli.setup.install_manifest import Installed
from lictor.events import agent_config, http_door, script
from lictor.routing import nginx, nginx_socket, templates
from lictor.spec.settings import DEFAULT_PATH, Nginx, Settings, Watch, parse_settings

_UNITS = "/etc/systemd/system"
_SNIPPET = "lictor.conf"


class Report(NamedTuple):
    """Lines for people: what was done or left alone, and what is for them to do."""

    done: list[str]
    todo: list[str]


def run(*, config_path: str = DEFAULT_PATH, token_file: str = "", force: bool = False, door_kind: str = "",
        root: str = "/", environ: Mapping[str, str] = os.environ) -> Report:
    """Write the settings file first, then everything that it asks for. Running it again mends what is missing.

    `token_file` is passed to every handler. `door_kind`: else that of the settings that are there. `root` stands before
    every path that is touched, not in what is written. Consul and Docker are where `environ` says.
    """
    has = detect.detect(root)
    with _as_root():
        mine = Installed(root, force=force)
        with mine.saved():
            watch = Watch(door_kind or _present_door(mine, config_path), config_dir=has.consul_dir)
            mine.write(config_path, unit_files.settings_file(has.nginx, watch))
            settings = _settings(mine, config_path)
            if settings.watch.door != watch.door:
                raise errors.Refused(f"{config_path} has been changed, so lictor init leaves it as it is; write door = "
                                     f"\"{watch.door}\" under [watch] there, then once more: lictor init")
            environment = unit_files.environment_file(environ)
            if environment:
                mine.write(unit_files.ENVIRONMENT, environment)
            _make_folders(mine, settings, has.agent_user)
            agent_changed = _configure_agent(mine, settings, token_file, has)
            nginx_unit = _nginx_unit(settings, has)
            if settings.nginx and nginx_unit:
                mine.write(_drop_in(nginx_unit), unit_files.nginx_drop_in(settings.nginx.conf_dir))
            if has.has_systemd:
                _write_residents(mine, settings, token_file, has)
    todo = [*_nginx_todo(mine, settings, nginx_unit), *_residents_todo(mine, settings, has),
            *_agent_todo(settings, has, agent_changed)]
    if environment and not has.has_systemd:
        todo.append(
            f"give the Consul agent and lictor-registrar what {unit_files.ENVIRONMENT} holds as their environment"
        )
    return Report(mine.lines or ["everything is in place"], [*todo, "see what is still missing: lictor doctor"])


def remove(*, config_path: str = DEFAULT_PATH, force: bool = False, root: str = "/") -> Report:
    """Take away what `run` wrote, unless it was changed since, or is still in use."""
    with _as_root():
        mine = Installed(root, force=force)
    if not mine.files:
        return Report(["nothing of lictor init's is on this node"], [])
    settings, has = _settings(mine, config_path), detect.detect(root)
    keep, todo = {}, []
    if settings.nginx and _included(mine, settings.nginx, _SNIPPET):
        why = f"{settings.nginx.main_conf} still includes it, and nginx would not start without it"
        keep = {path: why for path in mine.files if path.startswith(settings.nginx.conf_dir + "/")}
        keep[_drop_in(has.nginx_unit)] = why
        todo.append(f"take the lines that include {settings.nginx.conf_dir} out of nginx's configuration")
    for unit in (unit_files.REGISTRAR_UNIT, unit_files.SERVE_SOCKET, unit_files.SERVE_UNIT):
        if os.path.lexists(_enabled_link(mine, unit)):
            keep[f"{_UNITS}/{unit}"] = "it is enabled"
            todo.append(f"systemctl disable --now {unit}")
    if keep:
        keep[config_path] = "it says where the rest is"
        todo.append("then once more: lictor init --remove")
    else:
        todo.append("restart the Consul agent once, which still runs the handlers" + (
            f": systemctl daemon-reload && systemctl restart {has.agent_unit}" if has.agent_unit else ""))
    with _as_root(), mine.saved():
        mine.remove(keep)
    left = [each for each in (settings.nginx.conf_dir if settings.nginx else "", settings.state_dir)
            if each in mine.folders]
    if left and not keep:
        todo.append(f"then, as what the handlers left there is of no use to others: rm -r {' '.join(left)}")
    if settings.nginx and not keep:
        todo.append("then, so that no release waits for this nginx, for NODE its name in Consul: consul kv get -keys "
                    "-separator= lictor/nodes/ | grep '/NODE$' | xargs -rn1 consul kv delete")
    return Report(mine.lines, todo)


@contextlib.contextmanager
def _as_root() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise errors.Refused(f"{error}; lictor init needs to be run as root") from error


def _settings(mine: Installed, config_path: str) -> Settings:
    try:
        return parse_settings(tomllib.loads(files.read(mine.path(config_path)) or ""), config_path)
    except tomllib.TOMLDecodeError as error:
        raise errors.Refused(f"{config_path}: {error}") from error


def _present_door(mine: Installed, config_path: str) -> str:
    try:
        return _settings(mine, config_path).watch.door
    except errors.Refused:  # it is overwritten, or else refused when it is read again
        return Watch().door


def _make_folders(mine: Installed, settings: Settings, agent_user: str) -> None:
    for folder in ("", *script.FOLDERS):
        mine.make_folder(os.path.join(settings.state_dir, folder).rstrip("/"))
    mine.make_folder(settings.watch.config_dir)
    owned = [settings.state_dir]
    if settings.nginx:
        mine.make_folder(settings.nginx.conf_dir)
        nginx.prepare(mine.path(settings.nginx.conf_dir), templates.Templates(
            mine.path(settings.templates_dir), live=settings.nginx.mode == "live" and _has_lua(mine)))
        mine.adopt(settings.nginx.conf_dir)
        owned.append(settings.nginx.conf_dir)
    for folder in owned:
        mine.own(folder, agent_user, 0o750)
    if agent_user:
        mine.share(settings.watch.config_dir, agent_user)


def _configure_agent(mine: Installed, settings: Settings, token_file: str, has: detect.Node) -> bool:
    options, secret = script.inherited(settings, token_file), _secret(mine, settings, has.agent_user)
    static = f"{settings.watch.config_dir}/{agent_config.STATIC_FILE}"
    text = agent_config.text(agent_config.static(settings, options, process.handler_argv, secret))
    changed = mine.write(static, text, mode=0o600 if secret else 0o644)
    if secret:
        mine.show(static, has.agent_user)
    routes = f"{settings.watch.config_dir}/{agent_config.ROUTES_FILE}"
    if not os.path.exists(mine.path(routes)):
        changed |= mine.write(
            routes,
            agent_config.text(agent_config.routes(settings, {}, options, process.handler_argv)),
            generated=True,
            mode=0o640,
        )
        mine.own(routes, has.agent_user, 0o640)
    if has.agent_unit:
        changed |= mine.write(
            _drop_in(has.agent_unit), unit_files.agent_drop_in(settings, has.agent_user, has.docker_group)
        )
    return changed


def _secret(mine: Installed, settings: Settings, user: str) -> str:
    """As door.secret; who runs lictor-serve may read it."""
    path = settings.watch.secret_file
    if settings.watch.door != "http":
        return ""
    text = files.read(mine.path(path)) or http_door.fresh_secret()
    mine.write(path, text, generated=True, mode=0o600)
    mine.own(path, user, 0o600)
    return text.strip()


def _drop_in(unit: str) -> str:
    return f"{_UNITS}/{unit}.d/lictor.conf"


def _nginx_unit(settings: Settings, has: detect.Node) -> str:
    """The unit that runs the nginx of these settings; "" when something else does."""
    return has.nginx_unit if settings.nginx and not settings.nginx.container and has.has_systemd else ""


def _residents(settings: Settings) -> dict[str, str]:
    """The handlers that run all along, and the units that do it."""
    return {"lictor-registrar": unit_files.REGISTRAR_UNIT,
            **({"lictor-serve": unit_files.SERVE_UNIT} if settings.watch.door == "http" else {})}


def _write_residents(mine: Installed, settings: Settings, token_file: str, has: detect.Node) -> None:
    for name, unit in _residents(settings).items():
        argv = [*process.handler_argv(name), *script.inherited(settings, token_file)]
        mine.write(f"{_UNITS}/{unit}", unit_files.resident(unit, argv, settings, has))
    if settings.watch.door == "http":
        mine.write(f"{_UNITS}/{unit_files.SERVE_SOCKET}", unit_files.serve_socket(settings))


def _nginx_todo(mine: Installed, settings: Settings, unit: str) -> list[str]:
    there = settings.nginx
    if not there:
        return []
    todo = []
    if there.mode == "live" and not _has_lua(mine):
        todo.append(unit_files.LUA_REMEDY)
    if not _included(mine, there, _SNIPPET):
        todo.append(f"as the last line of the http block of {there.main_conf}: include {there.conf_dir}/{_SNIPPET}; "
                    "(the first server of a port is its default, and that should stay one of yours)")
    if not _included(mine, there, "locations/"):
        todo.append("into your own server block, for services without a host: "
                    f"include {there.conf_dir}/locations/*.conf;")
    if todo:
        todo.append(f"then: {there.binary} -t && systemctl daemon-reload && systemctl reload {unit}" if unit else
                    f"then: {there.binary} -t, and reload nginx")
    if todo and not unit:
        todo.append(f"have whatever starts nginx do this before: rm -f {there.conf_dir}/{nginx_socket.SOCKET} "
                    "(a nginx that was killed leaves it, and the next one could not start)")
    return todo


def _has_lua(mine: Installed) -> bool:
    """Without it nginx could not start with what live mode needs; where it is elsewhere, a publication finds out."""
    return bool(glob.glob(mine.path("/etc/nginx/modules-enabled/*lua*")))


def _included(mine: Installed, there: Nginx, what: str) -> bool:
    """Whether a file beside or below the main configuration, but not our own, includes `what` of our folder."""
    wanted = f"{there.conf_dir}/{what}"
    for folder, folders, names in os.walk(mine.path(os.path.dirname(there.main_conf))):
        folders[:] = [each for each in folders if os.path.join(folder, each) != mine.path(there.conf_dir)]
        paths = [os.path.join(folder, name) for name in names]
        lines = [line for path in paths if os.path.isfile(path) for line in (files.read(path) or "").splitlines()]
        if any(wanted in line.split("#")[0] for line in lines):
            return True
    return False


def _agent_todo(settings: Settings, has: detect.Node, changed: bool) -> list[str]:
    if not changed:
        return []
    if not has.agent_unit:
        rights = "; the user it runs as needs Docker's socket, nginx's signals, and the folders named above"
        return ["restart the Consul agent once" + (rights if settings.watch.door == "script" else "")]
    return [f"restart the agent once: systemctl daemon-reload && systemctl restart {has.agent_unit}",
            f"where Consul has ACLs, by the policies of {_policies()}: agent.hcl for acl.tokens.default of the agent's "
            "configuration; those of the handlers together for one token, in a file that the agent's user may read, "
            "then lictor --token-file FILE init; lictor.hcl for people"]


def _policies() -> str:
    above = os.path.dirname(os.path.dirname(process.handler_path("lictor-route")))
    checkout = os.path.join(above, "consul.d/acl")
    return checkout if os.path.isdir(checkout) else os.path.join(above, "share/lictor/consul.d/acl")


def _enabled_link(mine: Installed, unit: str) -> str:
    target = "sockets" if unit.endswith(".socket") else "multi-user"
    return mine.path(f"{_UNITS}/{target}.target.wants/{unit}")


def _residents_todo(mine: Installed, settings: Settings, has: detect.Node) -> list[str]:
    residents = _residents(settings)
    if not has.has_systemd:
        return [f"keep {name} running: {' '.join(process.handler_argv(name))}" for name in residents]
    asked = [
        unit_files.REGISTRAR_UNIT,
        *([unit_files.SERVE_SOCKET, unit_files.SERVE_UNIT] if settings.watch.door == "http" else []),
    ]
    missing = [unit for unit in asked if not os.path.lexists(_enabled_link(mine, unit))]
    return [
        *([f"systemctl daemon-reload && systemctl enable --now {' '.join(missing)}"] if missing else []),
        *(
            [
                f"systemctl disable --now {unit_files.SERVE_SOCKET} {unit_files.SERVE_UNIT}, "
                "which the other door has no use for"
            ]
            if settings.watch.door == "script" and os.path.lexists(_enabled_link(mine, unit_files.SERVE_UNIT))
            else []
        ),
    ]
