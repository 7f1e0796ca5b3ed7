"""How long a backend waits between two attempts to reach its broker again.

Exponential with full jitter (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog,
2015): after a broker's restart a thousand processes do not come back in the same moment.
"""

import random
from collections.abc import Iterator
from typing import Final

LEAST: Final = 0.05
MOST: Final = 1.0
"""Seconds: short enough that a broker that is back is found within two."""


def reconnect_delays(least: float = LEAST, most: float = MOST) -> Iterator[float]:
    """Yield the seconds to wait before each next attempt, forever.

    The n-th lies anywhere between ``least`` and ``least * 2**n``, but never above ``most``.
    """
    ceiling = least
    while True:
        ceiling = min(most, ceiling * 2)
        yield random.uniform(least, ceiling)
