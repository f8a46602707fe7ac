"""BOGC: Dempster's rule by brute force over the power set, and BayesAgg's posteriors, moments and aggregate."""

import math
from collections.abc import Callable, Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.replay.recorder import Case, Pairs
from tests.trainables.helpers import make_task
from trainables import laplace
from trainables.evidence import aggregate, combine, evidence, mean_log_precision
from trainables.laplace import GradientMoments
from trainables.methods.bogc import posterior

FRAMES = {"A": "modality", "B": "dims", "C": "reliability"}


def select_replay(case: Case) -> Callable[[Case], Pairs] | None:
    """Return the function that replays a case of these two families; None for other cases."""
    if "mean_gradients" in case:
        return replay_aggregate
    if "evidence" in case and "belief" in case:
        return replay_combination
    if "heads" in case and "h_full" in case:
        return replay_classification
    if "h_full" in case:
        return replay_regression
    return None


def to_tensor(value: Any) -> Tensor:
    """Return nested numbers as a tensor; an exact rational is given with its nearest float."""

    def unwrap(value: Any) -> Any:
        if isinstance(value, dict):
            return value["float"]
        return [unwrap(v) for v in value] if isinstance(value, list) else value

    return torch.tensor(unwrap(value), dtype=torch.float64)


def compare_numbers(known: dict[str, Any], theirs: Case, skip: Collection[str] = ()) -> Pairs:
    """Compare every number that is not an input; one without a counterpart here is reported as not read."""
    for what, value in theirs.items():
        if what not in skip:
            yield what, known.get(what), to_tensor(value)


def replay_combination(case: Case) -> Pairs:
    """The opinions of given evidence, and the conflict: 1 - (product of the single uncertainties) / u."""
    e, k = to_tensor(case["evidence"]), float(to_tensor(case.get("K", 0)))
    frame = FRAMES[case["kind"].split("_")[0]]
    belief, uncertainty = combine(e, k, frame)
    single = torch.stack([combine(own[None], k, frame).uncertainty for own in e]).prod(0)
    if frame != "modality":
        belief = belief.sum(0)
    if frame == "dims":  # the dimensions share one uncertainty, and the belief is scaled to a gain here
        belief, uncertainty, single = belief / e.shape[1], uncertainty[0], single[0]
    known = {"belief": belief, "uncertainty": uncertainty, "conflict": 1 - single / uncertainty}
    yield from compare_numbers(known, case, skip={"kind", "note", "M", "D", "K", "evidence"})


def replay_aggregate(case: Case) -> Pairs:
    """From moments to the aggregate, with the unit of precision that a case states, if any."""
    means, kappa, k = to_tensor(case["mean_gradients"]), float(to_tensor(case["kappa"])), float(to_tensor(case["K"]))
    variance = to_tensor(case["variance"]) if "variance" in case else 1 / to_tensor(case["precision"])
    scale: dict[str, Any] = {"scale": "tensor"}
    if "scale" in case:
        scale = {"scale": "ema", "reference": math.log(float(to_tensor(case["scale"])))}
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
    yield from compare_numbers(known, case, skip=inputs)


def replay_classification(case: Case) -> Pairs:
    """Softmax heads on one feature: posterior over the training set, over the batch, and moments of given draws."""
    hyper, target = case["hyper"], torch.tensor(case["y"])
    features, full_features = to_tensor(case["h"]), to_tensor(case["h_full"])
    task, full_task = make_task(target, 0), make_task(torch.tensor(case["y_full"]), 0)
    results = []
    for m, (weight, bias, recorded) in enumerate(zip(case["W"], case["b"], case["heads"], strict=True)):
        head = torch.cat([to_tensor(weight), to_tensor(bias)[:, None]], -1)
        theirs, classes = recorded["official"], len(head)
        start = laplace.prior(head.flatten(), hyper["gamma"])
        full = posterior(head, full_features, None, full_task, start)
        after = posterior(head, features, None, task, full)
        drawn = laplace.sample_heads(after, to_tensor(theirs["standard_normal_draws"]), classes)
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
        yield from ((f"{m}.{what}", *pair) for what, *pair in compare_numbers(known, theirs, {"standard_normal_draws"}))
        results.append(moments)
    means, variances = map(torch.stack, zip(*results, strict=True))
    yield (
        "aggregate",
        bayesagg(GradientMoments(means, variances), hyper["sqrt_power"]),
        case["official_aggregate_dL_dh"],
    )


def replay_regression(case: Case) -> Pairs:
    """The outputs of one linear regression: exact posterior and exact moments."""
    hyper, theirs = case["hyper"], case["official"]
    features, target = to_tensor(case["h"]), to_tensor(case["y"])
    start = laplace.prior(features.new_zeros(target.shape[-1], features.shape[-1]), hyper["gamma"])
    full = laplace.regression_posterior(to_tensor(case["h_full"]), to_tensor(case["y_full"]), start)
    after = laplace.regression_posterior(features, target, full)
    moments = laplace.regression_moments(after, features, target)
    known = {
        "posterior_mean": after.mean,
        "posterior_cov": after.covariance.expand(to_tensor(theirs["posterior_cov"]).shape),
        "E_g": moments.mean.transpose(0, 1),
        "Sigma_g_pow": moments.variance.transpose(0, 1) ** hyper["sqrt_power"],
        "aggregate_over_outputs": bayesagg(moments, hyper["sqrt_power"]),
    }
    yield from compare_numbers(known, theirs)


def bayesagg(moments: GradientMoments, power: float) -> Tensor:
    """Return BayesAgg's aggregate over the first axis: no uncertainty (K = 0), absolute precision, mean over the samples."""
    weights = combine(moments.variance**-power, 0.0).weights
    return (weights * moments.mean).sum(0) / moments.mean.shape[1]
