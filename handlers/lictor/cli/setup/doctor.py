"""The tests of `lictor doctor`: each right and setting that the handlers need. A test leaves nothing behind, and its
failure is a finding, never an error."""

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from lictor import errors
from lictor.adapters import clock, docker, files, heartbeat, process, secret_files
from lictor.adapters.consul import transactions
from lictor.adapters.consul.client import Client
from lictor.adapters.text import describe_error
from lictor.cli import status_report
from lictor.cli.setup import detect, nginx_tests, set_tests
from lictor.cli.setup.findings import Finding, Probe, Untested
from lictor.events import agent_config, autoscale_round, http_door, script, timer
from lictor.reconcile.context import Context
from lictor.spec import delegation_settings
from lictor.spec.settings import Notify, Settings

_HANDLERS = ("lictor-route", "lictor-heal", "lictor-scale", "lictor-reconcile", "lictor-autoscale", "lictor-registrar",
             "lictor-serve")
_PROBE = "lictor-doctor"
_NEVER = 2**62  # a ModifyIndex that no key has: a compare-and-set with it is allowed or denied, but never done


def examine(settings: Settings, *, token_file: str | None = None) -> list[Finding]:
    """Run all tests, in the order in which failures should be mended."""
    findings: dict[str, Finding] = {}
    for test in _tests(settings, token_file):
        findings[test.name] = _finding(test, findings.get(test.needs))
    return list(findings.values())


def _finding(test: Probe, needed: Finding | None) -> Finding:
    if needed and not needed.ok:
        return Finding(test.name, None, f"not tested: {needed.name} comes first")
    try:
        return Finding(test.name, True, test.run())
    except Untested as error:
        return Finding(test.name, None, f"not tested: {error}")
    except (errors.LictorError, OSError) as error:
        said = describe_error(error) if isinstance(error, OSError) else str(error)
        return Finding(test.name, False, said, test.remedy)


def _tests(settings: Settings, token_file: str | None) -> Iterator[Probe]:
    yield Probe("settings", lambda: settings.path or "the defaults: there is no file", "")
    yield Probe("rights", lambda: _rights(script.inherited(settings, token_file)), "")
    for name in _HANDLERS:
        yield Probe(name, partial(_usable, process.handler_path(name), os.R_OK | os.X_OK), "install lictor again")
    others = {"conf_dir": settings.nginx.conf_dir, "config_dir": settings.watch.config_dir} if settings.nginx else {}
    for key, path in {"state_dir": settings.state_dir, **others}.items():
        yield Probe(key, partial(_usable, path, os.R_OK | os.W_OK | os.X_OK), "lictor init, or correct the settings")
    yield Probe("files", partial(detect.require_own_files, settings.state_dir), "chown them as state_dir", "state_dir")
    client: Client | None = None
    try:
        client = Client.connect(token_file=token_file)
    except errors.LictorError as error:
        yield Probe("Consul", partial(_fail, error), "correct the variable, or name the token's file")
    else:
        yield from _consul(settings, client)
    if settings.nginx:
        yield from nginx_tests.list_tests(settings, settings.nginx)
    yield Probe("Docker", lambda: f"engine {docker.connect(timeout_s=5).engine_id()}",
                "start Docker; DOCKER_HOST names its socket, and the group of that socket may use it")
    if client:
        yield from set_tests.list_tests(settings, client)
    yield Probe("registrar", lambda: heartbeat.examine(settings.state_dir), "systemctl enable --now lictor-registrar")
    if settings.watch.door == "http":
        yield Probe("serve", lambda: _serve(settings), "systemctl enable --now lictor-serve")
    yield Probe("notify", lambda: _notify(settings.notify), "correct [notify] in the settings")
    if settings.command:
        yield Probe("command", partial(_command, settings.command), "correct [command] in the settings")
    if settings.webhook:
        yield Probe("webhook", partial(_webhook, settings.webhook), "correct [webhook] in the settings")


def _fail(error: errors.LictorError) -> str:
    raise error


