"""An editor's language server for YAML, as editors speak to it: messages in JSON over its stdin and stdout."""

import json
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any, Self

from lab.daemon import wait_for
from support.paths import REPOSITORY

SERVER = REPOSITORY / ".venv/editor/node_modules/.bin/yaml-language-server"
SOON_S = 120


class Editor:
    """Opens texts that name the schema; use as `with Editor(schema) as editor`."""

    def __init__(self, schema: Path) -> None:
        node = shutil.which("node")
        assert node and SERVER.exists(), "scripts/setup installs Node.js and the language server"
        self.schema = schema
        self._diagnostics: dict[str, list[str]] = {}
        self._opened = 0  # each text has a name of its own: one that is closed is spoken of once more
        self._answered = threading.Event()
        self._process = subprocess.Popen([node, SERVER, "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=subprocess.DEVNULL)
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._reader.start()
        self._send(id=1, method="initialize", params={"processId": None, "rootUri": None, "capabilities": {}})
        assert self._answered.wait(SOON_S), "the language server does not answer"
        self._send(method="initialized", params={})
        wait_for(lambda: self.judge({"probe": "hots: a"})["probe"], "it has read the schema", SOON_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream
            stream.close()

    def judge(self, texts: dict[str, str]) -> dict[str, list[str]]:
        """Open texts, by name; returns what the server says of each: [] if nothing is wrong."""
        uris = {name: self._open(text) for name, text in texts.items()}
        wait_for(lambda: self._diagnostics.keys() >= {*uris.values()}, "all of them are judged", SOON_S)
        found = {name: self._diagnostics[uri] for name, uri in uris.items()}
        for uri in uris.values():
            self._send(method="textDocument/didClose", params={"textDocument": {"uri": uri}})
        return found

    def _open(self, text: str) -> str:
        self._opened += 1
        uri = f"file:///specs/{self._opened}.yaml"
        self._send(method="textDocument/didOpen", params={"textDocument": {
            "uri": uri, "languageId": "yaml", "version": 1,
            "text": f"# yaml-language-server: $schema={self.schema}\n{text}"}})
        return uri

    def _send(self, **message: Any) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        self._process.stdin.flush()

    def _read(self) -> None:
        """Read messages to the server's end: note what it says of texts, and answer its questions on the settings."""
        while message := self._next():
            params = message.get("params", {})
            if message.get("method") == "textDocument/publishDiagnostics":
                self._diagnostics[params["uri"]] = [each["message"] for each in params["diagnostics"]]
            elif "method" not in message:
                self._answered.set()
            elif "id" in message:
                settings = {"yaml": {"validate": True, "schemaStore": {"enable": False}}}
                self._send(id=message["id"], result=[settings.get(item["section"]) for item in params.get("items", ())])

    def _next(self) -> dict[str, Any]:
        """Read one message; {} at the server's end."""
        length, stream = 0, self._process.stdout
        assert stream
        while line := stream.readline().strip():
            key, _, value = line.partition(b":")
            length = int(value) if key.lower() == b"content-length" else length
        found: dict[str, Any] = json.loads(stream.read(length) or b"{}") if length else {}
        return found
