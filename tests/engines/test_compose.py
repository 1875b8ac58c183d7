"""The compose engine against the real Docker and the real Compose, with the article series' file as it was."""

import functools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lictor import errors, model
from lictor.adapters.docker import connect
from lictor.engines import compose as engine
from lictor.engines import docker as docker_engine
from lictor.registrar import registration
from lictor.spec import service_spec

from lab.docker import Docker

SERVICES = """
db:
  image: mongo
  ports:
    - 27017
  environment:
    - SERVICE_ID=books-service-db
blue:
  image: books-service
  ports:
    - 8080
  environment:
    - SERVICE_NAME=books-service-blue
    - DB_PORT_27017_TCP=${DB_PORT}
green:
  image: books-service
  ports:
    - 8080
  environment:
    - SERVICE_NAME=books-service-green
    - DB_PORT_27017_TCP=${DB_PORT}
"""
FORMATS = {"version 1": SERVICES, "services": "services:\n" + "\n".join(f"  {line}" for line in SERVICES.splitlines()),
           "version 3": 'version: "3.4"\nservices:\n' + "\n".join(f"  {line}" for line in SERVICES.splitlines())}


def compose(*words: str) -> list[str]:
    """As the user calls it."""
    return [*program(), *words]


@functools.cache
def program() -> list[str]:
    found = [argv for argv in (["docker", "compose"], ["docker-compose"])
             if subprocess.run([*argv, "version", "--short"], capture_output=True).returncode == 0]
    return found[-1]


@functools.cache
def reads_version_1() -> bool:
    program = shutil.which("docker-compose")
    return bool(program) and subprocess.run(
        [str(program), "version", "--short"], capture_output=True, text=True).stdout.startswith("1.")


class Project:
    """A folder with a compose file that nobody has run yet."""

    def __init__(self, folder: Path, docker: Docker, text: str) -> None:
        self.folder, self.docker = folder, docker
        folder.mkdir()
        self.file = folder / "docker-compose.yml"
        self.file.write_text(text)
        (folder / ".env").write_text("DB_PORT=tcp://10.0.0.1:27017\n")

    def spec(self, **keys: Any) -> service_spec.Spec:
        return service_spec.parse_spec({
            "name": "books-service", "engine": "compose", "image": "books-service:1.0", "port": 8080,
            "project": {"folder": str(self.folder)}, "release": {"strategy": "blue-green"},
            "check": {"http": "/health"}, **keys}, "test")

    def start(self, number: int, color: str = "blue", made_from: str = "r1", **keys: Any) -> model.Container:
        return engine.start(self.spec(**keys), number=number, color=color, release=made_from)

    def up(self, service: str) -> str:
        """As the user does it: returns the id of the container."""
        subprocess.run(compose("--project-directory", str(self.folder), "-f", str(self.file), "up", "-d", service),
                       check=True, capture_output=True, env={**os.environ, "COMPOSE_API_VERSION": "auto"})
        [found] = self.docker.docker("ps", "-q", "--no-trunc", "--filter",
                                     f"label=com.docker.compose.service={service}").split()
        return found


