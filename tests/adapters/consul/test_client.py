"""The catalogue on a real Consul. Runs with python-consul and, by scripts/test-py-consul, with py-consul."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lictor import errors, model
from lictor.adapters import retry
from lictor.adapters.consul import transactions
from lictor.adapters.consul.client import Agent, Client

from lab.consul import Consul
from lab.daemon import wait_for

HOSTILE_KEYS = ["with space", "100%", "%2e%2e", "q?raw&x=1", "a#b", "semi;colon", "plus+", "quote\"'",
                "ünï/cödé/キー", "..a/b..", "folder/"]
IMPOSSIBLE_KEYS = ["", "/x", "a//b", "a/../b", "a/./b", "..", "\ud800", "tab\t"]
EXTERNAL = {  # a node without an agent, which nobody calls alive
    "Node": "node-x", "Address": "10.9.9.9",
    "Service": {"ID": "far-1", "Service": "far", "Port": 80},
    "Checks": [{"CheckID": "serfHealth", "Name": "s", "Status": "critical"},
               {"CheckID": "far-check", "Name": "f", "Status": "warning", "ServiceID": "far-1"}],
}


@pytest.fixture
def client(agent: Consul) -> Client:
    return Client.connect(environ=agent.environ, timeout_s=30)


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"t-{uuid.uuid4().hex[:12]}"


def register(client: Client, name: str, number: int = 1, **more: Any) -> str:
    service_id = f"{name}-{number}"
    client.register({"Name": name, "ID": service_id, "Address": "127.0.0.1", "Port": 8000 + number, **more})
    wait_for(lambda: service_id in [each["Service"]["ID"] for each in client.health(name)], f"{service_id} is synced")
    return service_id


def test_the_agent_and_the_leader_are_named(agent: Consul, client: Client) -> None:
    version = agent.request("GET", "/v1/agent/self")["Config"]["Version"]
    assert client.agent() == Agent("node-1", "127.0.0.1", "dc1", version)
    assert client.leader() == f"127.0.0.1:{agent.server_port}"


@pytest.mark.parametrize("key", HOSTILE_KEYS)
def test_any_key_and_any_value_come_back_as_they_were(client: Client, name: str, key: str) -> None:
    value = bytes(range(256))
    client.put(f"{name}/{key}", value)
    client.put(f"{name}-beside", "")
    entry = client.get(f"{name}/{key}", consistent=True)
    assert entry is not None and entry.value == value and entry.session == ""
    assert client.tree(f"{name}/") == {f"{name}/{key}": entry}
    client.delete(f"{name}/{key}")
    assert client.get(f"{name}/{key}") is None
    beside = client.get(f"{name}-beside")
    assert beside is not None and beside.value == b""


@pytest.mark.parametrize("key", IMPOSSIBLE_KEYS)
def test_a_key_that_would_mean_another_is_refused(client: Client, key: str) -> None:
    for call in (client.get, client.delete, lambda key: client.put(key, "x"), lambda key: client.acquire(key, "s", "")):
        with pytest.raises(errors.Refused):
            call(key)


def test_a_service_name_cannot_lead_to_another_request(agent: Consul, client: Client) -> None:
    for call in (client.deregister, client.health, lambda text: client.set_maintenance(text, None)):
        with pytest.raises(errors.Refused):
            call("../../leave")
    assert client.health("web?passing=1&x=/y;{") == []
    assert client.leader()


def test_compare_and_set_refuses_what_is_no_longer_so(client: Client, name: str) -> None:
    client.put(name, "1", cas=0)
    entry = client.get(name)
    assert entry is not None and entry.value == b"1"
    client.put(name, "2", cas=entry.modify_index)
    calls: list[Callable[[], object]] = [
        lambda: client.put(name, "3", cas=0), lambda: client.put(name, "3", cas=entry.modify_index),
        lambda: client.delete(name, cas=entry.modify_index)]
    for call in calls:
        with pytest.raises(errors.Conflict):
            call()
    now = client.get(name)
    assert now is not None and now.value == b"2" and now.create_index == entry.create_index < now.modify_index
    client.delete(name, cas=now.modify_index)
    assert client.get(name) is None


def test_a_value_that_is_too_long_is_refused(client: Client, name: str) -> None:
    with pytest.raises(errors.Refused, match="too large"):
        client.put(name, bytes(600_000))


def test_deleting_below_a_prefix_leaves_the_rest(client: Client, name: str) -> None:
    for key in ("a/1", "a/2", "b/1"):
        client.put(f"{name}/{key}", key)
    client.delete(f"{name}/a/", recurse=True)
    assert list(client.tree(f"{name}/")) == [f"{name}/b/1"]
    assert client.tree(f"{name}/a/") == {}


def test_a_transaction_is_carried_out_whole_or_not_at_all(client: Client, name: str) -> None:
    client.put(f"{name}/old", "x")
    old = client.get(f"{name}/old")
    assert old is not None
    client.commit([
        transactions.check_not_exists(f"{name}/new"), transactions.set_key(f"{name}/new", b"\x00\xff"),
        transactions.cas(f"{name}/first", "ü", 0), transactions.delete_cas(f"{name}/old", old.modify_index),
        transactions.delete_key(f"{name}/never-there"),
    ])
    whole = client.tree(f"{name}/")
    assert [each.value for each in whole.values()] == ["ü".encode(), b"\x00\xff"]
    for lost in (transactions.check_not_exists(f"{name}/new"), transactions.cas(f"{name}/new", "x", 0),
                 transactions.cas(f"{name}/new", "x", 1), transactions.delete_cas(f"{name}/new", 1)):
        with pytest.raises(errors.Conflict, match=f"{name}/new"):
            client.commit([transactions.set_key(f"{name}/other", "x"), lost])
    assert client.tree(f"{name}/") == whole


def test_only_the_holder_of_a_lock_can_write_under_it(client: Client, name: str) -> None:
    lock, guarded = f"{name}/lock", f"{name}/guarded"
    mine, other = client.create_session("mine"), client.create_session("other", ttl_s=60, lock_delay_s=60)

    def write(session: str) -> None:
        entry = client.get(guarded)
        client.commit([transactions.check_session(lock, session),
                       transactions.cas(guarded, session, entry.modify_index if entry else 0)])

    assert client.acquire(lock, mine, "me") and client.acquire(lock, mine, "still me")
    assert not client.acquire(lock, other, "you") and not client.release(lock, other)
    held = client.get(lock)
    assert held is not None and (held.value, held.session) == (b"still me", mine)
    write(mine)
    with pytest.raises(errors.Conflict):
        write(other)
    client.renew_session(mine)
    assert client.release(lock, mine)
    free = client.get(lock)
    assert free is not None and (free.value, free.session) == (b"", "")
    assert client.acquire(lock, other, "you")
    with pytest.raises(errors.Conflict):
        write(mine)
    client.destroy_session(other)
    assert not client.acquire(lock, mine, "within the lock delay")
    for call in (lambda: client.renew_session(other), lambda: client.acquire(guarded, other, ""), lambda: write(other)):
        with pytest.raises(errors.Conflict):
            call()


def test_a_registration_keeps_its_metadata_and_reports_its_ttl(client: Client, name: str) -> None:
    meta = {"lictor-image": "books-service:1.0", "any": "ü;{}$"}
    check = {"CheckID": f"ttl:{name}", "Name": "alive", "TTL": "10m", "Status": "passing"}
    service_id = register(client, name, Meta=meta, Tags=["a"], Check=check)
    assert client.local_services()[service_id]["Meta"] == meta
    client.update_ttl(f"ttl:{name}", "warning", "y" * 3000)
    local = client.local_checks()[f"ttl:{name}"]
    assert (local["Status"], local["Output"], local["ServiceID"]) == ("warning", "y" * 3000, service_id)
    wait_for(lambda: [each["Status"] for each in client.health(name)[0]["Checks"]] == ["passing", "warning"], "synced")
    with pytest.raises(errors.Refused):
        client.update_ttl("ttl:nobody", "passing", "")
    with pytest.raises(errors.Refused):
        client.register({"Name": name, "Port": "many"})
    for _ in ("it", "what is gone already"):
        client.deregister(service_id)
    assert service_id not in client.local_services()
    wait_for(lambda: client.health(name, consistent=True) == [], "it is out of the catalogue")


def test_maintenance_carries_its_reason_and_survives_a_registration(client: Client, name: str) -> None:
    service_id = register(client, name)
    reason = "lictor: draining since 1700000000: scale 3 -> 2 & more?"
    client.set_maintenance(service_id, reason)
    client.register({"Name": name, "ID": service_id, "Address": "127.0.0.1", "Port": 9999})

    def reasons() -> list[str | None]:
        return [model.instance(each).maintenance for each in client.health(name)]

    wait_for(lambda: reasons() == [reason], "the maintenance is in the catalogue")
    client.set_maintenance(service_id, None)
    wait_for(lambda: reasons() == [None], "the maintenance has ended")
    with pytest.raises(errors.Refused, match="nobody"):
        client.set_maintenance("nobody", "x")


def test_a_blocking_read_returns_when_something_changes(client: Client, name: str) -> None:
    index, entries = client.wait_health(name, index=0, wait_s=60)
    assert entries == []
    assert client.wait_health(f"{name}-quiet", index=index, wait_s=0.05)[1] == []

    def wait_until_there() -> tuple[int, list[dict[str, Any]]]:
        """Of a service that is not there, Consul also answers when others change."""
        found, later = list[dict[str, Any]](), index
        while not found:
            later, found = client.wait_health(name, index=later, wait_s=590)
        return later, found

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait_until_there)
        service_id = register(client, name)
        later, entries = waiting.result(timeout=150)
    assert later > index and [each["Service"]["ID"] for each in entries] == [service_id]


def test_everything_is_what_health_says_of_each_service(consul: Consul) -> None:
    client = Client.connect(environ=consul.environ)
    ttl = {"Name": "alive", "TTL": "10m", "Status": "passing"}
    register(client, "web", 1, Check=ttl, Meta={"a": "b"})
    register(client, "web", 2, Checks=[{**ttl, "Status": "critical"}, {**ttl, "Name": "more"}], Tags=["x"])
    register(client, "plain")
    client.set_maintenance("web-1", "why not")
    consul.request("PUT", "/v1/agent/check/register", {"Name": "disk", "TTL": "10m", "Status": "warning"})
    consul.request("PUT", "/v1/catalog/register", {"Node": "bare", "Address": "10.9.9.8"})

    def ordered(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**each, "Checks": sorted(each["Checks"], key=lambda check: str(check["CheckID"]))}
                for each in sorted(entries, key=lambda entry: (entry["Node"]["Node"], entry["Service"]["ID"]))]

    wait_for(lambda: sum(len(entry["Checks"]) for entry in client.health("web")) == 8, "all checks are synced")

    def is_the_same() -> bool:
        """Once a minute Consul's leader removes each node whose serfHealth no member of its gossip has."""
        consul.request("PUT", "/v1/catalog/register", EXTERNAL)
        found = client.everything([])
        assert set(found.entries) == {"consul", "web", "plain", "far"}
        for each, entries in found.entries.items():
            assert ordered(entries) == ordered(client.health(each)), each
        return client.alive_nodes() == {"node-1"}
    wait_for(is_the_same, "both say the same")


