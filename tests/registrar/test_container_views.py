"""Tables: which container has a service id that several claim."""

import pytest

from lictor.registrar.container_views import View, claim
from lictor.registrar.registration import Registration

OWN = "vm:books-1:8080"


def view(name: str, started_at: str, service_id: str) -> View:
    claimed = Registration(service_id, name, f"id-{name}", {}, None)
    return View("", name, started_at, [claimed], [], frozenset())


@pytest.mark.parametrize(("views", "holder"), [
    ([view("books-1", "2", OWN), view("impostor", "1", OWN)], "books-1"),  # it runs for longer, and is not called so
    ([view("books-1", "1", OWN), view("impostor", "2", OWN)], "books-1"),
    ([view("impostor", "1", OWN)], "impostor"),
    ([view("vm", "1", OWN), view("8080", "1", OWN), view("books-1", "2", OWN)], "books-1"),
    ([view("books-1", "2", f"{OWN}:udp"), view("impostor", "1", f"{OWN}:udp")], "books-1"),
    ([view("one", "2", "shared"), view("two", "1", "shared")], "two"),
    ([view("one", "2", "a:b:c"), view("two", "1", "a:b:c")], "two")])
def test_an_id_is_of_the_container_that_it_names_else_of_the_oldest(views: list[View], holder: str) -> None:
    claims, refusals = claim(views)
    assert [each.container for each in claims.values()] == [holder]
    assert {container for container, _ in refusals} == {each.name for each in views} - {holder}
