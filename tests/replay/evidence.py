"""BOGC: Dempster's rule by brute force over the power set, and BayesAgg's posteriors, moments and aggregate."""

import math
from collections.abc import Callable, Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.replay.spy import Case, Pairs
from tests.trainables.helpers import make_task
from trainables import laplace
from trainables.evidence import aggregate, combine, evidence, mean_log_precision
from trainables.laplace import GradientMoments
from trainables.methods.bogc import posterior

FRAMES = {"A": "modality", "B": "dims", "C": "reliability"}


def replayer(case: Case) -> Callable[[Case], Pairs] | None:
    """Return what replays a case of these two families, by what it holds."""
    if "mean_gradients" in case:
        return chain
    if "evidence" in case and "belief" in case:
        return combination
    if "heads" in case and "h_full" in case:
        return classification
    if "h_full" in case:
        return regression
    return None


def numbers(value: Any) -> Tensor:
    """Return a number or nest of numbers; one that is exact comes with its nearest float."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return value["float"]
        return [plain(v) for v in value] if isinstance(value, list) else value

    return torch.tensor(plain(value), dtype=torch.float64)


def compared(known: dict[str, Any], theirs: Case, skip: Collection[str] = ()) -> Pairs:
    """Compare every number that is not input; one that nothing here answers to counts as unread."""
    for what, value in theirs.items():
        if what not in skip:
            yield what, known.get(what), numbers(value)


def combination(case: Case) -> Pairs:
    """The opinions of given evidence, and how much of it is conflict: what the sources alone leave open beyond u."""
    e, k = numbers(case["evidence"]), float(numbers(case.get("K", 0)))
    frame = FRAMES[case["kind"].split("_")[0]]
    belief, uncertainty = combine(e, k, frame)
    alone = torch.stack([combine(own[None], k, frame).uncertainty for own in e]).prod(0)
    if frame != "modality":
        belief = belief.sum(0)
    if frame == "dims":  # the dimensions share one uncertainty, and a belief that is here a gain
        belief, uncertainty, alone = belief / e.shape[1], uncertainty[0], alone[0]
    known = {"belief": belief, "uncertainty": uncertainty, "conflict": 1 - alone / uncertainty}
    yield from compared(known, case, skip={"kind", "note", "M", "D", "K", "evidence"})


def chain(case: Case) -> Pairs:
    """From moments to the aggregate; where a case states its unit of precision, evidence is measured in it."""
    means, kappa, k = numbers(case["mean_gradients"]), float(numbers(case["kappa"])), float(numbers(case["K"]))
    variance = numbers(case["variance"]) if "variance" in case else 1 / numbers(case["precision"])
    scale: dict[str, Any] = {"scale": "tensor"}
    if "scale" in case:
        scale = {"scale": "ema", "reference": math.log(float(numbers(case["scale"])))}
    e = evidence(variance, kappa, **scale)
    weights, uncertainty = combine(e, k)
    known = {
        "scale_geometric_mean_precision": mean_log_precision(variance).exp(),
        "evidence": e,
        "belief_dim_by_modality": weights.T,
        "uncertainty": uncertainty,
    }
    for fallback in ("mean", "zero"):
        known[f"g_calibrated_fallback_{fallback}"] = aggregate(
            means, variance, kappa, k, fallback=fallback, gain="none", **scale
        )
    inputs = {"kind", "note", "M", "D", "kappa", "K", "scale", "mean_gradients", "precision", "variance"}
    yield from compared(known, case, skip=inputs)


def classification(case: Case) -> Pairs:
    """Softmax heads on one feature: posterior over the training set, over the batch, and moments of given draws."""
    hyper, target = case["hyper"], torch.tensor(case["y"])
    features, full_features = numbers(case["h"]), numbers(case["h_full"])
    task, full_task = make_task(target, 0), make_task(torch.tensor(case["y_full"]), 0)
    found = []
    for m, (weight, bias, recorded) in enumerate(zip(case["W"], case["b"], case["heads"], strict=True)):
        head = torch.cat([numbers(weight), numbers(bias)[:, None]], -1)
        theirs, classes = recorded["official"], len(head)
        start = laplace.prior(head.flatten(), hyper["gamma"])
        full = posterior(head, full_features, None, full_task, start)
        after = posterior(head, features, None, task, full)
        drawn = laplace.sample_heads(after, numbers(theirs["standard_normal_draws"]), classes)
        moments = laplace.sampled_moments(drawn, features, task.slope)
        logits = features @ drawn[..., :-1].mT + drawn[:, None, :, -1]
        known = {
            "full_posterior_mean": full.mean,
            "full_posterior_precision": full.precision,
            "posterior_mean": after.mean,
            "posterior_cov": after.covariance,
            "posterior_scale_tril": after.factor,
            "E_g": moments.mean[:, None],
            "Sigma_g_pow": moments.variance[:, None] ** hyper["sqrt_power"],
            "sample_loss": F.cross_entropy(logits.flatten(0, 1), target.repeat(len(drawn))),
        }
        yield from ((f"{m}.{what}", *pair) for what, *pair in compared(known, theirs, {"standard_normal_draws"}))
        found.append(moments)
    means, variances = map(torch.stack, zip(*found, strict=True))
    yield (
        "aggregate",
        bayesagg(GradientMoments(means, variances), hyper["sqrt_power"]),
        case["official_aggregate_dL_dh"],
    )


def regression(case: Case) -> Pairs:
    """The outputs of one linear regression: exact posterior and exact moments."""
    hyper, theirs = case["hyper"], case["official"]
    features, target = numbers(case["h"]), numbers(case["y"])
    start = laplace.prior(features.new_zeros(target.shape[-1], features.shape[-1]), hyper["gamma"])
    full = laplace.regression_posterior(numbers(case["h_full"]), numbers(case["y_full"]), start)
    after = laplace.regression_posterior(features, target, full)
    moments = laplace.regression_moments(after, features, target)
    known = {
        "posterior_mean": after.mean,
        "posterior_cov": after.covariance.expand(numbers(theirs["posterior_cov"]).shape),
        "E_g": moments.mean.transpose(0, 1),
        "Sigma_g_pow": moments.variance.transpose(0, 1) ** hyper["sqrt_power"],
        "aggregate_over_outputs": bayesagg(moments, hyper["sqrt_power"]),
    }
    yield from compared(known, theirs)


def bayesagg(moments: GradientMoments, power: float) -> Tensor:
    """Return BayesAgg's aggregate over the first axis: no doubt (K = 0), absolute precision, mean over the samples."""
    weights = combine(moments.variance**-power, 0.0).weights
    return (weights * moments.mean).sum(0) / moments.mean.shape[1]
