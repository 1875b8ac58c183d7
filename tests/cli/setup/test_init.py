import os
import pwd
import shlex
import shutil
import signal
import subprocess
import tomllib
from pathlib import Path

import pytest

from lictor import errors
from lictor.cli.setup import init, unit_files
from lictor.events import agent_config
from lictor.routing import nginx as lictor_nginx
from lictor.spec import settings

from lab.nginx import Nginx

pytestmark = pytest.mark.daemons  # root: files get the agent's user as their owner

TOML = "/etc/lictor/lictor.toml"
DROP_IN = "/etc/systemd/system/consul.service.d/lictor.conf"
NGINX_DROP_IN = "/etc/systemd/system/nginx.service.d/lictor.conf"
MODE = ("nginx: mode reload, as its Lua module is not there: each change of peers is a reload. To have none: apt-get "
        "install libnginx-mod-http-lua")
NGINX_CONF = "pid /run/web.pid;\nhttp {\n}\n"
AGENT_UNIT = """[Service]
Environment="DAEMON_ARGS=-data-dir=/var/lib/consul -config-dir=/etc/consul.d"
ExecStart=/usr/bin/consul agent $DAEMON_ARGS
User=daemon
NoNewPrivileges=true
ProtectSystem=full
"""


@pytest.fixture
def root(tmp_path: Path) -> str:
    """A machine as Debian's packages leave it; `daemon` stands for the agent's user."""
    for path, text in {"usr/sbin/nginx": "", "etc/nginx/nginx.conf": NGINX_CONF, "etc/default/consul": "",
                       "etc/consul.d/00-log_level.hcl": 'log_level = "info"', "run/docker.sock": "",
                       "lib/systemd/system/consul.service": AGENT_UNIT, "etc/systemd/system/.keep": "",
                       "lib/systemd/system/nginx.service": "[Service]\nExecStart=/usr/sbin/nginx\n",
                       "var/lib/.keep": ""}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return str(tmp_path)


def contents(root: str) -> dict[str, tuple[str, int, int]]:
    """All that is below `root`: text, mode and owner."""
    found = {}
    for folder, _, names in os.walk(root):
        for path in (folder, *(os.path.join(folder, name) for name in names)):
            text = Path(path).read_text() if os.path.isfile(path) else ""
            found[path.removeprefix(root)] = (text, os.stat(path).st_mode, os.stat(path).st_uid)
    return found


def lines(report: init.Report) -> str:
    return "\n".join([*report.done, *report.todo])


def test_everything_is_written_and_what_is_left_to_do_is_said(root: str) -> None:
    report = init.run(root=root, token_file="/etc/lictor/token")
    there = contents(root)
    assert tomllib.loads(there[TOML][0])["nginx"] == {"pid_file": "/run/web.pid"}
    for path in ("/etc/consul.d/lictor.json", "/etc/consul.d/lictor-watches.json", DROP_IN, NGINX_DROP_IN,
                 "/etc/systemd/system/lictor-registrar.service", "/etc/nginx/lictor/lictor.conf"):
        assert f"wrote {path}" in report.done and there[path][0]
    assert "--token-file" in there["/etc/consul.d/lictor.json"][0]
    assert there["/etc/nginx/nginx.conf"][0] == NGINX_CONF
    for said in ("as the last line of the http block", "nginx.conf: include /etc/nginx/lictor/lictor.conf;",
                 "include /etc/nginx/lictor/locations/*.conf;", "systemctl reload nginx.service",
                 "systemctl restart consul", "consul.d/acl", "enable --now lictor-registrar", "lictor doctor"):
        assert said in "\n".join(report.todo)


