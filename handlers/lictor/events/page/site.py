"""The pages by their paths. An answer is made of the newest snapshot, once, and its tag changes with its bytes."""

import hashlib
import json
import re
import threading
from typing import Any, NamedTuple

from lictor import model
from lictor.adapters.consul.client import Client
from lictor.events.metrics import exposition
from lictor.events.page import view
from lictor.events.page.snapshot import Snapshot, Source
from lictor.events.page.templates import Pages
from lictor.events.script import Call
from lictor.reconcile import history

TEXT, HTML, JSON = "text/plain; charset=utf-8", "text/html; charset=utf-8", "application/json"
_FILES = {"/page.css": "text/css; charset=utf-8", "/page.js": "text/javascript; charset=utf-8",
          "/page.svg": "image/svg+xml"}
_LISTS = ("/", "/nodes", "/v1/services", "/v1/nodes")
_SERVICE = re.compile("(/v1)?/services/([^/]+)")
_STORY = 30  # records


class Answer(NamedTuple):
    """An answer, but for its headers that are the same for all."""

    status: int
    content_type: str
    body: bytes

    @property
    def tag(self) -> str:
        return f'"{hashlib.sha256(self.body).hexdigest()[:20]}"'


class Site:
    """All that can be read of this node, and of all services."""

    def __init__(self, call: Call) -> None:
        self._call, self._source, self._pages = call, Source(call), Pages()
        self._made_of, self._made = -1, dict[str, Answer]()
        self._making = threading.Lock()

    @property
    def version(self) -> int:
        """The number of the newest snapshot."""
        return self._source.version

    def wait(self, version: int, timeout_s: float) -> None:
        self._source.wait(version, timeout_s)

    def answer(self, path: str) -> Answer:
        """Make the answer; raises LictorError if nothing is known yet."""
        if path in _FILES:
            return Answer(200, _FILES[path], self._pages.read(path[1:]))
        if path == "/metrics":
            return Answer(200, exposition.CONTENT_TYPE, exposition.text(self._call.settings).encode())
        service = _SERVICE.fullmatch(path)
        if path not in _LISTS and not (service and model.is_name(service[2])):
            return Answer(404, TEXT, b"there is /, /nodes, /services/NAME, the same below /v1, and /metrics\n")
        snapshot = self._source.latest()
        if service and not view.find_row(snapshot, service[2]):
            return self._refuse(service[2], snapshot, is_page=not service[1])
        with self._making:
            if self._made_of != snapshot.version:
                self._made_of, self._made = snapshot.version, {}
            if path not in self._made:
                self._made[path] = self._make(path, snapshot)
            return self._made[path]

    def _make(self, path: str, snapshot: Snapshot) -> Answer:
        match path:
            case "/v1/services":
                return _as_json(snapshot, services=view.list_services(snapshot), unrouted=snapshot.unrouted)
            case "/v1/nodes":
                return _as_json(snapshot, nodes=view.list_nodes(snapshot))
            case "/":
                return self._page("page-services.html.j2", snapshot, services=view.list_services(snapshot),
                                  unrouted=snapshot.unrouted)
            case "/nodes":
                return self._page("page-nodes.html.j2", snapshot, nodes=view.list_nodes(snapshot))
        return self._make_service(path, snapshot)

    def _make_service(self, path: str, snapshot: Snapshot) -> Answer:
        name = path.rpartition("/")[2]
        row = view.find_row(snapshot, name)
        assert row
        records = history.read(Client.connect(token_file=self._call.token_file), name)[-_STORY:]
        found = view.show_service(snapshot, row, records)
        return _as_json(snapshot, **found) if path.startswith("/v1") else self._page(
            "page-service.html.j2", snapshot, service=found, name=name)

    def _refuse(self, name: str, snapshot: Snapshot, *, is_page: bool) -> Answer:
        """Say that there is no such service. It is not kept: there are more names than memory."""
        if not is_page:
            return Answer(404, JSON, b'{"error": "there is no such service"}\n')
        return self._page("page-service.html.j2", snapshot, service=None, name=name)._replace(status=404)

    def _page(self, template: str, snapshot: Snapshot, **values: Any) -> Answer:
        return Answer(200, HTML, self._pages.render(
            template, asked=snapshot.node, failure=snapshot.failure,
            service_counts=view.count_states(row.severity.value for row in snapshot.rows),
            node_counts=view.count_states(node.state for node in snapshot.nodes), **values))


def _as_json(snapshot: Snapshot, **values: Any) -> Answer:
    """Answer programs; if the snapshot is not of now, with status 503."""
    about = {"at": round(snapshot.at, 3), "node_asked": snapshot.node, "failure": snapshot.failure}
    body = json.dumps({**about, **values}, indent=1).encode() + b"\n"
    return Answer(503 if snapshot.failure else 200, JSON, body)
