"""The texts that `lictor init` writes beside the agent's configuration: the settings file and systemd's units. Pure."""

import json
from collections.abc import Mapping

from lictor.events import connection_limits
from lictor.routing import nginx_socket
from lictor.spec.settings import Nginx, Settings, Watch

REGISTRAR_UNIT = "lictor-registrar.service"
SERVE_UNIT = "lictor-serve.service"
SERVE_SOCKET = "lictor-serve.socket"
_DESCRIPTORS = 65536
ENVIRONMENT = "/etc/lictor/environment"  # of the units and of the agent, which starts handlers
_WHERE = ("CONSUL_HTTP_ADDR", "CONSUL_HTTP_SSL", "CONSUL_HTTP_SSL_VERIFY", "CONSUL_CACERT", "CONSUL_CAPATH",
          "CONSUL_CLIENT_CERT", "CONSUL_CLIENT_KEY", "CONSUL_TLS_SERVER_NAME",  # none that is a secret itself
          "DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")
_READ_IT = f"EnvironmentFile=-{ENVIRONMENT}"
LUA_REMEDY = ("live mode needs nginx's Lua module: apt-get install libnginx-mod-http-lua, and restart nginx; if it is "
              "not loaded by a file in /etc/nginx/modules-enabled, load it in templates/check.conf.j2 too")


def settings_file(nginx: Nginx | None, watch: Watch) -> str:
    """lictor.toml with every key: behind a # where the value is the default."""
    base, there = Settings(), nginx or Nginx()
    nginx_lines = [
        _setting("mode", there.mode, Nginx().mode, "how new peers reach nginx: reload, or live (needs its Lua module)"),
        _setting("conf_dir", there.conf_dir, Nginx().conf_dir, "everything below this folder is lictor's"),
        _setting("main_conf", there.main_conf, Nginx().main_conf, "your own configuration, which includes lictor's"),
        _setting("binary", there.binary, Nginx().binary, "tests what is written, before it is used"),
        _setting("pid_file", there.pid_file, Nginx().pid_file, "as `pid` in your configuration says"),
        _setting("container", there.container, Nginx().container,
                 "set when nginx runs in this container, with conf_dir mounted at the same path"),
        _setting("reload_min_interval", "250ms", "250ms", "so long at least between two reloads, at least 150ms"),
    ]
    if nginx is None:
        nginx_lines = ["# Without nginx this node routes nothing. With one: remove the line above, and the # below.",
                       "#[nginx]", *(line if line.startswith("#") else f"#{line}" for line in nginx_lines)]
    else:
        nginx_lines = ["[nginx]", *nginx_lines]
    return "\n".join([
        "# lictor's settings on this node. A line behind # shows the default.",
        "",
        _setting("prefix", base.prefix, base.prefix, "the keys below it, in Consul, say what is desired"),
        _setting("state_dir", base.state_dir, base.state_dir, "what this node remembers; can be lost without harm"),
        *(["nginx = false"] if nginx is None else []),
        "",
        *nginx_lines,
        "",
        "[watch]",
        _setting("door", watch.door, Watch().door,
                 "how events come in: script (the agent starts the handlers) or http (lictor-serve runs all along)"),
        _setting("config_dir", watch.config_dir, Watch().config_dir, "the agent's -config-dir"),
        _setting("address", watch.address, Watch().address, "where lictor-serve listens, on loopback only"),
        _setting("secret_file", watch.secret_file, Watch().secret_file, "what the agent must know to be heard there"),
        "",
        "[heal]",
        _setting("budget", base.heal.budget, base.heal.budget,
                 "so many running containers may be replaced for their checks, on the whole fleet,"),
        _setting("per", "10m", "10m", "within this time"),
        _setting("surplus_after", "60s", "60s", "a surplus must stand for so long before it is drained"),
        _setting("trust_after", "30s", "30s", "no judgement so long after the agent's start or an unreadable answer"),
        "",
        "[notify]",
        _setting("command", [], [], "gets what a person should see, as JSON on stdin: [\"/usr/local/bin/page\"]"),
        _setting("url", "", "", "or gets it POSTed: https://..."),
        _setting("token_file", "", "", "with url: goes along as Authorization: Bearer ..."),
        "",
    ])


def _setting(key: str, value: object, default: object, says: str) -> str:
    line = f"{key} = {json.dumps(value)}"
    return f"{'#' if value == default else ''}{line}  # {says}"


def environment_file(environ: Mapping[str, str]) -> str:
    """How Consul and Docker are found, but no secret; "" when that is as they are by default."""
    lines = [f"{name}={json.dumps(environ[name])}" for name in _WHERE if environ.get(name)]
    return "\n".join(["# Where lictor's handlers find Consul and Docker. Secrets: a token's file, by lictor "
                      "--token-file FILE init.", *lines, ""]) if lines else ""