@pytest.fixture(autouse=True)
def environ(docker: Docker, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for key, value in docker.environ.items():
        monkeypatch.setenv(key, value)
    for image in ("mongo", "books-service"):  # stand-ins, of the names in the file
        docker.docker("tag", "books-service:1.0", image)
    yield
    docker.clear()
    docker.docker("network", "prune", "-f")
    docker.docker("rmi", "mongo", "books-service")


@pytest.fixture
def project(docker: Docker, tmp_path: Path) -> Project:
    """The articles' file as it was; where Compose is of version 2, below the `services:` that it asks for."""
    return Project(tmp_path / "books", docker, FORMATS["version 1" if reads_version_1() else "services"])


@pytest.fixture
def modern(docker: Docker, tmp_path: Path) -> Project:
    """What every Compose reads."""
    return Project(tmp_path / "books", docker, FORMATS["version 3"])


@pytest.fixture
def second_image(docker: Docker) -> Iterator[str]:
    yield docker.build_books("books-service:2.0", version="2.0")
    docker.clear()
    docker.docker("rmi", "books-service:2.0")


def inspect(container: str) -> dict[str, Any]:
    found = connect().inspect(container)
    assert found
    return found


def temporaries() -> set[str]:
    return {each for each in os.listdir(tempfile.gettempdir()) if re.fullmatch("lictor-[a-z0-9_]{8}", each)}


def test_the_file_of_the_articles_scales_and_releases_unchanged(project: Project, second_image: str, tmp_path: Path,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # tests of other processes have theirs in /tmp
    text, before = project.file.read_text(), temporaries()
    db = project.up("db")
    db_started = inspect(db)["State"]["StartedAt"]
    blue = [project.start(number) for number in (1, 2, 3)]
    assert [(each.number, each.color, each.image, each.release, each.status) for each in blue] == [
        (number, "blue", "books-service:1.0", "r1", "running") for number in (1, 2, 3)]
    found = inspect(blue[1].id)
    assert found["Config"]["Labels"]["com.docker.compose.service"] == "blue"
    assert found["Config"]["Labels"]["com.docker.compose.project"] == "books"
    assert "DB_PORT_27017_TCP=tcp://10.0.0.1:27017" in found["Config"]["Env"]
    [registered], refused = registration.registrations(found, registration.Options(host="node-1", engine="e"))
    assert (registered.definition["Name"], refused) == ("books-service-blue", [])
    assert registered.definition["Check"]["HTTP"].endswith("/health")

    green = project.start(1, "green", "r2", image=second_image)
    assert (green.image, inspect(green.id)["Config"]["Image"]) == (second_image, second_image)
    assert "VERSION=2.0" in inspect(green.id)["Config"]["Env"]
    for each in blue:
        engine.stop(each, grace_s=0)
    assert [each.status for each in engine.containers("books-service")] == ["exited"] * 3 + ["running"]
    again = project.start(2)
    assert (again.id, again.status) == (blue[1].id, "running")
    another = project.start(4)  # while two are stopped, which Compose's own `up` would have started
    assert {each.id: each.status for each in engine.containers("books-service")} == {
        blue[0].id: "exited", blue[1].id: "running", blue[2].id: "exited", green.id: "running", another.id: "running"}
    for each in engine.containers("books-service"):
        engine.remove(each, grace_s=0)
    assert project.docker.docker("ps", "-aq", "--no-trunc").split() == [db]
    assert inspect(db)["State"]["StartedAt"] == db_started
    assert (project.file.read_text(), temporaries()) == (text, before)


def test_an_instance_runs_beside_those_of_another_release(modern: Project, second_image: str) -> None:
    rolling: dict[str, Any] = {"release": {"strategy": "rolling"},
                               "project": {"folder": str(modern.folder), "service": "blue"}}
    old = modern.start(1, "", **rolling)
    with pytest.raises(errors.Conflict, match="is number 1 of books-service$"):
        modern.start(1, "", "r2", image=second_image, **rolling)
    engine.stop(old, grace_s=0)
    with pytest.raises(errors.Conflict, match="is number 1 of books-service$"):
        modern.start(1, "", "r2", image=second_image, **rolling)
    new = engine.start(modern.spec(image=second_image, **rolling), number=2, color="", release="r2", gated=True)
    assert [bool(inspect(each.id)["Config"]["Labels"][model.LABEL_GATE]) for each in (new, old)] == [True, False]
    assert [(each.id, each.image, each.status) for each in engine.containers("books-service")] == [
        (old.id, "books-service:1.0", "exited"), (new.id, second_image, "running")]


def test_several_at_once_of_one_service_of_the_file_do_not_end_each_other_s(modern: Project) -> None:
    """The services of two customers, say, made from the same file."""
    def start(customer: str) -> model.Container:
        return modern.start(1, name=customer)

    with ThreadPoolExecutor() as pool:
        made = list(pool.map(start, ("acme", "initech", "umbrella")))
    assert [each.status for each in made] == ["running"] * 3 and len({each.id for each in made}) == 3
    assert [engine.containers(each.service) for each in made] == [[each] for each in made]


def test_what_is_not_ours_is_neither_listed_nor_touched(modern: Project, docker: Docker) -> None:
    modern.file.write_text(modern.file.read_text().replace("  blue:", "  blue:\n    links: [db]"))
    by_hand = modern.up("blue")
    docker.docker("rm", "-f", *docker.docker("ps", "-q", "--filter", "label=com.docker.compose.service=db").split())
    plain = docker_engine.start(
        service_spec.parse_spec({"name": "books-service", "image": "books-service:1.0"}, "test"),
        number=1,
        color="",
        release="r1",
    )
    labels = {"lictor.service": "carts", "lictor.number": "1", "lictor.engine": "compose",
              "com.docker.compose.project": "shop", "com.docker.compose.service": "carts",
              "com.docker.compose.container-number": "1"}
    other = docker.docker("run", "-d", *(f"--label={key}={value}" for key, value in labels.items()), "--name",
                          "shop_carts_1", "mongo")
    not_ours = {by_hand, plain.id, other}
    other_states = [inspect(each)["State"] for each in not_ours]
    ours = modern.start(1)
    assert engine.containers("books-service") == [ours] and docker_engine.containers("books-service") == [plain]
    assert [each.id for each in engine.containers()] == [ours.id, other]
    assert [each.id for each in docker_engine.containers()] == [plain.id]
    engine.remove(ours, grace_s=0)
    with pytest.raises(errors.Refused, match="left alone"):
        engine.remove(ours._replace(id=by_hand), grace_s=0)
    assert [inspect(each)["State"] for each in not_ours] == other_states
    assert set(docker.docker("ps", "-aq", "--no-trunc").split()) == not_ours  # and no db has been made


def test_a_name_a_file_and_what_extends_it_are_heeded(modern: Project) -> None:
    (modern.folder / "docker-compose.override.yml").write_text(
        'version: "3.4"\nservices: {blue: {environment: [EXTENDED=yes]}}')
    first = inspect(modern.start(1, project={"folder": str(modern.folder), "name": "shop"}).id)
    assert first["Config"]["Labels"]["com.docker.compose.project"] == "shop"
    assert "EXTENDED=yes" in first["Config"]["Env"] and "SERVICE_NAME=books-service-blue" in first["Config"]["Env"]
    modern.file.rename(modern.folder / "other.yml")
    second = inspect(modern.start(2, project={"folder": str(modern.folder), "name": "shop", "file": "other.yml"}).id)
    assert "EXTENDED=yes" not in second["Config"]["Env"]


def test_what_cannot_start_leaves_nothing_behind_and_says_why(modern: Project, docker: Docker) -> None:
    def refused(kind: type[errors.LictorError], said: str, color: str = "blue", **keys: Any) -> None:
        with pytest.raises(kind, match=said) as caught:
            modern.start(2, color, **keys)
        assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)
        assert engine.containers("books-service") == [first]
        assert docker.docker("ps", "-aq", "--no-trunc").split() == [first.id]

    first = modern.start(1)
    rolling = {"release": {"strategy": "rolling"}}
    refused(errors.Refused, "(?i)no such service: red", "",
            project={"folder": str(modern.folder), "service": "red"}, **rolling)
    refused(errors.Refused, "x.yml is not on this node", project={"folder": str(modern.folder), "file": "x.yml"})
    refused(errors.Refused, "has no compose file on this node", project={"folder": "/nowhere"})
    refused(errors.Unavailable, "pull 127.0.0.1:1/none", image="127.0.0.1:1/none")
    text = modern.file.read_text()
    modern.file.write_text(text + "\n    entrypoint: /not-there")
    refused(errors.LictorError, "not-there", "green")
    modern.file.write_text(text + "\n    mem_limit: 1m")
    refused(errors.Refused, "Minimum memory limit", "green")
    modern.file.write_text(text + "\n    nonsense: 1")
    refused(errors.Refused, "nonsense", "green")


@pytest.mark.parametrize("place", [
    "environment: ['DB_URL=${DB_URL}']", "hostname: 'a${DB_URL}'", "command: ['$DB_URL']",
    "labels: {a: '${DB_URL}b'}", "<<: *common"])
def test_a_variable_that_is_not_set_is_refused_before_anything_is_made(
        modern: Project, docker: Docker, place: str) -> None:
    first = docker.docker("run", "-d", "books-service:1.0")
    modern.file.write_text("version: '3.4'\nx-common: &common {environment: {A: '${DB_URL}'}}\n"
                           "services:\n  blue:\n    image: books-service\n    " + place)
    with pytest.raises(errors.Refused, match=rf"the variable DB_URL of {modern.file} is not set, .* in service blue"):
        modern.start(2)
    assert docker.docker("ps", "-aq", "--no-trunc").split() == [first]
    (modern.folder / ".env").write_text("DB_URL=1")
    if not place.startswith("command"):  # which are no sound ones then
        assert modern.start(2).status == "running"


def test_a_blank_variable_of_another_service_is_told_and_so_are_other_warnings(
        modern: Project, capfd: pytest.CaptureFixture[str]) -> None:
    modern.file.write_text(modern.file.read_text().replace("image: mongo", "image: mongo\n    command: '${OTHER}'")
                           .replace("SERVICE_NAME=books-service-blue", "DB_URL")
                           + "\nnetworks: {spare: {}}\n")
    assert modern.start(1).status == "running"
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("action=compose")]
    for warning in ("OTHER variable is not set", "not used by any service: spare",
                    "environment.DB_URL has no value to pass on"):
        assert any(warning in line and "service=blue" in line for line in told), warning


