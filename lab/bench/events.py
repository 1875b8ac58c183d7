"""What an event costs the script door, on a real nginx.

unchanged: a `service` event whose peers nginx serves already; at most 2.2 times `python -I -c "import json"`, and with
    a thousand services on the node at most 1.1 times what it costs with one.
changed: one that changes the upstream; at most 1.6 times `python -I -c "import json, jinja2"`, plus what nginx itself
    takes: `nginx -t` of the changed files, and from HUP to its own confirmation.
All runs alternate, and the medians are compared.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from typing import Any

from lictor.adapters import files, process
from lictor.events import script
from lictor.routing import nginx, route_store
from lictor.routing.conf import service_files
from lictor.routing.peers import Peer
from lictor.routing.templates import Templates
from lictor.spec.settings import Nginx as NginxSettings
from lictor.spec.settings import load_settings

from lab.nginx import Nginx

LIMITS = {"unchanged": 2.2, "changed": 1.6, "unchanged_of_1000": 1.1}
_PAUSE_S = 0.4  # what a publication started has ended, and the next reload need not wait for the last one
_MANY = 1000
_ROUTE = {"name": "books", "service": "books", "traffic": "healthy", "node": "node-1", "empty_ok": False,
          "removed": False, "needs_consent": False, "measure": False, "ignore": [],
          "routes": [{"path": "/api/v1/books", "host": "", "match": "prefix", "aliases": [], "options": {}}]}


def _payload(count: int) -> bytes:
    """Make a `service` payload of that many instances, with the checks and metadata that real ones carry."""
    return json.dumps([{
        "Node": {"ID": "9a0c", "Node": "node-1", "Address": "10.0.0.1", "Datacenter": "dc1", "Meta": {}},
        "Service": {"ID": f"node-1:books-{number}:8080", "Service": "books", "Tags": [], "Address": "127.0.0.1",
                    "Meta": {"lictor-engine": "docker", "lictor-container": "ab" * 32,
                             "lictor-image": "books-service:1.0"},
                    "Port": 20000 + number},
        "Checks": [{"Node": "node-1", "CheckID": "serfHealth", "Status": "passing", "Notes": "", "ServiceID": ""},
                   {"Node": "node-1", "CheckID": f"service:{number}", "Status": "passing", "Notes": "",
                    "Output": "HTTP GET /health: 200 OK", "ServiceID": f"node-1:books-{number}:8080"}],
    } for number in range(count)]).encode()


def _timed_ms(argv: list[str], stdin: bytes, environ: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(argv, input=stdin, env=environ, check=True, stderr=subprocess.DEVNULL)
    return 1000 * (time.perf_counter() - began)


def _nginx_ms(settings: NginxSettings, peers: int) -> float:
    """nginx's own part of one publication: parsing the changed files, and HUP until it answers the new generation."""
    templates = Templates()
    wanted = service_files.desired(settings.conf_dir, templates, service_files.routes_of({"books": _ROUTE}), "books",
                                tuple(Peer("127.0.0.1", 20000 + number) for number in range(peers)), {})
    upstreams, staged = service_files.staged(settings.conf_dir, [wanted])
    text = templates.text("check.conf.j2", run_dir=os.path.join(settings.conf_dir, nginx.RUN), upstreams=upstreams,
                          locations=wanted.locations)
    began = time.perf_counter()
    nginx.check(settings, text, staged)
    checked = time.perf_counter()
    nginx.swap(settings.conf_dir, wanted.files)
    nginx.settle(settings.conf_dir)
    swapped = time.perf_counter()
    nginx.reload(settings)
    return 1000 * (time.perf_counter() - swapped + checked - began)


def measure(folder: str, runs: int) -> list[dict[str, Any]]:
    """Rows of what was measured, and its median in milliseconds; an event's ratio is the one that has a limit."""
    print(f"events: {runs} runs ...", flush=True)
    ms = _medians(folder, runs)
    ratios = {"unchanged": ms["unchanged"] / ms["json"], "unchanged_of_1000": ms["unchanged_of_1000"] / ms["unchanged"],
              "changed": (ms["changed"] - ms["nginx"]) / ms["json, jinja2"]}
    return [{"what": name, "ms": value, "ratio": ratios.get(name)} for name, value in ms.items()]


def _medians(folder: str, runs: int) -> dict[str, float]:
    server = Nginx(os.path.join(folder, "nginx"))
    settings_path, state_dir = os.path.join(folder, "lictor.toml"), os.path.join(folder, "state")
    for each in script.FOLDERS:
        os.makedirs(os.path.join(state_dir, each))
    with open(settings_path, "w", encoding="utf-8") as file:
        file.write(f'state_dir = "{state_dir}"\n[nginx]\nconf_dir = "{server.conf_dir}"\n'
                   f'main_conf = "{server.main_conf}"\npid_file = "{server.pid_file}"\n')
    files.write_json(os.path.join(state_dir, "routes", "books.json"), _ROUTE)
    # Bytecode is cached as an installation has it; Consul is away, so what a handler starts ends soon.
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environ |= {"LICTOR_CONFIG": settings_path, "CONSUL_HTTP_ADDR": "127.0.0.1:9", "CONSUL_INDEX": "1"}
    settings = load_settings(environ)
    assert settings.nginx
    event, event_of_many = ([*process.handler_argv("lictor-route"), "books", "--state-dir", each]
                            for each in (state_dir, os.path.join(folder, "many")))
    baselines = {name: [sys.executable, "-I", "-c", f"import {name}"] for name in ("json", "json, jinja2")}
    taken: dict[str, list[float]] = {}
    nginx.prepare(server.conf_dir)
    try:
        server.start()
        for number in range(runs + 1):  # the first warms up
            peers = 3 + number % 2
            once = {name: _timed_ms(argv, b"", environ) for name, argv in baselines.items()}
            once["changed"] = _timed_ms(event, _payload(peers), environ)
            time.sleep(_PAUSE_S)
            once["unchanged"] = _timed_ms(event, _payload(peers), environ)
            now = route_store.published(state_dir, "books")
            if not now or not now.confirmed or len(now.peers) != peers:
                raise AssertionError(f"nginx did not follow: {now}")
            _multiply(state_dir, os.path.join(folder, "many"))
            once["unchanged_of_1000"] = _timed_ms(event_of_many, _payload(peers), environ)
            once["nginx"] = _nginx_ms(settings.nginx, peers + 2)  # never what the next event brings
            time.sleep(_PAUSE_S)
            for name, value in once.items():
                taken.setdefault(name, []).extend([value] if number else [])
        return {name: statistics.median(values) for name, values in taken.items()}
    finally:
        server.stop()


def _multiply(state_dir: str, many_dir: str) -> None:
    """Make a state folder with this service, and with many others like it."""
    for name in script.FOLDERS:
        shutil.copytree(os.path.join(state_dir, name), os.path.join(many_dir, name), dirs_exist_ok=True)
    for name in ("routes", "peers"):
        folder = os.path.join(many_dir, name)
        if len(os.listdir(folder)) < _MANY:
            for number in range(1, _MANY):
                shutil.copy(os.path.join(folder, "books.json"), os.path.join(folder, f"other-{number:04}.json"))