def test_the_agents_user_may_write_where_the_handlers_do_and_replace_nothing_else(root: str) -> None:
    init.run(root=root)

    def as_agent(*argv: str) -> int:
        return subprocess.run(["setpriv", "--reuid=daemon", "--regid=daemon", "--clear-groups", *argv],
                              capture_output=True, cwd="/").returncode
    for folder in (Path(root), *Path(root).parents[:3]):
        if not folder.stat().st_mode & 0o001:
            folder.chmod(0o755)
    for path in ("etc/consul.d", "etc/nginx/lictor/upstreams", "var/lib/lictor/peers"):
        assert as_agent("touch", f"{root}/{path}/new") == 0
    assert as_agent("mv", f"{root}/etc/consul.d/new", f"{root}/etc/consul.d/lictor-watches.json") == 0
    for path in ("etc/consul.d/00-log_level.hcl", "etc/consul.d/lictor.json", "etc/lictor/lictor.toml"):
        assert as_agent("rm", "-f", f"{root}/{path}") != 0
        assert as_agent("sh", "-c", f"echo > {root}/{path}") != 0


def test_a_second_run_changes_nothing_and_repairs_what_is_gone(root: str) -> None:
    init.run(root=root)
    before = contents(root)
    assert init.run(root=root).done == ["everything is in place", MODE]
    assert contents(root) == before
    os.unlink(root + DROP_IN)
    assert init.run(root=root).done == [f"wrote {DROP_IN}", MODE]


def test_a_changed_file_is_kept_and_obeyed_unless_forced(root: str) -> None:
    init.run(root=root)
    Path(root + TOML).write_text('prefix = "apps/"\n')
    report = init.run(root=root)
    assert f"kept {TOML}: it has been changed (--force overwrites it)" in report.done
    assert '"prefix": "apps/"' in contents(root)["/etc/consul.d/lictor.json"][0]
    assert f"wrote {TOML}" in init.run(root=root, force=True).done
    assert contents(root)[f"{TOML}.bak"][0] == 'prefix = "apps/"\n'
    assert '"prefix": "services/"' in contents(root)["/etc/consul.d/lictor.json"][0]


def test_another_door_is_not_put_into_settings_that_were_changed(root: str) -> None:
    init.run(root=root)
    Path(root + TOML).write_text('prefix = "apps/"\n')
    with pytest.raises(errors.Refused, match=f'{TOML} has been changed.*write door = "http" under .watch. there'):
        init.run(root=root, door_kind="http")
    Path(root + TOML).write_text('prefix = "apps/"\n[watch]\ndoor = "http"\n')
    assert "wrote /etc/systemd/system/lictor-serve.service" in init.run(root=root, door_kind="http").done


def test_the_handlers_find_consul_where_init_found_it_but_are_told_no_secret(root: str) -> None:
    init.run(root=root, environ={"CONSUL_HTTP_ADDR": "https://10.0.0.1:8501", "CONSUL_CACERT": "/etc/my ca.pem",
                                 "CONSUL_HTTP_TOKEN": "5e-c2e7", "CONSUL_HTTP_AUTH": "me:5e-c2e7"})
    text = contents(root)["/etc/lictor/environment"][0]
    assert text.splitlines()[1:] == ['CONSUL_HTTP_ADDR="https://10.0.0.1:8501"', 'CONSUL_CACERT="/etc/my ca.pem"']
    for path in (DROP_IN, "/etc/systemd/system/lictor-registrar.service"):
        assert "EnvironmentFile=-/etc/lictor/environment\n" in contents(root)[path][0]
    again = init.run(root=root, environ={})  # from another shell
    assert contents(root)["/etc/lictor/environment"][0] == text and again.done == ["everything is in place", MODE]
    init.remove(root=root)
    assert not os.path.exists(root + "/etc/lictor/environment")


def test_a_file_that_was_there_before_is_not_ours(root: str) -> None:
    Path(root + "/etc/consul.d/lictor.json").write_text("{}")
    assert "kept /etc/consul.d/lictor.json" in lines(init.run(root=root))
    init.remove(root=root)
    assert contents(root)["/etc/consul.d/lictor.json"][0] == "{}"


def test_remove_leaves_the_machine_as_it_was(root: str) -> None:
    before = contents(root)
    init.run(root=root)
    Path(root + "/etc/consul.d/lictor-watches.json").write_text("{}")  # as lictor-scale does
    report = init.remove(root=root)
    assert contents(root) == before
    assert not [line for line in report.todo if "rm -r" in line]
    assert "changed /etc/consul.d back" in report.done
    assert init.remove(root=root).done == ["nothing of lictor init's is on this node"]


