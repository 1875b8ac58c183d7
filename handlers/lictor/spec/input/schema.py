"""The JSON schema of a spec file, for editors: the types of the records, and what their validation adds. Pure.

A schema cannot compare values, so that it takes some files which `validate` refuses. It never refuses what that takes,
but for white space around a value.
"""

import importlib.resources
import re
from typing import Any

from msgspec import Struct, inspect

from lictor import model
from lictor.spec import cluster, compose_project, limits, locations, placement, quantities, route, service_spec
from lictor.spec.check import HIGHEST_PORT, MOST_IGNORED, SHARES
from lictor.spec.container import options, ports
from lictor.spec.input import shorthands
from lictor.spec.service_spec import Spec

Schema = dict[str, Any]

_CONTAINERS = ("docker", "swarm", "compose")  # engines that run an image at a port
_NOTHING: Schema = {"enum": [None, {}, [], "", False]}


def _pattern(*patterns: re.Pattern[str]) -> str:
    """Write patterns for a schema, which knows JavaScript's: groups and the end are written otherwise there."""
    texts = (re.sub(r"\(\?P<\w+>", "(?:", each.pattern).replace(r"\Z", "$") for each in patterns)
    return f"^(?:{'|'.join(texts)})$"


def _text(*patterns: re.Pattern[str], **more: Any) -> Schema:
    """Describe a text. A file's numbers and flags are texts too, as they were written."""
    return {"type": ["string", "number", "boolean"], **({"pattern": _pattern(*patterns)} if patterns else {}), **more}


def _table(value: re.Pattern[str], **names: Any) -> Schema:
    """Describe a table of texts, whose keys are `names`."""
    return {"type": "object", "propertyNames": names, "additionalProperties": _text(value)}


def _whole(least: int, most: int) -> Schema:
    return {"type": ["integer", "string"], "pattern": "^[0-9]+$", "minimum": least, "maximum": most}


_COUNT = {"type": "integer", "minimum": 0}
_NO_UNIT = re.compile("[0-9]+")
_BY_KIND: dict[type, Schema] = {
    quantities.Duration: {"anyOf": [_COUNT, {"type": "string", "minLength": 1, "pattern": _pattern(
        _NO_UNIT, quantities.DURATION)}]},
    quantities.ResponseTime: {"type": "string", "minLength": 2, "pattern": _pattern(quantities.DURATION)},
    quantities.Memory: {"anyOf": [{"enum": [0]}, {"type": "integer", "minimum": limits.LEAST_MEMORY_M << 20}, {
        "type": "string", "pattern": r"^[0-9]{1,18}(?:[bB]|[kKmMgG](?:[iI]?[bB])?)?$"}]},
}
_ZERO = {"anyOf": [{"enum": [0]}, {"type": "string", "pattern": "^0+(?:ms|[hms])?$"}]}
_PATH_OF_URL = _text(locations.PATH, maxLength=255)
_PROBE = _text(re.compile(f"(?:{locations.PATH.pattern})?"), maxLength=255)
_FROM_THE_FILE = re.compile(r"\.[^:]*:/[^:]+(?::[^:]*)?")  # which the reader makes a whole path
_OPTIONAL = re.compile("")

