"""The labels that the engines put on each container of ours: for lictor itself, and for the registrar. Pure."""

import re

from lictor import model
from lictor.spec import service_spec

# Labels that decide what a container is registered as; the spec says that, so a user's labels may not.
_REGISTERED_AS = re.compile(r"SERVICE_(?:\d+_)?(?:NAME|ID|IGNORE|CHECK_.*)", re.IGNORECASE | re.ASCII)


def identify(service: str, *, color: str, release: str) -> dict[str, str]:
    """What tells whose it is, and what it was made from."""
    return {model.LABEL_SERVICE: service, model.LABEL_RELEASE: release, **({model.LABEL_COLOR: color} if color else {})}


def of_container(spec: service_spec.Spec, *, number: int, color: str, release: str, gated: bool) -> dict[str, str]:
    """Those of one that lictor itself makes; `gated`: it is to be registered so that it gets no traffic yet."""
    return describe(spec, color=color, release=release) | {model.LABEL_NUMBER: str(number)} | (
        {model.LABEL_GATE: "smoke"} if gated else {})


def describe(spec: service_spec.Spec, *, color: str, release: str) -> dict[str, str]:
    """All that a container says of itself, but for its number: the user's labels, ours, and the registrar's."""
    labels = {key: value for key, value in spec.label_table.items() if not _REGISTERED_AS.fullmatch(key)}
    labels |= identify(spec.name, color=color, release=release)
    labels["SERVICE_NAME"] = model.catalog_name(spec.name, color)
    if spec.container_port:  # whatever other ports the image has, this one has the name without its number behind
        labels[f"SERVICE_{spec.container_port.number}_NAME"] = labels["SERVICE_NAME"]
    if spec.container_port and spec.check:
        check, prefix = spec.check, f"SERVICE_{spec.container_port.number}_CHECK"
        labels |= {f"{prefix}_HTTP": check.http} if check.http else {f"{prefix}_TCP": "true"}
        labels |= {f"{prefix}_INTERVAL": f"{round(check.interval * 1000)}ms",
                   f"{prefix}_TIMEOUT": f"{round(check.timeout * 1000)}ms"}
    return labels
