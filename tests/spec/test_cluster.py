"""The key `cluster` of a spec: what a set can be made of, and what is refused, in which words."""

import json
from typing import Any

import pytest
import yaml

from lictor import errors
from lictor.planner import plan
from lictor.planner.desired import desired
from lictor.planner.observation import Observation
from lictor.planner.service_state import LastGood, State
from lictor.spec import cluster, service_spec, spec_file
from lictor.spec.cluster import KINDS, volume_of

BASE = ("name: books-db\nimage: mongo:7\nnode: n\nport: 27017\nvolumes: [data:/data/db]\n"
        "replicas: {initial: 3, min: 1, max: 5}\ncluster: {kind: mongodb, name: rs0}\n")


def table(**changes: Any) -> dict[str, Any]:
    whole = yaml.load(BASE, yaml.BaseLoader) | changes
    return spec_file.load(json.dumps({key: value for key, value in whole.items() if value is not None}), "/srv/db.yaml")


@pytest.mark.parametrize("changes", [
    {}, {"cluster": {"kind": "etcd", "name": "e"}}, {"volumes": ["data:/data/db:rw,Z"]},
    {"volumes": ["data:/data/db", "/etc/mongo/key:/key:ro"]}, {"release": {"strategy": "rolling"}},
    {"replicas": {"initial": "1", "min": "1", "max": "50"}}])
def test_a_set_is_taken(changes: dict[str, Any]) -> None:
    assert table(**changes)["cluster"]["kind"] in KINDS


@pytest.mark.parametrize(("changes", "says"), [
    ({"cluster": {}}, "cluster.kind is missing; it must be a string"),
    ({"cluster": "mongodb"}, "cluster is 'mongodb'; it must be a table with the keys kind, name"),
    ({"cluster": {"kind": "mongodb"}}, "cluster.name is missing"),
    ({"cluster": {"kind": "mongo", "name": "a"}},
     "cluster.kind is 'mongo'; did you mean mongodb? This version knows mongodb, etcd"),
    ({"cluster": {"kind": "etcd", "name": "a", "size": "3"}}, "unknown key cluster.size; known are kind, name"),
    ({"cluster": {"kind": "etcd", "name": "a b"}}, "cluster.name is 'a b'; it must be 1 to 63 of A-Z a-z 0-9 _ . -"),
    ({"cluster": {"kind": "etcd", "name": ""}}, "cluster.name is ''; it must be 1 to 63"),
    ({"cluster": {"kind": "etcd", "name": "a/b?x"}}, "cluster.name is 'a/b?x'; it must be 1 to 63"),
    ({"release": {"strategy": "blue-green"}}, "release.strategy is 'blue-green'; with cluster it must be rolling"),
    ({"port": None}, "cluster needs a port"),
    ({"port": 443}, "port is '443'; with cluster it must be 1024 or more, as the node itself has it then"),
    ({"port": "10.0.0.5::22"}, "port is '10.0.0.5::22'; with cluster it must be 1024 or more"),
    ({"port": "27017/udp"}, "port is '27017/udp'; with cluster it must be one of TCP"),
    ({"replicas": None}, "replicas.min is 0; with cluster it must be at least 1"),
    ({"replicas": {"min": "1", "max": "51"}}, "replicas.max is 51; a set of mongodb has at most 50 members"),
    ({"cluster": {"kind": "etcd", "name": "a"}, "replicas": {"min": "1", "max": "9"}}, "has at most 7 members"),
    ({"engine": "swarm", "node": None}, "cluster is for engine docker, as a member comes back to its own volume and "
     "address; with swarm an instance has neither"),
    ({"engine": "none", "node": None}, "cluster is for engine docker"),
    ({"route": {"path": "/db"}, "autoscale": {"p95": "1s"}}, "autoscale is for services without cluster"),
    ({"volumes": None}, "volumes holds no volume of the member; with cluster it must hold data:/PATH once"),
    ({"volumes": ["db:/data/db"]}, "volumes holds no volume of the member"),
    ({"volumes": ["data:/data/db:ro"]}, "volumes holds no volume of the member"),
    ({"volumes": ["data:/a", "data:/b"]}, "volumes holds data:/a, data:/b; with cluster it must hold data:/PATH once"),
    ({"volumes": ["data:/a", "/srv/db:/b"]}, "volumes holds '/srv/db:/b'; with cluster only data:/PATH may be written"),
    ({"volumes": ["data:/a", "other:/b:rw"]}, "volumes holds 'other:/b:rw'; with cluster only data:/PATH may be"),
])
def test_what_a_set_cannot_be_made_of_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(errors.Refused) as refused:
        table(**changes)
    assert says in str(refused.value) and str(refused.value).startswith("/srv/db.yaml:1: ")
    assert len(str(refused.value)) < 300


