import time

import pytest

from lictor.routing import peers, refusal_backoff

NOW = peers.Served((), ())


@pytest.mark.parametrize(("refused", "waits_s"), [
    (["x"], 60), (["x", "x"], 120), (["x"] * 3, 240), (["x"] * 4, 300), (["x"] * 5000, 300), (["x", "y"], 60),
    (["x", "y", "x"], 60)])
def test_the_more_often_in_vain_the_longer_it_rests(monkeypatch: pytest.MonkeyPatch, refused: list[str],
                                                    waits_s: float) -> None:
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    now = NOW
    for place in refused:
        now = now._replace(**refusal_backoff.noted(now, place, "as before"))  # type: ignore[arg-type]
    assert now.refused == (refused[-1],) and now.refused_until == 1000 + waits_s
    assert now._replace(**refusal_backoff.noted(now, refused[-1], "other")).refused_until == 1060  # type: ignore[arg-type]
