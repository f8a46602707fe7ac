"""What every measurement asks of its numbers."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def finite(name: str, values: ArrayLike, axes: int = 1) -> Floats:
    """Return the values in float64.

    Raises:
        ValueError: they are not finite numbers along that many axes, or there are none.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != axes or array.size == 0:
        raise ValueError(f"{name}: needs numbers along {axes} axes, got the shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: {np.count_nonzero(~np.isfinite(array))} of {array.size} numbers are not finite")
    return array
