"""The role of a set's member is that of its registrar's tag, and of nobody else's; a lost node's is none of now."""

from typing import Any

import pytest

from lictor import model
from lictor.reconcile.status.instances import list_rows, read_roles

OURS = {model.META_ENGINE: "docker"}


def entry(tags: list[str] | None, meta: dict[str, str], *, alive: bool = True) -> dict[str, Any]:
    return {"Node": {"Node": "node-1", "Address": "127.0.0.1"},
            "Service": {"ID": "db-1", "Service": "db", "Address": "", "Port": 1, "Tags": tags, "Meta": meta},
            "Checks": [{"CheckID": model.SERF_HEALTH, "ServiceID": "", "Status": "passing" if alive else "critical"}]}


@pytest.mark.parametrize(("given", "role"), [
    (entry(["primary"], OURS), "primary"), (entry(["x", "secondary"], OURS), "secondary"),
    (entry(["primary"], {}), ""), (entry(None, OURS), ""), (entry(["primary"], OURS, alive=False), ""),
])
def test_a_role_is_its_registrars_word_of_now(given: dict[str, Any], role: str) -> None:
    (row, _), = list_rows([model.instance(given)], {}, [], read_roles([given]))
    assert row.role == role


def test_an_entry_that_cannot_be_read_hides_no_other_role() -> None:
    given = entry(["primary"], OURS)
    assert read_roles([{"Node": {}, "Service": {}}, given]) == {("node-1", "db-1"): "primary"}
