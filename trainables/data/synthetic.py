r"""Synthetic data whose planted contribution of each modality is known, not estimated.

**Label.** The score :math:`s \in \mathbb{R}^C` of a sample (of a position, in segmentation) is a sum of
independent parts with total variance 1 in each of its C entries (C = 1 in regression):

.. math::

    s = \sqrt{1-\sigma} \Big[ \sqrt{1-\rho} \sum_m \sqrt{w_m} u_m + \sqrt{\rho} r \Big]
        + \sqrt{\sigma} \sum_{m<n} \sqrt{v_{mn}} a_m a_n

with `redundancy` :math:`\rho`, `synergy` :math:`\sigma`, `information` w (scaled to sum 1) and v the pairs'
products of w, scaled likewise. u and r are standard normal, u_m known to modality m alone, r to every
modality with information. a_m is a random sign, so that a_m a_n is XOR: one factor is independent of it,
both determine it. The target is s itself in regression, otherwise the class argmax s, so that classes are
equally frequent; ties (only at synergy 1) fall at random.

**Inputs.** Modality m observes its latents h_m = (u_m, r, a_m) in `features` mixed coordinates:

.. math:: x_m \propto A_m h_m + \tau_m \epsilon, \qquad \tau_m^2 = 10^{-\mathrm{snr}_m / 10}

with orthonormal columns A_m and normal noise, scaled to unit mean variance at any ratio, so that strength
cannot be read from size. A modality without information observes a redundant part of its own, unrelated to the
label. A modality is missing in a sample with probability `missing`, independently, and then all zeros.

Information, redundancy and synergy change the label and not the inputs (a modality of information 0 aside);
snr, drift and missing change the inputs and not the label. A modality keeps its numbers when others are
added.

**Drift** is a change at a *training sample index*: samples from `at` x N on have the new ratio, and so have
validation and test, which are drawn after the change. Shuffled training mixes both regimes; one pass in order
(``order: stream``) meets the change once, at that share of the run. `truth` is that after the change; the
sheet's description holds `truth_before_drift` as well.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from trainables.data.dataset import Dataset, Sheet, Split
from trainables.data.parameters import LATENTS, Parameters, parse_parameters
from trainables.data.standardise import apply_scale, fit_scale
from trainables.data.targets import Targets, regression_targets
from trainables.data.truth import pair_weights, planted_contributions, snr_ratio

VERSION = 1  # increase when a formula below changes: it is part of the sha256
TEST = 2  # the split that no deal changes
MIXING = 3  # in place of a split: the random stream of A_m
SHARED, TIES = 0, 1000  # in place of a modality: the random streams of r and of ties


def load_sheet(options: Mapping[str, Any]) -> Sheet:
    """Return the sheet of a synthetic data set; its sha256 covers VERSION and all parameters but `deal`."""
    p = parse_parameters(options)
    resolved = {**p._asdict(), "drift": p.drift and p.drift._asdict(), "generator": VERSION}
    del resolved["deal"]  # deals are other samples of the same population
    return Sheet(
        name="synthetic",
        task=p.task,
        outputs=p.outputs,
        modalities=p.names,
        sha256=hashlib.sha256(json.dumps(resolved, sort_keys=True).encode()).hexdigest(),
        path=None,
        description={
            "name": "synthetic",
            "parameters": resolved,
            "truth": planted_contributions(p, p.snr_after_drift()),
            "truth_before_drift": planted_contributions(p, p.snr),
        },
    )


def load(options: Mapping[str, Any]) -> Dataset:
    """Return a synthetic data set, deterministic in its parameters; raises DataError if one is invalid."""
    p = parse_parameters(options)
    splits = [draw_split(p, split) for split in range(3)]
    inputs: list[dict[str, np.ndarray]] = [{}, {}, {}]
    masks: list[dict[str, np.ndarray]] = [{}, {}, {}]  # of the modalities that some samples lack
    for m, name in enumerate(p.names):
        draws = [(samples[m], present[m]) for samples, present, _ in splits]
        scale = fit_scale(*draws[0], "channel_last")
        for split_inputs, (samples, present) in zip(inputs, draws, strict=True):
            split_inputs[name] = apply_scale(samples, present, scale)
        for split_masks, (_, present) in zip(masks, draws, strict=True):
            if not present.all():
                split_masks[name] = present
    targets, target_zero = make_targets(p, tuple(scores for _, _, scores in splits))
    train, validation, test = (Split(*parts) for parts in zip(inputs, targets, masks, strict=True))
    truth = planted_contributions(p, p.snr_after_drift())
    return Dataset("synthetic", p.task, p.outputs, train, validation, test, truth, target_zero)


def draw_split(p: Parameters, split: int) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Return inputs [N, ...] and presence [N] by modality, and the scores [N, ..., C] of a split."""
    count = p.samples[split]
    shape = (count, p.positions, p.outputs) if p.task == "segmentation" else (count, p.outputs)
    redundant = random_stream(p, split, SHARED).standard_normal(shape)
    inputs, present, unique, joint = [], [], [], []
    for m in range(p.modalities):
        random = random_stream(p, split, m + 1)
        u, private = random.standard_normal((2, *shape))
        a = random.choice([-1.0, 1.0], shape)
        r = redundant if p.information[m] > 0 else private
        noise = random.standard_normal((*shape[:-1], p.features))
        inputs.append(observe(p, m, np.concatenate([u, r, a], axis=-1), noise, split))
        present.append(random.random(count) >= p.missing[m])
        unique.append(u)
        joint.append(a)
    return inputs, present, label_scores(p, np.stack(unique), redundant, np.stack(joint))


