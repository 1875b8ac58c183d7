"""The key `project` of a spec: the folder of a user's own Compose project, and the format of its file. Pure."""

import re
from typing import Any

import msgspec

from lictor import errors

FILES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")  # in Compose's own order

FOLDER = re.compile(r"(?!.*/\.\.?(?:/|\Z))(?:/[A-Za-z0-9._@+ -]+)+", re.ASCII)
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
PROJECT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
_REPEATED = re.compile("|".join((  # what Compose 1 and Docker repeat of a file
    r'(?s:(?<=": ").*(?="\s*\Z))', r"(?<=interpolating ).*(?= in [a-z]+ \")",
    r"(?<= contains )[\[{\"].*(?=, which is an invalid type)", r"(?<=remove duplicates from ).*",
    r"(?<= value )[\[{'\"].*[\]}'\"](?= (?:has|is|does) )", r"(?<=invalid environment variable: ).*")))
_LICTORS = ("image", "build")  # keys of the service that count for nothing, as the spec names the image
_NOT_IN_VERSION_1 = {"services", "networks", "volumes", "version"}


class Project(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The place of the compose file, on the service's node; an empty text leaves the choice to Compose."""

    folder: str
    file: str = ""  # without it Compose also reads the files that extend the default one
    name: str = ""
    service: str = ""  # for rolling; "": the spec's own name

    def __post_init__(self) -> None:
        if not FOLDER.fullmatch(self.folder) or len(self.folder) > 1024:
            raise ValueError(f"folder is {self.folder[:100]!r}; it must be a folder's whole path such as /srv/books, "
                             "without '..'")
        if self.name and not PROJECT_NAME.fullmatch(self.name):
            raise ValueError(f"name is {self.name[:100]!r}; it must be a Compose project's name: a-z 0-9 _ -")
        for key, value in (("file", self.file), ("service", self.service)):
            if value and not PLAIN_NAME.fullmatch(value):
                raise ValueError(f"{key} is {value[:100]!r}; it must be a plain name of letters, digits and _ . -")


def check_project(given: Project | None, *, engine: str, strategy: str, publish_address: str) -> None:
    """Raise ValueError, saying what is allowed, unless the project fits the rest of the spec."""
    if (given is not None) != (engine == "compose"):
        raise ValueError("project is missing; engine compose needs its folder" if given is None else
                         f"project is for engine compose only, and engine is {engine!r}")
    if given and publish_address:
        raise ValueError(f"port has the address {publish_address}; with engine compose the compose file says where it "
                         "is published, so give its number alone")
    if given and given.service and strategy == "blue-green":
        raise ValueError("project.service is for rolling; the services for blue-green are named blue and green")


def extension(text: str, path: str, service: str, keys: dict[str, Any]) -> dict[str, Any]:
    """Make a second compose file that sets `keys` of one service; its version has to be that of the first."""
    top = _top(text, path)
    if _is_version_1(top):
        return {service: keys}
    return {**({"version": top["version"]} if "version" in top else {}), "services": {service: keys}}


def resolved(text: str, service: str) -> dict[str, Any]:
    """Read what Compose makes of its files (`config`), without the other services of them, and the service's image."""
    import yaml  # late: each reconcile would load it, and few need it

    try:
        table = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        keys = (table.get("services") or {}).get(service) or {}
        return {**table, "services": {key: value for key, value in keys.items() if key not in _LICTORS}}
    except (yaml.YAMLError, AttributeError, TypeError) as error:
        raise errors.Refused(f"compose: config printed no compose file: {type(error).__name__}") from error


def without_values(output: str) -> str:
    """Leave out of what Compose prints the values that it repeats: any of them may be a secret."""
    return _REPEATED.sub("(left out)", output)


def is_version_1(text: str, path: str) -> bool:
    """Decide whether a compose file is of the first format: services at its top, which Compose 2 cannot read."""
    return _is_version_1(_top(text, path))


def _is_version_1(top: dict[str, object]) -> bool:
    return not top.keys() & _NOT_IN_VERSION_1


def _top(text: str, path: str) -> dict[str, object]:
    """Read the top keys, each with its text if it has one. Only parsed: Compose has tags of its own."""
    import yaml  # late: each reconcile would load it, and few need it

    from lictor.spec import yaml_reader

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise errors.Refused(f"{path}: {yaml_reader.explain(error)}") from error
    if not isinstance(node, yaml.MappingNode):
        raise errors.Refused(f"{path}: is no compose file; that has services in it")
    return {key.value: value.value for key, value in node.value}
