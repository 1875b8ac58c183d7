"""The labels that the engines put on lictor's containers, for lictor itself and for the registrar. Pure.

Docker gives a container the labels of its image too, so labels alone prove nothing. Each of lictor's own is set on each
container, be it to an empty text: a label that is given at the creation wins over the image's.
"""

import re
from collections.abc import Mapping

from lictor import model
from lictor.spec import service_spec
from lictor.spec.check import Check
from lictor.spec.cluster import Place
from lictor.spec.container.ports import Port

_COMPOSE = "com.docker.compose"  # Compose puts the labels project, service and container-number on what it makes
# Labels that decide what a container is registered as; the spec says that, so a user's labels may not.
_REGISTERED_AS = re.compile(r"SERVICE_(?:(?P<port>\d+)_)?(?:NAME|ID|IGNORE|CHECK_.*)", re.IGNORECASE | re.ASCII)
_SERVICE_KEY = re.compile(r"SERVICE_\S*")  # with a blank in it, a key would be two of the list
_NUMBER = re.compile(r"[1-9]\d{0,8}", re.ASCII)  # as lictor and Swarm write it, from 1 on


def identify(service: str, *, engine: str, color: str, release: str) -> dict[str, str]:
    """Make the labels that name the service, the engine, the colour and the release."""
    return {model.LABEL_SERVICE: service, model.LABEL_ENGINE: engine, model.LABEL_RELEASE: release,
            model.LABEL_COLOR: color}


def of_container(spec: service_spec.Spec, *, name: str, number: int, color: str, release: str, gated: bool,
                 users: Mapping[str, str] | None = None, place: Place | None = None) -> dict[str, str]:
    """Make the labels of a single container; if `gated`, the registrar withholds its traffic.

    `name` is the container's; "" if Compose gives it one. `users` are the labels of `of_file`, in the spec's place.
    A member of a set with state has a `place`, where the registrar asks it for its role.
    """
    return describe(spec, color=color, release=release, users=users, place=place) | {
        model.LABEL_CONTAINER: name, model.LABEL_NUMBER: str(number), model.LABEL_GATE: "smoke" if gated else "",
        model.LABEL_MEMBER: f"{place.kind} {place.member} {place.address}" if place else ""}


def describe(spec: service_spec.Spec, *, color: str, release: str,
             users: Mapping[str, str] | None = None, place: Place | None = None) -> dict[str, str]:
    """Make all labels but those of a single container: the user's, lictor's and the registrar's."""
    labels = {key: value for key, value in spec.label_table.items() if not _REGISTERED_AS.fullmatch(key)}
    labels |= users or {}
    labels |= identify(spec.name, engine=spec.engine, color=color, release=release)
    labels["SERVICE_NAME"] = model.catalog_name(spec.name, color)
    if spec.container_port:  # this port's registration has the plain name, whatever other ports the image has
        labels[f"SERVICE_{spec.container_port.number}_NAME"] = labels["SERVICE_NAME"]
    if spec.container_port and spec.check:
        labels |= _describe_check(spec.check, f"SERVICE_{spec.container_port.number}_CHECK", spec.check_port)
    if spec.check_port and f"SERVICE_{spec.check_port}_NAME" not in labels:
        labels[f"SERVICE_{spec.check_port}_IGNORE"] = "true"
    if place and spec.container_port:
        labels |= {f"SERVICE_{each}_IGNORE": "true" for each in place.published if each != spec.container_port.number}
    registers = sorted(key for key in labels if _SERVICE_KEY.fullmatch(key))
    return {**labels, model.LABEL_REGISTERS: " ".join(registers), model.LABEL_GATE: ""}


def _describe_check(check: Check, prefix: str, port: int | None) -> dict[str, str]:
    probe = "HTTP" if check.http else "HTTPS" if check.https else "TCP"
    return {f"{prefix}_{probe}": check.path or "true",
            **({f"{prefix}_PORT": str(port)} if port else {}),
            **({f"{prefix}_TLS_SKIP_VERIFY": "true"} if check.insecure else {}),
            f"{prefix}_INTERVAL": f"{round(check.interval * 1000)}ms",
            f"{prefix}_TIMEOUT": f"{round(check.timeout * 1000)}ms"}


def of_file(given: Mapping[str, str], port: Port | None) -> dict[str, str]:
    """Pick the SERVICE_ labels of a compose file that the spec leaves to it: those of other ports, and tags, say."""
    return {key: value for key, value in given.items() if key.startswith("SERVICE_") and (
        not (match := _REGISTERED_AS.fullmatch(key)) or port and match["port"] not in (None, str(port.number)))}


def maker(name: str, labels: Mapping[str, str]) -> str:
    """Name the engine that made a container of this name and these labels; "" if it is none of lictor's.

    Docker forgets the name of a container first while it removes it: "" is a name that is not known any more.
    """
    names = _given_names(labels)
    return labels[model.LABEL_ENGINE] if names and (not name or name in names) else ""


def number(labels: Mapping[str, str]) -> str:
    """Read the number, in decimal digits; "" if there is none. That of a Swarm task is its slot."""
    slot = labels.get(model.LABEL_TASK_NAME, "").rpartition(".")[0].rpartition(".")[2]
    text = slot if labels.get(model.LABEL_ENGINE) == "swarm" else labels.get(model.LABEL_NUMBER, "")
    return text if _NUMBER.fullmatch(text) else ""


def _given_names(labels: Mapping[str, str]) -> tuple[str, ...]:
    """List the names, one of which a container with these labels was given when it was made."""
    catalog_name = model.catalog_name(labels.get(model.LABEL_SERVICE, ""), labels.get(model.LABEL_COLOR, ""))
    own = labels.get(model.LABEL_CONTAINER, "")
    match labels.get(model.LABEL_ENGINE):
        case "docker":
            return (own,) if number(labels) and own == f"{catalog_name}-{number(labels)}" else ()
        case "compose":
            words = [labels.get(f"{_COMPOSE}.{key}", "") for key in ("project", "service", "container-number")]
            return (own,) if own else ("_".join(words), "-".join(words))  # of Compose 1 and 2
        case "swarm":
            task = labels.get(model.LABEL_TASK_NAME, "")
            return (task,) if model.LABEL_TASK in labels and task.startswith(f"{catalog_name}.") else ()
    return ()
