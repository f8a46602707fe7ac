"""OGM-GE: on-the-fly gradient modulation with generalisation enhancement."""

from typing import NamedTuple

from torch import Tensor

from trainables.methods.ogm import BOUNDS, coefficients, modulate
from trainables.signals import Params, Pull, Signals, Step, Task


class OGMGE(NamedTuple):
    r"""OGM with generalisation enhancement (Peng et al., CVPR 2022, https://arxiv.org/abs/2203.15332, 3.3).

    As `OGM`; every scaled tensor also receives Gaussian noise with the standard deviation of its own gradient before
    scaling, :math:`g \leftarrow k_m g + \epsilon`, :math:`\epsilon \sim N(0, (\mathrm{std}(g) + 10^{-8})^2)`, for the
    weaker modality too (main.py:133). ``noise`` multiplies that deviation. ``noise=0``: OGM; ``alpha=0, noise=0``:
    joint training. A tensor of one element has no deviation and receives no noise, and there is none in a batch with a
    single modality, where there is nothing to modulate (ours). With ``apply=lr`` the noise is added to the gradient and
    k_m scales the update. It acts in all epochs by default, the release in the first 51 of 100.
    """

    alpha: float | Tensor = 0.8
    noise: float | Tensor = 1.0
    filter: str = "auto"
    apply: str = "grad"
    ratio: str = "mean"

    @property
    def needs(self) -> frozenset[str]:
        """Return the signals that the method reads in addition to the logits."""
        return frozenset({"unimodal_values"})

    @property
    def bounds(self) -> tuple[float, float]:
        """Return the bounds of `OGM`."""
        return BOUNDS

    def init(self, params: Params) -> tuple[()]:
        """Return the empty state."""
        return ()

    def step(self, state: tuple[()], signals: Signals, task: Task, pull: Pull) -> Step:
        """Scale down the gradients of encoders whose modality is ahead, and add noise to all that are selected."""
        metrics = coefficients(signals, task, self.alpha, self.ratio, self.bounds)
        scale, present = metrics["scale"], task.attending()
        several = len(scale) > 1 if present is None else present.sum() > 1
        noise_scale = task.strength * self.noise * several

        def gradient_noise(gradient: Tensor, name: str) -> Tensor:
            if gradient.numel() == 1:
                return 0 * gradient
            return noise_scale.to(gradient) * (gradient.std() + 1e-8) * task.noise(f"ge.{name}", gradient)

        def rescale(tree: Params) -> Params:
            return modulate(tree, scale, self.filter, lambda k, g, name: k * g)

        grads = pull(lambda s: task.objective(s.logits))
        if self.apply == "lr":
            noisy = modulate(grads, scale, self.filter, lambda k, g, name: g + gradient_noise(g, name))
            return Step(noisy, state, metrics, rescale)
        modulated = modulate(grads, scale, self.filter, lambda k, g, name: k * g + gradient_noise(g, name))
        return Step(modulated, state, metrics)
