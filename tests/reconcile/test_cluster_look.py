"""Whom a look at a set asks, as which user, and what it makes of members that refuse to answer."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from lictor import errors
from lictor.clusters import mongodb
from lictor.clusters.protocols import Kind
from lictor.planner.cluster.observation import Report, Slot
from lictor.reconcile import container_spec
from lictor.reconcile.cluster import look
from lictor.spec.allow import Allow
from lictor.spec.cluster import Place
from lictor.spec.service_spec import parse_spec
from lictor.spec.settings import Settings

from lab.mongodb.managed import MongoSet

USER = ("root", "correct horse battery staple")
KEY = "Zm9yIHRoZSBkb3VibGUgb25seQ== " * 3


def asked(kind: Kind, members: MongoSet, numbers: tuple[int, ...] = (1, 2)) -> Mapping[str, Report]:
    slots = [Slot(number, f"db-{number}", members.address(number), f"c{number}", "running") for number in numbers]
    places = {number: Place("mongodb", "", members.address(number), members.address(number), {}) for number in numbers}
    return look._ask(kind, slots, places)[0]


def test_members_are_asked_as_the_user_of_the_env_file_and_of_nothing_else(
        make_set: Callable[..., MongoSet], tmp_path: Path) -> None:
    members = make_set(2, key=KEY, user=USER, has_image_user=True)
    env_file = tmp_path / "env"
    env_file.write_text(f"{mongodb.USER}={USER[0]}\n{mongodb.PASSWORD}={USER[1]}\n")
    spec = parse_spec({
        "name": "db", "image": "mongo:7", "node": "n", "port": 27017, "env_file": str(env_file),
        "volumes": ["data:/data/db"], "replicas": {"min": 1}, "cluster": {"kind": "mongodb", "name": "rs0"}}, "db.yaml")
    environment = container_spec.read_environment(spec, Settings(allow=Allow(env_files=(str(env_file),))))
    found = asked(mongodb.Members(environment), members)
    assert {name: report.role for name, report in found.items()} == {"db-1": "primary", "db-2": "secondary"}
    for settings in (Settings(), Settings(allow=Allow(env_files=(f"{tmp_path}/other",)))):
        with pytest.raises(errors.Refused, match="env_file"):
            container_spec.read_environment(spec, settings)


@pytest.mark.parametrize("environment", [{}, {mongodb.USER: USER[0], mongodb.PASSWORD: "wrong"}])
def test_members_that_all_refuse_are_no_lost_majority(make_set: Callable[..., MongoSet],
                                                      environment: Mapping[str, str]) -> None:
    members = make_set(2, key=KEY, user=USER, has_image_user=True)
    kind = mongodb.Members(environment)
    with pytest.raises(errors.Refused, match=r"does not take the user|requires authentication"):
        asked(kind, members)
    members.kill(2)
    with pytest.raises(errors.Refused, match=r"does not take the user|requires authentication"):
        asked(kind, members)
    members.kill(1)
    assert asked(kind, members) == {}
