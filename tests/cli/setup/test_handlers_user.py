"""Who runs the handlers, and what doctor and init say if that is not root, by a real agent that is nobody's."""

import json
import os
import pwd
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lictor.adapters import process
from lictor.cli.setup import doctor, findings, handlers_user, init
from lictor.cli.setup.findings import Finding
from lictor.events import agent_config, autoscale
from lictor.routing import nginx as lictor_nginx
from lictor.spec.settings import Settings, Watch, load_settings

from lab import leftovers
from lab.consul import Consul
from lab.daemon import wait_for
from lab.docker import Docker
from lab.nginx import Nginx
from lab.node import settings_text

NOBODY, DAEMON = pwd.getpwnam("nobody"), pwd.getpwnam("daemon")
UNIT = "[Service]\nExecStart=/usr/bin/consul agent -config-dir=/etc/consul.d\nUser=daemon\n"


def put_process(root: Path, pid: int, argv: str, *, uid: int = 65534, caps: str = "0") -> None:
    folder = root / "proc" / str(pid)
    folder.mkdir(parents=True)
    (root / "etc/consul.d").mkdir(parents=True, exist_ok=True)
    (folder / "cmdline").write_text(argv.replace(" ", "\0") + "\0")
    (folder / "environ").write_text("PATH=/bin\0CONSUL_HTTP_ADDR=127.0.0.1:1\0ODD\0")
    (folder / "status").write_text(f"Name:\tconsul\nUid:\t0\t{uid}\t0\t0\nGid:\t0\t7\t0\t0\nGroups:\t7 9 \n"
                                   f"CapEff:\t{caps}\n")


@pytest.mark.parametrize(("argv", "door", "is_it"), [
    ("/usr/bin/consul agent -config-dir=/etc/consul.d", "script", True),
    ("consul agent -server -config-dir /etc/consul.d/ -node x", "script", True),
    ("consul agent --config-dir=/etc/other -config-dir=/etc/consul.d", "script", True),
    ("consul agent -config-dir=/etc/consul.d-old", "script", False),
    ("consul kv get -config-dir=/etc/consul.d", "script", False),
    ("/usr/bin/python3 /opt/lictor/bin/lictor-serve --config /srv/l.toml", "http", True),
    ("/usr/bin/python3 /opt/lictor/bin/lictor-serve", "http", False),  # another node's, of the default settings
    ("consul agent -config-dir=/etc/consul.d", "http", False),
])
def test_the_process_that_starts_handlers_says_who_runs_them(tmp_path: Path, argv: str, door: str,
                                                             is_it: bool) -> None:
    put_process(tmp_path, 7, argv, caps="0000000000000020")
    os.chown(tmp_path / "etc/consul.d", 65534, 0)
    (tmp_path / "proc/8").mkdir()  # it has just ended
    found = handlers_user.find(Settings(path="/srv/l.toml", watch=Watch(door=door)), str(tmp_path))
    assert (found is not None) is is_it
    if found:
        assert (found.name, found.user, found.may_signal) == ("nobody", (65534, 7, (7, 9)), True)
        assert found.environ["CONSUL_HTTP_ADDR"] == "127.0.0.1:1" and found.place == "process 7"


def test_while_no_agent_runs_its_unit_says_who_would_run_handlers(tmp_path: Path) -> None:
    for path, text in {"lib/systemd/system/consul.service": UNIT,
                       "etc/lictor/environment": '# x\nDOCKER_HOST="unix:///my docker"\n',
                       "etc/systemd/system/consul.service.d/lictor.conf":
                           "[Service]\nSupplementaryGroups=nogroup\nAmbientCapabilities=CAP_KILL\n"}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    found = handlers_user.find(Settings(), str(tmp_path))
    assert found and (found.name, found.user.uid, found.may_signal) == ("daemon", DAEMON.pw_uid, True)
    assert NOBODY.pw_gid in found.user.groups and found.environ["DOCKER_HOST"] == "unix:///my docker"
    assert handlers_user.find(Settings(watch=Watch(config_dir="/srv/other")), str(tmp_path)) is None
    assert handlers_user.find(Settings(watch=Watch(config_dir="/etc/consul.d/")), str(tmp_path)) == found
    put_process(tmp_path, 7, "consul agent -config-dir=/etc/consul.d", uid=65534)  # as anybody may call a process
    assert handlers_user.find(Settings(), str(tmp_path)) == found
    for pid, uid in ((8, DAEMON.pw_uid), (6, 0)):
        put_process(tmp_path, pid, "consul agent -config-dir=/etc/consul.d", uid=uid)
        own = handlers_user.find(Settings(), str(tmp_path))
        assert own and (own.user.uid, own.place) == (uid, f"process {pid}")
        shutil.rmtree(tmp_path / f"proc/{pid}")