# What the records' validation adds to their types, by key.
_ADDED: dict[str, Schema] = {
    "name": _text(model.NAME), "engine": {"enum": [*service_spec.ENGINES]},
    "node": _text(re.compile("[A-Za-z0-9._-]{0,128}")), "image": _text(service_spec.IMAGE_ELSEWHERE, _OPTIONAL),
    "port": {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 65535},
                       {"type": "string", "pattern": _pattern(ports.PORT)}, {"type": "null"}]},
    "route.path": _PATH_OF_URL, "route.host": _text(locations.HOST, _OPTIONAL),
    "route.match": {"enum": [*locations.MATCHES]},
    "route.aliases": {"type": "array", "items": _text(locations.HOST, locations.WILDCARD)},
    "route.scheme": {"enum": [*route.SCHEMES]}, "route.server_name": _text(locations.HOST, _OPTIONAL),
    "route.sticky": _text(route.COOKIE, _OPTIONAL),
    "route.max_body": {"anyOf": [_COUNT, _BY_KIND[quantities.Memory]["anyOf"][-1], {"type": "null"}]},
    "route.request_headers": _table(route.VALUE, pattern=_pattern(route.HEADER)),
    "route.response_headers": _table(route.VALUE, enum=[*route.RESPONSE_HEADERS]),
    "route.tls": {"enum": [*route.TLS, "true", "false"]},
    "route.settings": _table(route.SETTING_VALUE, pattern=_pattern(route.SETTING)),
    **{f"replicas.{key}": _whole(0, service_spec.MAX_REPLICAS) for key in ("initial", "min", "max")},
    "check.http": _PROBE, "check.https": _PROBE,
    "check.port": {"anyOf": [_whole(1, HIGHEST_PORT), {"type": "null"}]}, "heal.budget": _whole(0, limits.MOST_BUDGET),
    "release.strategy": {"enum": [*service_spec.STRATEGIES]}, "release.smoke": _PROBE,
    "release.canary": {"anyOf": [{"type": "string", "pattern": "^(?:[1-9]|[1-4][0-9]|50)%$"}, {"type": "null"}]},
    "resources.cpus": {"type": ["number", "string"], "pattern": r"^[0-9]+(?:\.[0-9]+)?$", "minimum": 0,
                       "maximum": 1024},
    "traffic": {"enum": ["healthy", "any"]}, "cluster.kind": {"enum": [*cluster.KINDS]},
    "cluster.name": _text(cluster.NAME), "autoscale.ignore": {"type": "array", "maxItems": MOST_IGNORED,
                                                              "items": _PATH_OF_URL},
    "volumes": {"type": "array", "items": _text(limits.VOLUME, _FROM_THE_FILE)},
    "environment": {"anyOf": [
        {"type": "object", "additionalProperties": _text(), "propertyNames": {"minLength": 1}},
        {"type": "array", "items": {"type": "string", "pattern": "^[^=]+="}}]},
    "labels": {"anyOf": [
        {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
         "propertyNames": {"not": {"pattern": r"^(?:lictor|com\.docker\.swarm)\."}}},
        {"type": "array", "items": {"type": "string", "not": {"pattern": r"^(?:lictor|com\.docker\.swarm)\."}}}]},
    "project.folder": _text(compose_project.FOLDER, maxLength=1024),
    "project.name": _text(compose_project.PROJECT_NAME, _OPTIONAL),
    "project.file": _text(compose_project.PLAIN_NAME, _OPTIONAL),
    "project.service": _text(compose_project.PLAIN_NAME, _OPTIONAL),
    "placement.constraints": {"type": "array", "items": _text(placement.CONSTRAINT)},
    "placement.spread": {"type": "array", "items": _text(placement.SPREAD)},
}
_LIMIT = {"type": ["integer", "string"], "pattern": "^-?[0-9]+$"}
_TMPFS = _text(options.TMPFS)
_ADDED |= {
    "tmpfs": {"anyOf": [_TMPFS, {"type": "array", "items": _TMPFS}]},
    "ulimits": {"type": "object", "propertyNames": {"enum": [*options.LIMITS]}, "additionalProperties": {"anyOf": [
        _LIMIT, {"type": "object", "additionalProperties": False, "properties": {"soft": _LIMIT, "hard": _LIMIT},
                 "required": ["soft", "hard"]}]}},
    "extra_hosts": {"anyOf": [{"type": "object", "additionalProperties": {"type": "string", "minLength": 1}},
                              {"type": "array", "items": {"type": "string", "pattern": "^[^:=]+[:=].+$"}}]},
    "security_opt": {"type": "array", "items": {"enum": [*options.SECURITY]}},
    "sysctls": {"anyOf": [
        {"type": "object", "propertyNames": {"pattern": _pattern(options.SYSCTL)}, "additionalProperties": _text()},
        {"type": "array", "items": {"type": "string", "pattern": _pattern(options.SYSCTL)[:-1] + "="}}]},
    "hostname": _text(options.HOST_NAME, _OPTIONAL), "working_dir": _text(re.compile("(?:/.{0,254})?")),
    "pids_limit": _whole(1, options.MOST_PROCESSES), "pull_policy": {"enum": [*options.PULL_POLICIES]},
    "group_add": {"type": "array", "items": _text(options.GROUP)}, "healthcheck.retries": _whole(1, 1000)}
_SHORT: dict[str, Schema] = {
    "replicas": _whole(0, service_spec.MAX_REPLICAS), "route": _PATH_OF_URL, "check": _PATH_OF_URL}
_MOST = {"route": route.MOST_ROUTES}
_ONE_OF = {"check": ("http", "https", "tcp"), "autoscale": tuple(SHARES), "healthcheck": ("test", "disable")}


def make() -> Schema:
    """Make the schema."""
    words = _read_words()
    schema = _of_record(Spec, "", words)
    schema["properties"] |= {key: _described(_ADDED["resources.cpus"] if below == "cpus" else
                                             _BY_KIND[quantities.Memory], words, f"resources.{below}")
                             for key, below in shorthands.RESOURCES.items()}
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "A service of lictor", **schema,
            "allOf": _list_rules()}


def _of_record(kind: type[Struct], where: str, words: dict[str, str]) -> Schema:
    found = inspect.type_info(kind)
    assert isinstance(found, inspect.StructType)
    properties = {field.encode_name: _described(_of_key(field.type, f"{where}{field.encode_name}", words), words,
                                                f"{where}{field.encode_name}") for field in found.fields}
    required = [field.encode_name for field in found.fields if field.required]
    return {"type": "object", "additionalProperties": False, "properties": properties,
            **({"required": required} if required else {})}


def _described(schema: Schema, words: dict[str, str], key: str) -> Schema:
    return {"description": words[key], **schema}


