"""The tests of this node's Consul agent for `lictor doctor`: it runs, loads lictor's files, and the token suffices."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from lictor import errors
from lictor.adapters import clock
from lictor.adapters.consul import transactions
from lictor.adapters.consul.client import Client
from lictor.cli.setup import detect, written_config
from lictor.cli.setup.findings import Probe, Remark, Untested
from lictor.events import agent_config, autoscale_round, timer
from lictor.reconcile.context import Context
from lictor.reconcile.status import status_report
from lictor.spec.settings import Settings

_PROBE = "lictor-doctor"
_NEVER = 2**62  # a ModifyIndex that no key has: a compare-and-set with it is allowed or denied, but never done


def list_tests(settings: Settings, client: Client) -> Iterator[Probe]:
    """List the tests, in the order in which failures should be mended."""
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
    yield Probe("services", lambda: examine_services(settings, client), "apply them with the name of a node that is "
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


def examine_services(settings: Settings, client: Client) -> str:
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
    written = written_config.read_routes(settings)
    allowed = max(int(client.agent_settings().get("HTTPMaxConnsPerClient", 0)),
                  written.get("limits", {}).get("http_max_conns_per_client", 0))
    needed = agent_config.connections_needed(len(written.get("watches", [])))
    if allowed < needed:
        raise errors.Refused(f"limits.http_max_conns_per_client is {allowed}; the watches and others need {needed}")
    return f"{allowed} for one client; {needed} are needed"


def check_descriptors(settings: Settings, allowed: list[int]) -> str:
    """Test the limit of each agent that runs here: which of them loads our watches is unknown."""
    needed = agent_config.descriptors_needed(len(written_config.read_routes(settings).get("watches", [])))
    if not allowed:
        raise Untested("no agent's process can be seen from here")
    if min(allowed) < needed:
        raise errors.Refused(f"the agent may open {min(allowed)} files and connections, and its watches need {needed} "
                             "while it reloads. It loses events then; LimitNOFILE is the unit's setting")
    return f"{min(allowed)} for the agent; {needed} are needed while it reloads"


def _timer(settings: Settings, client: Client) -> str:
    """Test that the timer runs and sweeps work. A service that is not as desired is a remark: it is no fault of the
    node."""
    check = _read_check(client, agent_config.CHECK_ID, agent_config.STATIC_FILE)
    output = _on_one_line(check)
    if check["Status"] == "passing":
        return output
    raise (Remark if sweeps_work(settings) else errors.Refused)(f"{check['Status']}: {output}")


def _read_check(client: Client, check_id: str, not_loaded: str) -> dict[str, Any]:
    """Read one of lictor's checks, which the agent has from a file and has run once."""
    check = client.local_checks().get(check_id)
    if check is None:
        raise errors.Refused(f"the agent has no check {check_id}: it has not loaded {not_loaded}")
    if not _on_one_line(check):
        raise Untested("the agent has not run it yet")
    return check


def _on_one_line(check: dict[str, Any]) -> str:
    return "; ".join(check["Output"].split("\n")).strip("; ")


def _autoscaler(client: Client) -> str:
    """Test that the autoscaler runs. Slow answers are no fault of the node."""
    check = _read_check(client, agent_config.AUTOSCALE_CHECK_ID,
                        f"this version's {agent_config.STATIC_FILE}, and no count follows response times")
    output = _on_one_line(check)
    if not autoscale_round.is_answer(check["Output"]):
        raise errors.Refused(f"{check['Status']}: {output}")
    return output


def sweeps_work(settings: Settings) -> bool:
    """Decide whether sweeps work: the last one ended lately, and had no trouble of the node to report."""
    last = timer.read(settings)
    return last is not None and not last.error and not last.trouble and (
        not clock.read(settings.state_dir).is_late(last.at, timer.STALE_S))
