"""Twenty loads as services have them."""

import math
import random

from lab.autoscale.simulator import Rate, Shape


def _steps(*parts: tuple[float, float]) -> Rate:
    """Hold a rate from a time on, for each (seconds, rate)."""
    return lambda now: next(rate for at, rate in reversed(parts) if now >= at)


def _wave(low: float, high: float, period_s: float) -> Rate:
    return lambda now: low + (high - low) * (1 - math.cos(2 * math.pi * now / period_s)) / 2


def _noise(mean: float, spread: float, seed: int = 5) -> Rate:
    dice = random.Random(seed)
    levels = [max(1.0, dice.gauss(mean, spread)) for _ in range(400)]
    return lambda now: levels[int(now // 10) % len(levels)]


def _spikes(low: float, high: float, every_s: float, for_s: float) -> Rate:
    return lambda now: high if now % every_s > every_s - for_s else low


SHAPES = [
    Shape("steady", _steps((0, 40.0))),
    Shape("step up x4 and back", _steps((0, 30.0), (300, 120.0), (600, 30.0)), first=2),
    Shape("step up x2", _steps((0, 40.0), (300, 80.0))),
    Shape("step down", _steps((0, 120.0), (600, 30.0)), first=4),
    Shape("stairs up", _steps((0, 30.0), (300, 60.0), (600, 90.0), (900, 120.0), (1200, 150.0))),
    Shape("stairs down", _steps((0, 150.0), (400, 110.0), (800, 70.0), (1200, 30.0)), first=5),
    Shape("slow wave", _wave(20, 140, 1200)),
    Shape("quick wave", _wave(20, 140, 300)),
    Shape("a day in half an hour", _wave(10, 200, 1800)),
    Shape("spikes of 10 s", _spikes(40, 160, 300, 10)),
    Shape("spikes of 90 s", _spikes(40, 160, 450, 90)),
    Shape("noise", _noise(60, 20)),
    Shape("wild noise", _noise(60, 45)),
    Shape("clients that wait, x4", clients=_steps((0, 4.0), (300, 16.0), (900, 4.0)), first=2),
    Shape("few requests", _steps((0, 0.3))),
    Shape("no traffic", _steps((0, 60.0), (300, 0.0)), first=2),
    Shape("a slow database", _steps((0, 20.0), (300, 60.0)), database=3, database_s=0.06),
    Shape("errors only", _steps((0, 40.0)), fails=lambda now: 1.0 if now > 300 else 0.0),
    Shape("a bad release", _steps((0, 40.0)), fails=lambda now: 0.4 if now > 300 else 0.0,
          slower=lambda now: 6.0 if now > 300 else 1.0),
    Shape("instances turn slow for a while", _steps((0, 60.0)), first=3,
          slower=lambda now: 2.0 if 300 < now < 700 else 1.0),
]
