"""A canary beside the live colour on a real nginx, in both modes: its share, its users, and its end."""

import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from lictor.adapters import files
from lictor.routing import condition, publish, route_store, sides
from lictor.routing.peers import Peer, PublishedRoute
from lictor.spec.settings import Settings

from lab.daemon import free_ports, wait_for
from lab.http import ask
from lab.nginx import Nginx
from support.backend import Backend
from support.modes import in_both_modes
from support.paths import REPOSITORY
from support.routed import nginx_of, set_up, with_nginx
from support.waiting import wait_until_waiting

NAME, COOKIE = "books", "SHELF"


@pytest.fixture
def settings(tmp_path: Path, nginx: Nginx, mode: str) -> Settings:
    return with_nginx(set_up(str(tmp_path), nginx), mode=mode)


@pytest.fixture
def blue() -> Iterator[list[Backend]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Backend(f"blue-{number}")) for number in range(3)]


@pytest.fixture
def green() -> Iterator[list[Backend]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Backend(f"green-{number}")) for number in range(3)]


def serve(node: Settings, live: Sequence[int], canary: Sequence[int] = (), share: float = 0.1, *,
          sticky: bool = False, wait: bool = False) -> None:
    """What a decision leaves in the state folder; returns once nginx serves it."""
    options = {**({"sticky": COOKIE} if sticky else {}), **({"wait": 60.0} if wait else {})}
    route_store.write_route(node.state_dir, NAME, {
        "name": NAME, "service": f"{NAME}-blue", "traffic": "healthy", "node": "node-1", "empty_ok": False,
        "routes": [{"path": "/books", "host": "", "options": options}], "removed": False,
        "measure": True, "ignore": [],
        "canary": {"service": f"{NAME}-green", "share": share} if canary else None})
    before = route_store.published(node.state_dir, NAME) or PublishedRoute((), ())
    of_live, of_canary = ([Peer("127.0.0.1", port) for port in some] for some in (live, canary))
    route_store.write_published(node.state_dir, NAME, before._replace(
        peers=sides.share_out(of_live, of_canary, share),
        instances=tuple(("node-1", f"{port}") for port in (*live, *canary)),
        canary=tuple(("node-1", f"{port}") for port in canary), confirmed=False))
    assert publish.publish(node) == [NAME]


def ports(some: Sequence[Backend]) -> list[int]:
    return [each.port for each in some]


def answered(nginx: Nginx, requests: int = 200, cookie: str = "") -> Counter[str]:
    """Who has answered how many requests; another status than 200 as it is."""
    found = Counter[str]()
    for _ in range(requests):
        status, body = ask(f"127.0.0.1:{nginx.port}", "GET", "/books/x", timeout_s=60,
                           headers={"Cookie": f"{COOKIE}={cookie}"} if cookie else {})
        found[json.loads(body)["instance"] if status == 200 else str(status)] += 1
    return found


def of_canary(found: Counter[str]) -> int:
    return sum(number for name, number in found.items() if name.startswith("green"))


def places(nginx: Nginx, clients: Sequence[str]) -> dict[str, str]:
    """The instance of each client."""
    return {each: name for each in clients for name in answered(nginx, 1, each)}


def clients(number: int) -> list[str]:
    return [f"{each * 2654435761 % 2**32:08x}{each:024x}" for each in range(number)]


@in_both_modes
def test_each_side_has_its_share_and_its_instances_have_equal_ones(
        settings: Settings, nginx: Nginx, blue: list[Backend], green: list[Backend]) -> None:
    serve(settings, ports(blue), ports(green[:2]), 0.2)
    found = answered(nginx, 300)
    assert sum(found.values()) == 300 and found.keys() == {each.name for each in (*blue, *green[:2])}
    assert 50 <= of_canary(found) <= 70  # each of two workers spreads its requests evenly
    assert max(found[each.name] for each in blue) - min(found[each.name] for each in blue) <= 12
    assert abs(found["green-0"] - found["green-1"]) <= 12
    serve(settings, ports(blue), ports(green[:1]), 0.5)
    assert 90 <= of_canary(answered(nginx, 200)) <= 110
    serve(settings, ports(blue))
    wait_for(lambda: of_canary(answered(nginx, 20)) == 0, "none is the canary's any more")
    assert answered(nginx, 60).keys() == {each.name for each in blue}


@in_both_modes
def test_a_canary_that_dies_fails_no_request(settings: Settings, nginx: Nginx, blue: list[Backend],
                                             green: list[Backend]) -> None:
    serve(settings, ports(blue), ports(green), 0.5)
    end, found = threading.Event(), list[Counter[str]]()

    def load() -> None:
        while not end.is_set():
            found.append(answered(nginx, 5))

    asking = [threading.Thread(target=load) for _ in range(3)]
    for each in asking:
        each.start()
    try:
        wait_for(lambda: of_canary(sum(found, Counter())) > 50, "the canary has its share")
        for dying in green:
            dying.server.shutdown()
            dying.server.server_close()
        before = len(found)
        wait_for(lambda: len(found) > before + 60, "requests come all the same")
        serve(settings, ports(blue))
        before = len(found)
        wait_for(lambda: len(found) > before + 20, "and when it has ended")
    finally:
        end.set()
        for each in asking:
            each.join()
    assert sum(found, Counter()).keys() <= {each.name for each in (*blue, *green)}


