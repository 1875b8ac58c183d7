"""A container's settings of its registration: SERVICE_* labels and variables, by registrator's conventions. Pure.

They are hostile until they are validated. White space around a value is no part of it, and is stripped here only.
"""

import re
from collections.abc import Mapping
from typing import Any

from lictor import model
from lictor.engines.labels import maker
from lictor.spec.quantities import strip

OWN_KEYS = ("name", "id", "tags", "check_http", "check_http_method", "check_https", "check_https_method", "check_tcp",
            "check_ttl", "check_grpc", "check_grpc_use_tls", "check_tls_skip_verify", "check_interval",
            "check_timeout", "check_port", "check_initial_status", "check_deregister_after", "check_script",
            "check_cmd")

_PREFIX = "SERVICE_"
_PORT_KEY = re.compile(r"(\d+)_(.+)", re.ASCII)
_META_KEY = re.compile(r"(?!consul-|lictor-|check_)[a-z0-9_-]{1,128}", re.ASCII)
_MOST_META = 64 - 6  # Consul takes 64, and lictor has at most six of its own
_LONGEST_TAG, _LONGEST_TAGS = 4096, 16_384  # characters of one, and of all


def read_settings(container: Mapping[str, Any], image: Mapping[str, Any] | None) -> dict[str, str]:
    """Collect all SERVICE_* by lower-case key without the prefix; a label wins over a variable, as with registrator.

    A setting that `image` (the image's configuration) has too counts for nothing. A container that lictor started is
    described by the labels that lictor set alone, so that no image can redirect it.
    """
    labels = container["Config"].get("Labels") or {}
    if is_own(container):
        table = {key: labels[key] for key in labels.get(model.LABEL_REGISTERS, "").split() if key in labels}
    else:
        table = _users(labels, container["Config"].get("Env") or [], image or {})
    stripped = {strip(key): strip(value) for key, value in table.items()}
    return {key.removeprefix(_PREFIX).lower(): value for key, value in stripped.items() if key.startswith(_PREFIX)}


def _users(labels: Mapping[str, str], variables: list[str], image: Mapping[str, Any]) -> dict[str, str]:
    inherited, inherited_variables = image.get("Labels") or {}, image.get("Env") or []
    return {**dict(entry.partition("=")[::2] for entry in variables if entry not in inherited_variables),
            **{key: value for key, value in labels.items() if inherited.get(key) != value}}


def read_route(container: Mapping[str, Any], image: Mapping[str, Any] | None) -> str:
    """Read the label that asks for a route; "" without one, and of lictor's own containers: their spec has the route.

    That of an `image` (its configuration, given with --ignore-image) counts for nothing.
    """
    text = (container["Config"].get("Labels") or {}).get(model.LABEL_ROUTE, "")
    is_inherited = text == ((image or {}).get("Labels") or {}).get(model.LABEL_ROUTE)
    return "" if is_inherited or is_own(container) else strip(text)


def is_own(container: Mapping[str, Any]) -> bool:
    """Decide whether lictor started the container, and not only one that its image was made of."""
    return bool(maker(container["Name"].removeprefix("/"), container["Config"].get("Labels") or {}))


def of_port(settings: Mapping[str, str], number: int) -> tuple[dict[str, str], dict[str, str]]:
    """Pick the settings of one port, where SERVICE_<port>_X wins over SERVICE_X; and the former alone."""
    general, own = {}, {}
    for key, value in settings.items():
        match = _PORT_KEY.fullmatch(key)
        if not match:
            general[key] = value
        elif match[1] == str(number):
            own[match[2]] = value
    return {**general, **own}, own


def by_port(settings: Mapping[str, str]) -> dict[str, list[str]]:
    """List the labels that ask for a port, as they are written, by the port's text."""
    found: dict[str, list[str]] = {}
    for key, value in settings.items():
        match = _PORT_KEY.fullmatch(key)
        if match and value and match[2] != "ignore":
            found.setdefault(match[1], []).append(_PREFIX + key.upper())
    return found


def read_tags(text: str) -> tuple[list[str], list[str]]:
    """Split at commas, where `\\,` is a comma within a tag; a bad tag is left out, with a line that says so."""
    tags, left_out, room = list[str](), [], _LONGEST_TAGS
    for tag in (strip(part.replace("\\,", ",")) for part in re.split(r"(?<!\\),", text)):
        if not tag.isprintable() or len(tag) > _LONGEST_TAG:
            left_out.append(f"SERVICE_TAGS: tag {tag[:100]!r} is left out; a tag is printable, and at most "
                            f"{_LONGEST_TAG} long")
        elif len(tag) > room:
            return tags, [*left_out, f"SERVICE_TAGS: tag {tag[:100]!r} is left out with all behind it; together they "
                                     f"are at most {_LONGEST_TAGS} long"]
        elif tag:
            tags.append(tag)
            room -= len(tag)
    return tags, left_out


def read_metadata(values: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Collect every other SERVICE_X; values that Consul would refuse are left out, as they may be another program's."""
    meta: dict[str, str] = {}
    left_out = []
    for key, value in sorted(values.items()):
        if key in OWN_KEYS or key == "ignore":
            continue
        if _META_KEY.fullmatch(key) and value.isprintable() and len(value.encode()) <= 512 and len(meta) < _MOST_META:
            meta[key] = value
        else:
            left_out.append(f"SERVICE_{key[:100].upper()} is left out: it is neither a setting nor metadata for Consul")
    return meta, left_out
