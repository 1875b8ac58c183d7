"""The check of spec files by themselves: what is wrong with them, and what only Consul and the nodes know."""

import json
from collections.abc import Iterator

from lictor import errors
from lictor.cli.specs import conflicts
from lictor.cli.specs.files import Table
from lictor.spec import allow, service_spec
from lictor.spec.service_spec import DELEGATED, Spec

_PREFIX = "services/"  # any would do, as the files are compared with each other only


def validate(tables: list[tuple[str, Table]]) -> Iterator[str]:
    """Compare valid specs with each other; yields a line of each. Raises Refused with all that clash."""
    values, refused, lines = dict[str, bytes](), list[str](), list[str]()
    for path, table in tables:
        spec = service_spec.parse_spec(table, path)
        try:
            if f"{_PREFIX}{spec.name}/spec" in values:
                raise errors.Refused(f"{path}: name is {spec.name!r}, as in another of these files")
            conflicts.require_own_place(spec, values, _PREFIX, path)
        except errors.Refused as error:
            refused += error.texts
        values[f"{_PREFIX}{spec.name}/spec"] = json.dumps(table).encode()
        lines.append(f"{path}: {spec.name} is valid. Not checked, as only Consul and the nodes know it: "
                     f"{', '.join(_list_unchecked(spec))}")
    if refused:
        raise errors.Refused(*refused)
    yield from lines


def _list_unchecked(spec: Spec) -> Iterator[str]:
    """List what a file cannot tell of itself."""
    yield "the present spec" + (" and count" if spec.engine != "none" else "")
    yield f"other services{' and their routes' if spec.routes else ''}"
    if spec.node:
        yield f"the node {spec.node}"
    if spec.engine in DELEGATED:
        yield f"[{spec.engine}] in the settings"
    if spec.project:
        yield f"the Compose file in {spec.project.folder}"
    if spec.env_files:
        yield "the env files"
    if allow.refusals(spec, allow.Allow(), ""):
        yield "[allow] in the settings"
    if spec.image and spec.engine != "none":
        yield f"the image {spec.image}"
