"""The listener for the page and the metrics: who is answered, and what the http door has to do with it."""

import base64
import os
import signal
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest

from lictor import errors
from lictor.adapters import files, process
from lictor.events.page import access
from lictor.spec.settings import Metrics, load_settings

from lab.daemon import Daemon, free_ports, wait_for
from lab.http import ask
from lab.nginx import Nginx
from support.routed import Routed

SECRET = "0123456789abcdef0123456789abcdef"


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(("authorization", "is_let_in"), [
    (f"Bearer {SECRET}", True), (f"bearer {SECRET}", True), (basic(f":{SECRET}"), True), (basic(f"me:{SECRET}"), True),
    ("", False), (SECRET, False), (f"Bearer {SECRET}x", False), ("Bearer ", False), (basic(SECRET), False),
    (basic(f"{SECRET}:"), False), ("Basic é", False), ("Basic !", False), ("Digest x", False), ("Bearer é", False),
])
def test_a_secret_is_shown_as_bearer_or_as_password(authorization: str, is_let_in: bool) -> None:
    headers = Message()
    if authorization:
        headers["Authorization"] = authorization
    refused = access.refuse(SECRET, headers)
    assert refused is None if is_let_in else refused and refused[0] == 401


@pytest.mark.parametrize(("host", "is_let_in"), [
    ("localhost", True), ("localhost:8898", True), ("127.0.0.1:8898", True), ("127.1.2.3", True), ("[::1]:8898", True),
    ("LOCALHOST", True), ("", False), ("evil.example.com", False), ("127.0.0.1.evil.example.com:8898", False),
    ("localhost.evil.example.com", False), ("10.0.0.1:8898", False), ("[::1]evil", False), ("127.0.0.1:8898\n", False),
])
def test_without_a_secret_only_names_of_loopback_are_answered(host: str, is_let_in: bool) -> None:
    """A web page may let a name of its own mean 127.0.0.1, and a browser then asks us for it."""
    headers = Message()
    headers.add_header("Host", host)
    refused = access.refuse("", headers)
    assert refused is None if is_let_in else refused and refused[0] == 421


@pytest.mark.parametrize("text", ["", "short", "with a blank in it, and long enough", "é" * 40, f"{SECRET}\n{SECRET}"])
def test_a_secret_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "secret"
    path.write_text(text)
    with pytest.raises(errors.Refused, match="must hold at least 32 plain characters"):
        access.read_secret(Metrics("10.0.0.1:1", str(path)))
    path.write_text(f"{SECRET}\n")
    assert access.read_secret(Metrics("10.0.0.1:1", str(path))) == SECRET
    with pytest.raises(errors.Refused, match="metrics.secret_file .* is not on this node"):
        access.read_secret(Metrics("10.0.0.1:1", f"{tmp_path}/none"))


@pytest.fixture
def routed(tmp_path: Path, nginx: Nginx) -> Routed:
    found = Routed(str(tmp_path), nginx, ["a"])
    with open(found.environ["LICTOR_CONFIG"], "a") as file:
        file.write(f'[metrics]\nlisten = "127.0.0.1:{free_ports(1)[0]}"\n')
    found.settings = load_settings(found.environ)
    return found


@pytest.fixture
def door(routed: Routed) -> Iterator[Daemon]:
    daemon = routed.serve()
    yield daemon
    daemon.stop()


def get(routed: Routed, path: str = "/metrics", method: str = "GET", **headers: str) -> tuple[int, str]:
    assert routed.settings.metrics
    return ask(routed.settings.metrics.listen, method, path, headers=headers)


def children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(each) for each in file.read().split()]


def test_beside_the_http_door_the_listener_is_a_child_that_comes_again_and_goes_with_it(
        routed: Routed, door: Daemon) -> None:
    wait_for(lambda: get(routed)[0] == 200, "the listener answers")
    first, = children(door.pid)
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: children(door.pid) not in ([], [first]) and get(routed)[0] == 200, "another one answers")
    second, = children(door.pid)
    door.send(signal.SIGKILL)
    wait_for(lambda: not os.path.exists(f"/proc/{second}"), "it ends with the door, however that ends")


def test_the_door_ends_with_its_child_and_events_need_it_not(routed: Routed, door: Daemon) -> None:
    wait_for(lambda: get(routed)[0] == 200, "the listener answers")
    child, = children(door.pid)
    os.kill(child, signal.SIGSTOP)
    assert routed.post("/alive")[0] == 200
    os.kill(child, signal.SIGCONT)
    door.stop()
    wait_for(lambda: not os.path.exists(f"/proc/{child}"), "the child has ended")


def test_answers_say_what_a_browser_may_do_with_them(routed: Routed, door: Daemon) -> None:
    wait_for(lambda: get(routed)[0] == 200, "the listener answers")
    assert get(routed, Host="evil.example.com")[0] == 421
    assert get(routed, "/no/such/place")[0] == 404 and get(routed, "/" + "x" * 5000)[0] == 404
    assert get(routed, method="HEAD") == (200, "")
    for method in ("POST", "PUT", "DELETE"):
        assert get(routed, method=method)[0] == 501


def test_without_a_door_and_without_a_place_nothing_is_to_be_served(routed: Routed) -> None:
    path = routed.environ["LICTOR_CONFIG"]
    files.write_atomic(path, f'state_dir = "{routed.state_dir}"\n')
    daemon = Daemon(process.handler_argv("lictor-serve"), f"{routed.folder}/serve.log", routed.environ)
    assert daemon.process.wait(60) == 1
    assert "watch.door is 'script'" in daemon.log() and "metrics.listen is missing" in daemon.log()
