r"""Synthetic data with a planted truth: how much each modality contributes is known, not estimated.

**Label.** The score :math:`s \in \mathbb{R}^C` of a sample (of a position, in segmentation) is a sum of
independent parts with total variance 1 in each of its C entries (C = 1 in regression):

.. math::

    s = \sqrt{1-\sigma} \Big[ \sqrt{1-\rho} \sum_m \sqrt{w_m} u_m + \sqrt{\rho} r \Big]
        + \sqrt{\sigma} \sum_{m<n} \sqrt{v_{mn}} a_m a_n

with `redundancy` :math:`\rho`, `synergy` :math:`\sigma`, `information` w (scaled to sum 1) and v the pairs'
products of w, scaled likewise. u and r are standard normal, u_m known to modality m alone, r to every
modality with information. a_m is a random sign, so that a_m a_n is XOR: one factor says nothing about it,
both say all. The target is s itself in regression, otherwise the class argmax s, so that classes are
equally frequent; ties (only at synergy 1) fall at random.

**Inputs.** Modality m shows its latents h_m = (u_m, r, a_m) in `features` mixed coordinates:

.. math:: x_m \propto A_m h_m + \tau_m \epsilon, \qquad \tau_m^2 = 10^{-\mathrm{snr}_m / 10}

with orthonormal columns A_m and normal noise, scaled to unit mean variance at any ratio, so that strength
cannot be read from size. A modality without information shows a redundant part of its own, unrelated to the
label. A modality is missing in a sample with probability `missing`, independently, and then all zeros.

Information, redundancy and synergy change the label and not the inputs (a modality of information 0 aside);
snr, drift and missing change the inputs and not the label. A modality keeps its numbers when others are
added.

**Drift** is a change at a *training sample index*: samples from `at` x N on have the new ratio, and so have
validation and test, which show the world after the change. An engine that shuffles mixes both regimes; one
pass in order (``order: stream``) meets the change once, at that share of the run. `truth` is that after the
change; the sheet's description holds `truth_before_drift` as well.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from trainables.data.dataset import Dataset, Sheet, Split
from trainables.data.parameters import LATENTS, Parameters, resolve
from trainables.data.standardise import apply, fit
from trainables.data.targets import Targets, regression
from trainables.data.truth import pair_weights, ratio, truth

VERSION = 1  # raise when a formula below changes: it is part of the sha256
TEST = 2  # the split that no `deal` changes
MIXING = 3  # in the place of a split: the stream of A_m
SHARED, TIES = 0, 1000  # in the place of a modality: the streams of r and of ties


def describe(options: Mapping[str, Any]) -> Sheet:
    """Return the sheet of a synthetic data set; its sha256 covers VERSION and all parameters but `deal`."""
    p = resolve(options)
    resolved = {**p._asdict(), "drift": p.drift and p.drift._asdict(), "generator": VERSION}
    del resolved["deal"]  # one population, of which other samples may be drawn
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
            "truth": truth(p, p.after_drift()),
            "truth_before_drift": truth(p, p.snr),
        },
    )


def load(options: Mapping[str, Any]) -> Dataset:
    """Return a synthetic data set, deterministic in its parameters; raises DataError if one is wrong."""
    p = resolve(options)
    drawn = [draw(p, split) for split in range(3)]
    inputs: list[dict[str, np.ndarray]] = [{}, {}, {}]
    heard: list[dict[str, np.ndarray]] = [{}, {}, {}]
    for m, name in enumerate(p.names):
        shown = [(inputs[m], present[m]) for inputs, present, _ in drawn]
        scale = fit(*shown[0], "channel_last")
        for split, (samples, present) in zip(inputs, shown, strict=True):
            split[name] = apply(samples, present, scale)
        for split, (_, present) in zip(heard, shown, strict=True):
            if not present.all():
                split[name] = present
    targets, zero = _targets(p, tuple(scores for _, _, scores in drawn))
    train, validation, test = (Split(*parts) for parts in zip(inputs, targets, heard, strict=True))
    return Dataset("synthetic", p.task, p.outputs, train, validation, test, truth(p, p.after_drift()), zero)


def draw(p: Parameters, split: int) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Return inputs [N, ...] and presence [N] by modality, and the scores [N, ..., C] of a split."""
    count = p.samples[split]
    shape = (count, p.positions, p.outputs) if p.task == "segmentation" else (count, p.outputs)
    redundant = _stream(p, split, SHARED).standard_normal(shape)
    inputs, present, unique, joint = [], [], [], []
    for m in range(p.modalities):
        random = _stream(p, split, m + 1)
        u, own = random.standard_normal((2, *shape))
        a = random.choice([-1.0, 1.0], shape)
        r = redundant if p.information[m] > 0 else own
        noise = random.standard_normal((*shape[:-1], p.features))
        inputs.append(_show(p, m, np.concatenate([u, r, a], axis=-1), noise, split))
        present.append(random.random(count) >= p.missing[m])
        unique.append(u)
        joint.append(a)
    return inputs, present, _score(p, np.stack(unique), redundant, np.stack(joint))


