"""The spec as an engine gets it: within what this node allows, and with its env files."""

import contextlib
from collections.abc import Iterator

import msgspec

from lictor import errors
from lictor.adapters import files, text
from lictor.planner import desired
from lictor.spec import allow, service_spec
from lictor.spec.quantities import strip
from lictor.spec.settings import Settings

_ENV_FILE_LIMIT_BYTES = 64 * 1024


def bounded(spec: service_spec.Spec, settings: Settings) -> service_spec.Spec:
    """Read the env files of this node in, if it allows the spec; a key of `environment` wins, then the later file."""
    bound, where = settings.allow, settings.where
    allow.require(spec, bound, where)
    if names := allow.named_volumes(spec):
        from lictor.engines import own_containers  # late: with Docker's SDK, which few others here need

        allow.require(spec, bound, where, own_containers.devices(names))
    return desired.with_environment(spec, read_environment(spec, settings))


def read_environment(spec: service_spec.Spec, settings: Settings) -> dict[str, str]:
    """Read a spec's environment with its env files, if this node allows what it asks for."""
    bound, where = settings.allow, settings.where
    allow.require(spec, bound, where)
    table: dict[str, str] = {}
    for path in spec.env_files:
        content, real_path = files.read_regular(path, f"{spec.name}: env_file", limit_bytes=_ENV_FILE_LIMIT_BYTES)
        allow.require(msgspec.structs.replace(spec, env_file=real_path), bound, where)  # what was opened
        if "\0" in content:
            raise errors.Refused(f"{spec.name}: env_file {path} holds a zero byte; it must be a text")
        table |= parse_env_file(content)
    return {**table, **spec.environment_table}


def parse_env_file(text: str) -> dict[str, str]:
    """Parse Docker's env-file format: NAME=value lines; empty lines and # comments are passed over. A line may begin
    with `export`, and NAME have blanks around it, as Compose reads it.

    A NAME alone is passed over too, as Docker does if its caller has no such variable: to refuse it would leave a
    running service without a replacement.
    """
    lines = [strip(line) for line in text.split("\n")]
    pairs = [line.partition("=")[::2] for line in lines if "=" in line and not line.startswith("#")]
    return {words[-1]: value for name, value in pairs if (words := name.split()) and words[:-1] in ([], ["export"])}


@contextlib.contextmanager
def secrets_hidden(spec: service_spec.Spec) -> Iterator[None]:
    """Take values that may be secrets out of an engine's error: Docker repeats what it does not accept."""
    try:
        yield
    except errors.LictorError as error:
        error.args = (text.hide(str(error), spec.secrets),)
        raise
