"""The page in a real Chromium, on a real Consul: each condition is shown, what is hostile is text, all can use it."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lictor.adapters import process

from lab.browser import Browser
from lab.consul import Consul
from lab.daemon import Daemon, free_ports, wait_for
from lab.http import ask
from support import page_world
from support.paths import REPOSITORY, text_of

AXE = REPOSITORY / ".venv" / "editor" / "node_modules" / "axe-core" / "axe.min.js"
PICTURES = os.environ.get("LICTOR_PICTURES", "")  # a folder: what each width and scheme looks like goes there
SCHEMES = ("light", "dark")
WIDTHS = ((360, True), (768, False), (1400, False))


@pytest.fixture
def address(consul: Consul, tmp_path: Path) -> Iterator[str]:
    """Where lictor-serve shows the page."""
    found, path = f"127.0.0.1:{free_ports(1)[0]}", tmp_path / "lictor.toml"
    path.write_text(f'state_dir = "{tmp_path}/state"\nnginx = false\n[metrics]\nlisten = "{found}"\n')
    daemon = Daemon(process.handler_argv("lictor-serve"), f"{tmp_path}/serve.log",
                    {**consul.environ, "LICTOR_CONFIG": str(path)})
    try:
        wait_for(lambda: ask(found, "GET", "/metrics")[0] == 200, "lictor-serve answers")
        yield found
        assert "Traceback" not in daemon.log() and "outcome=failed" not in daemon.log(), daemon.log()
    finally:
        daemon.stop()


@pytest.fixture
def browser() -> Iterator[Browser]:
    made = Browser()
    yield made
    made.stop()


@pytest.fixture
def fifty(consul: Consul, address: str) -> str:
    page_world.fill(consul)
    return address


def read(address: str, path: str) -> Any:
    status, text = ask(address, "GET", path, timeout_s=60)
    assert status == 200, text
    return json.loads(text)


def picture(browser: Browser, name: str) -> None:
    if PICTURES:
        browser.picture(f"{PICTURES}/{name}.png")


def violations(browser: Browser) -> list[str]:
    """What axe-core finds wrong for people who use other senses, or other means than a mouse."""
    browser.evaluate(text_of(str(AXE)))
    found = browser.evaluate("axe.run(document, {resultTypes: ['violations']}).then(found => found.violations.map("
                             "each => each.id + ': ' + each.nodes.map(node => node.html + ' ' + node.failureSummary"
                             ").slice(0, 3).join(' | ')))")
    return list(found)


def require_sound(browser: Browser, address: str) -> None:
    assert browser.problems == []
    elsewhere = [each for each in browser.requests if not each.startswith((f"http://{address}/", "about:"))]
    assert elsewhere == []


def test_fifty_services_are_shown_in_every_condition_at_every_width_and_to_everybody(
        fifty: str, browser: Browser) -> None:
    services = read(fifty, "/v1/services")["services"]
    said = {each["name"]: [each["severity"], re.sub(r"\d+ s", "", each["says"])] for each in services}
    assert len(services) >= 50 and {each["severity"] for each in services} == {"well", "working", "attention", "failed"}
    states = {each["state"] for service in services for each in service["instances"]}
    assert states == {"passing", "warning", "critical", "draining", "maintenance", "paused", "lost"}
    for width, mobile in WIDTHS:
        for scheme in SCHEMES:
            browser.show_as(width=width, scheme=scheme, mobile=mobile)
            for name, path in (("services", "/"), ("nodes", "/nodes"), ("every-state", "/services/every-state"),
                               ("hostile", "/services/hostile"), ("measured", "/services/measured")):
                browser.open(f"http://{fifty}{path}")
                picture(browser, f"{name}-{width}-{scheme}")
                assert browser.evaluate("document.documentElement.scrollWidth") <= width, (name, width)
                if (width, scheme) == (360, "light") or (name, width, scheme) == ("services", 1400, "dark"):
                    assert violations(browser) == [], (name, width, scheme)
    browser.open(f"http://{fifty}/")
    shown = browser.evaluate("Object.fromEntries([...document.querySelectorAll('#services > tr')].map(each => "
                             "[each.dataset.key, [each.dataset.severity, each.dataset.says]]))")
    assert {name: [each[0], re.sub(r"\d+ s", "", each[1])] for name, each in shown.items()} == said
    require_sound(browser, fifty)


def test_a_set_shows_who_leads_and_the_autoscaler_what_it_decided(
        fifty: str, browser: Browser, consul: Consul) -> None:
    page_world.scaled(consul, "scaled")
    members = read(fifty, "/v1/services/a-set")["instances"]
    assert [each["role"] for each in members] == ["primary", "secondary", ""]
    browser.open(f"http://{fifty}/services/a-set")
    states = browser.evaluate("[...document.querySelectorAll('#instances .says')].map(each => each.innerText.trim())")
    assert states == ["primary, passes", "secondary, passes", "passes"]
    browser.open(f"http://{fifty}/services/scaled")
    said = browser.evaluate("document.getElementById('summary').innerText")
    assert f"p95 312 ms of 250 ms over 60 s; wants 5 {page_world.HOSTILE}" in said
    browser.open(f"http://{fifty}/")
    titles = browser.evaluate("[...document.querySelectorAll('#s-a-set .dot')].map(each => each.title)")
    assert titles[0] == "a-set-1 on node-1: primary, passes"
    require_sound(browser, fifty)


def test_what_others_write_is_shown_as_text(fifty: str, browser: Browser) -> None:
    for path in ("/", "/services/hostile", "/services/held", "/nodes"):
        browser.open(f"http://{fifty}{path}")
        assert browser.evaluate("document.title") != "owned"
        assert browser.evaluate("document.querySelectorAll('img, body script, [onerror]').length") == 0
    browser.open(f"http://{fifty}/services/hostile")
    text = browser.evaluate("document.body.innerText")
    assert "<script>document.title='owned'</script>" in text and "<b>bold</b> 'reason'" in text
    browser.evaluate("{ const each = document.createElement('script'); each.textContent = \"document.title='owned'\"; "
                     "document.body.append(each); }")
    assert browser.evaluate("document.title") != "owned"  # not even then: the policy allows files alone
    assert [each for each in browser.problems if "Content Security Policy" in each] == browser.problems != []
    assert all(each.startswith(f"http://{fifty}/") for each in browser.requests if each != "about:blank")


def test_a_change_is_shown_without_a_hand_and_told_to_who_cannot_see_it(
        fifty: str, browser: Browser, consul: Consul) -> None:
    browser.open(f"http://{fifty}/")
    browser.evaluate("window.same = document.getElementById('s-as-desired'); "
                     "document.getElementById('a-as-desired').focus()")
    consul.put("services/as-desired/hold", "Ben looks into it")
    browser.wait_until("document.getElementById('s-as-desired').dataset.says === "
                       "'on hold: the hold key is set (Ben looks into it)'")
    assert browser.evaluate("document.activeElement.id") == "a-as-desired"
    browser.wait_until("document.getElementById('news').textContent.includes('as-desired: on hold')")
    page_world.well(consul, "a-new-one")
    browser.wait_until("document.getElementById('s-a-new-one').dataset.severity === 'well'")
    consul.request("PUT", "/v1/agent/check/update/check:a-new-one-2", {"Status": "critical", "Output": "it burns"})
    browser.wait_until("document.querySelector('#s-a-new-one .dot.critical').title.includes('it burns')")
    rows = "[...document.querySelectorAll('#services > tr')].map(each => each.dataset.key)"
    assert browser.evaluate(rows) == sorted(browser.evaluate(rows), key=lambda name: (name == "?", name))
    for key in ("spec", "hold"):
        consul.request("DELETE", f"/v1/kv/services/as-desired/{key}")
    browser.wait_until("!document.getElementById('s-as-desired')")
    require_sound(browser, fifty)


def test_while_consul_does_not_answer_nothing_is_called_well_of_now(
        fifty: str, browser: Browser, consul: Consul) -> None:
    browser.open(f"http://{fifty}/")
    browser.wait_until("document.querySelectorAll('#services > tr').length >= 50")
    consul.stop()
    browser.wait_until("document.getElementById('failure').textContent.includes('Not of now')", 90)
    assert ask(fifty, "GET", "/v1/services")[0] == 503
    assert browser.evaluate("document.querySelectorAll('#services > tr').length") >= 50
    assert browser.evaluate("getComputedStyle(document.querySelector('main .dot.passing')).filter") == "grayscale(1)"
    picture(browser, "not-of-now")


def test_the_page_can_be_used_by_keys_alone(fifty: str, browser: Browser) -> None:
    browser.open(f"http://{fifty}/")
    browser.wait_until("!document.getElementById('tools').hidden")
    reached = []
    for _ in range(7):
        browser.press("Tab")
        reached.append(browser.evaluate("document.activeElement.id || document.activeElement.className"))
        assert browser.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert reached[:5] == ["skip", "to-services", "to-nodes", "filter", "unwell"]
    browser.evaluate("document.getElementById('filter').focus()")
    browser.type_text("measured")
    browser.wait_until("[...document.querySelectorAll('#services > tr:not([hidden])')].map(each => each.dataset.key)"
                       ".join() === 'measured'")
    browser.evaluate("document.getElementById('a-measured').focus()")
    browser.press("Enter")
    browser.wait_until("location.pathname === '/services/measured' && document.querySelector('h1').innerText")
    assert browser.evaluate("document.querySelectorAll('svg.chart polyline').length") >= 2


def test_the_same_is_there_for_programs(fifty: str) -> None:
    one = read(fifty, "/v1/services/measured")
    assert one["traffic"]["rate"] > 30 and 0.4 < one["traffic"]["p95_s"] < 0.5 and len(one["traffic"]["slices"]) == 36
    assert [each["service_id"] for each in one["instances"]] == ["measured-1", "measured-2"]
    assert read(fifty, "/v1/services/releasing")["release"]["under_way"]["image"] == "releasing:2.0"
    assert "exec format error" in read(fifty, "/v1/services/release-failed")["release"]["failed"]
    assert len(read(fifty, "/v1/services/hostile")["story"]) == 4
    nodes = {each["name"]: each for each in read(fifty, "/v1/nodes")["nodes"]}
    assert [(each["state"], each["nginx"]) for _, each in sorted(nodes.items())] == [
        ("well", "answers, mode reload"), ("attention", "unknown")]  # the second has told nothing
    assert [each.split(" <")[0] for each in read(fifty, "/v1/services/held")["not_done"]] == ["would start held-3"]
    assert ask(fifty, "GET", "/v1/services/none-of-that-name")[0] == 404
    assert ask(fifty, "GET", "/services/none-of-that-name")[0] == 404
    assert ask(fifty, "GET", "/services/..%2f..%2fmetrics")[0] == 404
