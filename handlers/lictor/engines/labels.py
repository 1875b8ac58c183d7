"""The labels that the engines put on lictor's containers: for lictor itself, and for the registrar. Pure."""

import re

from lictor import model
from lictor.spec import service_spec

# Labels that decide what a container is registered as; the spec says that, so a user's labels may not.
_REGISTERED_AS = re.compile(r"SERVICE_(?:\d+_)?(?:NAME|ID|IGNORE|CHECK_.*)", re.IGNORECASE | re.ASCII)


def identify(service: str, *, color: str, release: str) -> dict[str, str]:
    """Make the labels that name the service, the colour and the release."""
    return {model.LABEL_SERVICE: service, model.LABEL_RELEASE: release, **({model.LABEL_COLOR: color} if color else {})}


def of_container(spec: service_spec.Spec, *, number: int, color: str, release: str, gated: bool) -> dict[str, str]:
    """Make the labels of a single container; if `gated`, the registrar withholds its traffic."""
    return describe(spec, color=color, release=release) | {model.LABEL_NUMBER: str(number)} | (
        {model.LABEL_GATE: "smoke"} if gated else {})


def describe(spec: service_spec.Spec, *, color: str, release: str) -> dict[str, str]:
    """Make all labels but the number: the user's, lictor's and the registrar's."""
    labels = {key: value for key, value in spec.label_table.items() if not _REGISTERED_AS.fullmatch(key)}
    labels |= identify(spec.name, color=color, release=release)
    labels["SERVICE_NAME"] = model.catalog_name(spec.name, color)
    if spec.container_port:  # this port's registration has the plain name, whatever other ports the image has
        labels[f"SERVICE_{spec.container_port.number}_NAME"] = labels["SERVICE_NAME"]
    if spec.container_port and spec.check:
        check, prefix = spec.check, f"SERVICE_{spec.container_port.number}_CHECK"
        labels |= {f"{prefix}_HTTP": check.http} if check.http else {f"{prefix}_TCP": "true"}
        labels |= {f"{prefix}_INTERVAL": f"{round(check.interval * 1000)}ms",
                   f"{prefix}_TIMEOUT": f"{round(check.timeout * 1000)}ms"}
    return labels
