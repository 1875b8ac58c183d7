"""The agent's side of the registrar: its registrations become those of the containers, with today's token."""

import contextlib
import time
from collections.abc import Collection, Mapping
from typing import Any

from lictor import errors
from lictor.adapters import docker, log
from lictor.adapters.consul.client import Client
from lictor.adapters.heartbeat import Refusal
from lictor.registrar import checks, container_views, diff
from lictor.registrar.registration import Registration

_LONGEST_OUTPUT_BYTES = 4096  # of a check; it is Consul's own bound, unless that was raised
_SYNC_S = 3.0  # the agent needs far less to tell the catalogue of a change


class Catalogue:
    """The registrations of this node's agent. `token` is the public name of the token that has registered all."""

    def __init__(self, client: Client, *, keep_failed: bool, token: str) -> None:
        self.client, self.keep_failed, self.token = client, keep_failed, token
        self.containers: set[str] = set()  # ids of those that were registered at the last look
        self.dead: set[str] = set()  # ids of those that do not run, and whose registrations could not be ended
        self.taken_over: set[str] = set()
        self.unsynced: dict[tuple[str, str], float] = {}  # (service id, reason): since when the catalogue knows less
        self.reported_at: dict[str, float] = {}  # by service id: the last report of its HEALTHCHECK to the agent
        self.seen_changes = -1  # of the token, since the start
        self.next_token: str | None = None  # all has to be registered again with this one

    def repair(self, views: Collection[container_views.View], engine: docker.Client, rules: diff.Rules, *,
               thoroughly: bool) -> tuple[int, set[Refusal]]:
        """Make the agent's registrations those of the views; returns how many there are, and what was refused.

        `thoroughly` looks for what the catalogue has kept, too.
        """
        desired, refused = container_views.claim(views)
        refusals = {Refusal(container, reason, "labels") for container, reason in refused}
        self.client.read_in_parts.clear()
        services = self.client.local_services(desired)
        agent_checks = self.client.local_checks({*desired, *services})
        self.containers = diff.containers(services, rules.engine)
        self._look_at_token()
        rules = rules._replace(taken_over=self.taken_over, renew=self.next_token is not None)
        differences = diff.differences(desired, services, agent_checks, rules)
        if thoroughly:
            with contextlib.suppress(errors.LictorError):  # without Consul's servers nobody can be told
                differences += self._unsettled(desired, services, agent_checks, rules)
        failures, self.dead = {}, set()
        for difference in differences:
            refusal = self._settle(difference, engine)
            if refusal:
                failures[difference.id] = refusal
                if desired.pop(difference.id, None) is None:
                    service = difference.again or services.get(difference.id, {})
                    self.dead |= diff.containers({difference.id: service}, rules.engine)
        refusals |= {Refusal("this node", f"too long: {text}. The registrar reads its own in parts", "catalogue")
                     for text in self.client.read_in_parts}
        if self.next_token is not None and not failures:
            self.token, self.next_token = self.next_token, None
        return len(desired), refusals | {*failures.values(), *self._report_health(desired, agent_checks)}

    def _look_at_token(self) -> None:
        """Find out whether the token is another than the one that registered all.

        Consul carries on with the token of each registration, and can do nothing for one whose token is gone.
        """
        changes = self.client.token_changes
        if changes == self.seen_changes:
            return
        try:
            accessor = self.client.token_accessor()
        except errors.Unavailable:
            return
        except errors.Refused:
            accessor = ""  # the ACLs are off
        self.seen_changes = changes
        self.next_token = accessor if accessor != self.token else None

    def _unsettled(self, desired: Mapping[str, Registration], services: Mapping[str, Any],
                   agent_checks: Mapping[str, Any], rules: diff.Rules) -> list[diff.Difference]:
        """Find what the catalogue has not been told of for a while: changes of health, and ends."""
        node, now_s = self.client.agent().name, time.monotonic()  # each time: an agent may have got another name
        own = {service_id: each for service_id, each in desired.items()
               if diff.is_of(services.get(service_id), rules.engine)}
        found = diff.unsynced(own, agent_checks, self.client.node_checks(node))
        for service_id, service in diff.leftovers(services, self.client.node_services(node), rules).items():
            if service_id not in desired:
                found.append(diff.end(service, "its container does not run, and the catalogue has kept it", again=True))
        self.unsynced = {(each.id, each.reason): self.unsynced.get((each.id, each.reason), now_s) for each in found}
        return [each for each in found if now_s - self.unsynced[each.id, each.reason] >= _SYNC_S]

    def _settle(self, difference: diff.Difference, engine: docker.Client) -> Refusal | None:
        """Make or end one registration; returns the refusal, if it is refused."""
        new, reason = difference.registration, difference.reason
        if not difference.refused:
            try:
                if new is None and self.keep_failed and container_views.has_failed(engine, difference.container):
                    return None
                self._carry_out(difference)
            except (errors.Refused, errors.Unavailable) as error:
                if isinstance(error, errors.Unavailable):
                    self.client.local_checks()  # raises if the agent itself is away
                what = "not registered" if new else f"{difference.id} is not deregistered, though {reason}"
                reason = f"{what}: {error}"
            else:
                log.event("register" if new else "deregister", id=difference.id, container=difference.container,
                          service=new.definition["Name"] if new else None, reason=reason, outcome="done")
                return None
        return Refusal(difference.container, reason, "catalogue")

    def _carry_out(self, difference: diff.Difference) -> None:
        if difference.keeps:
            self.client.set_maintenance(difference.id, difference.maintenance)
            return
        if difference.again:
            self.client.register(dict(difference.again))
        if difference.registration is None or difference.afresh:
            self.client.deregister(difference.id)
        if difference.registration is not None:
            self.client.register(_with_bound(difference.registration.definition))
            if difference.maintenance is not None:
                self.client.set_maintenance(difference.id, difference.maintenance)
        if difference.takes_over:
            self.taken_over.add(difference.id)

    def _report_health(self, desired: Mapping[str, Registration], agent_checks: Mapping[str, Any]) -> list[Refusal]:
        """Report the HEALTHCHECKs to the agent: a change at once, and each again before its TTL runs out."""
        reported_at, refusals = {}, []
        for service_id, registered in desired.items():
            if registered.health:
                check_id = diff.check_id(service_id)
                reported_at[service_id] = self.reported_at.get(service_id, 0.0)
                is_fresh = time.monotonic() - reported_at[service_id] < checks.HEALTH_TTL_S / 3
                output = f"HEALTHCHECK: {registered.health_output or registered.health}"
                told = agent_checks.get(check_id, {})
                if not is_fresh or (told.get("Status"), told.get("Output")) != (registered.health, output):
                    try:
                        self.client.update_ttl(check_id, registered.health, output)
                        reported_at[service_id] = time.monotonic()
                    except errors.Refused as error:
                        refusals.append(Refusal(registered.container, f"its health is not reported: {error}",
                                                "catalogue"))
        self.reported_at = reported_at
        return refusals


def _with_bound(definition: dict[str, Any]) -> dict[str, Any]:
    """Have the agent cut what the check prints, as every look at the checks of a node reads all that they printed."""
    check = definition.get("Check")
    return {**definition, "Check": {**check, "OutputMaxSize": _LONGEST_OUTPUT_BYTES}} if check else definition
