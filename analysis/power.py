"""How many seeds are needed to see an effect."""

import math

LEVEL, POWER, MOST = 0.05, 0.8, 10_000


def power(effect: float, sd: float, seeds: int, level: float = LEVEL) -> float:
    """Return the probability that a true mean of `effect` is found to lie on its side of 0 (one-sample t-test).

    `sd` is that of the values over seeds, in the unit of the effect; `level` is that of both sides together.
    """
    from statsmodels.stats.power import TTestPower

    if seeds < 2 or not math.isfinite(effect) or effect == 0:
        return level / 2 if effect == 0 else 0.0
    if sd == 0:
        return 1.0
    return float(TTestPower().power(abs(effect) / sd, seeds, level / 2, alternative="larger"))


def seeds_needed(effect: float, sd: float, target: float = POWER, level: float = LEVEL) -> int | None:
    """Return the smallest number of seeds with that power; None where even MOST do not suffice."""
    low, high = 1, 2
    while power(effect, sd, high, level) < target:
        low, high = high, 2 * high
        if low > MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect, sd, middle, level) >= target else (middle, high)
    return high if high <= MOST else None