def _show(p: Parameters, m: int, latents: np.ndarray, noise: np.ndarray, split: int) -> np.ndarray:
    """Return what modality m shows of its latents, [N, ..., 3C] -> [N, ..., F]."""
    before, after = (1 / ratio(snr)[m] for snr in (p.snr, p.after_drift()))
    early = 0 if p.drift is None or split > 0 else round(p.drift.at * len(latents))
    variance = np.where(np.arange(len(latents)) < early, before, after)  # [N] of the noise
    variance = variance.reshape(-1, *[1] * (latents.ndim - 1))
    mixed = latents @ mixing(p, m).T + np.sqrt(variance) * noise
    size = np.sqrt(latents.shape[-1] / p.features + variance)
    return np.asarray(mixed / size, dtype=np.float32)


def mixing(p: Parameters, m: int) -> np.ndarray:
    """Return the orthonormal columns A_m [F, 3C]."""
    normal = _stream(p, MIXING, m + 1).standard_normal((p.features, LATENTS * p.outputs))
    q, r = np.linalg.qr(normal)
    return q * np.sign(np.diag(r))  # the sign is the library's choice otherwise


def _score(p: Parameters, unique: np.ndarray, redundant: np.ndarray, joint: np.ndarray) -> np.ndarray:
    """Return s [N, ..., C] from the latents u [M, N, ..., C], r [N, ..., C] and a [M, N, ..., C]."""
    pairs = np.sqrt(np.triu(pair_weights(p)))
    linear = np.sqrt(1 - p.redundancy) * np.tensordot(np.sqrt(p.information), unique, 1)
    linear += np.sqrt(p.redundancy) * redundant
    together = (joint * np.tensordot(pairs, joint, 1)).sum(axis=0)
    return np.asarray(np.sqrt(1 - p.synergy) * linear + np.sqrt(p.synergy) * together)


def _targets(p: Parameters, scores: Targets) -> tuple[Targets, float]:
    if p.task == "regression":
        unit = draw(p._replace(deal=0), 0)[2] if p.deal else scores[0]  # all deals have one
        return regression(scores, unit, "none", standardise=True, owner="synthetic")
    return tuple(_classes(score, _stream(p, split, TIES)) for split, score in enumerate(scores)), 0.0


def _classes(score: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return argmax [N, ...] of the scores [N, ..., C], one of the highest where there are several."""
    jitter = 1e-9 * random.random(score.shape)
    return np.asarray((score + jitter).argmax(axis=-1), dtype=np.int64)


def _stream(p: Parameters, split: int, source: int) -> np.random.Generator:
    dealt = [p.deal] if p.deal and split < TEST else []
    return np.random.default_rng([p.seed, split, source, *dealt])
