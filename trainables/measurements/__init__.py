"""The measurements of a run: names, default intervals and where each applies; one measurement per file.

A measurement never changes the run: it reads the learner and draws from random streams of its own. The module
`trainables.measurements.NAME` is a `StepMeasurement` or an `EpochMeasurement` of `trainables.observation`.
"""

from typing import Literal, NamedTuple


class MeasurementSpec(NamedTuple):
    """When a measurement is taken, and for which trials."""

    counts: Literal["steps", "epochs"]
    every: int  # default interval; for epochs, 0: only after the last
    multimodal: bool = False  # it compares modalities, and is left out of trials of a single one


MEASUREMENTS = {
    "attribution": MeasurementSpec("epochs", 0, multimodal=True),
    "combination": MeasurementSpec("epochs", 0),
    "competition": MeasurementSpec("epochs", 0, multimodal=True),
    "concepts": MeasurementSpec("epochs", 0, multimodal=True),
    "contribution": MeasurementSpec("epochs", 1, multimodal=True),
    "corruption": MeasurementSpec("epochs", 0),
    "cost": MeasurementSpec("epochs", 0),
    "fidelity": MeasurementSpec("steps", 10),
    "gradients": MeasurementSpec("steps", 10),
    "laws": MeasurementSpec("epochs", 0),
    "precision": MeasurementSpec("epochs", 0),
    "probe": MeasurementSpec("epochs", 0),
    "quality": MeasurementSpec("epochs", 0),
    "separate": MeasurementSpec("steps", 10),
    "shape": MeasurementSpec("epochs", 0, multimodal=True),
    "shapley": MeasurementSpec("epochs", 0, multimodal=True),
    "truth": MeasurementSpec("epochs", 0, multimodal=True),
    "variance": MeasurementSpec("epochs", 0),
    "weights": MeasurementSpec("epochs", 1),
}
MAX_EXHAUSTIVE = 10  # modalities, for `shape` and `attribution`, which take every coalition
