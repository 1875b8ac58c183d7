"""From the keys below services/NAME/ to what is wanted of the service; bad input leaves the last good value. Pure."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from lictor import errors, model
from lictor.planner.service_state import State
from lictor.spec import placement, service_spec

# What a container is made from: a change of one of these is a release, not a scaling.
_RELEASE_KEYS = ("image", "port", "environment", "env_file", "check", "command", "entrypoint", "volumes", "networks",
                 "labels", "user", "read_only", "cap_drop", "logging", "resources")
# These came later, and are left out of a fingerprint where not used: what older versions have labelled is to stay the
# same release.
_LATER_KEYS = {"project": None, "placement": placement.Placement()}
MADE_FROM = (*_RELEASE_KEYS, *_LATER_KEYS)


class Desired(NamedTuple):
    """What is wanted of one service now. `problems` are refused inputs, each naming its key, value and bounds."""

    name: str
    spec: service_spec.Spec | None  # with the image that is asked for; None: nothing valid was ever given
    table: dict[str, Any] | None  # the same as the plain table it was parsed from
    replicas: int
    why_replicas: str
    color: str
    why_held: str  # "" when it is not held
    removed: bool
    problems: tuple[str, ...] = ()
    release: str = ""  # what a container's label lictor.release has to say
    color_key: str = ""  # what the key says, which only lictor writes; "": there is none

    @property
    def catalog_name(self) -> str:
        return model.catalog_name(self.name, self.color)

    @property
    def other_color(self) -> str:
        return "green" if self.color == "blue" else "blue"

    @property
    def release_color(self) -> str:
        """That of the instances that a release brings; "" for a service without colours."""
        return self.other_color if self.color else ""

    @property
    def catalog_names(self) -> list[str]:
        """Those of all its colours."""
        return catalog_names(self.spec) if self.spec else []


def desired(name: str, keys: Mapping[str, bytes], remembered: State, prefix: str = "services/") -> Desired:
    """Read one service's keys. What is refused, or no longer there, is replaced by what was last good."""
    problems: list[str] = []
    removed = "removed" in keys
    why_held = f"the hold key is set ({_text(keys['hold'])[:100] or 'without a word'})" if "hold" in keys else (
        "" if "spec" in keys or removed else
        "its spec cannot be read (a key that is gone removes nothing; `lictor remove` does)")
    table, spec = _spec(name, keys, remembered, problems, f"{prefix}{name}/spec")
    if spec is None or table is None:
        return Desired(name, None, None, 0, "", "", why_held, removed, tuple(problems))
    image = _image(keys, remembered, spec, problems, f"{prefix}{name}/image")
    if image != spec.image:
        table = {**table, "image": image}
        spec = msgspec.structs.replace(spec, image=image)
    replicas, why = _replicas(keys, remembered, spec, problems, f"{prefix}{name}/replicas")
    color_key = _text(keys.get("color", b""))[:40]
    color = _color(spec, color_key, remembered, problems, f"{prefix}{name}/color")
    return Desired(name, spec, table, replicas, why, color, why_held, removed, tuple(problems), fingerprint(spec),
                   color_key)


def catalog_names(spec: service_spec.Spec) -> list[str]:
    """The names in the catalogue that a service may ever have."""
    colors = model.COLORS if spec.release.strategy == "blue-green" else ("",)
    return [model.catalog_name(spec.name, color) for color in colors]


