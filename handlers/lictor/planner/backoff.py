"""Which numbers to start, and how long to wait after failures. Pure."""

import zlib

from lictor.planner.actions import Action
from lictor.planner.observation import Member, Observation
from lictor.planner.service_state import Deaths

BACK_OFF_S = 10.0
BACK_OFF_MAX_S = 300.0


def back_off_s(deaths: Deaths) -> float:
    """The first death is made good at once; then it is 10 s, doubling to 5 min."""
    return 0.0 if deaths.count < 2 else min(BACK_OFF_S * 2.0 ** min(deaths.count - 2, 30), BACK_OFF_MAX_S)


def retry_at(name: str, number: str, deaths: Deaths) -> float:
    """The earliest time to start this number, or to tell its engine, again. Each wait is up to a quarter shorter, so
    that what died together does not come back together; but for everybody who looks it is the same."""
    jitter = zlib.crc32(f"{name}-{number}-{deaths.last_at}".encode()) / 2 ** 32
    return deaths.last_at + back_off_s(deaths) * (1 - jitter / 4)


def starts(everyone: list[Member], seen: Observation, count: int, why: str, *, release: str,
           replaces: str = "") -> list[Action]:
    """Start `count` of the live colour with the lowest free numbers; what has to wait says so."""
    wanted = seen.desired
    limit = wanted.spec.replicas.max if wanted.spec else 0
    used = {each.container.number for each in everyone if each.condition != "gone"}
    free = [number for number in range(1, len(used) + count + 1) if number not in used][:count]
    room = limit - sum(each.condition != "gone" for each in everyone)
    actions = []
    for number in free:
        container, deaths = f"{wanted.catalog_name}-{number}", seen.state.deaths.get(str(number))
        wait_until = retry_at(wanted.name, str(number), deaths) if deaths else 0.0
        if release != wanted.release and seen.state.live is None:
            actions.append(Action("hold", "not started, as it is not remembered what those that serve were made from; "
                                          f"another release would end that: {why}", container, number=number))
        elif deaths and seen.now < wait_until:
            actions.append(Action("wait", f"backs off after {deaths.count} failures, until then no start: {why}",
                                  container, number=number, until=wait_until))
        elif room <= 0:
            actions.append(Action("wait", f"replicas.max is {limit}, one of those that go has to be gone first: {why}",
                                  container, number=number))
        else:
            room -= 1
            actions.append(Action("start", why, container, number=number, replaces=replaces, color=wanted.color,
                                  release=release))
    return actions
