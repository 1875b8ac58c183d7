import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from lictor import errors
from lictor.adapters import heartbeat, process
from lictor.cli.setup import consul_tests, detect, doctor, findings
from lictor.cli.setup.findings import Finding
from lictor.events import agent_config, autoscale, autoscale_round
from lictor.routing import nginx as lictor_nginx
from lictor.spec.settings import Metrics, Notify, Settings, Watch, parse_settings
from lictor.spec.settings import Nginx as NginxSettings

from lab.consul import Consul
from lab.daemon import Daemon, free_ports, wait_for
from lab.docker import Docker
from lab.nginx import Nginx
from support.paths import REPOSITORY
from support.routed import with_nginx

MASTER = "11111111-1111-1111-1111-111111111111"


@pytest.fixture
def settings(nginx: Nginx, tmp_path: Path) -> Settings:
    """A node on which everything that files and nginx can give is in place."""
    state_dir, config_dir = tmp_path / "state", tmp_path / "consul" / "consul.d"
    state_dir.mkdir()
    config_dir.mkdir(parents=True)
    lictor_nginx.prepare(nginx.conf_dir)
    nginx.start()
    there = NginxSettings(conf_dir=nginx.conf_dir, main_conf=nginx.main_conf, pid_file=nginx.pid_file)
    made = Settings(path="/etc/lictor/lictor.toml", state_dir=str(state_dir), nginx=there,
                    watch=Watch(config_dir=str(config_dir)))
    beat(made)
    return made


def beat(settings: Settings) -> None:
    """Write the registrar's sign of life, which counts for a minute."""
    Path(settings.state_dir, "registrar.json").write_text(json.dumps({
        "at": time.time(), "engine": "x", "registered": 3}))


def bad(findings: list[Finding]) -> dict[str, str]:
    assert all(finding.remedy for finding in findings if finding.ok is False), findings
    return {finding.name: finding.detail for finding in findings if finding.ok is False}


