"""The command engine: a real ansible-playbook, and what programs do that hang, fail or say much."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lictor import errors
from lictor.engines import registry
from lictor.engines.protocols import Order
from lictor.spec import service_spec
from lictor.spec.settings import Settings, parse_settings

from lab.consul import Consul
from lab.daemon import wait_for
from support.paths import DATA

ENGINE = registry.SCHEDULERS["command"]
PLAYBOOK = DATA / "ansible/service.yml"
ANSIBLE = [f"{sys.prefix}/bin/ansible-playbook", "-i", "localhost,", str(PLAYBOOK), "-e", "service_name={name}",
           "-e", "service_instances={replicas}"]


def settings(*scale: str, **keys: Any) -> Settings:
    return parse_settings({"command": {"scale": list(scale), **keys}}, "lictor.toml")


def spec(**keys: Any) -> service_spec.Spec:
    return service_spec.parse_spec({"name": "books", "engine": "command", **keys}, "books.yml")


def scale(given: Settings, replicas: int = 2, *, color: str = "", **keys: Any) -> str:
    return ENGINE.scale(given, Order(spec(**keys), color, replicas, "r1"))


def test_a_node_acts_when_it_has_the_templates_and_nothing_is_remembered() -> None:
    assert ENGINE.acts_here(settings("scale", "{name}", "{replicas}")) and not ENGINE.acts_here(Settings())
    assert ENGINE.groups() is None and ENGINE.groups("books") is None
    with pytest.raises(errors.Refused, match="command.scale is not set on this node"):
        scale(Settings())


def test_a_playbook_scales_and_releases_and_removes_what_consul_then_knows(
        consul: Consul, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in {**consul.environ, "ANSIBLE_HOME": str(tmp_path), "LC_ALL": "C.UTF-8", "ANSIBLE_NOCOLOR": "1",
                       "ANSIBLE_PIPELINING": "1", "ANSIBLE_PYTHON_INTERPRETER": sys.executable}.items():
        monkeypatch.setenv(key, value)
    ansible = settings(*ANSIBLE, redeploy=[*ANSIBLE, "-e", "service_image={image}"])

    def known() -> dict[str, str]:
        found = consul.request("GET", "/v1/agent/services")
        return {each["ID"]: each["Meta"]["image"] for each in found.values()}

    said = scale(ansible, 2)
    assert known() == {"books-1": "", "books-2": ""}
    assert "PLAY RECAP" in said and "failed=0" in said.splitlines()[-1]
    ENGINE.redeploy(ansible, Order(spec(image="books-service:2.0"), "", 1, "r2"))
    assert known() == {"books-1": "books-service:2.0"}
    with pytest.raises(errors.Unavailable, match="(?s)command.scale: .*ansible-playbook: exit code 2: .*no room for 9"):
        scale(ansible, 9)
    ENGINE.remove(ansible, Order(spec(), "", 0, ""))
    assert known() == {}


def test_an_argument_stays_one_argument_and_literal_braces_are_written_twice() -> None:
    given = settings("printf", "<%s>", "a b {name}={replicas};$HOME *", "{{ {image} }}", "{color}", "")
    said = scale(given, 3, color="blue", image="registry:5000/books:1.0@sha256:ab")
    assert said == "<a b books=3;$HOME *><{ registry:5000/books:1.0@sha256:ab }><blue><>"


def test_the_environment_is_inherited_but_for_our_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONSUL_HTTP_TOKEN", "CONSUL_HTTP_AUTH", "CONSUL_HTTP_TOKEN_FILE", "CONSUL_HTTP_ADDR"):
        monkeypatch.setenv(name, "here")
    said = scale(settings("sh", "-c", "env | grep ^CONSUL_HTTP", "{name}", "{replicas}"))
    assert said == "CONSUL_HTTP_ADDR=here"


def test_the_last_lines_are_what_is_kept() -> None:
    said = scale(settings("sh", "-c", "seq 1000; echo; echo warned >&2", "{name}", "{replicas}"))
    assert said.splitlines() == [str(number) for number in range(981, 1001)]
    assert len(scale(settings("sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x", "{name}", "{replicas}"))) == 4000


def test_what_fails_is_to_be_tried_again_and_says_why() -> None:
    with pytest.raises(errors.Unavailable) as raised:
        scale(settings("sh", "-c", "seq 30; echo 'host is down' >&2; exit 4", "{name}", "{replicas}"))
    lines = str(raised.value).splitlines()
    assert lines[0] == "command.scale: sh: exit code 4: 12" and lines[-2:] == ["30", "host is down"]
    with pytest.raises(errors.Unavailable, match="/nowhere/play: exit code 127: .*No such file"):
        scale(settings("/nowhere/play", "{name}", "{replicas}"))
    with pytest.raises(errors.Unavailable, match="false: exit code 1: no output"):
        scale(settings("false", "{name}", "{replicas}"))


def run_out(script: str, pid_file: Path) -> str:
    """Run a script that notes a child's number and does not end, for as long as it takes to begin; what is said then.
    """
    for limit_s in (0.5, 5, 50):
        given = settings("sh", "-c", script, "{name}", "{replicas}", str(pid_file), timeout=f"{limit_s * 1000:.0f}ms")
        with pytest.raises(errors.Unavailable) as raised:
            scale(given)
        said = str(raised.value)
        assert said.startswith(f"command.scale: sh: ran out of its {limit_s:g} s: ")
        if pid_file.exists() and pid_file.read_text():
            return said
    raise AssertionError("it has not begun")


def test_when_the_time_is_over_its_children_end_too(tmp_path: Path) -> None:
    script = "trap '' TERM; echo working; sleep 600 & echo $! > $2; wait; sleep 600"
    assert run_out(script, tmp_path / "pid").endswith(" s: working")
    pid = int((tmp_path / "pid").read_text())
    wait_for(lambda: not os.path.exists(f"/proc/{pid}") or _is_zombie(pid), "its child has ended")


def test_what_is_called_off_ends_with_its_children_and_is_no_failure_of_its_own(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    given = settings("sh", "-c", "sleep 600 & echo $! > $2; wait", "{name}", "{replicas}", str(pid_file))

    def lost() -> str:
        return "the lock is lost" if pid_file.exists() and pid_file.read_text() else ""
    with pytest.raises(errors.Conflict, match="the lock is lost"):
        ENGINE.scale(given, Order(spec(), "", 2, "r1"), called_off=lost)
    pid = int(pid_file.read_text())
    wait_for(lambda: not os.path.exists(f"/proc/{pid}") or _is_zombie(pid), "its child has ended")
    quick = settings("cat", "{name}", "{replicas}", "/dev/stdin")
    with pytest.raises(errors.Unavailable, match="cat: exit code 1"):
        ENGINE.scale(quick, Order(spec(), "", 2, "r1"), called_off=lambda: "")


def test_a_child_that_stays_behind_is_waited_for_until_the_time_is_over_and_then_ended(tmp_path: Path) -> None:
    run_out("sleep 600 & echo $! > $2", tmp_path / "pid")
    pid = int((tmp_path / "pid").read_text())
    wait_for(lambda: not os.path.exists(f"/proc/{pid}") or _is_zombie(pid), "it has ended")


@pytest.mark.parametrize("script", [
    "echo $$ > $1; sleep 600", "trap '' HUP TERM INT; sleep 600 & echo $! > $1; wait",
    "(echo $(exec sh -c 'echo $PPID') > $1; sleep 600; touch $1.acted) & wait"])
def test_what_is_at_work_ends_when_lictor_is_killed(tmp_path: Path, script: str) -> None:
    pid_file = tmp_path / "pid"
    killed = subprocess.Popen([sys.executable, "-c", "import sys; from lictor.adapters import process; "
                               "process.delegate(sys.argv[1:], timeout_s=600)", "sh", "-c", script, "", str(pid_file)])
    wait_for(lambda: pid_file.exists() and pid_file.read_text().strip(), "it is at work")
    pid = int(pid_file.read_text())
    assert os.path.exists(f"/proc/{pid}")
    killed.kill()
    killed.wait()
    wait_for(lambda: not os.path.exists(f"/proc/{pid}") or _is_zombie(pid), "it has ended")


def _is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize(("call", "said"), [
    (lambda: scale(settings("echo", "{name}", "{replicas}", "{image}")),
     "books: image is missing; it must be given, as command.scale holds {image}"),
    (lambda: scale(settings("echo", "{name}", "{replicas}"), color="blue"),
     "books: command.scale does not hold {color}; it must for a blue-green release"),
    (lambda: ENGINE.remove(settings("echo", "{name}", "{replicas}"), Order(spec(), "blue", 0, "")),
     "does not hold {color}"),
    (lambda: ENGINE.redeploy(settings("echo", "{name}", "{replicas}"), Order(spec(image="b:2"), "", 1, "r2")),
     "books: command.scale does not hold {image}, so a release changes nothing"),
    (lambda: ENGINE.redeploy(settings("echo", "{name}", "{replicas}", redeploy=["echo", "{name}"]),
                             Order(spec(), "green", 1, "r2")), "command.redeploy does not hold {color}"),
])
def test_what_would_not_say_what_has_to_be_said_is_refused(call: Any, said: str) -> None:
    with pytest.raises(errors.Refused) as raised:
        call()
    assert said in str(raised.value)


def test_only_the_names_that_the_node_lists_are_told() -> None:
    given = settings("echo", "/etc/{name}.yml", "{replicas}", services=["carts"])
    with pytest.raises(errors.Refused, match=r"name is 'books'; command.services of .* allows carts"):
        scale(given)
    assert scale(given, name="carts") == "/etc/carts.yml 2"


def test_without_a_redeploy_a_release_goes_through_scale_when_that_tells_the_image() -> None:
    given = settings("echo", "{name}", "{replicas}", "{image}")
    assert ENGINE.redeploy(given, Order(spec(image="b:2"), "", 3, "r2")) == "books 3 b:2"
    assert ENGINE.remove(given, Order(spec(image="b:2"), "", 0, "")) == "books 0 b:2"
