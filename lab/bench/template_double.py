"""Stands in for consul-template where that can't be had. Argument: a settings file of its own as the bench writes it.

What it keeps of the documented behaviour: a blocking query for each service (passing only, any server may answer); no
quiescence timer; after a change the whole file is rendered, and replaced atomically and durably if its bytes differ;
then the command, once for all files of a pass, with 30 s at most, and the next pass only after it. It is resident and
does nothing else, so its file is there about as soon as the real one's; its CPU seconds are Python's, not Go's.
"""

import http.client
import json
import os
import queue
import re
import subprocess
import sys
import threading
import time
import urllib.parse
from typing import Any

_COMMAND_LIMIT_S = 30
_WAIT_S = 60
_RETRY_S = 0.25
_LOOP = re.compile(r'(.*){{- range service "(.+)" }}(.*){{- else }}(.*){{- end }}(.*)', re.DOTALL)

Change = tuple[str, list[dict[str, Any]]]


def main(settings_path: str) -> None:
    with open(settings_path, encoding="utf-8") as file:
        settings = json.load(file)
    templates = {_parts(each["contents"])[1]: each for each in settings["template"]}
    changes: queue.SimpleQueue[Change] = queue.SimpleQueue()
    threading.stack_size(256 * 1024)
    for name in templates:
        threading.Thread(target=_watch, args=(settings["consul"]["address"], name, changes), daemon=True).start()
    while True:
        latest = dict([changes.get(), *_waiting(changes)])
        commands = {templates[name]["command"] for name, entries in latest.items()
                    if _write(templates[name]["destination"], rendered(templates[name]["contents"], entries))}
        for command in commands:
            subprocess.run([command], stdin=subprocess.DEVNULL, timeout=_COMMAND_LIMIT_S, check=False)


def _watch(address: str, name: str, changes: "queue.SimpleQueue[Change]") -> None:
    index = "0"
    while True:
        connection = http.client.HTTPConnection(address, timeout=2 * _WAIT_S)
        try:
            while True:
                connection.request("GET", f"/v1/health/service/{urllib.parse.quote(name)}?passing=1&stale"
                                          f"&index={index}&wait={_WAIT_S}s")
                answer = connection.getresponse()
                body, found = answer.read(), answer.headers["X-Consul-Index"]
                if answer.status == 200 and found != index:
                    index = found
                    changes.put((name, json.loads(body)))
        except (OSError, http.client.HTTPException):
            time.sleep(_RETRY_S)
        finally:
            connection.close()


def _waiting(changes: "queue.SimpleQueue[Change]") -> list[Change]:
    found: list[Change] = []
    while not changes.empty():
        found.append(changes.get())
    return found


def _parts(contents: str) -> tuple[str, ...]:
    """Of the one form of template that the bench uses: what stands before, name, each line, the line of none, the rest.
    """
    found = _LOOP.fullmatch(contents)
    assert found, contents
    return found.groups()


def rendered(contents: str, entries: list[dict[str, Any]]) -> str:
    head, _, line, otherwise, tail = _parts(contents)
    peers = sorted((each["Service"]["Address"] or each["Node"]["Address"], each["Service"]["Port"]) for each in entries)
    lines = [line.replace("{{ .Address }}", address).replace("{{ .Port }}", str(port)) for address, port in peers]
    return head.rstrip() + ("".join(each.rstrip() for each in lines) or otherwise.rstrip()) + tail


def _write(path: str, text: str) -> bool:
    """Whether there was anything new."""
    with open(path, encoding="utf-8") as file:
        if file.read() == text:
            return False
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.rename(file.name, path)
    return True


if __name__ == "__main__":
    main(sys.argv[1])
