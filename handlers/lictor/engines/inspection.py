"""From what Docker says of a container of ours to `model.Container`."""

import datetime
import re
from collections.abc import Mapping
from typing import Any

from lictor import errors, model

_EXITED = re.compile(r"Exited \((-?\d+)\)")  # `Exited (137) 5 minutes ago`
_TASK_NAME = re.compile(r".*\.(\d+)\.[^.]+")  # SERVICE.SLOT.TASK


def container(found: Mapping[str, Any]) -> model.Container:
    """From the answer about the one container."""
    state = found["State"]
    return _labelled(
        found["Config"]["Labels"] or {}, id=found["Id"], name=found["Name"].removeprefix("/"),
        image=found["Config"]["Image"], status=state["Status"], created_at=_epoch(found["Created"]),
        started_at=_epoch(state["StartedAt"]),
        exit_code=None if state["Running"] or state["Status"] == "created" else state["ExitCode"],
    )


def listed(found: Mapping[str, Any]) -> model.Container:
    """From the short form of Docker's list, as far as that goes."""
    created_at, exited = float(found["Created"]), _EXITED.match(found["Status"])
    own = [each.removeprefix("/") for each in found["Names"] if each.count("/") == 1]  # /OTHER/ALIAS is a link's
    return _labelled(
        found["Labels"], id=found["Id"], name=own[0] if own else found["Id"][:12],  # a dead one may have lost its name
        image=found["Image"], status=found["State"], created_at=created_at,
        started_at=0.0 if found["State"] == "created" else created_at, exit_code=int(exited[1]) if exited else None,
    )


def is_same(found: Mapping[str, Any] | None, known: model.Container) -> bool:
    """Whether Docker still has a container; Refused when that does not say itself that it is the one."""
    if found is None:
        return False
    labels = found["Config"]["Labels"] or {}
    if (labels.get(model.LABEL_SERVICE), _number(labels)) != (known.service, str(known.number)):
        raise errors.Refused(f"docker: {known.name} ({known.id[:12]}) does not say that it is number "
                             f"{known.number} of {known.service}; it is left alone")
    return True


def _labelled(labels: Mapping[str, str], **facts: Any) -> model.Container:
    number = _number(labels)
    return model.Container(
        service=labels.get(model.LABEL_SERVICE, ""), number=int(number) if number.isdecimal() else 0,
        color=labels.get(model.LABEL_COLOR, ""), release=labels.get(model.LABEL_RELEASE, ""), **facts)


def _number(labels: Mapping[str, str]) -> str:
    """As it stands there; that of a task is its slot."""
    task = _TASK_NAME.fullmatch(labels.get(model.LABEL_TASK_NAME, ""))
    return task[1] if task else labels.get(model.LABEL_NUMBER, "")


def _epoch(text: str) -> float:
    """The year 1 is Docker's word for never."""
    return 0.0 if text.startswith("0001-") else datetime.datetime.fromisoformat(text).timestamp()
