"""Measure whether AGM's contribution shares rank the modalities of random data sets as planted.

    python -m benchmarks.truth [DRAWS]

Each draw has 3 or 4 modalities of equal information, whose signal-to-noise ratios lie 3 to 5 dB apart from a lowest
one in [-9, 0] dB, in random order. AGM trains MLP encoders, and the final shares on validation are ranked against
the planted contributions: one Spearman correlation a draw, and then their mean over the draws. Higher ratios saturate:
from 10 dB on, 3 dB more are worth less than a twentieth of the variance, and 4000 validation samples do not tell.
"""

import sys
from typing import Any, NamedTuple

import numpy as np

from benchmarks.configurations import trial_configs
from trainables.data import load
from trainables.diagnostics.truth import rank_correlation
from trainables.train import fit

DRAWS, GAPS, LOWEST = 50, (3, 5), (-9, 0)
SAMPLES = [12000, 4000, 100]
STUDY: dict[str, Any] = {
    "model": {"hidden": 32}, "train": {"epochs": 3, "optimizer": "adam"}, "seeds": 1,
    "measure": {"contribution": 0, "truth": 0},
}  # fmt: skip


class Draw(NamedTuple):
    """A data set and its measurements."""

    snr: list[float]  # dB
    truth: list[float]  # planted
    share: list[float]  # measured
    rank: float  # Spearman correlation of the two
    shapley_rank: float  # that of Shapley values of accuracy


def draw_data(number: int) -> dict[str, Any]:
    """Return the data specification of a draw."""
    random = np.random.default_rng(number)
    count = int(random.integers(3, 5))
    ladder = random.uniform(*LOWEST) + np.concatenate([[0], random.uniform(*GAPS, count - 1).cumsum()])
    snr = [float(s) for s in random.permutation(ladder)]
    return {"name": "synthetic", "modalities": count, "snr": snr, "samples": SAMPLES, "seed": number}


def measure_draw(number: int) -> Draw:
    """Train on a draw and return its measurements."""
    spec = draw_data(number)
    dataset = load(spec)
    (trial,) = trial_configs(spec, "agm", **STUDY)
    rows = fit({**trial, "seed": number}, dataset).rows
    final = {(row.metric, row.modality): row.value for row in rows}
    truth = list((dataset.truth or {}).values())
    share = [final["share", m] for m in dataset.train.inputs]
    return Draw(spec["snr"], truth, share, rank_correlation(share, truth), final["shapley_truth_rank", None])


def main() -> None:
    """Print the distribution of the correlations, and the draws that are not ranked as planted."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else DRAWS
    draws = [measure_draw(number) for number in range(count)]
    for name in ("rank", "shapley_rank"):
        values = np.array([getattr(draw, name) for draw in draws])
        low, middle = np.quantile(values, [0.1, 0.5])
        summary = f"mean {values.mean():.3f}, median {middle:.2f}, 10 % {low:.2f}, lowest {values.min():.2f}"
        sys.stdout.write(f"{name:13s} {summary}, as planted {np.mean(values > 1 - 1e-9):.0%} of {count}\n")
    for draw in draws:
        if draw.rank < 1 - 1e-9:
            columns = (" ".join(f"{x:6.2f}" for x in values) for values in (draw.snr, draw.truth, draw.share))
            sys.stdout.write("  snr {}  planted {}  share {}\n".format(*columns))


if __name__ == "__main__":
    main()