def _of_key(kind: inspect.Type, key: str, words: dict[str, str]) -> Schema:
    if key in _ADDED:
        return _ADDED[key]
    kinds = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    forms = [_of_kind(each, key, words) for each in kinds] + ([_SHORT[key]] if key in _SHORT else [])
    return forms[0] if len(forms) == 1 else {"anyOf": forms}


def _of_kind(kind: inspect.Type, key: str, words: dict[str, str]) -> Schema:
    match kind:
        case inspect.StructType():
            rivals = [{"required": [name], "properties": {name: {"not": {"enum": [*_NOTHING["enum"], "false"]}}}}
                      for name in _ONE_OF.get(key, ())]
            return {**_of_record(kind.cls, f"{key}.", words), **({"oneOf": rivals} if rivals else {})}
        case inspect.CustomType():
            is_some = limits.DURATIONS.get(key, ("0s", ""))[0] != "0s"
            return {**_BY_KIND[kind.cls], **({"not": _ZERO} if is_some else {})}
        case inspect.ListType(item_type=inspect.StructType() as item):
            return {"type": "array", "items": {"anyOf": [_of_kind(item, key, words), _SHORT[key]]},
                    "minItems": 1, "maxItems": _MOST[key]}
        case inspect.ListType():
            return {"type": "array", "items": _text()}
        case inspect.DictType():
            return {"type": "object", "additionalProperties": _text()}
        case inspect.BoolType():
            return {"enum": [True, False, "true", "false"]}
        case inspect.NoneType():
            return {"type": "null"}
    assert isinstance(kind, inspect.StrType), kind
    return _text()


def _list_rules() -> list[Schema]:
    """List the rules that bind keys to each other."""
    def engine(*names: str) -> Schema:
        given = {"properties": {"engine": {"enum": [*names]}}}
        return given if "docker" in names else {**given, "required": ["engine"]}

    def has(key: str) -> Schema:
        return {"properties": {key: {"not": _NOTHING}}, "required": [key]}

    def without(*keys: str) -> Schema:
        # 0 and False are equal, and both of them may stand there; what stands twice is no schema for some editors.
        unused = {key: options.UNUSED[key] for key in ("shm_size", "pids_limit", "pull_policy")}
        return {"properties": {key: {"enum": [*_NOTHING["enum"], unused[key]]} if key in unused else _NOTHING
                               for key in keys}}

    asks_a_port = {"properties": {"check": {**has("port"), "type": "object"}}, "required": ["check"]}
    has_smoke = {"properties": {"release": {**has("smoke"), "type": "object"}}, "required": ["release"]}
    has_canary = {"properties": {"release": {**has("canary"), "type": "object"}}, "required": ["release"]}
    is_blue_green = {"properties": {"release": {"properties": {"strategy": {"enum": ["blue-green"]}},
                                                "required": ["strategy"]}}}
    elsewhere = (*service_spec.DELEGATED, "compose")
    is_set = {"engine": {"enum": ["docker"]}, "autoscale": _NOTHING, "check": {"properties": {"port": _NOTHING}},
              "release": {"properties": {"strategy": {"enum": ["rolling"]}}},
              "replicas": {"type": "object", "properties": {"min": {"minimum": 1}}, "required": ["min"]}}
    return [
        {"if": engine(*_CONTAINERS), "then": {"properties": {"image": _text(service_spec.IMAGE)},
                                              "required": ["image"]}},
        {"if": {"allOf": [engine(*_CONTAINERS), {"anyOf": [has("route"), has("check"), has_smoke]}]},
         "then": has("port")},
        {"if": asks_a_port, "then": has("port")},
        {"if": engine("compose"), "then": {"required": ["project"]}, "else": without("project")},
        {"if": engine(*elsewhere), "then": without(*service_spec.CONTAINER_KEYS, *shorthands.RESOURCES)},
        {"if": engine("swarm"), "then": without(*options.NOT_OF_SWARM), "else": without("placement")},
        {"if": has_canary, "then": {"allOf": [is_blue_green, has("route"), {"not": engine("none")}]}},
        {"if": has("autoscale"), "then": {"allOf": [has("route"), {"not": engine("none")}]}},
        {"if": has("cluster"), "then": {"properties": is_set, "required": ["port", "replicas", "volumes"]}}]


def _read_words() -> dict[str, str]:
    """Read what docs/spec.md says of each key, by the key's whole name."""
    page, words, above = importlib.resources.files(__package__).joinpath("spec.md").read_text("utf-8"), {}, ""
    for line in page.splitlines():
        if line.startswith("## "):
            above = "" if line == "## All keys" else f"{line[3:]}."
        if row := re.match(r"\| `(\w+)` \| ([^|]+) \| ([^|]+) \| ((?:[^|\\]|\\.)+) \|", line):
            text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", row[4]).replace("`", "")
            words[above + row[1]] = f"{text[:1].upper()}{text[1:]}. Default: {row[3].replace('`', '')}."
    return words
