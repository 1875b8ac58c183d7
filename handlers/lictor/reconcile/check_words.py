"""The words of failing checks as they are now: the catalogue learns of new ones minutes later, if the status of a check
stays the same."""

import contextlib
import functools
from collections.abc import Iterable, Mapping
from typing import Any

from lictor import errors, model
from lictor.adapters.consul.client import Client
from lictor.reconcile import conditions
from lictor.reconcile.conditions import Told


class CheckWords:
    """Reads what the agent that is asked has, and what the last sweeps of other nodes told, once and if need be."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def put_into(self, instances: Iterable[model.Instance]) -> list[model.Instance]:
        """Replace the words of the instances that fail; where newer ones cannot be had, the catalogue's stay."""
        return [each if each.status == "passing" else each._replace(output=self._find(each) or each.output)
                for each in instances]

    def _find(self, instance: model.Instance) -> str:
        if instance.node == self._own_node:
            return model.evidence(self._local_checks.get(instance.service_id, ()), instance.status)
        told = self._told.get(instance.node)
        return told.outputs.get(instance.service_id, "") if told else ""

    @functools.cached_property
    def _own_node(self) -> str:
        with contextlib.suppress(errors.LictorError):  # words are no reason to leave the service alone
            return self._client.agent().name
        return ""

    @functools.cached_property
    def _local_checks(self) -> dict[str, list[dict[str, Any]]]:
        checks: dict[str, list[dict[str, Any]]] = {}
        with contextlib.suppress(errors.LictorError):
            for check in self._client.local_checks().values():
                checks.setdefault(str(check.get("ServiceID")), []).append(check)
        return checks

    @functools.cached_property
    def _told(self) -> Mapping[str, Told]:
        with contextlib.suppress(errors.LictorError):
            return conditions.read(self._client, None)
        return {}
