"""OGM-GE: on-the-fly gradient modulation with generalisation enhancement."""

from typing import NamedTuple

from torch import Tensor

from trainables.methods.ogm import coefficients, modulate
from trainables.signals import Params, Pull, Signals, Step, Task


class OGMGE(NamedTuple):
    r"""OGM with generalisation enhancement (Peng et al., CVPR 2022, https://arxiv.org/abs/2203.15332, 3.3).

    As `OGM`; every scaled tensor also receives Gaussian noise of the standard deviation of its own gradient before
    scaling, :math:`g \leftarrow k_m g + \epsilon`, for the lagging modality too (main.py:133). ``noise`` multiplies
    that deviation. ``noise=0``: OGM; ``alpha=0, noise=0``: joint training.
    """

    alpha: float | Tensor = 0.8
    noise: float | Tensor = 1.0
    filter: str = "auto"

    @property
    def needs(self) -> frozenset[str]:
        """Return the signals it reads beside the logits."""
        return frozenset({"unimodal"})

    def init(self, params: Params) -> tuple[()]:
        """Return the empty state."""
        return ()

    def step(self, state: tuple[()], signals: Signals, task: Task, pull: Pull) -> Step:
        """Damp the encoders of the modalities that lead, and perturb all."""
        metrics = coefficients(signals, task, self.alpha)
        grads = pull(lambda s: task.objective(s.logits))

        def enhance(k: Tensor, gradient: Tensor, name: str) -> Tensor:
            if gradient.numel() == 1:  # a single element has no deviation
                return k * gradient
            deviation = (task.strength * self.noise).to(gradient) * (gradient.std() + 1e-8)
            return k * gradient + deviation * task.noise(f"ge.{name}", gradient)

        return Step(modulate(grads, metrics["scale"], self.filter, enhance), state, metrics)