def test_files_of_another_user_are_named_and_those_that_have_just_gone_are_not(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own").write_text("")
    monkeypatch.setattr("lictor.cli.setup.detect.os.walk", lambda _: [(str(tmp_path), [], ["gone.tmp", "own"])])
    assert detect.require_own_files(str(tmp_path)) == f"1 files, all of user id {os.geteuid()}"
    monkeypatch.setattr("lictor.cli.setup.detect.os.stat", lambda _: os.stat_result([0] * 4 + [os.geteuid() + 1] * 6))
    with pytest.raises(errors.Refused, match="own belongs to another user"):
        detect.require_own_files(str(tmp_path))


def test_an_agent_that_may_open_too_little_loses_events(tmp_path: Path) -> None:
    for pid, words, limit in ((7, "/usr/bin/consul agent -dev", 1024), (8, "consul kv get x", 10), (9, "nginx", 10)):
        folder = tmp_path / "proc" / str(pid)
        os.makedirs(folder)
        (folder / "cmdline").write_text(words.replace(" ", "\0") + "\0")
        (folder / "limits").write_text(f"Max cpu time   unlimited   unlimited\nMax open files   {limit}   4096\n")
    os.makedirs(tmp_path / "proc/self")
    os.makedirs(tmp_path / "proc/10")  # it has just ended
    assert detect.read_agents_descriptors(str(tmp_path)) == [1024]
    settings = Settings(watch=Watch(config_dir=str(tmp_path)))
    for routes, ok in ((100, True), (200, False)):
        names = {f"books-{number}": f"books-{number}" for number in range(routes)}
        found = agent_config.routes(settings, names, [], lambda name: [name])
        (tmp_path / agent_config.ROUTES_FILE).write_text(agent_config.text(found))
        if ok:
            assert consul_tests.check_descriptors(settings, [65536, 1024]).startswith("1024 for the agent")
        else:
            with pytest.raises(errors.Refused, match="may open 1024 files"):
                consul_tests.check_descriptors(settings, [65536, 1024])


def test_on_a_node_that_was_set_up_all_is_well_and_stays_as_it_was(settings: Settings, docker: Docker,
                                                                   tmp_path: Path,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks' programs are ones that answer at once; everything else is what lictor writes."""
    consul = Consul(str(tmp_path / "consul"))
    static = agent_config.static(settings, [], lambda name: ["/bin/echo", autoscale.NOBODY])
    for check in agent_config.checks(static):
        check["interval"] = "1s"
    for file_name, table in {
        agent_config.STATIC_FILE: static,
        agent_config.ROUTES_FILE: agent_config.routes(settings, {}, [], process.handler_argv),
    }.items():
        Path(settings.watch.config_dir, file_name).write_text(agent_config.text(table))
    for name, value in {**docker.environ, **consul.environ}.items():
        monkeypatch.setenv(name, value)
    try:
        consul.start()
        wait_for(lambda: consul.passing("lictor"), "the timer has answered")
        beat(settings)
        before = state_of(consul)
        findings = doctor.examine(settings)
        assert [*bad(findings)] == ["ACLs"] and "Any local user is root here" in bad(findings)["ACLs"]
        assert {each.name for each in findings} >= {"Consul", "timer", "connections", "may lock", "nginx generation",
                                                    "autoscaler", "Docker", "registrar", "conf_dir"}
        assert state_of(consul) == before
    finally:
        consul.stop()


def state_of(consul: Consul) -> list[object]:
    return [consul.request("GET", path) for path in ("/v1/kv/?keys", "/v1/session/list", "/v1/catalog/services")]


def test_a_service_that_is_not_as_desired_is_no_fault_of_the_node_but_a_sweep_that_failed_is(
        settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    consul = Consul(str(tmp_path / "consul"))
    static = agent_config.static(settings, [], lambda name: ["/bin/sh", "-c", "echo books: wait books-1; exit 1"])
    for check in agent_config.checks(static):
        check["interval"] = "1s"
    Path(settings.watch.config_dir, agent_config.STATIC_FILE).write_text(agent_config.text(static))
    monkeypatch.setenv("CONSUL_HTTP_ADDR", consul.address)

    def timer(**last_sweep: object) -> Finding:
        record = {"at": time.time(), "error": "", "services": 1, "todo": [], "problems": [], "pending": [],
                  "trouble": [], **last_sweep}
        Path(settings.state_dir, "summary.json").write_text(json.dumps(record))
        return next(each for each in doctor.examine(settings) if each.name == "timer")
    try:
        consul.start()
        assert timer(pending=[]).ok is not False
        wait_for(lambda: timer(pending=[]).detail == "warning: books: wait books-1", "the timer has answered", 60)
        assert timer(pending=["books: wait books-1"]).verdict == findings.REMARK
        assert timer(trouble=["nginx does not follow the catalogue: read-only file system"]).ok is False
        assert timer(error="no rights").detail == "warning: books: wait books-1"
        assert timer(pending=[], at=0.0).ok is False
    finally:
        consul.stop()


def test_a_node_on_which_nothing_works_gets_a_remedy_for_each_line(tmp_path: Path,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "127.0.0.1:1")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    nothing = str(tmp_path / "nothing")
    there = NginxSettings(conf_dir=nothing, main_conf=nothing, pid_file=nothing)
    findings = doctor.examine(Settings(state_dir=nothing, nginx=there, watch=Watch(config_dir=nothing)))
    assert set(bad(findings)) == {"state_dir", "conf_dir", "config_dir", "Consul", "nginx", "Docker",
                                  "registrar"}
    assert "not tested: Consul comes first" in [finding.detail for finding in findings if finding.ok is None]


def test_a_resident_door_that_nobody_opens_is_a_finding(settings: Settings, tmp_path: Path) -> None:
    watch = settings.watch._replace(door="http", address="127.0.0.1:1", secret_file=str(tmp_path / "secret"))
    (tmp_path / "state" / "locks").mkdir()
    assert "refused" in bad(doctor.examine(settings._replace(watch=watch)))["serve"]


def test_a_malformed_setting_of_consul_is_a_finding(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "http://[::1")
    assert "CONSUL_HTTP_ADDR" in bad(doctor.examine(settings))["Consul"]


def test_an_agent_as_debian_starts_it_lacks_flags_and_the_timer(settings: Settings, tmp_path: Path,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    consul = Consul(str(tmp_path / "consul"), config={"enable_local_script_checks": False, "limits": {}})
    routes = agent_config.routes(settings, {f"s{i}": f"s{i}" for i in range(300)}, [], process.handler_argv)
    Path(settings.watch.config_dir, "unloaded").write_text(agent_config.text({**routes, "limits": {}}))
    monkeypatch.setenv("CONSUL_HTTP_ADDR", consul.address)
    try:
        consul.start()
        os.rename(
            Path(settings.watch.config_dir, "unloaded"), Path(settings.watch.config_dir, agent_config.ROUTES_FILE)
        )
        found = bad(doctor.examine(settings))
        assert "enable_local_script_checks is off" in found["script checks"]
        assert "is 200; the watches and others need 1208" in found["connections"]
        assert "no check lictor-reconcile" in found["timer"]
        assert "no check lictor-autoscale" in found["autoscaler"]
    finally:
        consul.stop()


@pytest.mark.parametrize(("output", "is_answer"), [
    ("no service has autoscale\n", True), ("no service has autoscale for which this node acts", True),
    ("books: p95 100 ms of 250 ms", True), ("books: Scaling does not help: 2 steps\nand 3 passing", True),
    ("books: unknown: GET /v1/kv: 500", True),
    ("unknown: GET /v1/agent/self: refused", False), ("Timed out (10s) running check", False),
    ("books: p95 1 ms\nnginx here: its counts are not told. nginx does not answer", False),
    ("fork/exec /opt/lictor/bin/python3: no such file or directory", False),
    ("Traceback (most recent call last):\nImportError: no module", False),
])
def test_what_is_no_answer_of_the_autoscaler_is_a_fault_of_the_node(output: str, is_answer: bool) -> None:
    assert autoscale_round.is_answer(output) is is_answer


def test_each_missing_right_of_a_token_is_named(settings: Settings, tmp_path: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    config_of_acl = {"acl": {"enabled": True, "default_policy": "deny", "tokens": {"master": MASTER, "agent": MASTER}}}
    consul = Consul(str(tmp_path / "consul"), config=config_of_acl, token=MASTER)
    rules = 'agent_prefix "" { policy = "read" } key_prefix "services/" { policy = "read" }'
    monkeypatch.setenv("CONSUL_HTTP_ADDR", consul.address)
    try:
        consul.start()
        wait_for(lambda: consul.request("GET", "/v1/acl/policies") and consul.request(
            "GET", "/v1/health/node/node-1"), "ACLs are up, and the node is known, without which it may lock nothing")
        consul.request("PUT", "/v1/acl/policy", {"Name": "few", "Rules": rules})
        token = consul.request("PUT", "/v1/acl/token", {"Policies": [{"Name": "few"}]})["SecretID"]
        (tmp_path / "token").write_text(token)
        found = doctor.examine(settings, token_file=str(tmp_path / "token"))
        denied = {name for name, detail in bad(found).items() if "permission denied" in detail}
        assert denied == {"may write services/", "may read lictor/", "may write lictor/", "may write services",
                          "may lock"}
        assert token not in str(found)
        rules = (REPOSITORY / "consul.d/acl/lictor-reconcile.hcl").read_text()
        consul.request("PUT", "/v1/acl/policy", {"Name": "all", "Rules": rules})
        token = consul.request("PUT", "/v1/acl/token", {"Policies": [{"Name": "all"}]})["SecretID"]
        (tmp_path / "token").write_text(token)
        assert not [each for each in bad(doctor.examine(settings, token_file=str(tmp_path / "token")))
                    if each.startswith("may ") or each == "ACLs"]
    finally:
        consul.stop()


def test_nginx_without_our_snippet_is_found(settings: Settings, nginx: Nginx,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "127.0.0.1:1")
    nginx.stop()
    text = Path(nginx.main_conf).read_text()
    Path(nginx.main_conf).write_text(text.replace(f"include {nginx.conf_dir}/lictor.conf;", ""))
    nginx.start()
    assert "does not answer" in bad(doctor.examine(settings))["nginx generation"]
    Path(nginx.main_conf).write_text("nonsense")
    assert "unexpected end of file" in bad(doctor.examine(settings))["nginx configuration"]


def test_live_mode_without_the_lua_module_is_found(settings: Settings, tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "127.0.0.1:1")
    live = with_nginx(settings, mode="live")._replace(path=str(tmp_path / "lictor.toml"))
    assert "live mode" in {each.name for each in doctor.examine(live) if each.ok}
    (tmp_path / "templates").mkdir()
    told = (REPOSITORY / "templates" / "check.conf.j2").read_text()
    (tmp_path / "templates" / "check.conf.j2").write_text(told.replace("include /etc", "# include /etc"))
    assert 'unknown directive "init_by_lua_block"' in bad(doctor.examine(live))["live mode"]


def test_a_registrar_that_cannot_do_its_work_is_a_finding(settings: Settings) -> None:
    label = heartbeat.Refusal("web", "no port", "labels")
    taken = heartbeat.Refusal("db", "its id is taken", "catalogue")
    for refused, trouble, found in (({label}, "", None), ({label, taken}, "", "db: its id is taken"),
                                    (set(), "403", "in trouble: 403")):
        heartbeat.write(settings.state_dir,
                        heartbeat.make(refused, engine="E", registered=1, trouble=trouble, token=""))
        findings = doctor.examine(settings)
        assert bad(findings).get("registrar") == found
    heartbeat.write(settings.state_dir, heartbeat.make({label}, engine="E", registered=1, trouble="", token=""))
    [line] = [finding.detail for finding in doctor.examine(settings) if finding.name == "registrar"]
    assert "1 not as labels ask, such as web: no port" in line


@pytest.mark.parametrize("text", ["[]", '{"at": "soon"}', "{", "7"])
def test_damaged_state_is_a_finding_and_no_error(settings: Settings, text: str) -> None:
    for name in ("registrar.json", "summary.json"):
        Path(settings.state_dir, name).write_text(text)
    assert bad(doctor.examine(settings))["registrar"] == "it has never run here"
    assert not consul_tests.sweeps_work(settings)


@pytest.mark.parametrize(("notify", "ok", "said"), [
    (None, None, "notify nobody"),
    (Notify(command=("sh", "-c", "exit 1")), True, "a command is run"),  # which is not run for a test
    (Notify(command=("/not/there",)), False, "/not/there is not there"),
    (Notify(url="http://127.0.0.1:9/"), True, "a webhook is called"),
    (Notify(url="http://127.0.0.1:9/", token_file="/not/there"), False, "/not/there"),
])
def test_whom_to_notify_is_tested_without_telling_anybody(settings: Settings, notify: Notify | None,
                                                          ok: bool | None, said: str) -> None:
    [finding] = [each for each in doctor.examine(settings._replace(notify=notify)) if each.name == "notify"]
    assert (finding.ok, said in finding.detail) == (ok, True)


_REQUEST = {"url": "http://127.0.0.1:9/{name}/{replicas}"}


@pytest.mark.parametrize(("given", "ok", "said"), [
    ({"command": {"scale": ["sh", "-c", "exit 1", "{name}", "{replicas}"]}}, True, "sh gets the desired counts"),
    ({"command": {"scale": ["sh", "{name}{replicas}"], "redeploy": ["/not/there", "{name}"]}}, False,
     "/not/there is not there"),
    ({"webhook": {"scale": _REQUEST}}, True, "a webhook gets the desired counts"),
    ({"webhook": {"scale": {**_REQUEST, "headers_files": {"A": "/not/there"}}}}, False, "/not/there"),
    ({"webhook": {"scale": _REQUEST, "jenkins": {"url": "http://127.0.0.1:9/", "user": "lictor",
                                                 "token_file": "/not/there"}}}, False, "/not/there"),
])
def test_who_is_told_how_many_are_wanted_is_tested_without_telling_anybody(settings: Settings,
                                                                           given: dict[str, Any], ok: bool,
                                                                           said: str) -> None:
    [finding] = [each for each in doctor.examine(settings._replace(
        command=parse_settings(given).command, webhook=parse_settings(given).webhook)) if each.name in given]
    assert (finding.ok, said in finding.detail) == (ok, True)


def test_metrics_are_asked_for_as_prometheus_does(settings: Settings, tmp_path: Path) -> None:
    """With the real listener: alone, with a secret, and gone."""
    address, secret, config = f"127.0.0.1:{free_ports(1)[0]}", tmp_path / "secret", tmp_path / "lictor.toml"
    secret.write_text("0" * 64)
    shown = Metrics(listen=address, secret_file=str(secret))
    config.write_text(f'state_dir = "{settings.state_dir}"\nnginx = false\n[metrics]\nlisten = "{address}"\n'
                      f'secret_file = "{secret}"\n')
    daemon = Daemon(process.handler_argv("lictor-serve"), f"{tmp_path}/serve.log",
                    {**os.environ, "LICTOR_CONFIG": str(config)})
    try:
        wait_for(lambda: metrics_finding(settings, shown, "metrics").ok, "the listener answers")
        assert metrics_finding(settings, shown, "metrics").detail == f"lictor-serve shows them at {address}"
        unknown = metrics_finding(settings, Metrics(listen=address), "metrics")
        assert unknown.ok is False and "the answer is 401" in unknown.detail
    finally:
        daemon.stop()
    gone = metrics_finding(settings, shown, "metrics")
    assert gone.ok is False and "Connection refused" in gone.detail and "enable --now lictor-serve" in gone.remedy


@pytest.mark.parametrize(("age_s", "ok"), [(5, True), (300, False), (-300, False), (None, False)])
def test_a_textfile_that_no_sweep_writes_is_a_finding(settings: Settings, tmp_path: Path, age_s: int | None,
                                                      ok: bool) -> None:
    path = tmp_path / "lictor.prom"
    if age_s is not None:
        path.write_text("")
        os.utime(path, times=(time.time() - age_s,) * 2)
    assert metrics_finding(settings, Metrics(textfile=str(path)), "textfile").ok is ok


def metrics_finding(settings: Settings, metrics: Metrics, name: str) -> Finding:
    found, = (each for each in doctor.examine(settings._replace(metrics=metrics)) if each.name == name)
    return found