def _rights(options: list[str]) -> str:
    node = detect.detect("/")
    if os.geteuid() == 0 and node.agent_user:
        group = f" -p SupplementaryGroups={node.docker_group}" if node.docker_group else ""
        raise Untested(f"you are root, but the handlers are {node.agent_user}. To test their rights: systemd-run "
                       f"--pipe --wait -p User={node.agent_user}{group} -p AmbientCapabilities=CAP_KILL "
                       f"{' '.join([sys.prefix + '/bin/lictor', *options])} doctor")
    return f"tested as user id {os.geteuid()}"


def _usable(path: str, rights: int) -> str:
    if not os.access(path, rights):
        raise errors.Refused(f"{path} is not there, or may not be {'written to' if rights & os.W_OK else 'run'}")
    return path


def _require_program(word: str) -> None:
    if not shutil.which(word):
        raise errors.Refused(f"{word} is not there, or may not be run")


def _notify(notify: Notify | None) -> str:
    """Test that people can be notified; no notification is sent for it."""
    if notify is None:
        return "off: an open breaker and healing on hold notify nobody"
    if notify.command:
        _require_program(notify.command[0])
    if notify.token_file:
        secret_files.read_token(notify.token_file)
    return "a command is run" if notify.command else "a webhook is called"


def _command(command: delegation_settings.Command) -> str:
    for words in filter(None, (command.scale, command.redeploy)):
        _require_program(words[0])
    return f"{command.scale[0]} gets the desired counts"


def _webhook(webhook: delegation_settings.Webhook) -> str:
    """Test that its secrets can be read; no request is sent for it."""
    for request in filter(None, (webhook.scale, webhook.redeploy)):
        for path in request.headers_files.values():
            secret_files.read_secret(path)
    if webhook.jenkins:
        secret_files.read_token(webhook.jenkins.token_file)
    return f"{'Jenkins' if webhook.jenkins else 'a webhook'} gets the desired counts"


def _consul(settings: Settings, client: Client) -> Iterator[Probe]:
    restart = "lictor init, then restart the agent once"
    yield Probe("Consul", lambda: f"{client.agent().name} knows the leader {client.leader()}",
                "start the agent; CONSUL_HTTP_ADDR names it; the token needs agent:read")
    yield Probe("script checks", lambda: _script_checks(client), restart, "Consul")
    yield Probe("ACLs", lambda: _acls(client), "switch acl on, with default_policy deny", "Consul")
    yield Probe("connections", lambda: _connections(settings, client), restart, "Consul")
    yield Probe("descriptors", lambda: check_descriptors(settings, detect.read_agents_descriptors("/")), restart)
    yield Probe("timer", lambda: _timer(settings, client),
                f"{restart}; with ACLs its default token needs the policy agent", "Consul")
    yield Probe("autoscaler", lambda: _autoscaler(client), f"{restart}; `lictor-autoscale` run by hand says more",
                "Consul")
    yield Probe("services", lambda: _services(settings, client), "apply them with the name of a node that is "
                "there, or have a node act for their engine", "Consul")
    rights: dict[str, Callable[[], object]] = {
        f"read {settings.prefix}": lambda: client.get(f"{settings.prefix}{_PROBE}"),
        f"write {settings.prefix}": lambda: client.put(f"{settings.prefix}{_PROBE}", "", cas=_NEVER),
        "read lictor/": lambda: client.get(f"lictor/{_PROBE}"),
        "write lictor/": lambda: client.put(f"lictor/{_PROBE}", "", cas=_NEVER),
        "write services": lambda: client.commit([transactions.cas_service(client.agent().name, _PROBE, _NEVER)]),
        "lock": lambda: client.destroy_session(client.create_session(_PROBE)),
    }
    for right, attempt in rights.items():
        yield Probe(f"may {right}", partial(_allowed, attempt), "give the token the policies of consul.d/acl", "Consul")


def _services(settings: Settings, client: Client) -> str:
    """Test that a node acts for each service."""
    rows = status_report.read_status(Context(settings, client, client.agent().name))
    lost = [f"{row.name}: {row.nobody}" for row in rows if row.nobody]
    if lost:
        raise errors.Refused("; ".join(lost))
    return f"a node acts, or may act, for each of {len(rows)}"


def _allowed(attempt: Callable[[], object]) -> str:
    with contextlib.suppress(errors.Conflict):  # the request is let through, and loses as it is meant to
        attempt()
    return "yes"


