"""Specs as an engine gets them: volumes that stand for a path of the host, env files, and errors that tell a secret."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lictor import errors
from lictor.engines import docker as engine
from lictor.reconcile import container_spec
from lictor.spec import service_spec
from lictor.spec.allow import Allow
from lictor.spec.settings import Settings

from lab.docker import Docker


@pytest.fixture(autouse=True)
def environ(docker: Docker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Docker]:
    for key, value in docker.environ.items():
        monkeypatch.setenv(key, value)
    yield docker
    docker.clear()
    docker.docker("volume", "prune", "-f")


def spec(**keys: Any) -> service_spec.Spec:
    return service_spec.parse_spec({"name": "books", "image": "books-service:1.0", **keys}, "test")


def bounded(allow: Allow, **keys: Any) -> service_spec.Spec:
    return container_spec.bounded(spec(**keys), Settings(allow=allow))


BIND, TMPFS = ["type=none", "o=bind", "device=/etc"], ["type=tmpfs", "device=tmpfs"]
VOLUMES = [
    (BIND, ":/d", [], "/etc"), (BIND, ":/d:ro", [], "/etc:ro"), (BIND, ":/d", ["/etc:ro"], "/etc"),
    (BIND, ":/d:ro", ["/etc:ro"], ""), (BIND, ":/d", ["/etc"], ""),
    (["type=nfs", "o=rw,bind", "device=/"], ":/d", [], "/"),
    (["type=none", "o=rbind", "device=/run"], ":/d", [], "/run"),
    (["type=tmpfs", "o=bind", "device=/root"], ":/d", [], "/root"),
    (["type=none", "o=bind", "device=/srv/../etc"], ":/d", ["/srv", "/etc"], "/srv/../etc"),
    (["type=ext4", "device=/dev/sda1"], ":/d", [], "/dev/sda1"),
    (["type=overlay", "o=lowerdir=/etc,upperdir=/a,workdir=/b", "device=overlay"], ":/d", ["/etc"], "overlay"),
    (TMPFS, ":/d", [], ""), (["type=nfs", "o=addr=10.0.0.1", "device=:/export"], ":/d", [], ""), ([], ":/d", [], ""),
]


def test_a_named_volume_that_stands_for_a_path_of_the_host_is_bounded_as_that_path(environ: Docker) -> None:
    for number, (options, mounted, listed, needed) in enumerate(VOLUMES):
        name = f"volume-{number}"
        environ.docker("volume", "create", *(word for option in options for word in ("-o", option)), name)
        allow, volumes = Allow(mounts=tuple(listed)), ["data:/x", f"{name}{mounted}"]
        if needed:
            with pytest.raises(errors.Refused) as raised:
                bounded(allow, volumes=volumes)
            assert f"volumes is '{name}{mounted}'; this node does not allow it: list {needed!r} in mounts" in str(
                raised.value)
        else:
            assert bounded(allow, volumes=volumes).volumes == volumes


def test_an_env_file_that_is_no_text_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("A=1\0hunter2")
    with pytest.raises(errors.Refused) as raised:
        bounded(Allow(env_files=(f"{tmp_path}/*",)), env_file=f"{tmp_path}/env")
    assert str(raised.value) == f"books: env_file {tmp_path}/env holds a zero byte; it must be a text"


@pytest.mark.parametrize(("keys", "said"), [
    ({"logging": {"driver": "json-file", "options": {"max-size": "hunter2"}}}, "invalid size: '...'"),
    ({"logging": {"driver": "json-file", "options": {"max-file": "hunter2"}}}, 'parsing "..."'),
    ({"logging": {"driver": "fluentd", "options": {"fluentd-address": "tcp://me:hunter2@127.0.0.1:x"}}}, "..."),
    ({"logging": {"driver": "syslog", "options": {"syslog-facility": "hunter2"}}}, "invalid syslog facility"),
    ({"environment": {"A": "hunter2-too"}, "user": "nobody-of-this-name"}, "find user nobody-of-this-name"),
    ({"environment": {"A": "books-service:1.0"}, "command": ["/not-there", "hunter2"]}, 'exec: "/not-there"'),
], ids=str)
def test_an_error_of_docker_s_does_not_repeat_a_value_that_may_be_a_secret(keys: dict[str, Any], said: str) -> None:
    given = spec(**keys)
    with pytest.raises(errors.Refused) as raised, container_spec.secrets_hidden(given):
        engine.start(given, number=1, color="", release="r1")
    assert said in str(raised.value) and "hunter2" not in str(raised.value)


def test_a_log_that_cannot_be_reached_may_be_so_later() -> None:
    given = spec(logging={"driver": "syslog", "options": {"syslog-address": "tcp://127.0.0.1:1"}})
    with pytest.raises(errors.Unavailable, match="dial tcp 127.0.0.1:1"):
        engine.start(given, number=1, color="", release="r1")
