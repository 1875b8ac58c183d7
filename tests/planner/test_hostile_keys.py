"""Keys as other programs and hands write them: white space around a value, and names that the catalogue cannot tell."""

from typing import Any

import msgspec
import pytest

from lictor import errors
from lictor.planner import desired
from lictor.planner.service_state import LastGood, State
from lictor.spec import quantities, service_spec, settings

from support.scene import SPEC, wanted


@pytest.mark.parametrize("around", ["{}\n", " {}", "\t{}\r\n", "\n\n{} \t", "\ufeff{}\r\n", "{}\u00a0",
                                    "\u200b{}"])
@pytest.mark.parametrize(("key", "value", "field", "is_read"), [
    ("image", "books:2", "image", "books:2"), ("replicas", "3", "replicas", 3),
    ("color", "green", "color", "green"), ("hold", "backup", "why_held", "the hold key is set (backup)")])
def test_white_space_around_a_key_is_no_part_of_it(around: str, key: str, value: str, field: str,
                                                   is_read: object) -> None:
    service = wanted(1, {key: around.format(value).encode()}, {"release": {"strategy": "blue-green"}})
    assert service.problems == ()
    assert is_read in (getattr(service, field, None), getattr(service.spec, field, None))


@pytest.mark.parametrize(("key", "value"), [
    ("image", "books\n:2"), ("image", "books:2\x00"), ("image", "books\u00a0:2"), ("image", "books\u200b:2"),
    ("image", "\x0bbooks:2"),
    ("replicas", "1\n2"), ("replicas", "3\x00"), ("replicas", "\x1c3"), ("color", "gr\neen")])
def test_a_control_character_in_a_value_stays_refused(key: str, value: str) -> None:
    service = wanted(1, {key: value.encode()}, {"release": {"strategy": "blue-green"}})
    assert len(service.problems) == 1 and f"services/books/{key}: " in service.problems[0]


@pytest.mark.parametrize("around", ["\ufeff{}", "{}\r\n\r\n", "\u00a0{}\u200b"])
def test_a_spec_may_come_from_any_editor(around: str) -> None:
    assert service_spec.read_spec(around.format('{"name": "books"}').encode()) == {"name": "books"}


@pytest.mark.parametrize("changes", [
    {"image": "books:1\n"}, {"node": " node-1"}, {"engine": "docker\n"}, {"port": "8080\n"},
    {"check": {"http": "/health\n"}}, {"drain": "30s\n"}, {"heal": {"grace": " 10s "}},
    {"networks": []}, {"name": "books\r\n"}])
def test_white_space_around_a_field_of_a_spec_is_no_part_of_it(changes: dict[str, Any]) -> None:
    plain = service_spec.parse_spec({**SPEC, "port": "8080"}, "spec")
    assert service_spec.parse_spec({**SPEC, "port": "8080", **changes}, "spec") == plain
    assert desired.fingerprint(plain) == wanted(1, spec={"port": "8080", **changes}).release


def test_what_is_the_containers_own_matter_stays_as_it_is() -> None:
    own = {"environment": {"TEXT": " a\n"}, "command": ["sh", "-c", " x\n"], "labels": {"l": " v "}}
    spec = service_spec.parse_spec({**SPEC, **own}, "spec")
    assert (spec.environment, spec.command, spec.labels) == tuple(own.values())


def test_white_space_around_a_setting_is_no_part_of_it_and_arguments_stay() -> None:
    read = settings.parse_settings({"prefix": "services/\n", "state_dir": " /var/lib/lictor", "heal": {"per": "10m\n"},
                                    "notify": {"command": ["mail", "-s", " lictor "]}})
    assert (read.prefix, read.state_dir, float(read.heal.per_s)) == ("services/", "/var/lib/lictor", 600.0)
    assert read.notify and read.notify.command == ("mail", "-s", " lictor ")


@pytest.mark.parametrize("text", ["9" * 400 + "h", "9" * 5000 + "s", "0." + "9" * 400 + "s1ms", "1000001h", "1h" * 9])
@pytest.mark.parametrize("key", ["drain", "stop_grace_period", "heal.grace", "heal.per", "release.deadline",
                                 "release.keep", "release.healthy_for", "check.interval"])
def test_a_duration_with_which_nothing_can_compute_is_refused(text: str, key: str) -> None:
    if text.startswith("0."):
        assert quantities.parse_duration(text[:-3]) <= 1
        return
    table: Any = {**SPEC, "check": {"http": "/"}}
    outer, _, inner = key.partition(".")
    table = {**table, outer: {**table.get(outer, {}), inner: text} if inner else text}
    with pytest.raises(errors.Refused, match=r"at most 1000000h|is no duration"):
        service_spec.parse_spec(table, "spec")
    service = desired.desired("books", {"spec": msgspec.json.encode(table)}, State(last_good=LastGood(SPEC, 2)))
    assert len(service.problems) == 1 and service.spec and service.replicas == 2


@pytest.mark.parametrize("text", ["9" * 19, "9" * 5000 + "g", "-1", "1e9", "1 m"])
def test_an_amount_of_memory_with_which_nothing_can_compute_is_refused(text: str) -> None:
    with pytest.raises(errors.Refused, match="no amount of memory"):
        service_spec.parse_spec({**SPEC, "resources": {"memory": text}}, "spec")


ROLLING, BLUE_GREEN = {"strategy": "rolling"}, {"strategy": "blue-green"}


@pytest.mark.parametrize(("services", "refused"), [
    ({"shop": BLUE_GREEN, "shop-blue": ROLLING}, {"shop", "shop-blue"}),
    ({"shop": BLUE_GREEN, "shop-green": ROLLING, "other": ROLLING}, {"shop", "shop-green"}),
    ({"shop": ROLLING, "shop-blue": ROLLING}, set()),
    ({"shop": BLUE_GREEN, "shop-blue": BLUE_GREEN}, set()),  # shop-blue-blue and shop-blue-green
    ({"shop-blue": BLUE_GREEN, "shop-blue-green": ROLLING, "shop": ROLLING}, {"shop-blue", "shop-blue-green"}),
    ({"shop": BLUE_GREEN, "shop-red": ROLLING, "shop-bluegreen": ROLLING}, set())])
def test_two_services_of_one_name_in_the_catalogue_are_both_refused(services: dict[str, Any],
                                                                    refused: set[str]) -> None:
    grouped = {name: {"spec": msgspec.json.encode({**SPEC, "name": name, "release": release})}
               for name, release in services.items()}
    specs = desired.specs_of(grouped)
    found = {name: desired.desired(name, keys, State(), "services/", specs) for name, keys in grouped.items()}
    assert {name for name, service in found.items() if service.problems} == refused
    for name in refused:
        assert found[name].spec is None
        assert f"services/{name}/spec: name is '{name}', and " in found[name].problems[0]
        good = State(last_good=LastGood({**SPEC, "name": name, "release": services[name]}, 2))
        kept = desired.desired(name, grouped[name], good, "services/", specs)
        assert kept.spec and kept.replicas == 2  # who was there first goes on as it is
    specs = desired.specs_of({name: {**keys, "removed": b""} for name, keys in grouped.items()})
    assert not any(desired.desired(name, keys, State(), "services/", specs).problems for name, keys in grouped.items())