def _script_checks(client: Client) -> str:
    agent = client.agent_settings()
    if not agent.get("EnableLocalScriptChecks"):
        raise errors.Refused("enable_local_script_checks is off: the agent does not load the timer")
    if agent.get("EnableRemoteScriptChecks"):
        raise errors.Refused("enable_script_checks is on: a right to register services is a right to run programs on "
                             "this node. enable_local_script_checks is enough")
    return "enable_local_script_checks is on"


def _acls(client: Client) -> str:
    """Test that only the holder of a token may write keys: what stands in them is run, by Docker."""
    agent = client.agent_settings()
    if not agent.get("ACLsEnabled"):
        raise errors.Refused("ACLs are off. Any local user is root here, as far as [allow] lets a spec go: whoever "
                             "reaches the agent writes keys, and they are run")
    if agent.get("ACLDefaultPolicy") != "deny":
        raise errors.Refused("acl.default_policy is not deny. Any local user is root here all the same")
    return "on, and deny is the default"


def _connections(settings: Settings, client: Client) -> str:
    written = _written_routes(settings)
    allowed = max(int(client.agent_settings().get("HTTPMaxConnsPerClient", 0)),
                  written.get("limits", {}).get("http_max_conns_per_client", 0))
    needed = agent_config.connections_needed(len(written.get("watches", [])))
    if allowed < needed:
        raise errors.Refused(f"limits.http_max_conns_per_client is {allowed}; the watches and others need {needed}")
    return f"{allowed} for one client; {needed} are needed"


def check_descriptors(settings: Settings, allowed: list[int]) -> str:
    """Test the limit of each agent that runs here: which of them loads our watches is unknown."""
    needed = agent_config.descriptors_needed(len(_written_routes(settings).get("watches", [])))
    if not allowed:
        raise Untested("no agent's process can be seen from here")
    if min(allowed) < needed:
        raise errors.Refused(f"the agent may open {min(allowed)} files and connections, and its watches need {needed} "
                             "while it reloads. It loses events then; LimitNOFILE is the unit's setting")
    return f"{min(allowed)} for the agent; {needed} are needed while it reloads"


def _written_routes(settings: Settings) -> dict[str, Any]:
    return files.read_json(os.path.join(settings.watch.config_dir, agent_config.ROUTES_FILE)) or {}


def _timer(settings: Settings, client: Client) -> str:
    """Test that the timer runs and sweeps work. A service that is not as desired is no fault of the node."""
    check = client.local_checks().get(agent_config.CHECK_ID)
    if check is None:
        raise errors.Refused(f"the agent has no check {agent_config.CHECK_ID}: it has not loaded "
                             f"{agent_config.STATIC_FILE}")
    output = "; ".join(check["Output"].split("\n")).strip("; ")
    if not output:
        raise Untested("the agent has not run it yet")
    if check["Status"] != "passing" and not _sweeps(settings):
        raise errors.Refused(f"{check['Status']}: {output}")
    return output


def _autoscaler(client: Client) -> str:
    """Test that the autoscaler runs. Slow answers are no fault of the node."""
    check = client.local_checks().get(agent_config.AUTOSCALE_CHECK_ID)
    if check is None:
        raise errors.Refused(f"the agent has no check {agent_config.AUTOSCALE_CHECK_ID}: it has not loaded this "
                             f"version's {agent_config.STATIC_FILE}, and no count follows response times")
    output = "; ".join(check["Output"].split("\n")).strip("; ")
    if not output:
        raise Untested("the agent has not run it yet")
    if not autoscale_round.is_answer(check["Output"]):
        raise errors.Refused(f"{check['Status']}: {output}")
    return output


def _sweeps(settings: Settings) -> bool:
    """Decide whether sweeps work: the last one ended lately, and had no trouble of the node to report."""
    last = timer.read(settings)
    return last is not None and not last.error and not last.trouble and (
        not clock.read(settings.state_dir).is_late(last.at, timer.STALE_S))


def _serve(settings: Settings) -> str:
    http_door.ask(settings, "/alive")
    return f"lictor-serve answers at {settings.watch.address}"
