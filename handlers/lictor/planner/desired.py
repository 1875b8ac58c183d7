"""The desired state of a service, from its keys below services/NAME/; refused input leaves the last good value."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from lictor import errors, model
from lictor.planner.canary.key import route_field
from lictor.planner.cluster.quorum import members_of
from lictor.planner.routes import pause as pauses
from lictor.planner.service_state import LastGood, State
from lictor.spec import check, limits, placement, service_spec
from lictor.spec.container import options
from lictor.spec.quantities import strip

# What a container is made from: a change of one of these is a release, not a scaling.
_RELEASE_KEYS = ("image", "port", "environment", "env_file", "check", "command", "entrypoint", "volumes", "networks",
                 "labels", "user", "read_only", "cap_drop", "logging", "resources")
# These came later, and are left out of a fingerprint where not used: what older versions have labelled is to stay the
# same release.
_LATER_KEYS = {"project": None, "placement": placement.Placement(), **options.MADE_OF}
MADE_FROM = (*_RELEASE_KEYS, *_LATER_KEYS)

Refusals = Callable[[service_spec.Spec], list[str]]


class Desired(NamedTuple):
    """The desired state of one service. `problems` are refused inputs, each naming its key, value and bounds."""

    name: str
    spec: service_spec.Spec | None  # with the desired image; None: none was ever valid
    table: dict[str, Any] | None  # the same as the plain table it was parsed from
    replicas: int
    why_replicas: str
    color: str
    why_held: str  # "" when it is not held
    removed: bool
    problems: tuple[str, ...] = ()
    release: str = ""  # what a container's label lictor.release has to say
    color_key: str = ""  # what the key says, which only lictor writes; "": there is none
    replicas_given: bool = False  # the count stands in its key, and is valid
    pause: pauses.Pause | None = None  # what the hold key says of one
    canary_key: str = ""  # what the key says, which only lictor writes; "": there is none

    @property
    def has_set(self) -> bool:
        """Whether its instances are the members of a set with state; if it is removed, they end as all others do."""
        return self.spec is not None and self.spec.cluster is not None and not self.removed

    @property
    def is_paused(self) -> bool:
        """Whether all requests are to wait."""
        return self.pause is not None and not self.pause.is_over

    @property
    def catalog_name(self) -> str:
        return model.catalog_name(self.name, self.color)

    @property
    def other_color(self) -> str:
        return "green" if self.color == "blue" else "blue"

    @property
    def release_color(self) -> str:
        """The colour of a release's instances; "" for a service without colours."""
        return self.other_color if self.color else ""

    @property
    def catalog_names(self) -> list[str]:
        return catalog_names(self.spec) if self.spec else []


def desired(name: str, keys: Mapping[str, bytes], state: State, prefix: str = "services/",
            specs: Mapping[str, bytes] = {}, refusals: Refusals = lambda _: []) -> Desired:
    """Read one service's keys. A value that is refused, or gone, is replaced by the last good one.

    `specs`: the spec keys of other services, those that `look_alikes` names at least. `refusals` lists what this node
    does not allow a spec to ask for; a removed service asks for nothing any more.
    """
    problems: list[str] = []
    removed, last_good = "removed" in keys, state.last_good
    hold = pauses.parse(read_text(keys["hold"])) if "hold" in keys else None
    why_held = hold.described if hold else _describe_lack(keys)
    table, spec = _spec(name, keys, last_good, problems, f"{prefix}{name}/spec", specs)
    if spec and not removed:
        table, spec = _allowed(table, spec, last_good, problems, f"{prefix}{name}/spec", refusals)
        problems += _live_refusals(state, spec, refusals)
    color_key, canary_key = (read_text(keys.get(each, b""))[:40] for each in ("color", "canary"))
    if spec is None or table is None:
        return Desired(name, None, None, 0, "", "", why_held, removed, tuple(problems), pause=hold and hold.pause,
                       canary_key=canary_key)
    image = _image(keys, last_good, spec, problems, f"{prefix}{name}/image")
    if image != spec.image:
        table = {**table, "image": image}
        spec = msgspec.structs.replace(spec, image=image)
    replicas, why, is_given = _replicas(keys, last_good, spec, problems, f"{prefix}{name}/replicas")
    if spec.cluster and (useful := members_of(replicas, spec.cluster.traits)) != replicas:
        replicas, why = useful, f"{why}, and {useful} are of use in a set of {spec.cluster.kind}"
    color = _color(spec, color_key, state, problems, f"{prefix}{name}/color")
    return Desired(name, spec, table, replicas, why, color, why_held, removed, tuple(problems), fingerprint(spec),
                   color_key, is_given, hold and hold.pause, canary_key)


