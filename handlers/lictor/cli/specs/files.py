"""Reading spec files: all that is wrong with any of them is told at once."""

from collections.abc import Sequence
from typing import Any

from lictor import errors
from lictor.spec import spec_file

Table = dict[str, Any]  # a spec as it stands in its key


def read(paths: Sequence[str], *, name: str | None = None, host: str | None = None) -> list[tuple[str, Table]]:
    """Read and validate spec files; returns path and table of each. Raises Refused with all that is wrong.

    `name` and `host` stand in for those in the file: the same spec, for another customer.
    """
    tables, refused = [], list[str]()
    for path in paths:
        try:
            tables.append((path, spec_file.load(_read(path), path, name=name, host=host)))
        except errors.Refused as error:
            refused += error.texts
    if refused:
        raise errors.Refused(*refused)
    return tables


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read()
        return content.decode()
    except OSError as error:
        raise errors.Refused(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise errors.Refused(f"{path}:{line}: is no text in UTF-8") from error
