"""The verb autoscale, and how wishes are told: on a real Consul, with windows that the test writes."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from lictor.cli import main
from lictor.events import autoscale_round
from lictor.reconcile.autoscale import look

from lab.consul import Consul
from lab.daemon import wait_for
from support.autoscaled import SPEC, Node
from support.command import Command


@pytest.fixture
def node(consul: Consul, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    node = Node(consul, tmp_path / "state", monkeypatch)
    settings = tmp_path / "lictor.toml"
    settings.write_text(f'state_dir = "{tmp_path}/state"\n')
    monkeypatch.setenv("LICTOR_CONFIG", str(settings))
    return node


def lictor(*words: str) -> Result:
    return CliRunner().invoke(main.main, words)


def decide(node: Node) -> None:
    autoscale_round.run(node.context, ["books"], time.monotonic() + 60)


def test_it_tells_what_it_knows_and_would_do(node: Node) -> None:
    node.run(2)
    node.counts()
    done = lictor("autoscale", "books")
    assert done.exit_code == 0, done.output
    first, *lines = done.stdout.splitlines()
    assert first.startswith("books: p95 ") and first.endswith("wants 3")
    assert lines[0] == "  nobody decides: no node has decided on its count yet. The check lictor-autoscale does"
    assert lines[1] == "  target: p95 within 250 ms, 1 to 9 instances; down after 5 min"
    assert lines[2] == "  held: at no load that is known" and lines[-1] == "  wishes: none on record"
    assert node.count() is None  # the command only tells

    decide(node)
    lines = lictor("autoscale", "books").stdout.splitlines()
    assert lines[3].startswith("  broke: at 20.0 requests/s") and "node-1 decided last, " in lines[4]
    assert lines[5] == "  wishes: 1 on record" and "autoscale: p95 " in lines[6] and "wants 3 -> done in" in lines[6]


def test_json_has_the_same_for_programs(node: Node) -> None:
    node.run(2)
    node.counts()
    decide(node)
    told = json.loads(lictor("autoscale", "books", "--json").stdout)
    assert told["rules"]["target_s"] == 0.25 and told["decided"]["node"] == "node-1"
    assert [(each["from"], each["to"]) for each in told["wishes"]] == [(2, 3)]
    assert told["now"]["wish"] is None and told["memory"]["capacity"]["broke"]["rate"] == pytest.approx(20.0)


def test_on_another_node_it_tells_what_was_decided_last(node: Node) -> None:
    node.run(2)
    node.counts()
    decide(node)
    node.consul.put("services/books/spec", json.dumps({**SPEC, "node": "node-2"}))
    told = lictor("autoscale", "books").stdout
    assert told.startswith("books: p95 ") and "which does not act for it, shows that: warning" in told


@pytest.mark.parametrize(("words", "code", "says"), [
    (("autoscale", "nobody"), 1, "there is no service 'nobody', or its spec is refused"),
    (("autoscale", "nobody", "--record", "x"), 1, "there is no service 'nobody', or its spec is refused"),
    (("autoscale", "books", "--record", "/nowhere/x"), 75, "/nowhere/x"),
    (("autoscale", "books", "--record", "x", "--json"), 2, "--record goes with neither"),
    (("autoscale", "books", "--p95", "1s"), 2, "goes with --backtest"),
    (("autoscale", "books", "--backtest", "/dev/null"), 1, "/dev/null: holds no lines"),
    (("autoscale", "books", "--backtest", "/dev/null", "--p95", "soon"), 2, "--p95: 'soon' is no duration"),
])
def test_it_refuses_what_it_cannot_do(node: Node, words: tuple[str, ...], code: int, says: str) -> None:
    node.run(2)
    node.counts(ago_s=-10)
    done = lictor(*words)
    assert done.exit_code == code and says in done.stderr


def test_why_plan_and_replay_show_the_wishes(node: Node, tmp_path: Path) -> None:
    node.run(2)
    node.counts()
    assert "books: autoscale: p95 " in lictor("plan", "books").stdout
    decide(node)
    told = lictor("why", "books").stdout
    assert "autoscale: p95 " in told and "wants 3 -> done in" in told
    assert "    seen: no load is known at which the target held" in told
    story = tmp_path / "story.json"
    story.write_text(lictor("why", "books", "--json").stdout)
    replayed: list[dict[str, Any]] = json.loads(lictor("replay", str(story), "--json").stdout)
    [wish] = [each for each in replayed if each["then"].startswith("autoscale: ")]
    assert wish["now"] == [wish["then"]] and wish["service"] == "books"


def says(node: Node) -> str:
    return str(json.loads(lictor("status", "--json").stdout)[0]["says"])


def test_status_says_what_the_check_says(node: Node) -> None:
    node.run(2)
    node.counts()
    assert says(node) == "autoscale: no node has decided on its count yet. The check lictor-autoscale does"
    decide(node)
    node.serve(3)  # as it wished
    decide(node)
    assert says(node).startswith("autoscale: p95 996 ms of 250 ms") and "No move: " in says(node)
    node.counts(slow=0.0)
    decide(node)
    assert says(node) == "as desired"
    node.keeps("books", replace(node.kept(), at=time.time() - 600))
    assert says(node) == ("autoscale: no node has decided on its count for 10 min. The check lictor-autoscale of "
                          "node-1 does not run, or may not write")
    told = lictor("autoscale", "books").stdout.splitlines()
    assert told[0].startswith("books: p95 ") and told[1].startswith("  nobody decides: no node has decided on its ")
    node.consul.put("services/books/spec", json.dumps({**SPEC, "node": "node-2"}))
    assert lictor("autoscale", "books").stdout.startswith("books: unknown. The last word was: p95 ")


def test_the_checks_lines_about_services_are_no_second_trouble_in_status(node: Node) -> None:
    node.run(2)
    node.counts()
    decide(node)
    node.consul.register({"Name": "lictor", "ID": "lictor", "Checks": [
        {"CheckID": "lictor-autoscale", "Name": "x", "TTL": "10m", "Status": "passing"}]})
    node.consul.request("PUT", "/v1/agent/check/update/lictor-autoscale", {
        "Status": "critical", "Output": "books: Scaling does not help\nnginx here: its counts are not told. x"})
    wait_for(lambda: "nginx here: its counts are not told. x" in lictor("status").stdout, "the check's words are known")
    assert "Scaling does not help" not in lictor("status").stdout


def test_plan_has_a_wish_to_carry_out_and_a_failure_hides_no_other_action(node: Node,
                                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    node.run(2)
    node.counts()
    assert lictor("plan", "books").exit_code == 3
    node.counts(slow=0.06, rate=5.0)
    done = lictor("plan", "books")
    assert done.exit_code == 0 and "may be chance" in done.stdout

    def fail(*_: object) -> None:
        raise ValueError("a value that no rule foresees")

    monkeypatch.setattr(look, "decide", fail)
    for verb in ("plan", "why"):
        done = lictor(verb, "books")
        assert done.exit_code == 0 and "autoscale: not decided: unreadable: ValueError" in done.stdout
    node.consul.put("services/books/removed", "")
    assert "autoscale" not in lictor("plan", "books").stdout
    done = lictor("autoscale", "books")
    assert done.exit_code == 1 and "is removed" in done.stderr


def test_scale_says_for_how_long_the_count_holds(node: Node) -> None:
    node.run(2)
    assert lictor("scale", "books", "4").stdout == "books: 4 desired; autoscale leaves that alone for 15 min\n"


def test_windows_are_recorded_until_it_is_interrupted(consul: Consul, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(consul, tmp_path / "state", monkeypatch)
    node.run(2)
    node.consul.put("lictor/state/books", json.dumps({"release": {"live_release": "one"}}))  # another one has failed
    recorder = tmp_path / "recorder"
    recorder.mkdir()
    path = tmp_path / "traffic.jsonl"
    recording = Command(consul, recorder)

    def is_recorded() -> bool:
        node.counts(ago_s=-10)
        return path.exists() and path.stat().st_size > 0

    process = recording.begin("autoscale", "books", "--record", str(path))
    try:
        wait_for(is_recorded, "a slice is recorded", 60, every_s=1)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {(each["service"], each["replicas"], each["release"]) for each in lines} == {("books", 2, "one")}
    assert len({each["slice"]["at"] for each in lines}) == len(lines) and lines[0]["slice"]["begun"] == 400
    done = recording("autoscale", "books", "--backtest", str(path), "--p95", "2s")
    assert done.stdout.startswith("books: with p95 2000 ms it would have taken 2 instances, 0 moves"), done.stderr
