"""Registrations with a real agent, as the registrar makes them."""

from pathlib import Path

import pytest

from lictor.adapters.consul.client import Client
from lictor.registrar.catalogue import Catalogue
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
