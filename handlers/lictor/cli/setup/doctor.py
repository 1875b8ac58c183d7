"""`lictor doctor`: tests each right and setting that the handlers need, leaves nothing behind, and never raises."""

import contextlib
import functools
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from lictor import errors
from lictor.adapters import docker, files, heartbeat, process
from lictor.adapters.consul import environment, transactions
from lictor.adapters.consul.client import Client
from lictor.cli.setup import detect, unit_files
from lictor.events import agent_config, http_door, script, timer
from lictor.routing import nginx, nginx_socket, publish
from lictor.spec import delegation_settings
from lictor.spec.settings import Nginx, Notify, Settings

_HANDLERS = ("lictor-route", "lictor-heal", "lictor-scale", "lictor-reconcile", "lictor-registrar", "lictor-serve")
_PROBE = "lictor-doctor"
_NEVER = 2**62  # a ModifyIndex that nothing has: a compare-and-set with it is allowed or denied, but never done


class Finding(NamedTuple):
    """One line for people. `ok` is None for what could not be tested."""

    name: str
    ok: bool | None
    detail: str
    remedy: str = ""


class Test(NamedTuple):
    """`run` returns what it found, or raises LictorError or OSError; without what it `needs` it is not run."""

    name: str
    run: Callable[[], str]
    remedy: str
    needs: str = ""


class Untested(errors.LictorError):
    """This cannot be told from here."""


def examine(settings: Settings, *, token_file: str | None = None) -> list[Finding]:
    """All findings, in the order in which it is worth mending them."""
    client = _connect(token_file)
    tests = [
        Test("settings", lambda: settings.path or "the defaults: there is no file", ""),
        Test("rights", lambda: _rights(script.inherited(settings, token_file)), ""),
        *(Test(name, functools.partial(_program, name), "install lictor again") for name in _HANDLERS),
        *_folders(settings),
        *([] if isinstance(client, errors.LictorError) else _consul(settings, client)),
        *(_nginx(settings.nginx) if settings.nginx else []),
        *(_live(settings, settings.nginx) if settings.nginx and settings.nginx.mode == "live" else []),
        Test("Docker", lambda: f"engine {docker.connect(timeout_s=5).engine_id()}",
             "start Docker; DOCKER_HOST names its socket, and the group of that socket may use it"),
        Test("registrar", lambda: _registrar(settings), "systemctl enable --now lictor-registrar"),
        *([Test("serve", lambda: _serve(settings), "systemctl enable --now lictor-serve")]
          if settings.watch.door == "http" else []),
        Test("notify", lambda: _notify(settings.notify), "correct [notify] in the settings"),
        *_delegation(settings),
    ]
    found: dict[str, Finding] = {}
    if isinstance(client, errors.LictorError):
        found["Consul"] = Finding("Consul", False, str(client), "correct the variable, or name the token's file")
    for test in tests:
        found[test.name] = _finding(test, found.get(test.needs))
    return list(found.values())


def _finding(test: Test, needed: Finding | None) -> Finding:
    if needed and not needed.ok:
        return Finding(test.name, None, f"not tested: {needed.name} comes first")
    try:
        return Finding(test.name, True, test.run())
    except Untested as error:
        return Finding(test.name, None, str(error))
    except (errors.LictorError, OSError) as error:
        return Finding(test.name, False, str(error), test.remedy)


def _connect(token_file: str | None) -> Client | errors.LictorError:
    try:
        return Client.connect(token_file=token_file)
    except errors.LictorError as error:
        return error


def _rights(options: list[str]) -> str:
    has = detect.detect("/")
    if os.geteuid() == 0 and has.agent_user:
        group = f" -p SupplementaryGroups={has.docker_group}" if has.docker_group else ""
        raise Untested(f"you are root, but the handlers are {has.agent_user}; to test what they may do: systemd-run "
                       f"--pipe --wait -p User={has.agent_user}{group} -p AmbientCapabilities=CAP_KILL "
                       f"{' '.join([sys.prefix + '/bin/lictor', *options])} doctor")
    return f"tested as user id {os.geteuid()}"


def _program(name: str) -> str:
    path = process.handler_path(name)
    if not os.access(path, os.R_OK | os.X_OK):
        raise errors.Refused(f"{path} is not there, or may not be run")
    return path


