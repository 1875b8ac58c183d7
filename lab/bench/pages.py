"""What a person with the page waits for: 500 services in Chromium, and a change of one of them.

Real: Consul, lictor-serve beside the script door, Chromium. The services are on a node outside that has no agent, and
nothing else of lictor runs. `first_s` is until the page is complete while lictor-serve has read nothing yet, `open_s`
is that later, and `change_s` is from the write of a key to the row that shows it.
"""

import json
import os
import signal
import statistics
import time
from typing import Any

from lictor.adapters import process

from lab.browser import Browser
from lab.consul import Consul
from lab.daemon import Daemon, free_ports, wait_for
from lab.http import ask

LIMITS = {"first_s": 1.0, "open_s": 1.0, "change_s": 2.0}
_SERVICES, _INSTANCES = 500, 3


def measure(folder: str, rounds: int) -> list[dict[str, Any]]:
    """One row: medians, and the longest time of a change."""
    os.makedirs(f"{folder}/consul")
    consul, address = Consul(f"{folder}/consul"), f"127.0.0.1:{free_ports(1)[0]}"
    config = f"{folder}/lictor.toml"
    with open(config, "w", encoding="utf-8") as file:
        file.write(f'state_dir = "{folder}/state"\nnginx = false\n[metrics]\nlisten = "{address}"\n')
    running: list[Daemon] = []
    try:
        consul.start()
        print(f"page: {_SERVICES} services of {_INSTANCES} instances; {rounds} changes ...", flush=True)
        _fill(consul)
        running.append(Daemon(process.handler_argv("lictor-serve"), f"{folder}/serve.log",
                              {**consul.environ, "LICTOR_CONFIG": config}))
        wait_for(lambda: ask(address, "GET", "/metrics")[0] == 200, "lictor-serve answers")
        browser = Browser()
        try:
            return [_look(browser, consul, f"http://{address}/", rounds)]
        finally:
            browser.stop()
    finally:
        for each in running:
            each.stop()
        consul.stop(signal.SIGKILL)


def _fill(consul: Consul) -> None:
    for number in range(_SERVICES):
        name = f"shop-{number}"
        consul.put(f"services/{name}/spec", json.dumps({
            "name": name, "engine": "none", "port": 8080, "route": f"/{name}"}))
        for copy in range(_INSTANCES):
            consul.request("PUT", "/v1/catalog/register", {
                "Node": "outside", "Address": "127.0.0.2", "NodeMeta": {"external-node": "true"},
                "Service": {"Service": name, "ID": f"{name}-{copy}", "Port": 8000 + copy},
                "Checks": [{"Node": "outside", "CheckID": f"{name}-{copy}", "Name": "answers", "Status": "passing",
                            "ServiceID": f"{name}-{copy}"}]})


def _look(browser: Browser, consul: Consul, url: str, rounds: int) -> dict[str, Any]:
    opened = [_open(browser, url) for _ in range(4)]
    changes = []
    for number in range(rounds):
        time.sleep(0.3 + number % 5 / 7)  # at any moment of lictor-serve's looks
        began = time.monotonic()
        consul.put("services/shop-7/hold", f"change {number}")
        browser.wait_until(f"document.getElementById('s-shop-7').dataset.says.includes('(change {number})')")
        changes.append(time.monotonic() - began)
    return {"services": _SERVICES, "first_s": opened[0], "open_s": statistics.median(opened[1:]),
            "change_s": statistics.median(changes), "longest_change_s": max(changes)}


def _open(browser: Browser, url: str) -> float:
    began = time.monotonic()
    browser.open(url)
    browser.wait_until(f"document.querySelectorAll('#services > tr').length === {_SERVICES}")
    return time.monotonic() - began