@in_both_modes
def test_an_instance_that_was_never_there_fails_none_either(settings: Settings, nginx: Nginx,
                                                            blue: list[Backend]) -> None:
    serve(settings, ports(blue), free_ports(2), 0.5)
    assert answered(nginx, 100).keys() == {each.name for each in blue}
    serve(settings, free_ports(1), ports(blue[:1]), 0.1)
    assert answered(nginx, 50).keys() == {"blue-0"}  # a live one that dies is retried at the canary


@pytest.mark.parametrize("mode", ["live"])
def test_requests_that_may_wait_do_so_only_while_neither_side_serves(settings: Settings, nginx: Nginx,
                                                                     blue: list[Backend], green: list[Backend]) -> None:
    refusing = free_ports(1)
    serve(settings, ports(blue), refusing, 0.5, wait=True)
    assert answered(nginx, 100).keys() == {each.name for each in blue}
    for dying in blue:
        dying.server.shutdown()
        dying.server.server_close()
    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(answered, nginx, 1) for _ in range(20)]
        wait_until_waiting(settings, 20)
        serve(settings, ports(blue), ports(green[:1]), 0.5, wait=True)
        assert sum((each.result() for each in asked), Counter()) == {"green-0": 20}
    assert answered(nginx, 20) == {"green-0": 20}


@in_both_modes
def test_a_user_stays_on_a_side_while_the_share_is_the_same(settings: Settings, nginx: Nginx, blue: list[Backend],
                                                            green: list[Backend]) -> None:
    serve(settings, ports(blue), ports(green), 0.2, sticky=True)
    everybody = clients(200)
    first = places(nginx, everybody)
    assert 20 <= of_canary(Counter(first.values())) <= 60  # 40, and four standard deviations or so
    assert {*first.values()} == {each.name for each in (*blue, *green)}
    for _ in range(2):
        assert places(nginx, everybody) == first
    serve(settings, ports(blue), ports(green), 0.2, sticky=True)
    assert places(nginx, everybody) == first


@pytest.mark.parametrize("mode", ["live"])
def test_live_mode_chooses_the_side_first(settings: Settings, nginx: Nginx, blue: list[Backend],
                                          green: list[Backend]) -> None:
    """Nobody moves but the users of an instance that goes, and these stay on their side, as long as it has another one;
    a greater share takes users from the live side only."""
    serve(settings, ports(blue), sticky=True)
    everybody = clients(200)
    alone = places(nginx, everybody)
    serve(settings, ports(blue), ports(green), 0.2, sticky=True)
    first = places(nginx, everybody)
    tried = {each for each in everybody if first[each].startswith("green")}
    assert tried and {each: first[each] for each in everybody if each not in tried}.items() <= alone.items()

    def moved(live: Sequence[Backend], canary: Sequence[Backend], share: float = 0.2) -> dict[str, tuple[str, str]]:
        serve(settings, ports(live), ports(canary), share, sticky=True)
        found = places(nginx, everybody)
        return {each: (first[each], found[each]) for each in everybody if first[each] != found[each]}

    gone = moved(blue, green[:2])
    assert gone.keys() == {each for each in everybody if first[each] == "green-2"}
    assert all(then.startswith("green") for _, then in gone.values())
    gone = moved(blue[1:], green)
    assert gone.keys() == {each for each in everybody if first[each] == "blue-0"}
    assert all(then.startswith("blue") for _, then in gone.values())
    more = moved(blue, green, 0.4)
    assert more and all(before.startswith("blue") and then.startswith("green") for before, then in more.values())
    green[2].server.shutdown()
    green[2].server.server_close()
    refused = moved(blue, green)
    assert refused.keys() == {each for each in everybody if first[each] == "green-2"}
    assert all(then.startswith("green") for _, then in refused.values())
    serve(settings, ports(green[:2]), sticky=True)
    assert {*places(nginx, everybody).values()} == {"green-0", "green-1"}
    serve(settings, ports(green[:2]), ports(blue), 0.2, sticky=True)  # the other way round, at the next release
    then = places(nginx, everybody)
    assert {each for each in everybody if then[each].startswith("blue")} == tried
    serve(settings, ports(blue), sticky=True)
    assert places(nginx, everybody) == alone


@pytest.mark.parametrize("mode", ["reload"])
def test_a_template_that_counts_no_canary_is_refused(settings: Settings, nginx: Nginx, tmp_path: Path,
                                                     blue: list[Backend], green: list[Backend]) -> None:
    shipped = (REPOSITORY / "templates" / "location.conf.j2").read_text()
    files.write_atomic(f"{tmp_path}/templates/location.conf.j2", shipped.replace("if canary_file %", "if false %"))
    serve(settings, ports(blue))
    serve(settings, ports(blue), ports(green))  # other peers are served by the files from before
    assert "requests to a canary are counted apart, and it does not include canary_file" in (
        condition.read(settings).refused[NAME])
    assert answered(nginx, 40).keys() == {each.name for each in (*blue, *green)}


@pytest.mark.parametrize("mode", ["reload"])
def test_reload_mode_gives_nginx_the_addresses_of_many(settings: Settings, nginx: Nginx, blue: list[Backend]) -> None:
    """nginx takes no word of more than some 4 kB."""
    serve(settings, ports(blue), [10_000 + number for number in range(999)], 0.01)
    assert nginx.get("/books/x")[0] == 200
    text = files.read(f"{nginx_of(settings).conf_dir}/peers/canary/{NAME}.conf") or ""
    assert text.count("127.0.0.1:") == 999
    serve(settings, ports(blue))
    assert not files.read(f"{nginx_of(settings).conf_dir}/peers/canary/{NAME}.conf")
    assert "canary" not in (files.read(f"{nginx_of(settings).conf_dir}/locations/{NAME}.conf") or "canary")
