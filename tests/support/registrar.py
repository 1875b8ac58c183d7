"""What tests of a running registrar share."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.consul import Consul
from lab.daemon import Daemon

Start = Callable[..., Daemon]


def heartbeat(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "state" / "registrar.json"
    return json.loads(path.read_text()) if path.exists() else {"at": 0}


def instance(consul: Consul, name: str) -> dict[str, Any]:
    [found] = consul.request("GET", f"/v1/health/service/{name}")
    return {**found["Service"], "Checks": {each["CheckID"]: each for each in found["Checks"]}}