def fingerprint(spec: service_spec.Spec) -> str:
    """Equal for specs whose containers are made alike; goes into each container's label lictor.release."""
    made_from = {key: getattr(spec, key) for key in _RELEASE_KEYS}
    made_from |= {key: given for key, unused in _LATER_KEYS.items() if (given := getattr(spec, key)) != unused}
    text = json.dumps(msgspec.to_builtins(made_from, enc_hook=float), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def with_environment(spec: service_spec.Spec, table: dict[str, str]) -> service_spec.Spec:
    """The spec with its env files read into `environment`; the fingerprint stays that of the files' names."""
    return msgspec.structs.replace(spec, environment=dict(table))


def route(wanted: Desired, node: str) -> dict[str, Any] | None:
    """What lictor-route needs of a service, as it is written to routes/NAME.json; None when nginx has no part in it."""
    if wanted.spec is None or wanted.spec.route is None:
        return None
    return {
        "name": wanted.name, "service": wanted.catalog_name, "path": wanted.spec.route.path,
        "host": wanted.spec.route.host, "traffic": wanted.spec.traffic, "node": node,
        "empty_ok": wanted.replicas == 0, "removed": wanted.removed,
        "acts": wanted.spec.engine != "none" and wanted.spec.node in ("", node),
    }


def _spec(name: str, keys: Mapping[str, bytes], remembered: State, problems: list[str],
          where: str) -> tuple[dict[str, Any] | None, service_spec.Spec | None]:
    if "spec" in keys:
        try:
            table = service_spec.read_spec(keys["spec"])
            spec = service_spec.parse_spec(table, where)
            problem = _problem(spec, name, remembered)
            if not problem:
                return table, spec
            problems.append(f"{where}: {problem}")
        except (ValueError, RecursionError) as error:
            problems.append(f"{where}: is no JSON ({error}); use `lictor apply FILE`")
        except errors.Refused as error:
            problems.append(str(error))
    elif remembered.spec is None and "removed" not in keys:
        problems.append(f"{where}: is missing; use `lictor apply FILE`")
    try:
        return remembered.spec, service_spec.parse_spec(remembered.spec, where) if remembered.spec else None
    except errors.Refused:
        return None, None  # damaged, or remembered by another version that allowed more


def _problem(spec: service_spec.Spec, name: str, remembered: State) -> str:
    """What is wrong with a spec that is sound by itself."""
    if spec.name != name:
        return f"name is {spec.name!r}; it must be {name!r} as in the key"
    if not spec.node and spec.engine in service_spec.ON_ONE_NODE:
        return "node is missing; it must name the one node that runs it, and `lictor apply FILE` adds that"
    before = ((remembered.spec or {}).get("release") or {}).get("strategy", service_spec.Release().strategy)
    if remembered.spec and before in service_spec.STRATEGIES and before != spec.release.strategy:
        return (f"release.strategy was {before!r} and is {spec.release.strategy!r}; remove the service, wait until its "
                "containers are gone, then apply it again")
    return ""


def _image(
    keys: Mapping[str, bytes], remembered: State, spec: service_spec.Spec, problems: list[str], where: str
) -> str:
    if "image" not in keys or spec.engine == "none":
        return spec.image
    try:
        return service_spec.parse_image(_text(keys["image"]), spec.engine)
    except ValueError as error:
        problems.append(f"{where}: {error}")
        return remembered.image or spec.image


def _color(spec: service_spec.Spec, key: str, remembered: State, problems: list[str], where: str) -> str:
    """The live colour: what lictor remembers to have written, as a change by hand moves no traffic."""
    if spec.release.strategy != "blue-green":
        return ""
    live = remembered.color if remembered.color in model.COLORS else ""
    if key and key != live and (live or key not in model.COLORS):
        problems.append(f"{where}: is {key!r}; {live or 'blue'} is live, and only lictor writes this key "
                        "(`lictor rollback` goes back)")
    return live or (key if key in model.COLORS else "blue")


def _replicas(keys: Mapping[str, bytes], remembered: State, spec: service_spec.Spec, problems: list[str],
              where: str) -> tuple[int, str]:
    last = spec.replicas.initial if remembered.replicas is None else remembered.replicas
    kept = max(spec.replicas.min, min(spec.replicas.max, last))
    if "replicas" in keys:
        try:
            count = service_spec.parse_replicas(_text(keys["replicas"]), spec.replicas)
            return count, f"replicas key is {count}"
        except ValueError as error:
            problems.append(f"{where}: {error}")
            return kept, f"replicas key is refused, {kept} is the last good count"
    return kept, f"spec's initial count is {kept}" if remembered.replicas is None else f"{kept} is the last good count"


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")