def catalog_names(spec: service_spec.Spec) -> list[str]:
    """List the names in the catalogue that a service may ever have, one for each colour."""
    colors = model.COLORS if spec.release.strategy == "blue-green" else ("",)
    return [model.catalog_name(spec.name, color) for color in colors]


def specs_of(grouped: Mapping[str, Mapping[str, bytes]]) -> dict[str, bytes]:
    """Pick the spec keys of all services that were not removed."""
    return {name: keys["spec"] for name, keys in grouped.items() if "spec" in keys and "removed" not in keys}


def look_alikes(spec: service_spec.Spec) -> list[str]:
    """Name the services that may have a name in the catalogue in common with this one: one with a colour behind."""
    bases = [spec.name.removesuffix(f"-{color}") for color in model.COLORS if spec.name.endswith(f"-{color}")]
    return [*bases, *(name for name in catalog_names(spec) if name != spec.name)]


def fingerprint(spec: service_spec.Spec) -> str:
    """Make a text that is equal for specs whose containers are made alike; a container's label lictor.release."""
    made_from = {key: getattr(spec, key) for key in _RELEASE_KEYS}
    made_from |= {key: given for key, unused in _LATER_KEYS.items() if (given := getattr(spec, key)) != unused}
    table = msgspec.to_builtins(made_from, enc_hook=float)
    if table["check"]:  # `start` is lictor's own patience, of which no container is made
        table["check"] = {key: value for key, value in table["check"].items()
                          if key != "start" and (key not in check.UNUSED or value != check.UNUSED[key])}
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()[:12]


def with_environment(spec: service_spec.Spec, table: dict[str, str]) -> service_spec.Spec:
    """Put what the env files hold into `environment`; the fingerprint stays that of the files' names."""
    return msgspec.structs.replace(spec, environment=dict(table))


def route(desired: Desired, node: str, *, measures_all: bool = False) -> dict[str, Any] | None:
    """Make routes/NAME.json for lictor-route; None: nginx has no part in it. Metrics measure what is not scaled too."""
    if desired.spec is None or not desired.spec.routes:
        return None
    scaled, asked = desired.spec.autoscale, desired.spec.check
    canary = None if desired.removed else route_field(desired.name, desired.color, desired.canary_key)
    is_measured = scaled is not None or canary is not None or measures_all
    probed = {asked.path} - {""} if asked and not desired.spec.check_port else set()  # nginx asks at no other port
    return {
        "routes": [each.table for each in desired.spec.routes],
        "name": desired.name, "service": desired.catalog_name, "traffic": desired.spec.traffic, "node": node,
        "empty_ok": desired.replicas == 0, "removed": desired.removed, "needs_consent": False,
        "acts": desired.spec.engine != "none" and desired.spec.node in ("", node), "canary": canary,
        "measure": is_measured, "ignore": sorted(probed.union(scaled.ignore if scaled else ())) if is_measured else [],
    }


def _describe_lack(keys: Mapping[str, bytes]) -> str:
    """Say that a service without a spec is left alone; "" if there is one."""
    return "" if "spec" in keys or "removed" in keys else (
        "its spec cannot be read (a key that is gone removes nothing; `lictor remove` does)")


def _spec(name: str, keys: Mapping[str, bytes], last_good: LastGood, problems: list[str], key: str,
          specs: Mapping[str, bytes]) -> tuple[dict[str, Any] | None, service_spec.Spec | None]:
    if "spec" in keys:
        try:
            limits.refuse_long(keys["spec"], key)
            table = service_spec.read_spec(keys["spec"])
            spec = service_spec.parse_spec(table, key)
            problem = _problem(spec, name, last_good) or _look_alike(spec, specs)
            if not problem:
                return table, spec
            problems.append(f"{key}: {problem}")
        except (ValueError, RecursionError) as error:
            problems.append(_explain_malformed(keys["spec"], key, error))
        except errors.Refused as error:
            problems.append(str(error))
    elif last_good.spec is None and "removed" not in keys:
        problems.append(f"{key}: is missing; use `lictor apply FILE`")
    try:
        return last_good.spec, service_spec.parse_spec(last_good.spec, key) if last_good.spec else None
    except errors.Refused:
        return None, None  # damaged, or stored by another version that allowed more


def _allowed(table: dict[str, Any] | None, spec: service_spec.Spec, last_good: LastGood, problems: list[str], key: str,
             refusals: Refusals) -> tuple[dict[str, Any] | None, service_spec.Spec | None]:
    """Return the spec if this node allows it, else the last good one if that is allowed."""
    refused = refusals(spec)
    problems += [f"{key}: {problem}" for problem in refused]
    if not refused:
        return table, spec
    with contextlib.suppress(errors.Refused):
        before = service_spec.parse_spec(last_good.spec, key)
        if not refusals(before):
            return last_good.spec, before
    return None, None


