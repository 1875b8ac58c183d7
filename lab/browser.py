"""Debian's Chromium without a window, told what to do over a pipe by its own protocol, and asked what it saw.

It gets no other network than loopback, and asks for nothing by itself. What a page asks for elsewhere is noted.
"""

import base64
import fcntl
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from typing import Any

from lab.daemon import stretched

_FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
    "--disable-component-update", "--disable-default-apps", "--disable-domain-reliability", "--disable-extensions",
    "--disable-sync", "--metrics-recording-only", "--no-first-run", "--no-default-browser-check", "--mute-audio",
    "--disable-features=OptimizationHints,MediaRouter,Translate", "--force-color-profile=srgb",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--remote-debugging-pipe"]
_PATIENCE_S = 60.0
_OUT_OF_THE_WAY = 10  # the browser has its ends as descriptors 3 and 4


class Browser:
    """A browser with one page. `problems` are errors of its console, and what it refused by the page's policy."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="lictor-browser-")
        self.problems: list[str] = []
        self.requests: list[str] = []
        self._numbers, self._answers, self._rest = itertools.count(1), dict[int, dict[str, Any]](), b""
        ends = [*os.pipe(), *os.pipe()]
        theirs_in, self._to, self._from, theirs_out = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_THE_WAY)
                                                       for each in ends]
        command = 'exec 3<&"$1" 4>&"$2"; shift 2; exec "$@"'
        self._process = subprocess.Popen(
            ["bash", "-c", command, "bash", str(theirs_in), str(theirs_out), "chromium", *_FLAGS,
             f"--user-data-dir={self._folder}", "about:blank"], pass_fds=(theirs_in, theirs_out),
            start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": self._folder})
        for each in (*ends, theirs_in, theirs_out):
            os.close(each)
        target = self._send("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = str(self._send("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"])
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def stop(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(_PATIENCE_S)
        os.close(self._to)
        os.close(self._from)
        shutil.rmtree(self._folder, ignore_errors=True)

    def show_as(self, *, width: int, height: int = 900, scheme: str = "light", mobile: bool = False) -> None:
        """Be a screen of this width, in pixels, for a person who wants this colour scheme."""
        self.send("Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1,
                                                          "mobile": mobile})
        self.send("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})

    def open(self, url: str, **headers: str) -> None:
        """Go there, and wait until the page is complete."""
        self.send("Network.setExtraHTTPHeaders", {"headers": headers})
        self.send("Page.navigate", {"url": url})
        self.wait_until(f"location.href.startsWith({json.dumps(url)}) && document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """Evaluate an expression in the page, and wait for it if it is a promise; returns its value."""
        done = self.send("Runtime.evaluate", {"expression": expression, "awaitPromise": True, "returnByValue": True})
        if "exceptionDetails" in done:
            raise AssertionError(f"{expression[:200]}: {done['exceptionDetails']}")
        return done["result"].get("value")

    def wait_until(self, condition: str, timeout_s: float = _PATIENCE_S) -> Any:
        """Wait until an expression is true in the page; returns what it was then."""
        deadline = time.monotonic() + stretched(timeout_s)
        while True:
            found = self.evaluate(f"(() => {{ try {{ return {condition}; }} catch {{ return null; }} }})()")
            if found:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {timeout_s:g} s in the page: {condition}")
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """Press a key, such as Tab or Enter."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, "Space": 32}
        more = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", {"type": kind, "key": key, "code": key, **(
                more if kind == "keyDown" else {}), "windowsVirtualKeyCode": codes[key]})

    def type_text(self, text: str) -> None:
        self.send("Input.insertText", {"text": text})

    def picture(self, path: str, *, whole: bool = True) -> None:
        """Write what it shows as PNG."""
        done = self.send("Page.captureScreenshot", {"captureBeyondViewport": whole, **(
            {"clip": {**self._size(), "x": 0, "y": 0, "scale": 1}} if whole else {})})
        with open(path, "wb") as file:
            file.write(base64.b64decode(done["data"]))

    def _size(self) -> dict[str, float]:
        size = self.send("Page.getLayoutMetrics")["cssContentSize"]
        return {"width": size["width"], "height": min(size["height"], 8000)}

    def send(self, method: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        """Tell the page's session something; returns the answer."""
        return self._send(method, parameters or {}, sessionId=self._session)

    def _send(self, method: str, parameters: dict[str, Any], **more: str) -> dict[str, Any]:
        number = next(self._numbers)
        text = json.dumps({"id": number, "method": method, "params": parameters, **more}).encode() + b"\0"
        while text:
            text = text[os.write(self._to, text):]
        while number not in self._answers:
            self._receive()
        answer = self._answers.pop(number)
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        return dict(answer["result"])

    def _receive(self) -> None:
        part = os.read(self._from, 1 << 20)
        if not part:
            raise OSError("chromium has ended")
        *messages, self._rest = (self._rest + part).split(b"\0")
        for text in messages:
            message = json.loads(text)
            if "id" in message:
                self._answers[message["id"]] = message
            else:
                self._note(message.get("method", ""), message.get("params", {}))

    def _note(self, method: str, given: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(given["request"]["url"])
        elif method == "Log.entryAdded" and given["entry"]["level"] in ("error", "warning"):
            self.problems.append(f"{given['entry']['text']} {given['entry'].get('url', '')}")
        elif method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(given["exceptionDetails"])[:1000])
        elif method == "Runtime.consoleAPICalled" and given["type"] in ("error", "warning", "assert"):
            self.problems.append(json.dumps(given["args"])[:1000])
