"""Validation of numbers that measurements are computed from."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def finite_array(name: str, values: ArrayLike, axes: int = 1) -> Floats:
    """Return values as a float64 array.

    Raises:
        ValueError: they are not finite numbers along ``axes`` axes, or there are none.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != axes or array.size == 0:
        raise ValueError(f"{name}: must be a non-empty array with {axes} axes, got the shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: {np.count_nonzero(~np.isfinite(array))} of {array.size} numbers are not finite")
    return array
