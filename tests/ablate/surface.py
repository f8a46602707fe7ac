"""A known function of three numbers as a method: its trial ends at the function's value.

The one step of training sets the bias of the head to the value plus LIFT, and all other parameters to zero; the targets
are 1 and -1 in equal parts, so that the mean absolute error is the bias, whatever the sign of the value.
"""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from trainables.signals import Params, Pull, Signals, Step, Task

LIFT = 20.0  # keeps the bias above all targets
PI = math.pi
STUDY: dict[str, Any] = {
    "name": "ishigami", "data": {"path": "flat.npz"}, "model": {"hidden": 1}, "seeds": 1, "metric": "mae",
    "train": {"epochs": 1, "lr": 1, "momentum": 0}, "methods": ["tests.ablate.surface:Ishigami"],
    "vary": {f"Ishigami.x{i}": {"linear": [-PI, PI]} for i in (1, 2, 3)}, "resources": {"pack": 1024},
}  # fmt: skip


def ishigami(x1: Any, x2: Any, x3: Any) -> Any:
    """Return sin x1 + 7 sin^2 x2 + x3^4 / 10 sin x1: x3 acts by its interaction with x1 alone."""
    one, two, three = (torch.as_tensor(x, dtype=torch.float64) for x in (x1, x2, x3))
    return torch.sin(one) * (1 + 0.1 * three**4) + 7 * torch.sin(two) ** 2


class Ishigami(NamedTuple):
    """Ishigami's function."""

    x1: float = 0.0
    x2: float = 0.0
    x3: float = 0.0

    def init(self, params: Params) -> Params:
        """Remember where the parameters begin."""
        return params

    def step(self, state: Params, signals: Signals, task: Task, pull: Pull) -> Step:
        """Return what takes all parameters to zero and the bias to the value, at a learning rate of 1."""
        value = (LIFT + ishigami(*self)).to(signals.logits)
        head = {name: p - value if name.endswith("bias") else p for name, p in state.shared.items()}
        return Step(state._replace(shared=head), state, {"value": value})


def analytic() -> dict[tuple[str, str], float]:
    """Return the indices of Ishigami's function (setting, first or total), from its variance in closed form."""
    a, b = 7.0, 0.1
    one, two = (1 + b * PI**4 / 5) ** 2 / 2, a**2 / 8
    both = b**2 * PI**8 * (1 / 18 - 1 / 50)
    whole = one + two + both
    first, total = (one, two, 0.0), (one + both, two, both)
    kinds = (("first", first), ("total", total))
    return {(f"Ishigami.x{i + 1}", kind): part[i] / whole for kind, part in kinds for i in range(3)}


def prepare(folder: Path) -> None:
    """Write the data of the study into a folder."""
    signs = np.tile([1.0, -1.0], 12)
    split = np.repeat([0, 1, 2], 8)
    np.savez(folder / "flat.npz", x=np.ones((24, 1), np.float32), label=signs.astype(np.float32), split=split)
    about = {"name": "flat", "task": "regression", "modalities": ["x"], "target": "label"}
    (folder / "flat.json").write_text(json.dumps(about))