def _live_refusals(state: State, spec: service_spec.Spec | None, refusals: Refusals) -> list[str]:
    """List what this node does not allow of the live spec, which new instances are made from until a release."""
    with contextlib.suppress(errors.Refused):
        live = service_spec.parse_spec(state.release.live, "") if state.release.live else None
        if live and spec and (live.name, live.engine) == (spec.name, spec.engine):
            return [f"the live spec: {problem}" for problem in refusals(live)]
    return []


def _explain_malformed(text: bytes, key: str, error: Exception) -> str:
    """Explain why a spec is no JSON. NaN and Infinity, which other writers make, are told by the key that has them."""
    with contextlib.suppress(ValueError, RecursionError):
        try:
            service_spec.parse_spec(json.loads(text, parse_constant=str), key)
        except errors.Refused as refused:
            return str(refused)
    return f"{key}: is no JSON ({error}); use `lictor apply FILE`"


def _problem(spec: service_spec.Spec, name: str, last_good: LastGood) -> str:
    """Say what is wrong for this service with a spec that can be read."""
    try:
        limits.require_workable(spec)
    except ValueError as error:
        return str(error)
    if spec.name != name:
        return f"name is {spec.name!r}; it must be {name!r} as in the key"
    if not spec.node and spec.engine in service_spec.ON_ONE_NODE:
        return "node is missing; it must name the one node that runs it, and `lictor apply FILE` adds that"
    release = (last_good.spec or {}).get("release")
    before = (release if isinstance(release, dict) else {}).get("strategy", service_spec.Release().strategy)
    if last_good.spec and before in service_spec.STRATEGIES and before != spec.release.strategy:
        return (f"release.strategy was {before!r} and is {spec.release.strategy!r}; remove the service, wait until its "
                "containers are gone, then apply it again")
    cluster = msgspec.to_builtins(spec.cluster)
    if last_good.spec and last_good.spec.get("cluster") != cluster:
        return (f"cluster was {_show_cluster(last_good.spec.get('cluster'))} and is {_show_cluster(cluster)}; a set "
                "keeps its kind and name, and its disks: remove the service, and apply another one")
    return ""


def _show_cluster(given: Any) -> str:
    return f"{given['kind']} {given['name']}" if isinstance(given, dict) else "not given"


def _look_alike(spec: service_spec.Spec, specs: Mapping[str, bytes]) -> str:
    """Say which service has a name in the catalogue in common: each of the two would route and count the other's."""
    for name in look_alikes(spec):
        try:
            other = service_spec.parse_spec(service_spec.read_spec(specs.get(name, b"")), "")
        except (ValueError, RecursionError, errors.Refused):
            continue
        if shared := set(catalog_names(spec)) & set(catalog_names(other)):
            return f"name is {spec.name!r}, and {name} is {min(shared)} in the catalogue too; rename one of them"
    return ""


def _image(keys: Mapping[str, bytes], last_good: LastGood, spec: service_spec.Spec, problems: list[str],
           key: str) -> str:
    if "image" not in keys or spec.engine == "none":
        return spec.image
    try:
        return service_spec.parse_image(read_text(keys["image"]), spec.engine)
    except ValueError as error:
        problems.append(f"{key}: {error}")
    with contextlib.suppress(ValueError):  # a state may be damaged, and then is no better than the key
        return service_spec.parse_image(last_good.image, spec.engine)
    return spec.image


def _color(spec: service_spec.Spec, given: str, state: State, problems: list[str], key: str) -> str:
    """Find the live colour: the one that lictor wrote last, as a change by hand moves no traffic."""
    if spec.release.strategy != "blue-green":
        return ""
    live = state.release.color if state.release.color in model.COLORS else ""
    if given and given != live and (live or given not in model.COLORS):
        problems.append(f"{key}: is {given!r}; {live or 'blue'} is live, and only lictor writes this key "
                        "(`lictor rollback` goes back)")
    return live or (given if given in model.COLORS else "blue")


def _replicas(keys: Mapping[str, bytes], last_good: LastGood, spec: service_spec.Spec, problems: list[str],
              key: str) -> tuple[int, str, bool]:
    """Find the count, its reason, and whether it stands in its key."""
    last = spec.replicas.initial if last_good.replicas is None else last_good.replicas
    kept = max(spec.replicas.min, min(spec.replicas.max, last))
    if "replicas" in keys:
        try:
            count = service_spec.parse_replicas(read_text(keys["replicas"]), spec.replicas)
            return count, f"replicas key is {count}", True
        except ValueError as error:
            problems.append(f"{key}: {error}")
            return kept, f"replicas key is refused, {kept} is the last good count", False
    is_first = last_good.replicas is None
    return kept, f"spec's initial count is {kept}" if is_first else f"{kept} is the last good count", False


def read_text(value: bytes) -> str:
    """Read the value of a key that holds one word."""
    return strip(value.decode("utf-8", "backslashreplace"))