def test_everything_never_shows_a_new_instance_without_its_checks(consul: Consul) -> None:
    client = Client.connect(environ=consul.environ)

    def appear() -> None:
        for number in range(150):
            consul.request("PUT", "/v1/catalog/register", {
                "Node": "node-x", "Address": "10.9.9.9",
                "Service": {"ID": f"new-{number}", "Service": f"new-{number}"},
                "Check": {"CheckID": f"c-{number}", "Name": "c", "Status": "critical", "ServiceID": f"new-{number}"}})

    with ThreadPoolExecutor(1) as pool:
        appearing = pool.submit(appear)
        while not appearing.done():
            for entry in [each for entries in client.everything([]).entries.values() for each in entries]:
                assert entry["Service"]["Service"] == "consul" or len(entry["Checks"]) == 1
        appearing.result()


def test_a_reload_reads_the_new_files_and_says_when_they_are_bad(consul: Consul) -> None:
    client = Client.connect(environ=consul.environ)
    with open(f"{consul.config_dir}/web.json", "w", encoding="utf-8") as file:
        file.write('{"service": {"name": "web"}}')
    client.reload_agent()
    assert "web" in client.local_services()
    with open(f"{consul.config_dir}/bad.json", "w", encoding="utf-8") as file:
        file.write('{"service": "none"}')
    with pytest.raises(errors.LictorError, match="PUT /v1/agent/reload of http://127.0.0.1:.*500"):
        client.reload_agent()


