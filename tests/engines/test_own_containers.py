"""Reading what Docker and the kernel say of lictor's own containers; the engines' tests do the rest."""

import pytest

from lictor import errors, model
from lictor.engines import own_containers


def test_one_that_has_lost_its_name_is_known_by_its_id() -> None:
    """As a container is for a moment while Docker removes it; and one that others link to has more names."""
    short = {"Id": "ab" * 32, "Names": ["/other/alias", "/books-1"], "Image": "books:1", "Created": 7, "State": "dead",
             "Status": "Dead", "Labels": {"lictor.service": "books", "lictor.number": "1", "lictor.engine": "docker"}}
    assert own_containers._from_list(short).name == "books-1"
    assert own_containers._from_list({**short, "Names": []}) == model.Container(
        id="ab" * 32, name="ab" * 6, service="books", number=1, color="", image="books:1", release="", status="dead",
        created_at=7.0, started_at=7.0, exit_code=None)


@pytest.mark.parametrize(("status", "health"), [
    ("Up 3 minutes", ""), ("Up 3 minutes (Paused)", ""), ("Up 1 second (health: starting)", "starting"),
    ("Up 3 minutes (healthy)", "healthy"), ("Up 3 minutes (unhealthy)", "unhealthy"), ("Exited (0) 2 hours ago", ""),
    ("Restarting (1) 2 seconds ago", ""), ("Created", ""),
])
def test_the_word_on_a_healthcheck_is_read_from_dockers_list(status: str, health: str) -> None:
    short = {"Id": "ab" * 32, "Names": ["/books-1"], "Image": "books:1", "Created": 7, "State": "running",
             "Status": status, "Labels": {}}
    assert own_containers._from_list(short).health == health


@pytest.mark.parametrize(("state", "health", "is_out_of_memory"), [
    ({}, "", False), ({"Health": None, "OOMKilled": False}, "", False), ({"OOMKilled": True}, "", True),
    ({"Health": {"Status": "starting", "FailingStreak": 2}}, "starting", False),
    ({"Health": {"Status": "none"}}, "", False)])
def test_what_docker_knows_of_a_container_is_kept(state: dict[str, object], health: str,
                                                  is_out_of_memory: bool) -> None:
    inspected = {"Id": "ab" * 32, "Name": "/books-1", "Created": "2020-01-01T00:00:00Z", "Config": {
        "Labels": None, "Image": "books:1"}, "State": {
        "Status": "running", "Running": True, "StartedAt": "0001-01-01T00:00:00Z", "ExitCode": 0, **state}}
    found = own_containers._from_inspect(inspected)
    assert (found.health, found.is_out_of_memory, found.restarts) == (health, is_out_of_memory, 0)
    assert own_containers._from_inspect({**inspected, "RestartCount": 3}).restarts == 3


@pytest.mark.parametrize("name", ["0123456789ab_books-1", "0123456789ab_0123456789ab_books-1", "books-2", "books-1_"])
def test_a_container_that_was_renamed_meanwhile_is_left_alone(name: str) -> None:
    """As `docker-compose up` by hand does while it makes a container anew: its command would fail."""
    made = {"lictor.service": "books", "lictor.number": "1", "lictor.engine": "docker", "lictor.container": "books-1"}
    inspected = {"Id": "ab" * 32, "Name": "/books-1", "Created": "2020-01-01T00:00:00Z", "Config": {
        "Labels": made, "Image": "books:1"}, "State": {"Status": "running", "Running": True, "Paused": False,
                                                       "StartedAt": "0001-01-01T00:00:00Z", "ExitCode": 0}}
    known = own_containers._from_inspect(inspected)
    assert own_containers._is_same(inspected, known)
    with pytest.raises(errors.Refused, match="is left alone"):
        own_containers._is_same({**inspected, "Name": f"/{name}"}, known)


TABLE = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 020011AC:1F90 010011AC:C350 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   2: 020011AC:1F91 010011AC:C350 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   3: 0100007F:1F90 0100007F:C351 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   4: 020011AC:1F90 010011AC:C352 06 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
"""


@pytest.mark.parametrize(("remote", "count"), [
    ("0000000000000000FFFF00000100007F", 1), ("00000000000000000000000001000000", 1),
    ("0000000000000000FFFF0000010011AC", 2), ("000080FE000000000000000001000000", 2),
])
def test_connections_of_loopback_do_not_count(remote: str, count: int) -> None:
    row = f"   5: 0000000000000000FFFF0000020011AC:1F90 {remote}:C353 01 0:0 0:0 0 0 0 1\n"
    assert own_containers.count_connections(TABLE + row, {8080}) == count
