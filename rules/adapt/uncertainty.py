"""95 % intervals of rare counts and of shares, and chance; scipy is imported where it is used."""

from __future__ import annotations

import math
from collections.abc import Sequence

LEVEL = 0.95
CHANCE = 0.05
"""What is more probable than that may have come by chance."""


def within_by_chance(per_second: float, seconds: float) -> float:
    """How probable it is that at least one of what comes at that rate falls into so long a time.

    >>> round(within_by_chance(1 / 86_400, 3600.0), 3)
    0.041
    """
    return 1 - math.exp(-per_second * seconds)


def chance_of(count: int, usual: float) -> float:
    """How probable it is that as many, or more, come of what comes that often on average.

    >>> round(chance_of(4, 2.0), 2), chance_of(0, 2.0)
    (0.14, 1.0)
    """
    from scipy.special import gammainc  # Of a Poisson distribution, the sum from `count` on.

    return float(gammainc(count, usual)) if count else 1.0


def rate_interval(sizes: Sequence[int], exposure: float) -> tuple[float, float]:
    """Of the rate per unit of exposure behind rare events that come several at a time, so many in each.

    As Fay and Feuer (1997) have it for weighted sums of rare events; Garwood's (1936) where all come alone.

    >>> rate_interval([], 1.0), rate_interval([1, 1, 1], 1.0), rate_interval([3], 1.0)
    ((0.0, 3.69), (0.62, 8.77), (0.08, 16.71))
    """
    from scipy.special import chdtri  # The chi-squared distribution's upper quantiles.

    if exposure <= 0:
        return 0.0, float("inf")
    tail = (1 - LEVEL) / 2
    total, squares, largest = sum(sizes), sum(size * size for size in sizes), max(sizes, default=1)
    low = squares / (2 * total) * float(chdtri(2 * total**2 / squares, 1 - tail)) if total else 0.0
    # As if one more of the largest had just not come.
    total, squares = total + largest, squares + largest**2
    high = squares / (2 * total) * float(chdtri(2 * total**2 / squares, tail))
    return round(low / exposure, 2), round(high / exposure, 2)


def share_interval(hits: int, total: int) -> tuple[float, float]:
    """Of a share (Wilson 1927); (0, 1) of nothing.

    >>> share_interval(5, 5)
    (0.57, 1.0)
    """
    if total == 0:
        return 0.0, 1.0
    z = 1.96
    share, square = hits / total, z * z / total
    centre = share + square / 2
    half = z * (share * (1 - share) / total + square / (4 * total)) ** 0.5
    low, high = (centre - half) / (1 + square), (centre + half) / (1 + square)
    return round(max(low, 0.0), 2), round(min(high, 1.0), 2)