def observe(p: Parameters, m: int, latents: np.ndarray, noise: np.ndarray, split: int) -> np.ndarray:
    """Return the inputs of modality m: its latents [N, ..., 3C], mixed and noisy, as [N, ..., F] of unit variance."""
    before, after = (1 / snr_ratio(snr)[m] for snr in (p.snr, p.snr_after_drift()))
    drift_start = 0 if p.drift is None or split > 0 else round(p.drift.at * len(latents))
    variance = np.where(np.arange(len(latents)) < drift_start, before, after)  # [N] of the noise
    variance = variance.reshape(-1, *[1] * (latents.ndim - 1))
    mixed = latents @ mixing_matrix(p, m).T + np.sqrt(variance) * noise
    size = np.sqrt(latents.shape[-1] / p.features + variance)
    return np.asarray(mixed / size, dtype=np.float32)


def mixing_matrix(p: Parameters, m: int) -> np.ndarray:
    """Return the orthonormal columns A_m [F, 3C]."""
    normal = random_stream(p, MIXING, m + 1).standard_normal((p.features, LATENTS * p.outputs))
    q, r = np.linalg.qr(normal)
    return q * np.sign(np.diag(r))  # fixes the sign, which LAPACK leaves open


def label_scores(p: Parameters, unique: np.ndarray, redundant: np.ndarray, joint: np.ndarray) -> np.ndarray:
    """Return s [N, ..., C] from the latents u [M, N, ..., C], r [N, ..., C] and a [M, N, ..., C]."""
    pairs = np.sqrt(np.triu(pair_weights(p)))
    linear = np.sqrt(1 - p.redundancy) * np.tensordot(np.sqrt(p.information), unique, 1)
    linear += np.sqrt(p.redundancy) * redundant
    interactions = (joint * np.tensordot(pairs, joint, 1)).sum(axis=0)
    return np.asarray(np.sqrt(1 - p.synergy) * linear + np.sqrt(p.synergy) * interactions)


def make_targets(p: Parameters, scores: Targets) -> tuple[Targets, float]:
    """Return the targets of the three splits from their scores, and the value of a raw regression target of 0."""
    if p.task == "regression":
        # all deals are standardised by the training samples of the first
        reference = draw_split(p._replace(deal=0), 0)[2] if p.deal else scores[0]
        return regression_targets(scores, reference, "none", standardise=True, owner="synthetic")
    return tuple(argmax_classes(score, random_stream(p, split, TIES)) for split, score in enumerate(scores)), 0.0


def argmax_classes(score: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return argmax [N, ...] of the scores [N, ..., C], with ties broken at random."""
    jitter = 1e-9 * random.random(score.shape)
    return np.asarray((score + jitter).argmax(axis=-1), dtype=np.int64)


def random_stream(p: Parameters, split: int, source: int) -> np.random.Generator:
    """Return the generator of a random stream; deals have their own, except for test."""
    deal = [p.deal] if p.deal and split < TEST else []
    return np.random.default_rng([p.seed, split, source, *deal])