def test_a_blank_variable_in_what_the_spec_replaces_refuses_nothing(modern: Project) -> None:
    modern.file.write_text(modern.file.read_text().replace(
        "image: books-service", "build: {context: ., args: {V: '$V'}}\n    image: 'books-service:${TAG}'"))
    assert modern.start(1).image == "books-service:1.0"


def test_a_name_to_pass_on_is_refused_if_another_container_had_a_value(modern: Project, docker: Docker,
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    """The shell of who ran Compose by hand had it; the handler has not."""
    modern.file.write_text(modern.file.read_text().replace(
        "SERVICE_NAME=books-service-blue", "DB_URL\n      - VERSION\n      - NEVER_SET"))
    monkeypatch.setenv("DB_URL", "db:1")
    by_hand = modern.up("blue")
    monkeypatch.delenv("DB_URL")
    with pytest.raises(errors.Refused, match=rf"environment.DB_URL of {modern.file} has no value to pass on, and "
                       rf"{by_hand[:12]} has one; set it in {modern.folder}/.env"):
        modern.start(1)
    assert docker.docker("ps", "-aq", "--no-trunc").split() == [by_hand]
    with open(modern.folder / ".env", "a") as file:
        file.write("DB_URL=db:2\n")
    assert "DB_URL=db:2" in inspect(modern.start(1).id)["Config"]["Env"]


def test_two_folders_may_hold_one_project_and_none_ends_the_others(modern: Project, tmp_path: Path,
                                                                   docker: Docker) -> None:
    (tmp_path / "elsewhere").mkdir()
    twin = Project(tmp_path / "elsewhere" / "books", docker, FORMATS["version 3"])
    with ThreadPoolExecutor() as pool:
        made = [*pool.map(lambda given: given[0].start(1, name=given[1]), [
            (modern, "acme"), (twin, "initech"), (modern, "umbrella"), (twin, "wonka")])]
    assert [each.status for each in made] == ["running"] * 4
    assert len(docker.docker("ps", "-q").split()) == 4


def test_a_container_name_is_one_container_s_and_a_second_is_refused_in_one_short_line(modern: Project) -> None:
    modern.file.write_text(modern.file.read_text().replace("  blue:", "  blue:\n    container_name: the-books"))
    first = modern.start(1)
    assert first.name == "the-books" and engine.containers("books-service") == [first]
    with pytest.raises(errors.Refused, match="service blue of .* has the container_name the-books, and there is one"
                       ) as caught:
        modern.start(2)
    assert len(str(caught.value)) < 250
    engine.stop(first, grace_s=0)
    assert modern.start(1).id == first.id


def test_labels_of_the_file_for_other_ports_are_heeded_and_those_of_the_image_are_not(
        modern: Project, docker: Docker) -> None:
    modern.file.write_text(modern.file.read_text().replace("  blue:", """  blue:
    labels: [SERVICE_TAGS=a, SERVICE_9100_IGNORE=1, SERVICE_8080_ID=db, SERVICE_9200_ID=mine]
    expose: [9100, 9200]"""))
    builder = docker.docker("create", "books-service:1.0")
    docker.docker("commit", "--change=LABEL SERVICE_TAGS=evil SERVICE_9200_NAME=payments SERVICE_IGNORE=1 "
                  "com.docker.compose.project=shop lictor.container=x", builder, "lying:1")
    docker.docker("rm", builder)
    try:
        made = modern.start(1, image="lying:1")
        assert engine.containers("books-service") == [made]
        found, refused = registration.registrations(
            inspect(made.id), registration.Options(host="vm", engine="e", internal=True))
        assert refused == [] and [(each.id, each.definition["Name"], each.definition["Tags"]) for each in found] == [
            (f"vm:{made.name}:8080", "books-service-blue", ["a"]), ("mine", "books-service-blue-9200", ["a"])]
    finally:
        docker.clear()
        docker.docker("rmi", "lying:1")


def test_without_compose_the_reason_is_clear(modern: Project, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        with pytest.raises(errors.Refused, match="neither `docker compose` nor `docker-compose` is on this node"):
            modern.start(1)
        program = tmp_path / "docker-compose"
        program.write_text("#!/bin/sh\necho 2.26.1\n")
        program.chmod(0o755)
        modern.file.write_text(FORMATS["version 1"])
        with pytest.raises(errors.Refused, match="docker-compose 1.x reads and no later one; that is not on this"):
            modern.start(1)


def test_compose_that_cannot_reach_docker_is_unavailable(modern: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(errors.Unavailable, match="API version|onnect to the Docker daemon"):
        engine._run(compose("-f", str(modern.file), "ps", "--all", "--quiet", "blue"), timeout_s=150)


@pytest.mark.parametrize(("key", "said"), [
    ("environment: {A: 'hunter2$'}", 'for "environment" option in service "blue"'),
    ("environment: {A: '${X:?set it}', B: hunter2}", 'in service "blue": set it'),
    ("labels: {a: {b: '${PASSWORD}'}}", "which is an invalid type"), ("environment: ['=${PASSWORD}']", "variable"),
    ("environment: ['A=hunter2', 'A=hunter2']", "non-unique"), ("environment: {A: hunter2: x}", "line 5, column"),
])
def test_a_refusal_of_compose_s_repeats_no_value_that_may_be_a_secret(modern: Project, key: str, said: str) -> None:
    (modern.folder / ".env").write_text("PASSWORD=hunter2\n")
    modern.file.write_text(f"version: '3.4'\nservices:\n  blue:\n    image: books-service\n    {key}\n")
    with pytest.raises(errors.Refused) as raised:
        modern.start(1)
    assert said in str(raised.value) and "hunter2" not in str(raised.value)


@pytest.mark.parametrize("ports", ["['127.0.0.9:18080:8080']", "[{target: 8080, published: 18080}]"])
def test_a_host_port_is_one_container_s_and_a_second_is_refused_in_one_short_line(modern: Project, ports: str) -> None:
    modern.file.write_text(modern.file.read_text().replace("    ports:\n      - 8080\n", f"    ports: {ports}\n"))
    first = modern.start(1)
    with pytest.raises(errors.Refused, match=r"publishes books-service at [0-9.]+:18080, and that is taken") as caught:
        modern.start(2)
    assert len(str(caught.value)) < 250 and engine.containers("books-service") == [first]