@pytest.mark.parametrize(("user", "uid"), [("1", 1), ("nobody-knows", None), ("4294967296000", None)])
def test_a_unit_may_name_a_number_or_an_account_that_is_gone(tmp_path: Path, user: str, uid: int | None) -> None:
    (tmp_path / "lib/systemd/system").mkdir(parents=True)
    (tmp_path / "lib/systemd/system/consul.service").write_text(UNIT.replace("daemon", user))
    found = handlers_user.find(Settings(), str(tmp_path))
    assert (found and found.user.uid) == uid


class _OfNobody(Consul):
    """An agent that runs as nobody, with the group of Docker's socket and the right to signal nginx."""

    @property
    def argv(self) -> list[str]:
        return ["setpriv", "--reuid=nobody", "--regid=nogroup", f"--groups={DAEMON.pw_gid}", "--inh-caps=+kill",
                "--ambient-caps=+kill", *super().argv]


class _Node:
    """A node in a folder that anybody may look into, as pytest's are not."""

    def __init__(self, folder: str, docker: Docker) -> None:
        self.folder, self.docker = Path(folder), docker
        self.consul, self.nginx = _OfNobody(f"{folder}/consul"), Nginx(f"{folder}/nginx")
        self.state, self.token = self.folder / "state", self.folder / "token"
        self.state.mkdir()
        self.token.write_text("11111111-1111-1111-1111-111111111111")
        (self.folder / "lictor.toml").write_text(
            settings_text(str(self.state), self.nginx, "reload", self.consul.config_dir))
        self.settings = load_settings({"LICTOR_CONFIG": str(self.folder / "lictor.toml")})
        lictor_nginx.prepare(self.nginx.conf_dir)
        self.socket = self.folder / "docker.sock"
        os.link(docker.url.removeprefix("unix://"), self.socket)

    def start(self) -> None:
        static = agent_config.static(self.settings, ["--token-file", str(self.token)],
                                     lambda name: ["/bin/echo", autoscale.NOBODY] if name == "lictor-autoscale" else
                                     process.handler_argv(name))
        del static["watches"]
        Path(self.consul.config_dir, agent_config.STATIC_FILE).write_text(agent_config.text(static))
        for place, folders, names in os.walk(self.folder):
            for name in (*folders, *names):
                if name != "docker.sock":
                    os.chown(os.path.join(place, name), NOBODY.pw_uid, NOBODY.pw_gid)
        self.nginx.start()
        path = f"{self.folder}/bin:{os.environ['PATH']}"
        self.consul.start(env={"DOCKER_HOST": f"unix://{self.socket}", "PATH": path,
                               "LICTOR_CONFIG": self.settings.path, **self.consul.environ})

    def examine(self) -> dict[str, Finding]:
        path = self.state / "registrar.json"
        path.write_text(json.dumps({"at": time.time(), "engine": "x", "registered": 0}))
        os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
        return {each.name: each for each in doctor.examine(self.settings)}


@pytest.fixture
def node(docker: Docker) -> Iterator[_Node]:
    with tempfile.TemporaryDirectory(prefix="lictor-nobody-") as folder:
        os.chmod(folder, 0o755)
        whole = _Node(folder, docker)
        mode = os.stat(whole.socket)
        try:
            os.chown(whole.socket, 0, DAEMON.pw_gid)
            os.chmod(whole.socket, 0o660)
            whole.start()
            yield whole
        finally:
            whole.consul.stop()
            leftovers.end_processes(folder)  # a handler would write into the folder while it is removed
            whole.nginx.stop()
            os.chown(whole.socket, mode.st_uid, mode.st_gid)
            os.chmod(whole.socket, mode.st_mode & 0o777)


