"""A real Prometheus on loopback: it scrapes what a test names, and answers queries."""

import json
import os
import urllib.parse
from typing import Any

from lictor.adapters import files

from lab.daemon import Daemon, free_ports, wait_for
from lab.http import ask


class Prometheus:
    """`config` is its configuration, as JSON writes YAML. What it stores lies below `folder`."""

    def __init__(self, folder: str, config: dict[str, Any]) -> None:
        self.address = f"127.0.0.1:{free_ports(1)[0]}"
        path = os.path.join(folder, "prometheus.yml")
        files.write_atomic(path, json.dumps(config))
        self.daemon = Daemon(["prometheus", f"--config.file={path}", f"--storage.tsdb.path={folder}/data",
                              f"--web.listen-address={self.address}", "--log.level=warn"],
                             os.path.join(folder, "prometheus.log"))
        wait_for(lambda: self._get("/-/ready"), "Prometheus is ready")

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Evaluate an expression now; returns its series, each with `metric` and `value`."""
        answer = json.loads(self._get(f"/api/v1/query?query={urllib.parse.quote(expression)}"))
        assert answer["status"] == "success", answer
        return list(answer["data"]["result"])

    def stop(self) -> None:
        self.daemon.stop()

    def _get(self, path: str) -> str:
        status, text = ask(self.address, "GET", path)
        if status != 200:
            raise ValueError(f"{path}: {status} {text}")
        return text
