"""What may be measured of a run: names, default intervals and where each applies; one measurement a file.

A measurement never changes the run: it reads the learner and draws from random streams of its own. The module
`trainables.measurements.NAME` is a `Stepwise` or an `Epochwise` of `trainables.observation`.
"""

from typing import Literal, NamedTuple


class Kind(NamedTuple):
    """How often something is measured, and of what."""

    counts: Literal["steps", "epochs"]
    every: int  # by default; of epochs, 0: after the last alone
    several: bool = False  # is about what modalities make together: left out of a trial of one modality


MEASUREMENTS = {
    "attribution": Kind("epochs", 0, several=True),
    "combination": Kind("epochs", 0),
    "competition": Kind("epochs", 0, several=True),
    "concepts": Kind("epochs", 0, several=True),
    "contribution": Kind("epochs", 1, several=True),
    "corruption": Kind("epochs", 0),
    "cost": Kind("epochs", 0),
    "fidelity": Kind("steps", 10),
    "gradients": Kind("steps", 10),
    "laws": Kind("epochs", 0),
    "precision": Kind("epochs", 0),
    "probe": Kind("epochs", 0),
    "quality": Kind("epochs", 0),
    "separate": Kind("steps", 10),
    "shape": Kind("epochs", 0, several=True),
    "shapley": Kind("epochs", 0, several=True),
    "truth": Kind("epochs", 0, several=True),
    "variance": Kind("epochs", 0),
    "weights": Kind("epochs", 1),
}
EXHAUSTIVE = 10  # modalities, at most, whose coalitions `shape` lists one by one
