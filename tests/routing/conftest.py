"""What all tests of routing have in common: publications that are made in this very process."""

import pytest

from support import routed


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    routed.be_patient(monkeypatch)
