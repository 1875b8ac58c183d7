"""What a changed spec is told as: each key with its values, which of them is a release, and never a secret."""

from typing import Any

import pytest

from lictor.cli.specs.changes import list_changes
from lictor.planner.desired import fingerprint
from lictor.spec.service_spec import Spec, parse_spec

BASE: dict[str, Any] = {"name": "books", "image": "books:1", "port": 8080, "route": {"path": "/b"},
                        "check": {"http": "/health", "interval": "2s"}, "labels": {"team": "a"},
                        "environment": {"PASSWORD": "geheim!", "A": "1"},
                        "command": ["serve", "--key=geheim!"], "volumes": ["data:/data"],
                        "logging": {"driver": "syslog", "options": {"tag": "geheim!"}}}


def parsed(**changes: Any) -> Spec:
    return parse_spec({**BASE, **changes}, "")


@pytest.mark.parametrize(("change", "told"), [
    ({}, []),
    ({"image": "books:2"}, ["image books:1 -> books:2: a release"]),
    ({"check": {"http": "/health", "interval": "5s"}}, ["check.interval 2s -> 5s: a release"]),
    ({"check": {"http": "/health", "interval": "2s", "start": "5m"}}, ["check.start none -> 5m"]),
    ({"check": {"tcp": True}}, ["check.http /health -> none: a release", "check.tcp false -> true: a release",
                                "check.interval 2s -> 10s: a release"]),
    ({"check": None}, ["check.http /health -> none: a release", "check.interval 2s -> 10s: a release"]),
    ({"drain": "90s", "image": "books:2"}, ["image books:1 -> books:2: a release", "drain 30s -> 1m30s"]),
    ({"drain": "1500ms"}, ["drain 30s -> 1s500ms"]), ({"drain": "0s"}, ["drain 30s -> 0s"]),
    ({"drain": "30000ms"}, []), ({"replicas": {"max": 10}}, []),
    ({"replicas": {"min": 1, "max": 5}}, ["replicas.min 0 -> 1", "replicas.max 10 -> 5"]),
    ({"route": {"path": "/c", "aliases": ["b.example.com"], "host": "a.example.com"}},
     ["route.path /b -> /c", "route.host none -> a.example.com", "route.aliases none -> [b.example.com]"]),
    ({"route": None}, ["route.path /b -> none"]),
    ({"route": "/b"}, []), ({"route": ["/b"]}, []), ({"route": ["/c"]}, ["route.path /b -> /c"]),
    ({"route": ["/c", "/b"]}, ["route[/c] added"]),
    ({"route": [{"path": "/", "host": "a.example.com"}, {"path": "/b", "strip": True, "timeout": "5s"}]},
     ["route[/b].strip false -> true", "route[/b].timeout none -> 5s", "route[a.example.com/] added"]),
    ({"route": [{"path": "/b", "match": "exact"}, "/b/c"]},
     ["route[/b].match prefix -> exact", "route[/b/c] added"]),
    ({"route": ["/c", "/d"]}, ["route[/b] removed", "route[/c] added", "route[/d] added"]),
    ({"autoscale": {"p95": "250ms"}}, ["autoscale.p95 none -> 250ms"]),
    ({"resources": {"cpus": 0.5, "memory": "128m"}},
     ["resources.cpus 0 -> 0.5: a release", "resources.memory 0 -> 128MiB: a release"]),
    ({"resources": {"memory": 5_000_000}}, ["resources.memory 0 -> 5000000: a release"]),
    ({"read_only": True}, ["read_only false -> true: a release"]),
    ({"volumes": ["data:/data", "/srv:/srv:ro"]}, ["volumes [data:/data] -> [data:/data, /srv:/srv:ro]: a release"]),
    ({"port": "127.0.0.1::8080"}, ["port 8080 -> 127.0.0.1::8080: a release"]),
    ({"placement": {"spread": ["node.labels.zone"]}, "engine": "swarm"},
     ["placement.spread none -> [node.labels.zone]: a release", "engine docker -> swarm"]),
    ({"environment": {"A": "2", "PASSWORD": "geheim!", "B": "x"}},
     ["environment.A changed: a release", "environment.B added: a release"]),
    ({"environment": {"A": 1, "PASSWORD": "geheim!"}}, ["environment.A changed: a release"]),  # another text in JSON
    ({"environment": {}}, ["environment.PASSWORD removed: a release", "environment.A removed: a release"]),
    ({"environment": ["PASSWORD=geheim!", "A=1"]}, ["environment changed: a release"]),
    ({"environment": []}, ["environment removed: a release"]),
    ({"labels": {"team": "b"}}, ["labels.team changed: a release"]),
    ({"command": "serve --key=geheim?"}, ["command changed: a release"]),
    ({"command": []}, ["command removed: a release"]),
    ({"entrypoint": "geheim!"}, ["entrypoint added: a release"]),
    ({"logging": {"driver": "json-file"}},
     ["logging.driver changed: a release", "logging.options.tag removed: a release"]),
    ({"networks": ["a://b:geheim!@c"]}, ["networks none -> [a://...@c]: a release"]),
    ({"user": "a\x1b[31m\nb"}, ["user none -> a?[31m b: a release"]),
    ({"cap_drop": ["x" * 200]}, [f"cap_drop none -> [{'x' * 99}...: a release"]),
])
def test_a_change_is_told_with_its_key(change: dict[str, Any], told: list[str]) -> None:
    old, new = parsed(), parsed(**change)
    found = list_changes(old, new)
    assert [str(each) for each in found] == told
    assert any(each.is_release for each in found) is (fingerprint(old) != fingerprint(new))
    backwards = list_changes(new, old)
    assert {each.key for each in backwards} == {each.key for each in found}
    assert "geheim" not in f"{found}{backwards}"


def test_without_instances_nothing_is_a_release() -> None:
    [change] = list_changes(parsed(engine="none"), parsed(engine="none", port=9090))
    assert str(change) == "port 8080 -> 9090"
