"""Tables: which containers are lictor's own, by their names and labels."""

import pytest

from lictor.engines import labels
from lictor.spec import service_spec

DOCKER = {"lictor.engine": "docker", "lictor.service": "books", "lictor.number": "1", "lictor.color": "",
          "lictor.container": "books-1"}
COMPOSE = {"lictor.engine": "compose", "lictor.service": "books", "lictor.number": "4", "lictor.color": "blue",
           "com.docker.compose.project": "shop", "com.docker.compose.service": "blue",
           "com.docker.compose.container-number": "2", "lictor.container": ""}
SWARM = {"lictor.engine": "swarm", "lictor.service": "books", "lictor.color": "blue",
         "com.docker.swarm.task.id": "t1", "com.docker.swarm.task.name": "books-blue.3.t1"}


@pytest.mark.parametrize(("name", "given", "maker"), [
    ("books-1", DOCKER, "docker"),
    ("books-blue-1", {**DOCKER, "lictor.color": "blue", "lictor.container": "books-blue-1"}, "docker"),
    ("books-1", {**DOCKER, "com.docker.compose.project": "shop"}, "docker"),  # of an image that Compose built
    ("books-1", {**DOCKER, **{key: SWARM[key] for key in SWARM if key.startswith("com.")}}, "docker"),
    ("", DOCKER, "docker"),  # Docker is removing it
    ("debug", DOCKER, ""),  # `docker commit`, and run by hand
    ("books-2", DOCKER, ""),
    ("books-2", {**DOCKER, "lictor.number": "2"}, ""),
    ("books-1", {**DOCKER, "lictor.service": "carts"}, ""),
    ("books-1", {**DOCKER, "lictor.color": "green"}, ""),
    ("books-x", {**DOCKER, "lictor.number": "x", "lictor.container": "books-x"}, ""),
    ("books-1", {**DOCKER, "lictor.number": "1" * 5000}, ""),
    ("books-1", {"lictor.service": "books", "lictor.number": "1"}, ""),
    ("books-1", {**DOCKER, "lictor.engine": "nonsense"}, ""),
    ("books-1", {}, ""), ("", {}, ""),
    ("books-", {**DOCKER, "lictor.number": "", "lictor.container": "books-"}, ""),
    *((f"books-{each}", {**DOCKER, "lictor.number": each, "lictor.container": f"books-{each}"}, "")
      for each in ("0", "01", "+1", "-1", "1 ", "１", "1e3")),
    ("shop_blue_2", COMPOSE, "compose"), ("shop-blue-2", COMPOSE, "compose"), ("", COMPOSE, "compose"),
    ("shop_blue_3", COMPOSE, ""), ("shop_blue_run_4f1", COMPOSE, ""),
    ("0123456789ab_shop_blue_2", COMPOSE, ""),  # while `docker-compose up` by hand makes it anew
    ("0123456789ab_shop-blue-2", COMPOSE, ""), ("0123456789ab_books-1", DOCKER, ""),
    ("0123456789ab_the-books", {**COMPOSE, "lictor.container": "the-books"}, ""),
    ("the-books", {**COMPOSE, "lictor.container": "the-books"}, "compose"),
    ("shop_blue_2", {**COMPOSE, "lictor.container": "the-books"}, ""),
    ("books-blue.3.t1", SWARM, "swarm"), ("debug", SWARM, ""),
    ("carts.3.t1", {**SWARM, "com.docker.swarm.task.name": "carts.3.t1"}, ""),
])
def test_own_is_what_has_the_labels_and_the_name_that_it_was_given(
        name: str, given: dict[str, str], maker: str) -> None:
    assert labels.maker(name, given) == maker


@pytest.mark.parametrize(("given", "number"), [
    (DOCKER, "1"), (COMPOSE, "4"), (SWARM, "3"), ({**SWARM, "lictor.engine": "docker"}, ""), ({}, ""),
    ({**SWARM, "com.docker.swarm.task.name": "x"}, ""), ({"lictor.number": "9" * 10}, ""),
    ({"lictor.number": "01"}, ""), ({"lictor.number": "0"}, ""),
])
def test_the_number_is_the_label_s_or_the_slot(given: dict[str, str], number: str) -> None:
    assert labels.number(given) == number


def test_a_label_whose_name_is_two_gives_no_image_a_say() -> None:
    spec = service_spec.parse_spec({"name": "books", "image": "b:1", "port": 8080, "labels": {
        "SERVICE_A SERVICE_8080_ID": "x", "SERVICE_B\tSERVICE_ID": "x", "SERVICE_TAGS": "a"}}, "")
    own = labels.of_container(spec, name="books-1", number=1, color="", release="r", gated=False)
    assert own["lictor.registers"].split() == ["SERVICE_8080_NAME", "SERVICE_NAME", "SERVICE_TAGS"]