def require_well(found: dict[str, Finding]) -> bool:
    assert found["rights"].ok and found["rights"].detail.startswith("tested as nobody, with the groups and the env")
    assert not {*failed(found)} - {"ACLs", "timer"}, found  # the timer may say that it has never swept
    for name in ("Python", "state_dir", "conf_dir", "Docker", "nginx generation", "nginx signal", "nginx configuration",
                 "program nginx", "Consul", "may lock"):
        assert found[name].ok, found[name]
    return found["nginx reloads"].detail.startswith("worker_shutdown_timeout is 60s, and no drain is longer")


def failed(found: dict[str, Finding]) -> dict[str, str]:
    return {name: each.detail for name, each in found.items() if each.verdict == findings.FAILED}


@pytest.mark.daemons
def test_root_has_the_agents_user_test_what_the_handlers_need(node: _Node, monkeypatch: pytest.MonkeyPatch) -> None:
    wait_for(lambda: require_well(node.examine()), "nobody may do all that handlers do", 60)
    os.chown(node.socket, 0, 0)
    for path, mode in ((node.state, 0o755), (Path(node.nginx.conf_dir), 0o755), (node.token, 0o600)):
        os.chown(path, 0, 0)
        path.chmod(mode)
    (node.folder / "bin").mkdir()
    broken = node.folder / "bin" / "docker"
    broken.write_text("#!/not/there\n")
    broken.chmod(0o755)
    bad = failed(node.examine())
    assert {"state_dir", "conf_dir", "Docker", "Consul"} <= {*bad}, bad
    assert f"{node.token}: Permission denied" in bad["Consul"] and "denied" in bad["Docker"]
    [note] = [each for each in doctor.examine(node.settings) if each.name == "program docker"]
    assert note.verdict == findings.REMARK and "bin/docker --version fails" in note.detail
    private = node.folder / "private"
    private.mkdir(mode=0o700)
    shutil.copy("/bin/true", private / "python3")
    monkeypatch.setattr("sys.executable", str(private / "python3"))
    found = node.examine()
    assert found["rights"].detail == (
        f"nobody, which runs the handlers, cannot run lictor: {private}/python3: Permission denied")
    assert not found["rights"].ok and found["state_dir"].detail == "not tested: rights comes first"
    assert {found[name].verdict for name in ("nginx", "nginx signal", "nginx reloads")} == {findings.UNTESTED}


@pytest.mark.daemons
def test_an_agent_that_nobody_finds_is_a_remark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "127.0.0.1:1")
    settings = Settings(state_dir=str(tmp_path), nginx=None, watch=Watch(config_dir=str(tmp_path)))
    [rights] = [each for each in doctor.examine(settings) if each.name == "rights"]
    assert rights.verdict == findings.REMARK and "tested as root: no agent" in rights.detail


@pytest.mark.daemons
def test_init_says_that_the_agents_user_cannot_run_the_handlers(tmp_path: Path,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    for path, text in {"lib/systemd/system/consul.service": UNIT, "etc/systemd/system/.keep": ""}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    said = "no handler can start: daemon, which runs them, cannot run"
    assert said not in init.run(root=str(tmp_path)).todo[0]
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    shutil.copy("/bin/true", private / "python3")
    monkeypatch.setattr("sys.executable", str(private / "python3"))
    assert init.run(root=str(tmp_path)).todo[0].startswith(f"{said} {private}/python3: {private}/python3: Permission")


@pytest.mark.daemons
def test_init_asks_for_the_restart_until_it_was_done(tmp_path: Path) -> None:
    def asks() -> bool:
        return any("restart the Consul agent once" in each for each in init.run(root=str(tmp_path)).todo)

    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    assert asks() and asks()  # no agent is seen
    put_process(tmp_path, os.getpid(), "consul agent -config-dir=/etc/consul.d", uid=0)
    assert asks()  # it was started before
    os.utime(tmp_path / "etc/consul.d/lictor.json", (1, 1))
    assert not asks()
    (tmp_path / "etc/consul.d/lictor.json").unlink()
    assert asks()