def agent_drop_in(settings: Settings, user: str, docker_group: str) -> str:
    """What goes beside the agent's unit; on Debian its `user` may do nothing. With the http door lictor-serve has the
    rights, and the agent only runs the timer."""
    return "\n".join([
        "[Service]",
        _READ_IT,
        "# Each watch takes some while the agent reloads. Of 1024, systemd's default, none is left at some hundred",
        "# services, and then the agent loses events.",
        f"LimitNOFILE={_DESCRIPTORS}",
        *(_handlers_rights(settings, docker_group) if user and settings.watch.door == "script" else []),
        "# Handlers go on in the background after they have answered the agent. With control-group, the default, a",
        "# restart of the agent would end them between starting a container and recording that.",
        "KillMode=process",
        "",
    ])


def _handlers_rights(settings: Settings, docker_group: str) -> list[str]:
    return [
        "# What lictor's handlers need: the agent starts them, so they have the agent's rights.",
        "# Together this is worth as much as root: whoever may use Docker's socket can become root. So the agent must",
        "# take scripts from its own files only: never set enable_script_checks.",
        *(["# The handlers start and stop containers: Docker's socket belongs to this group.",
           f"SupplementaryGroups={docker_group}"] if docker_group else []),
        *_signals(settings),
        "# ProtectSystem=full makes /etc read-only; routes and generated watches are written there. The - lets the",
        "# agent start without these folders.",
        "ReadWritePaths=" + _written(settings),
    ]


def nginx_drop_in(conf_dir: str) -> str:
    """What goes beside nginx's unit."""
    return "\n".join([
        "# A nginx that was killed leaves this socket behind, and the next one could not listen on it and start.",
        "[Service]",
        f"ExecStartPre=-/usr/bin/rm -f {_quoted(f'{conf_dir}/{nginx_socket.SOCKET}')}",
        "",
    ])


def registrar(argv: list[str], settings: Settings, agent_unit: str, user: str, docker_group: str) -> str:
    return "\n".join([
        "[Unit]",
        "Description=lictor-registrar: this node's containers in Consul's catalogue",
        f"After={agent_unit or 'consul.service'} docker.service",
        "",
        *_resident(argv, user, docker_group, watchdog="5min"),  # it may look at Docker often, 10 s each at most
        "CapabilityBoundingSet=",
        f"ReadWritePaths={settings.state_dir}",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
        "",
    ])


def serve(argv: list[str], settings: Settings, agent_unit: str, user: str, docker_group: str) -> str:
    """It runs as the agent's user, with rights that the agent itself then does not need."""
    signals = _signals(settings) if user else []
    return "\n".join([
        "[Unit]",
        "Description=lictor-serve: what Consul's watches see is acted upon",
        f"Requires={SERVE_SOCKET}",
        f"After={agent_unit or 'consul.service'} docker.service nginx.service",
        "",
        *_resident(argv, user, docker_group, watchdog="30s"),
        "# Threads that come and go would else leave a heap of memory each.",
        "Environment=MALLOC_ARENA_MAX=1",
        "# An agent that reloads lets all its watches fire at once, and each is a connection.",
        f"LimitNOFILE={_DESCRIPTORS}",
        *signals,
        *([f"CapabilityBoundingSet={'CAP_KILL' if signals else ''}"] if user else []),
        "ReadWritePaths=" + _written(settings),
        "# What it has started goes on in the background, and is not to end between starting a container and recording",
        "# that.",
        "KillMode=process",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
        "",
    ])


def serve_socket(settings: Settings) -> str:
    """The port is systemd's, from the start of the machine on."""
    return "\n".join([
        "[Unit]",
        "Description=lictor-serve: where Consul's watches reach it",
        "",
        "# While lictor-serve is down, nobody else can listen here and be told the secret. Events wait for it.",
        "[Socket]",
        f"ListenStream={settings.watch.address}",
        f"Backlog={connection_limits.PENDING}",
        "",
        "[Install]",
        "WantedBy=sockets.target",
        "",
    ])


def _signals(settings: Settings) -> list[str]:
    """What a process needs to signal nginx, where that is no container's."""
    return ["# nginx's master runs as root. It is told to reload, and its old workers to quit, once the new ones",
            "# serve. This is the one capability for that; NoNewPrivileges stays as it is.",
            "AmbientCapabilities=CAP_KILL"] if settings.nginx and not settings.nginx.container else []


def _resident(argv: list[str], user: str, docker_group: str, *, watchdog: str) -> list[str]:
    """What the units have in common of what runs all along."""
    return [
        "[Service]",
        "Type=notify",
        f"WatchdogSec={watchdog}",
        f"ExecStart={' '.join(_quoted(word) for word in argv)}",
        _READ_IT,
        *([f"User={user}"] if user else []),
        *([f"SupplementaryGroups={docker_group}"] if user and docker_group else []),
        "Restart=always",
        "RestartSec=2s",
        "NoNewPrivileges=true",
        "ProtectSystem=strict",
        "ProtectHome=read-only",
        "PrivateTmp=true",
        "PrivateDevices=true",
    ]


def _written(settings: Settings) -> str:
    """Where handlers write; the - lets a unit start without such a folder."""
    nginx_folders = [settings.nginx.conf_dir] if settings.nginx else []
    return " ".join(f"-{each}" for each in (settings.watch.config_dir, *nginx_folders, settings.state_dir))


def _quoted(word: str) -> str:
    return json.dumps(word.replace("%", "%%").replace("$", "$$")) if set(word) & set(" \"'%$\\") else word