def test_what_may_not_be_read_is_not_absent(tmp_path: Path) -> None:
    master = str(uuid.uuid4())
    acl = {"enabled": True, "default_policy": "deny", "tokens": {"master": master}}
    guarded = Consul(str(tmp_path), token=master, config={"acl": acl})
    try:
        guarded.start()
        owner = Client.connect(environ=guarded.environ)
        wait_for(lambda: retry.unavailable(owner.alive_nodes, timeout_s=30), "the agent's node is known to be alive")
        owner.put("services/web/replicas", "3")
        entry = owner.get("services/web/replicas")
        assert entry is not None and entry.value == b"3" and owner.get("services/web/nothing") is None
        session = owner.create_session("mine")
        owner.commit([transactions.set_key("services/web/hold", "")])
        owner.renew_session(session)
        assert owner.agent().name == "node-1" and owner.everything([])

        environ = {"CONSUL_HTTP_ADDR": guarded.address}
        nobody = Client.connect(environ=environ)
        for right, call in {
            "key:read": lambda: nobody.get("services/web/replicas"),
            "key:write": lambda: nobody.put("services/web/replicas", "1"),
            " key:write": lambda: nobody.commit([transactions.set_key("services/web/replicas", "1")]),
            "session:write": lambda: nobody.create_session("mine"),
            "service:write": lambda: nobody.register({"Name": "web"}),
            "agent:read": nobody.agent,
            "agent:write": nobody.reload_agent,
        }.items():
            with pytest.raises(errors.Refused, match=f"permission denied, the token needs {right.strip()}"):
                call()
        assert nobody.tree("services/") == {} and nobody.health("consul") == []
        for ask in (lambda: nobody.everything([]), lambda: nobody.health("web", consistent=True)):
            with pytest.raises(errors.Unavailable, match="cannot be seen"):
                ask()
        stranger = Client.connect(environ={**environ, "CONSUL_HTTP_TOKEN": str(uuid.uuid4())})
        with pytest.raises(errors.Refused, match="permission denied"):
            stranger.tree("services/")
        assert entry == owner.get("services/web/replicas")
    finally:
        guarded.stop()
