"""What tests of a running registrar share."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lab.consul import Consul
from lab.daemon import Daemon, wait_for
from support.paths import REPOSITORY

Start = Callable[..., Daemon]
MASTER = "11111111-1111-1111-1111-111111111111"


@contextlib.contextmanager
def guarded_consul(folder: Path) -> Iterator[Consul]:
    """Run a Consul that denies by default, forgets at once what a token may, and knows the registrar's policy."""
    consul = Consul(str(folder), token=MASTER, keep_data=True, config={"acl": {
        "enabled": True, "default_policy": "deny", "token_ttl": "1s", "policy_ttl": "1s",
        "tokens": {"master": MASTER, "agent": MASTER}}})
    try:
        consul.start()
        wait_for(lambda: consul.request("GET", "/v1/acl/policies"), "ACLs are up")
        rules = (REPOSITORY / "consul.d/acl/lictor-registrar.hcl").read_text()
        consul.request("PUT", "/v1/acl/policy", {"Name": "lictor-registrar", "Rules": rules})
        yield consul
    finally:
        consul.stop()


def make_token(consul: Consul) -> dict[str, Any]:
    """Make a token that may what the registrar needs."""
    return dict(consul.request("PUT", "/v1/acl/token", {"Policies": [{"Name": "lictor-registrar"}]}))


def heartbeat(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "state" / "registrar.json"
    return json.loads(path.read_text()) if path.exists() else {"at": 0}


def instance(consul: Consul, name: str) -> dict[str, Any]:
    """The only instance of a service, once the catalogue has it: the agent says so a moment earlier."""
    wait_for(lambda: len(consul.request("GET", f"/v1/health/service/{name}")) == 1, f"the catalogue has one {name}")
    [found] = consul.request("GET", f"/v1/health/service/{name}")
    return {**found["Service"], "Checks": {each["CheckID"]: each for each in found["Checks"]}}
