"""Many customers a part at a time: of millions no copies are made."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

#: Customers in a part: few enough for a core's cache, enough for Python not to count.
PART_ROWS = 100_000


def parts(n: int) -> Iterator[slice]:
    """Slices that cut n customers into parts, in their order."""
    for start in range(0, n, PART_ROWS):
        yield slice(start, min(start + PART_ROWS, n))


def standard_deviation(values: NDArray[np.float64], mean: float) -> float:
    """Standard deviation of values (n,) whose mean is known, over n."""
    squares = sum(float(((values[part] - mean) ** 2).sum()) for part in parts(len(values)))
    return math.sqrt(squares / len(values))
