"""Fixture of all tests of routing: they make publications in this very process."""

import pytest

from support import routed


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    routed.be_patient(monkeypatch)