def test_remove_keeps_what_was_changed_and_says_so(root: str) -> None:
    init.run(root=root)
    Path(root + "/var/lib/lictor/routes/books.json").write_text("{}")
    with open(root + DROP_IN, "a", encoding="utf-8") as file:
        file.write("Nice=5\n")
    done = init.remove(root=root).done
    assert f"kept {DROP_IN}: it has been changed (--force removes it)" in done
    assert "left /var/lib/lictor: it is not empty" in done
    todo = init.remove(root=root).todo
    assert any(line.endswith("rm -r /var/lib/lictor") for line in todo)
    assert any("lictor/nodes/ | grep '/NODE$' | xargs -rn1 consul kv delete" in line for line in todo)
    assert f"removed {DROP_IN}" in init.remove(root=root, force=True).done


def test_remove_keeps_what_is_in_use(root: str) -> None:
    init.run(root=root)
    Path(root + "/etc/nginx/nginx.conf").write_text("http { include /etc/nginx/lictor/lictor.conf; }\n")
    enabled = Path(root + "/etc/systemd/system/multi-user.target.wants/lictor-registrar.service")
    enabled.parent.mkdir()
    enabled.symlink_to("../lictor-registrar.service")
    report = init.remove(root=root, force=True)
    assert os.path.exists(root + "/etc/nginx/lictor/lictor.conf") and enabled.exists()
    assert os.path.exists(root + NGINX_DROP_IN)
    assert "systemctl disable --now lictor-registrar.service" in report.todo
    Path(root + "/etc/nginx/nginx.conf").write_text(NGINX_CONF)
    enabled.unlink()
    init.remove(root=root)
    assert not os.path.exists(root + "/etc/nginx/lictor/lictor.conf")
    assert not os.path.exists(root + "/etc/lictor")


def test_the_settings_file_shows_every_default() -> None:
    shown = [line.lstrip("#").split("  #")[0] for line in
             unit_files.settings_file(settings.Nginx(), settings.Watch()).splitlines()[1:]]
    assert settings.parse_settings(tomllib.loads("\n".join(shown))) == settings.Settings()


def test_a_node_without_nginx_and_systemd_routes_nothing_and_is_told_what_to_run(tmp_path: Path) -> None:
    report = init.run(root=str(tmp_path))
    assert settings.parse_settings(tomllib.loads((tmp_path / "etc/lictor/lictor.toml").read_text())).nginx is None
    assert not (tmp_path / "etc/nginx").exists()
    assert any("keep lictor-registrar running" in line for line in report.todo)


def test_an_nginx_that_systemd_does_not_start_is_somebody_elses_to_clean_up_for(root: str) -> None:
    os.unlink(root + "/lib/systemd/system/nginx.service")
    assert any("rm -f /etc/nginx/lictor/run/generation.sock" in line for line in init.run(root=root).todo)
    assert not os.path.exists(root + NGINX_DROP_IN)


def test_a_nginx_that_was_killed_starts_again_after_what_its_drop_in_does(nginx: Nginx) -> None:
    lictor_nginx.prepare(nginx.conf_dir)
    daemon = nginx.start().daemon
    assert daemon
    os.killpg(daemon.pid, signal.SIGKILL)
    nginx.stop()
    done = subprocess.run(["/usr/sbin/nginx", "-c", nginx.main_conf], capture_output=True, text=True, timeout=60)
    assert done.returncode and "generation.sock failed" in done.stderr
    before_start = unit_files.nginx_drop_in(nginx.conf_dir).split("ExecStartPre=-")[1]
    subprocess.run(shlex.split(before_start), check=True)
    nginx.start()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_accepts_the_units(root: str) -> None:
    init.run(root=root, door_kind="http")
    unit_dir = Path(root) / "etc/systemd/system"
    for name in ("consul.service", "nginx.service"):
        shutil.copy(f"/lib/systemd/system/{name}", unit_dir / name)
    for unit in ("lictor-registrar.service", "lictor-serve.socket", "lictor-serve.service", "consul.service",
                 "nginx.service"):
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit_dir / unit)], text=True,
                              capture_output=True, timeout=60)
        said = [line for line in done.stderr.splitlines() if "lictor" in line or unit in line]
        assert not said


