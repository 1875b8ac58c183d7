import time

import pytest

from lictor.routing import peers, refusal_backoff


@pytest.mark.parametrize(("refused", "waits_s"), [
    (["x"], 60), (["x", "x"], 120), (["x"] * 3, 240), (["x"] * 4, 300), (["x"] * 5000, 300), (["x", "y"], 60),
    (["x", "y", "x"], 60)])
def test_the_more_often_in_vain_the_longer_it_rests(monkeypatch: pytest.MonkeyPatch, refused: list[str],
                                                    waits_s: float) -> None:
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    refusal = None
    for path in refused:
        refusal = refusal_backoff.again(refusal, peers.Place("reload", (peers.Location("", path),)), "as before")
    assert refusal and refusal.place and refusal.place.locations[0].path == refused[-1]
    assert refusal.until == 1000 + waits_s
    assert refusal_backoff.again(refusal, refusal.place, "other").until == 1060