def test_each_member_has_a_volume_of_its_own() -> None:
    assert [volume_of("books-db", number) for number in (1, 2)] == ["books-db-1-data", "books-db-2-data"]


@pytest.mark.parametrize(("before", "after", "says"), [
    ({}, {"cluster": {"kind": "mongodb", "name": "rs1"}}, "cluster was mongodb rs0 and is mongodb rs1"),
    ({}, {"cluster": {"kind": "etcd", "name": "rs0"}}, "cluster was mongodb rs0 and is etcd rs0"),
    ({}, {"cluster": None}, "cluster was mongodb rs0 and is not given"),
    ({"cluster": None}, {}, "cluster was not given and is mongodb rs0"),
    ({}, {"image": "mongo:8"}, ""),
])
def test_a_set_keeps_its_kind_and_name(before: dict[str, Any], after: dict[str, Any], says: str) -> None:
    state = State(last_good=LastGood(spec=table(**before)))
    problems = desired("books-db", {"spec": json.dumps(table(**after)).encode()}, state).problems
    assert [problem.partition(": ")[2].partition(";")[0] for problem in problems] == ([says] if says else [])


def test_no_instance_of_a_set_is_started_as_if_it_had_no_state() -> None:
    service = desired("books-db", {"spec": json.dumps(table()).encode()}, State())
    [action] = plan.plan(Observation(1_000_000.0, service, certain=True))
    assert action.kind == "hold" and "it is a set with state" in action.reason


@pytest.mark.parametrize(("kind", "port", "number", "place"), [
    ("mongodb", 27017, 1, ("10.0.0.9:27017", "10.0.0.9:27017", {27017: 27017})),
    ("mongodb", "10.0.0.5::27017", 3, ("10.0.0.5:27019", "10.0.0.5:27019", {27017: 27019})),
    ("etcd", 2379, 1, ("10.0.0.9:2379", "10.0.0.9:2380", {2379: 2379, 2380: 2380})),
    ("etcd", "10.0.0.5::2379", 3, ("10.0.0.5:2383", "10.0.0.5:2384", {2383: 2383, 2384: 2384})),
    ("mongodb", 65535, 1, ("10.0.0.9:65535", "10.0.0.9:65535", {65535: 65535})),
    ("mongodb", 65535, 2, None),
    ("etcd", 65535, 1, None),
])
def test_each_member_has_an_address_and_ports_of_its_own(kind: str, port: Any, number: int, place: Any) -> None:
    spec = service_spec.parse_spec(table(cluster={"kind": kind, "name": "a"}, port=port), "test")
    found = cluster.place_of(spec, number, "10.0.0.9")
    assert (found and found[2:]) == place


def test_the_spec_of_a_member_has_its_volume_and_its_port() -> None:
    spec = service_spec.parse_spec(table(cluster={"kind": "etcd", "name": "a"}, port="10.0.0.5::2379",
                                         volumes=["data:/data:rw", "keys:/keys:ro"]), "test")
    place = cluster.place_of(spec, 2, "10.0.0.9")
    assert place
    member = cluster.spec_of(spec, place)
    assert (member.volumes, member.port) == (["books-db-2-data:/data:rw", "keys:/keys:ro"], "10.0.0.5::2381")


def test_volumes_are_of_a_member_by_their_whole_names() -> None:
    volumes = ["db-1-data", "db-10-data", "db-0-data", "db-02-data", "my-db-2-data", "db-3-data-old", "db-x-data",
               "db-123456-data", "db-1-7-data"]
    assert cluster.numbers_of("db", volumes) == [1, 10]


@pytest.mark.parametrize(("kind", "given", "counts"), [("etcd", "4", 3), ("etcd", "5", 5), ("mongodb", "4", 4)])
def test_a_count_is_what_is_of_use(kind: str, given: str, counts: int) -> None:
    spec = json.dumps(table(cluster={"kind": kind, "name": "a"})).encode()
    service = desired("books-db", {"spec": spec, "replicas": given.encode()}, State())
    assert service.replicas == counts and ("are of use" in service.why_replicas) == (int(given) != counts)
