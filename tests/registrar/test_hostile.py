"""What containers, images and one registration can do to the others: nothing. A double stands for our own adapters."""

from collections.abc import Collection
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from lictor import errors, model
from lictor.registrar import container_views, diff, docker_events, registration
from lictor.registrar.catalogue import Catalogue

TEXT = st.one_of(st.text(max_size=12), st.sampled_from(
    ["", "8080", "8080/tcp", "http/tcp", "/", "9" * 5000, "a" * 5000, "٣/tcp", "-1", "0.0.0.0", "::", "1.2.3.4/99",
     "a;b", "\n"]))
SETTING = st.sampled_from(["NAME", "ID", "TAGS", "IGNORE", "CHECK_HTTP", "CHECK_TTL", "CHECK_SCRIPT", "CHECK_INTERVAL",
                           "CHECK_TCP", "CHECK_GRPC", "", "X" * 300])
KEY = st.one_of(TEXT, SETTING.map("SERVICE_{}".format), st.tuples(TEXT, SETTING).map(
    lambda parts: f"SERVICE_{parts[0]}_{parts[1]}"), st.sampled_from(["lictor.service", "lictor.color", "lictor.gate",
                                                                      "lictor.number", "signal", "addr",
                                                                      model.LABEL_ROUTE]))
BINDING = st.fixed_dictionaries({"HostIp": TEXT, "HostPort": TEXT})
CONTAINERS = st.fixed_dictionaries({
    "Id": st.just("c0ffee"), "Name": TEXT.map("/{}".format), "Image": st.just("sha256:0"),
    "State": st.fixed_dictionaries({"Status": st.sampled_from(["running", "paused", "exited", ""]),
                                    "StartedAt": TEXT, "Health": st.none() | st.fixed_dictionaries({"Status": TEXT})}),
    "HostConfig": st.fixed_dictionaries({"NetworkMode": st.sampled_from(["host", "container:x", "none", "default"])}),
    "Config": st.fixed_dictionaries({
        "Image": TEXT, "Labels": st.none() | st.dictionaries(KEY, TEXT, max_size=8),
        "Env": st.none() | st.lists(st.tuples(KEY, TEXT).map("=".join), max_size=5), "StopSignal": TEXT,
        "ExposedPorts": st.none() | st.dictionaries(TEXT, st.just({}), max_size=4)}),
    "NetworkSettings": st.fixed_dictionaries({
        "Ports": st.none() | st.dictionaries(TEXT, st.none() | st.lists(BINDING, max_size=2), max_size=3),
        "Networks": st.none() | st.dictionaries(TEXT, st.fixed_dictionaries({"IPAddress": TEXT}), max_size=2)})})
OPTIONS = st.builds(registration.Options, host=st.just("vm"), engine=st.just("E1"), internal=st.booleans(),
                    explicit=st.booleans(), address_label=st.sampled_from(["", "addr"]), ignore_image=st.booleans())


class Engine:
    """An engine of two containers, one of which is in the other's network perhaps."""

    def __init__(self, container: dict[str, Any], other: dict[str, Any]) -> None:
        self.found = {"c0ffee": container, "x": other}

    def inspect(self, name: str) -> dict[str, Any] | None:
        return self.found.get(name)

    def image_config(self, _: str) -> dict[str, Any]:
        return dict(self.found["x"]["Config"])


@settings(max_examples=150)
@given(CONTAINERS, CONTAINERS, OPTIONS)
def test_whatever_docker_shows_of_a_container_ends_nothing(container: dict[str, Any], other: dict[str, Any],
                                                           options: registration.Options) -> None:
    engine: Any = Engine(container, other)
    view = container_views.inspect(engine, "c0ffee", "", options)
    if view:
        assert all(line.isprintable() and len(line) < 1000 for line in view.refused)
        claims, _ = container_views.claim([view])
        diff.differences(claims, {}, {}, diff.Rules("E1"))


@pytest.mark.parametrize(("attributes", "signal"), [
    ({"signal": "15"}, 15), ({"signal": "x"}, 0), ({"signal": ""}, 0), ({"signal": "9" * 5000}, 0), ({}, 0), (None, 0),
])
def test_a_label_may_stand_in_the_place_of_a_signal(attributes: dict[str, str] | None, signal: int) -> None:
    event = {"Action": "kill", "Actor": {"ID": "c0ffee", "Attributes": attributes}}
    assert docker_events._message(event) == docker_events.Message("kill", "c0ffee", "", signal)


class Agent:
    """An agent that cannot register one of two services, be it refused or a fault of its own."""

    token_changes = 0

    def __init__(self, error: errors.LictorError, *, is_away: bool) -> None:
        self.error, self.is_away, self.registered = error, is_away, list[str]()
        self.read_in_parts = set[str]()

    def local_services(self, _: Collection[str]) -> dict[str, Any]:
        return {}

    def local_checks(self, _: Collection[str] = ()) -> dict[str, Any]:
        if self.is_away and self.registered:
            raise errors.Unavailable("away")
        return {}

    def token_accessor(self) -> str:
        raise errors.Refused("the ACLs are off")

    def register(self, definition: dict[str, Any]) -> None:
        self.registered.append(definition["ID"])
        if definition["ID"] == "bad":
            raise self.error


def view_of(service_id: str) -> container_views.View:
    definition = {"ID": service_id, "Name": "x"}
    return container_views.View("", service_id, "", [registration.Registration(
        service_id, service_id, f"id-{service_id}", definition, None)], [])


@pytest.mark.parametrize("error", [errors.Refused("400"), errors.Unavailable("500"), errors.Conflict("409")])
def test_one_registration_holds_up_no_other(error: errors.LictorError) -> None:
    agent: Any = Agent(error, is_away=False)
    catalogue = Catalogue(agent, keep_failed=False, token="")
    views = [view_of("bad"), view_of("good")]
    registered, refusals = catalogue.repair(views, None, diff.Rules("E1"), thoroughly=False)  # type: ignore[arg-type]
    assert registered == 1 and agent.registered == ["bad", "good"]
    assert [(each.container, each.cause) for each in refusals] == [("bad", "catalogue")]
    away: Any = Agent(errors.Unavailable("away"), is_away=True)
    with pytest.raises(errors.Unavailable, match="away"):
        Catalogue(away, keep_failed=False, token="").repair(
            views, None, diff.Rules("E1"), thoroughly=False)  # type: ignore[arg-type]
