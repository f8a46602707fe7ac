"""The measurements of a run: names, default intervals and where each applies; one measurement per file.

A measurement never changes the run: it reads the learner and draws from random streams of its own. The module
`trainables.measurements.NAME` is a `StepMeasurement` or an `EpochMeasurement` of `trainables.observation`.
"""

from typing import Literal, NamedTuple


class Kind(NamedTuple):
    """When a measurement is taken, and for which trials."""

    counts: Literal["steps", "epochs"]
    every: int  # default interval; for epochs, 0: only after the last
    multimodal: bool = False  # it compares modalities, and is left out of trials of a single one


MEASUREMENTS = {
    "attribution": Kind("epochs", 0, multimodal=True),
    "combination": Kind("epochs", 0),
    "competition": Kind("epochs", 0, multimodal=True),
    "concepts": Kind("epochs", 0, multimodal=True),
    "contribution": Kind("epochs", 1, multimodal=True),
    "corruption": Kind("epochs", 0),
    "cost": Kind("epochs", 0),
    "fidelity": Kind("steps", 10),
    "gradients": Kind("steps", 10),
    "laws": Kind("epochs", 0),
    "precision": Kind("epochs", 0),
    "probe": Kind("epochs", 0),
    "quality": Kind("epochs", 0),
    "separate": Kind("steps", 10),
    "shape": Kind("epochs", 0, multimodal=True),
    "shapley": Kind("epochs", 0, multimodal=True),
    "truth": Kind("epochs", 0, multimodal=True),
    "variance": Kind("epochs", 0),
    "weights": Kind("epochs", 1),
}
MAX_EXHAUSTIVE = 10  # largest number of modalities for `shape` and `attribution`, which take every coalition