def _notify(notify: Notify | None) -> str:
    """Whether it can be used; nobody is told anything for the sake of a test."""
    if notify is None:
        return "nobody is told of an open breaker, or of healing that is held"
    if notify.command and not shutil.which(notify.command[0]):
        raise errors.Refused(f"{notify.command[0]} is not there, or may not be run")
    if notify.token_file:
        environment.read_token(notify.token_file)
    return "a command is told" if notify.command else "a webhook is told"


def _delegation(settings: Settings) -> Iterator[Test]:
    if settings.command:
        yield Test("command", functools.partial(_command, settings.command), "correct [command] in the settings")
    if settings.webhook:
        yield Test("webhook", functools.partial(_webhook, settings.webhook), "correct [webhook] in the settings")


def _command(command: delegation_settings.Command) -> str:
    for words in filter(None, (command.scale, command.redeploy)):
        if not shutil.which(words[0]):
            raise errors.Refused(f"{words[0]} is not there, or may not be run")
    return f"{command.scale[0]} is told how many are wanted"


def _webhook(webhook: delegation_settings.Webhook) -> str:
    """Whether its secrets can be read; nothing is sent for the sake of a test."""
    for request in filter(None, (webhook.scale, webhook.redeploy)):
        for _, path in request.headers_files:
            environment.read_secret(path)
    if webhook.jenkins:
        environment.read_token(webhook.jenkins.token_file)
    return "Jenkins is told how many are wanted" if webhook.jenkins else "a webhook is told how many are wanted"


def _folders(settings: Settings) -> list[Test]:
    folders = [("state_dir", settings.state_dir)]
    if settings.nginx:
        folders += [("conf_dir", settings.nginx.conf_dir), ("config_dir", settings.watch.config_dir)]
    return [Test(key, functools.partial(_writable, path), "lictor init, or correct the settings")
            for key, path in folders]


def _writable(path: str) -> str:
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise errors.Refused(f"{path} is not there, or may not be written to")
    return path


def _consul(settings: Settings, client: Client) -> list[Test]:
    policy = "give the token the policies of consul.d/acl"
    restart = "lictor init, then restart the agent once"
    rights: list[tuple[str, Callable[[], object]]] = [
        (f"read {settings.prefix}", lambda: client.get(f"{settings.prefix}{_PROBE}")),
        (f"write {settings.prefix}", lambda: client.put(f"{settings.prefix}{_PROBE}", "", cas=_NEVER)),
        ("read lictor/", lambda: client.get(f"lictor/{_PROBE}")),
        ("write lictor/", lambda: client.put(f"lictor/{_PROBE}", "", cas=_NEVER)),
        ("write services", lambda: client.commit([transactions.cas_service(client.agent().name, _PROBE, _NEVER)])),
        ("lock", lambda: client.destroy_session(client.create_session(_PROBE))),
    ]
    return [
        Test("Consul", lambda: f"{client.agent().name} knows the leader {client.leader()}",
             "start the agent; CONSUL_HTTP_ADDR names it; the token needs agent:read"),
        Test("script checks", lambda: _script_checks(client), restart, "Consul"),
        Test("connections", lambda: _connections(settings, client), restart, "Consul"),
        Test("descriptors", lambda: descriptors(settings, detect.agents_descriptors("/")), restart),
        Test("timer", lambda: _timer(settings, client), restart + "; with ACLs its default token needs the policy "
             "agent", "Consul"),
        *(Test(f"may {what}", functools.partial(_allowed, ask), policy, "Consul") for what, ask in rights),
    ]


def _allowed(ask: Callable[[], object]) -> str:
    with contextlib.suppress(errors.Conflict):  # the request is let through, and loses as it is meant to
        ask()
    return "yes"


def _script_checks(client: Client) -> str:
    about = client.agent_settings()
    if not about.get("EnableLocalScriptChecks"):
        raise errors.Refused("enable_local_script_checks is off: the agent will not load the timer")
    if about.get("EnableRemoteScriptChecks"):
        raise errors.Refused("enable_script_checks is on: whoever may register a service runs programs on this node; "
                             "enable_local_script_checks is enough")
    return "enable_local_script_checks is on"


def _connections(settings: Settings, client: Client) -> str:
    written = _written_routes(settings)
    allowed = max(int(client.agent_settings().get("HTTPMaxConnsPerClient", 0)),
                  written.get("limits", {}).get("http_max_conns_per_client", 0))
    needed = agent_config.connections_needed(len(written.get("watches", [])))
    if allowed < needed:
        raise errors.Refused(f"limits.http_max_conns_per_client is {allowed}; the watches and others need {needed}")
    return f"{allowed} for one client; {needed} are needed"


