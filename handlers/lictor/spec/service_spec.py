"""The service spec and the keys beside it, parsed and validated. Pure."""

import re
import shlex
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from lictor import model
from lictor.spec import validation_errors
from lictor.spec.check import Autoscale, Check, check_autoscale, check_canary
from lictor.spec.cluster import Cluster, check_cluster
from lictor.spec.compose_project import Project, check_project
from lictor.spec.container import options
from lictor.spec.container.healthcheck import Healthcheck
from lictor.spec.container.ports import Port, parse_port
from lictor.spec.container.resources import Logging, Resources
from lictor.spec.input.shorthands import SYNONYMS, expand
from lictor.spec.locations import is_path
from lictor.spec.placement import Placement, require_possible
from lictor.spec.plain_tables import require_one_of
from lictor.spec.quantities import Duration, Memory, Share, strip, strip_all
from lictor.spec.route import Route, check_routes, list_routes

ENGINES = ("docker", "compose", "swarm", "command", "webhook", "none")
ON_ONE_NODE = ("docker", "compose")  # lictor itself starts and ends each instance
DELEGATED = ("command", "webhook")  # another tool has the rest of what an instance is made from
STRATEGIES = ("rolling", "blue-green")
MAX_REPLICAS = 500
START_UP_S = 60.0
WATCHED_FOR = Duration(300)
CONTAINER_KEYS = ("environment", "env_file", "command", "entrypoint", "volumes", "networks", "labels", "user",
                   "read_only", "cap_drop", "logging", *options.UNUSED, "resources")
# Keys below which no value is told.
SECRET = ("environment", "command", "entrypoint", "labels", "logging", "healthcheck")
_SHORTEST_SECRET = 6  # to hide shorter values would make an error unreadable
_PASSWORD = re.compile(r"://[^/@:\s]*:([^/@\s]+)@")
_VERBATIM = ("environment", "command", "entrypoint", "labels", "options", "test")  # the container's own matter
_HOST_PART, _PATH_PART = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?", "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
IMAGE = re.compile(  # as Docker's own grammar of references, and the digests that it knows
    rf"(?:{_HOST_PART}(?:\.{_HOST_PART})*(?::[0-9]+)?/)?{_PATH_PART}(?:/{_PATH_PART})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@(?:sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}))?",
    re.ASCII)
IMAGE_ELSEWHERE = re.compile(r"(?!.*/\.\.?(?:/|\Z))[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}", re.ASCII)
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)


