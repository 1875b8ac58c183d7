"""Registrations with a real agent, as the registrar makes them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lictor.adapters import http
from lictor.adapters.consul.client import Client
from lictor.registrar import diff
from lictor.registrar.catalogue import Catalogue
from lictor.registrar.container_views import View
from lictor.registrar.diff import Difference
from lictor.registrar.registration import Registration

from lab.consul import Consul


@pytest.mark.daemons
def test_a_check_s_output_is_cut_whatever_the_agent_lets_it_have(tmp_path: Path) -> None:
    agent = Consul(str(tmp_path), config={"check_output_max_size": 1_000_000})
    try:
        client = Client.connect(environ=agent.start().environ)
        ours = {"Name": "books", "ID": "ours", "Check": {"TTL": "60s", "Status": "passing"}}
        client.register({**ours, "ID": "theirs"})
        made = Registration("ours", "books-1", "c1", ours, None)
        Catalogue(client, keep_failed=False, token="")._carry_out(Difference("ours", "", made, "books-1"))
        for each in ("ours", "theirs"):
            client.update_ttl(f"service:{each}", "passing", "x" * 200_000)
        checks = client.local_checks()
        assert len(checks["service:ours"]["Output"]) < 5000 and len(checks["service:theirs"]["Output"]) == 200_000
    finally:
        agent.stop()


def test_what_others_registered_with_the_agent_keeps_no_container_from_it(
        consul: Consul, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client.connect(environ=consul.environ)
    ours = {"lictor-engine": "E1", "lictor-container": "c0"}
    client.register({"Name": "gone", "ID": "gone", "Meta": ours})
    client.register({"Name": "taken", "ID": "taken", "Check": {"TTL": "60s"}})
    for number in range(20):
        client.register({"Name": "junk", "ID": f"junk-{number}", "Tags": ["x" * 4000],
                         "Check": {"TTL": "60s", "Notes": "x" * 4000}})
    monkeypatch.setattr(http, "_LONGEST_BYTES", 50_000)
    views = [View("", name, "", [Registration(name, name, f"id-{name}", {
        "Name": name, "ID": name, "Address": "", "Port": 1, "Tags": [], "Check": {"TTL": "60s"},
        "Meta": {**ours, "lictor-container": f"id-{name}"}}, None)], []) for name in ("books", "taken")]
    registrar = Catalogue(client, keep_failed=False, token="")
    rules = diff.Rules("E1")
    engine: Any = None  # it is not asked
    for _ in range(2):  # the second time nothing is left to do
        registered, refusals = registrar.repair(views, engine, rules, thoroughly=False)
        said = sorted((refusal.container, refusal.reason.partition(":")[0]) for refusal in refusals)
        assert (registered, said) == (1, [("taken", "its id is registered by somebody else"),
                                          ("this node", "too long"), ("this node", "too long")])
    monkeypatch.undo()
    services = client.local_services()
    assert services.keys() == {"books", "taken", *(f"junk-{number}" for number in range(20))}
    assert not services["taken"]["Meta"]


class RenamedAgent:
    """Our client of an agent that has another name each time that it is asked."""

    def __init__(self) -> None:
        self.names, self.asked = iter(["vm1", "vm2"]), list[str]()

    def agent(self) -> Any:
        return SimpleNamespace(name=next(self.names))

    def node_checks(self, node: str) -> dict[str, Any]:
        self.asked.append(node)
        return {}

    def node_services(self, node: str) -> list[dict[str, Any]]:
        self.asked.append(node)
        return []


def test_after_the_node_was_renamed_the_catalogue_is_asked_by_its_new_name() -> None:
    agent: Any = RenamedAgent()
    catalogue = Catalogue(agent, keep_failed=False, token="")
    for _ in range(2):
        catalogue._unsettled({}, {}, {}, diff.Rules("E1"))
    assert agent.asked == ["vm1", "vm1", "vm2", "vm2"]