def descriptors(settings: Settings, allowed: list[int]) -> str:
    """Of each agent that runs here: which of them loads our watches is not known."""
    needed = agent_config.descriptors_needed(len(_written_routes(settings).get("watches", [])))
    if not allowed:
        raise Untested("no agent's process can be seen from here")
    if min(allowed) < needed:
        raise errors.Refused(f"the agent may open {min(allowed)} files and connections, and its watches need {needed} "
                             "while they are reloaded; without, it loses events. LimitNOFILE is the unit's setting")
    return f"{min(allowed)} for the agent; {needed} are needed while it reloads"


def _written_routes(settings: Settings) -> dict[str, Any]:
    return files.read_json(os.path.join(settings.watch.config_dir, agent_config.ROUTES_FILE)) or {}


def _timer(settings: Settings, client: Client) -> str:
    """A service that is not as desired is none of our business: whoever can tell that has all that it needs."""
    check = client.local_checks().get(agent_config.CHECK_ID)
    if check is None:
        raise errors.Refused(
            f"the agent has no check {agent_config.CHECK_ID}: it has not loaded {agent_config.STATIC_FILE}"
        )
    said = "; ".join(check["Output"].split("\n")).strip("; ")
    if not said:
        raise Untested("the agent has not run it yet")
    if check["Status"] != "passing" and not _sweeps(settings):
        raise errors.Refused(f"{check['Status']}: {said}")
    return said


def _sweeps(settings: Settings) -> bool:
    """Decide whether sweeps work: the last one ended lately, and had no trouble of the node to report."""
    last = timer.read(settings)
    return last is not None and "error" not in last and not last["trouble"] and (
        time.time() - last["at"] <= timer.STALE_S)


def _nginx(there: Nginx) -> list[Test]:
    return [
        Test("nginx", lambda: _master(there), "start nginx (if it can't listen on its socket, first: rm "
             f"{there.conf_dir}/{nginx_socket.SOCKET}); pid_file or container in the settings name it; as another user "
             "than its own, a process needs CAP_KILL"),
        Test("nginx configuration", lambda: _main_conf(there), "correct it", "nginx"),
        Test("nginx generation", lambda: _generation(there),
             f"include {there.conf_dir}/lictor.conf at the end of the http block of {there.main_conf}, and reload it",
             "nginx"),
    ]


def _live(settings: Settings, there: Nginx) -> list[Test]:
    def load() -> str:
        publish.check_live(settings, there)
        return "nginx has its Lua module"

    return [Test("live mode", load, unit_files.LUA_REMEDY, "conf_dir")]


def _master(there: Nginx) -> str:
    if there.container:
        if not ((docker.connect().inspect(there.container) or {}).get("State") or {}).get("Running"):
            raise errors.Unavailable(f"the container {there.container} is not running")
        return f"container {there.container}"
    pid = (files.read(there.pid_file) or "").strip()
    if not pid.isdigit() or "master process" not in (files.read(f"/proc/{pid}/cmdline") or ""):
        raise errors.Unavailable(f"{there.pid_file} names no process that is nginx's master")
    os.kill(int(pid), 0)
    return f"process {pid} may be signalled"


def _main_conf(there: Nginx) -> str:
    if not nginx.can_check_main_conf(there):
        raise Untested("only root can read all of it")
    nginx.check_main_conf(there)
    return f"{there.main_conf} is valid"


def _generation(there: Nginx) -> str:
    generation = nginx.answered(there.conf_dir)
    if generation is None:
        raise errors.Unavailable(f"nginx does not answer on the socket in {there.conf_dir}")
    return f"nginx serves generation {generation}"


def _registrar(settings: Settings) -> str:
    beat = heartbeat.read(settings.state_dir)
    if not beat:
        raise errors.Refused("it has never run here")
    age_s = time.time() - beat["at"]
    if age_s > heartbeat.LATE_S:
        raise errors.Refused(f"its last sign of life is {age_s:.0f} s old")
    return f"{beat.get('registered')} registered; alive {age_s:.0f} s ago"


def _serve(settings: Settings) -> str:
    http_door.ask(settings, "/alive")
    return f"lictor-serve answers at {settings.watch.address}"
