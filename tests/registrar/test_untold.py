"""A container that Docker lists, and does not tell of when it is asked: a daemon may hang about a single one."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lictor import errors
from lictor.adapters import heartbeat
from lictor.registrar.loop import Registrar


class Engine:
    """Our client of Docker, which is not told of one container."""

    def engine_id(self) -> str:
        return "E1"

    def running(self) -> list[dict[str, Any]]:
        return [{"Id": "c1", "Names": ["/a"], "State": "running", "Status": "Up", "Ports": []}]

    def inspect(self, container: str) -> None:
        raise errors.Unavailable(f"docker: inspect {container}: not done within 10 s")


def test_at_the_start_its_registration_stays_and_is_not_a_dead_ones(tmp_path: Path,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    given = SimpleNamespace(resync=5.0, ip="", internal=False, explicit=False, tags="", useIpFromLabel="",
                            ignore_image=False, take_over=False, cleanup=False, deregister="always")
    call: Any = SimpleNamespace(arguments=given, token_file=None, settings=SimpleNamespace(state_dir=str(tmp_path)))
    registrar = Registrar(call)
    monkeypatch.setattr("lictor.registrar.loop.docker.connect", lambda **_: Engine())
    rules = []
    registrar.catalogue.containers = {"c1", "c2"}

    def repair(_views: object, _engine: object, given: Any, **_: object) -> Any:
        rules.append(given)
        raise errors.Unavailable("Consul is away")  # so that nobody is told

    monkeypatch.setattr(registrar.catalogue, "repair", repair)
    with pytest.raises(errors.Unavailable, match="Consul is away"):
        registrar._compare()
    assert set(rules[0].untold) == {"c1"} and registrar.dead == {"c2"}
    assert "Docker does not tell of it" in registrar.uninspected["c1"].reason

    def hang() -> None:
        raise errors.Unavailable("docker: list: not done within 10 s")

    registrar._attempt(hang)
    assert heartbeat.read_dead(str(tmp_path)) == {"c2"}  # and no peer, until Docker tells otherwise