class Replicas(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The counts of instances: at first, at least, at most."""

    SHORT: ClassVar[str] = "a whole number, or "
    initial: int = 1
    min: int = 0
    max: int = 10

    def __post_init__(self) -> None:
        if not 0 <= self.min <= self.initial <= self.max <= MAX_REPLICAS:
            raise ValueError(f"the counts are min {self.min}, initial {self.initial}, max {self.max}; they must not "
                             f"descend, and lie within 0..{MAX_REPLICAS}")


class Release(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"watched_for": "for"}):
    """The way in which a new image takes over."""

    strategy: str = "rolling"
    healthy_for: Duration = Duration(3)
    deadline: Duration = Duration(60)
    smoke: str = ""
    keep: Duration = Duration(600)
    canary: Share | None = None  # of the requests, which the new colour gets first
    watched_for: Duration = WATCHED_FOR

    def __post_init__(self) -> None:
        require_one_of("strategy", self.strategy, STRATEGIES)
        if self.smoke and not is_path(self.smoke):
            raise ValueError(f"smoke is {self.smoke[:100]!r}; it must be a path such as /api/v1/books")


class Heal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The time after which a critical instance is replaced, and how many may be replaced in which time."""

    grace: Duration = Duration(10)
    budget: int = 3
    per: Duration = Duration(600)


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The service spec; container keys have Compose's names and forms. Made by `parse_spec` only."""

    name: str
    engine: str = "docker"
    node: str = ""
    project: Project | None = None
    image: str = ""
    port: int | str | None = None
    # A single route is stored as it was written, so that nodes of an earlier version read it, too. A list is news to
    # them: they refuse it, and the service stays at its last good spec there until they are upgraded.
    route: Route | list[Route] | None = None
    replicas: Replicas = Replicas()
    check: Check | None = None
    environment: dict[str, str | int | float | None] | list[str] = {}
    env_file: str | list[str] = []
    command: str | list[str] = []
    entrypoint: str | list[str] = []
    volumes: list[str] = []
    networks: list[str] = []
    labels: dict[str, str] | list[str] = {}
    user: str = ""
    read_only: bool = False
    cap_drop: list[str] = []
    stop_grace_period: Duration = Duration(10)
    logging: Logging = Logging()
    tmpfs: str | list[str] = []
    ulimits: dict[str, options.Limit] = {}
    extra_hosts: dict[str, str] | list[str] = []
    init: bool = False
    healthcheck: Healthcheck | None = None
    security_opt: list[str] = []
    shm_size: Memory = Memory(0)
    dns: str | list[str] = []
    sysctls: dict[str, str | int] | list[str] = {}
    hostname: str = ""
    working_dir: str = ""
    pids_limit: int = options.MOST_PROCESSES
    group_add: list[str] = []
    pull_policy: str = options.PULL_POLICIES[0]
    resources: Resources = Resources()
    placement: Placement = Placement()
    release: Release = Release()
    heal: Heal = Heal()
    drain: Duration = Duration(30)
    traffic: str = "healthy"
    autoscale: Autoscale | None = None
    cluster: Cluster | None = None

    def __post_init__(self) -> None:
        _check_names(self)
        _check_release(self)
        _check_texts(self)
        _check_placement(self)
        check_routes(self.route)
        options.check_options(self)
        check_cluster(self)

    @property
    def routes(self) -> list[Route]:
        return list_routes(self.route)

    @property
    def container_port(self) -> Port | None:
        return None if self.port is None else parse_port(self.port)

    @property
    def check_port(self) -> int | None:
        """The port of the container that only the check asks; None: there is no such port."""
        port, asked = self.container_port, self.check.port if self.check else None
        return asked if port and asked != port.number else None

    @property
    def start_up_s(self) -> float:
        """How long the check of an instance may take until it passes for the first time."""
        given = self.check.start if self.check else None
        return START_UP_S if given is None else given

    @property
    def deadline_s(self) -> float:
        """The deadline of a release, which is not over before its instances may have started."""
        return max(self.release.deadline, self.check.start or 0 if self.check else 0)

    @property
    def label_table(self) -> dict[str, str]:
        return _table(self.labels)

    @property
    def environment_table(self) -> dict[str, str]:
        return _table(self.environment)

    @property
    def command_words(self) -> list[str]:
        return _words(self.command)

    @property
    def entrypoint_words(self) -> list[str]:
        return _words(self.entrypoint)

    @property
    def secrets(self) -> list[str]:
        """Values that may be secrets, and passwords in URLs among them; but for what the spec says openly elsewhere."""
        words = [*self.entrypoint_words, *self.command_words]  # the first one is the program
        values = [*self.environment_table.values(), *self.label_table.values(), *self.logging.options.values(),
                  *words[1:], *options.listed(self.healthcheck.test if self.healthcheck else [])]
        values += [password for value in values for password in _PASSWORD.findall(value)]
        is_open = f"{self.name} {self.image} {self.user} {self.volumes} {self.networks} {words[:1]}"
        return [value for value in values if len(value) >= _SHORTEST_SECRET and value not in is_open]

    @property
    def env_files(self) -> list[str]:
        return [self.env_file] if isinstance(self.env_file, str) else list(self.env_file)


def _check_names(spec: Spec) -> None:
    if not model.is_name(spec.name):
        raise ValueError(f"name is {spec.name[:100]!r}; {model.NAME_RULE}")
    if spec.node and not re.fullmatch(r"[A-Za-z0-9._-]{1,128}", spec.node, re.ASCII):
        raise ValueError(f"node is {spec.node[:100]!r}; it must be a node's name in Consul")
    require_one_of("engine", spec.engine, ENGINES)
    require_one_of("traffic", spec.traffic, ("healthy", "any"))


def _check_release(spec: Spec) -> None:
    if spec.engine in (*DELEGATED, "compose"):
        for key in CONTAINER_KEYS:
            if (given := getattr(spec, key)) and given not in (Logging(), Resources(), options.UNUSED.get(key)):
                raise ValueError(f"{key} is for containers that lictor makes; it must not be given with the engine "
                                 f"{spec.engine}{' but in the compose file' if spec.engine == 'compose' else ''}")
    if spec.engine != "none" and (spec.image or spec.engine not in DELEGATED):
        _require_image(spec.image)
    port = spec.container_port  # which is parsed here
    check_project(spec.project, engine=spec.engine, strategy=spec.release.strategy,
                  publish_address=port.publish_address if port else "")
    if spec.routes and spec.engine not in ("none", *DELEGATED) and port is None:
        raise ValueError("route needs a port: which one of the container takes the requests?")
    check_autoscale(spec.autoscale, engine=spec.engine, has_route=bool(spec.routes))
    check_canary(spec.release.canary, engine=spec.engine, strategy=spec.release.strategy, has_route=bool(spec.routes))


def _check_texts(spec: Spec) -> None:
    for key, value in (("command", spec.command), ("entrypoint", spec.entrypoint)):
        try:
            _words(value)
        except ValueError as error:
            raise ValueError(f"{key} cannot be split into words: {error}; quote it as for a shell") from error
    for name, value in spec.environment_table.items():
        if not name or "\0" in name + value:
            raise ValueError(f"environment holds {'a zero byte' if name else 'a value without a name'}; it must be "
                             "texts by their names")
    for prefix, owner in (("lictor.", "lictor"), ("com.docker.swarm.", "Swarm")):
        reserved = [key for key in spec.label_table if key.startswith(prefix)]
        if reserved:
            raise ValueError(f"labels: {reserved[0]!r} is {owner}'s own; labels must not begin with {prefix!r}")


def _check_placement(spec: Spec) -> None:
    if spec.engine == "swarm":
        require_possible(spec.name, spec.container_port and spec.container_port.publish_address)
    elif spec.placement != Placement():
        raise ValueError(f"placement is for engine swarm; this one's engine is {spec.engine}")


def read_spec(text: str | bytes) -> Any:
    """Read a stored spec, not yet validated. Raises ValueError, unlike `json` also for NaN and half a character."""
    return expand(strip_all(msgspec.json.decode(strip(text if isinstance(text, str) else text.decode())), _VERBATIM))


def parse_spec(table: object, where: str, *, strict: bool = True) -> Spec:
    """Validate a spec; raises Refused naming `where`, the key, what was given and what is allowed. Unless `strict`,
    numbers and flags may stand as texts, as in a file that people write."""
    return validation_errors.convert(expand(strip_all(table, _VERBATIM)), Spec, where, strict=strict, secret=SECRET,
                                     synonyms=SYNONYMS)


def parse_replicas(text: str, limits: Replicas) -> int:
    """Parse a desired count as it stands in KV; raises ValueError saying what is allowed."""
    bare = strip(text)
    if not _DECIMAL.fullmatch(bare) or not limits.min <= int(bare) <= limits.max:
        raise ValueError(f"is {text[:40]!r}; it must be a whole number within {limits.min}..{limits.max}")
    return int(bare)


def parse_image(text: str, engine: str) -> str:
    """Return an image's name, as Docker takes it if Docker gets it; raises ValueError saying what is allowed."""
    _require_image(text)
    if engine not in DELEGATED and not IMAGE.fullmatch(text):
        given = repr(text[:100]) if text else "missing"
        raise ValueError(f"image is {given}; it must be an image's name such as books-service:1.0, in lower "
                         "case but for the tag")
    return text


def _require_image(text: str) -> None:
    if not IMAGE_ELSEWHERE.fullmatch(text):
        given = repr(text[:100]) if text else "missing"
        raise ValueError(f"image is {given}; it must be an image's name such as books-service:1.0")


def _table(values: Mapping[str, object] | list[str]) -> dict[str, str]:
    if isinstance(values, list):
        return dict(pair.partition("=")[::2] for pair in values)
    return {key: "" if value is None else str(value) for key, value in values.items()}


def _words(value: str | list[str]) -> list[str]:
    return shlex.split(value) if isinstance(value, str) else list(value)
