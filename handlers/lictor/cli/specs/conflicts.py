"""Conflicts of two services: a route, and names in the catalogue, are of one alone."""

import json
from collections.abc import Mapping

from lictor import errors
from lictor.planner.desired import catalog_names
from lictor.spec import service_spec
from lictor.spec.keys import group_by_service
from lictor.spec.locations import claims
from lictor.spec.service_spec import Spec


def require_own_place(spec: Spec, values: Mapping[str, bytes], prefix: str, path: str) -> None:
    """Raise Refused, naming `path`, if a service whose keys are among `values` has the route or a name of this one."""
    names = set(catalog_names(spec))
    for other_name, keys in group_by_service(values, prefix)[0].items():
        other = parse(keys.get("spec", b""))
        if other is None or other_name == spec.name or "removed" in keys:
            continue
        taken = {claim.place: claim.owner for claim in claims(other_name, [each.table for each in other.routes])}
        for claim in claims(spec.name, [each.table for each in spec.routes]):
            if taken.get(claim.place, claim.owner) != claim.owner:
                raise errors.Refused(f"{path}: {claim.describe_clash(taken[claim.place])}")
        if names & set(catalog_names(other)):
            raise errors.Refused(f"{path}: name is {spec.name!r}, which Consul cannot tell from {other_name!r} "
                                 "with its colour behind")


def parse(text: bytes) -> Spec | None:
    """Parse the spec in a key; None: it is none."""
    try:
        return service_spec.parse_spec(json.loads(text), "")
    except (ValueError, RecursionError, errors.Refused):
        return None