def test_with_the_http_door_the_agent_gets_no_rights_and_only_it_may_read_the_secret(root: str) -> None:
    report = init.run(root=root, door_kind="http")
    there = contents(root)
    secret, mode, owner = there["/etc/lictor/secret"]
    agent = pwd.getpwnam("daemon")
    assert len(secret) > 40 and (mode & 0o777, owner) == (0o600, agent.pw_uid)
    text, mode, owner = there["/etc/consul.d/lictor.json"]
    assert secret in text and (mode & 0o777, owner) == (0o640, os.getuid())
    assert os.stat(root + "/etc/consul.d/lictor.json").st_gid == agent.pw_gid
    assert settings_of(there[DROP_IN][0]) == ["[Service]", "EnvironmentFile=-/etc/lictor/environment",
                                              "LimitNOFILE=65536", "KillMode=process"]
    assert any("enable --now lictor-registrar.service lictor-serve.socket lictor-serve.service" in line
               for line in report.todo)
    assert "ListenStream=127.0.0.1:8899" in there["/etc/systemd/system/lictor-serve.socket"][0].splitlines()
    unit = there["/etc/systemd/system/lictor-serve.service"][0].splitlines()
    assert {"Type=notify", "User=daemon", "AmbientCapabilities=CAP_KILL", "CapabilityBoundingSet=CAP_KILL",
            "ProtectSystem=strict", "Restart=always", "LimitNOFILE=65536"} <= set(unit)
    assert init.run(root=root).done == ["everything is in place", MODE]  # the door and the secret stay
    assert contents(root) == there
    assert init.remove(root=root).done and not os.path.exists(root + "/etc/lictor")


def test_with_metrics_lictor_serve_gets_a_unit_beside_the_script_door_too(root: str) -> None:
    init.run(root=root)
    Path(root + TOML).write_text('[metrics]\nlisten = "127.0.0.1:8898"\ntextfile = "/var/lib/prometheus/lictor.prom"\n')
    report = init.run(root=root)
    there = contents(root)
    unit = there["/etc/systemd/system/lictor-serve.service"][0]
    assert "Requires=" not in unit and "-/var/lib/prometheus" in unit
    assert "CapabilityBoundingSet=\n" in unit and "Ambient" not in unit and "SupplementaryGroups" not in unit
    assert "/etc/systemd/system/lictor-serve.socket" not in there
    assert any("enable --now lictor-registrar.service lictor-serve.service" in line for line in report.todo)


def test_who_goes_over_to_the_http_door_takes_the_rights_from_the_agent(root: str) -> None:
    init.run(root=root)
    assert "AmbientCapabilities=CAP_KILL" in settings_of(contents(root)[DROP_IN][0])
    report = init.run(root=root, door_kind="http")
    assert "AmbientCapabilities=CAP_KILL" not in settings_of(contents(root)[DROP_IN][0])
    assert any("systemctl restart consul.service" in line for line in report.todo)


def settings_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_the_drop_in_says_what_the_handlers_need() -> None:
    text = unit_files.agent_drop_in(settings.Settings(), "consul", "docker")
    assert "CAP_KILL" not in unit_files.agent_drop_in(settings.Settings(), "", "docker")  # root may do that anyway
    assert settings_of(text) == [
        "[Service]", "EnvironmentFile=-/etc/lictor/environment", "LimitNOFILE=65536", "SupplementaryGroups=docker",
        "AmbientCapabilities=CAP_KILL", "ReadWritePaths=-/etc/consul.d -/etc/nginx/lictor -/var/lib/lictor",
        "KillMode=process"]
    assert agent_config.STATIC_FILE not in text
