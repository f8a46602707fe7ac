"""Importance of settings among the trials that were run: PED-ANOVA and fANOVA (Optuna), with a dummy setting.

PED-ANOVA: how much the best tenth of the configurations differ from all in a setting. fANOVA: the share of the variance
that a setting alone explains in a random forest. Both are those of Optuna before normalisation to a sum of 1.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analysis.axis_layout import axis_layout
from analysis.choice import Design, design
from analysis.indices import DUMMY_FACTOR
from analysis.statistics import NAN, Z
from analysis.tables import Run, is_numeric, table_from_rows

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.importance import BaseImportanceEvaluator

TREES, RESAMPLED_TREES, RESAMPLES = 64, 8, 30
MAX_CONFIGURATIONS = {"ped-anova": 2048, "fanova": 256}  # of more, a random subset: a report would take minutes
SHARES = ("fanova",)  # which lie between 0 and 1; a difference between distributions may be greater
IMPORTANCE = {
    "factor": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,  # 95 % interval over configurations and seeds
    "high": pl.Float64,
    "floor": pl.Float64,  # 95 % quantile of the dummy's importance over random halves
    "above_floor": pl.Boolean,
    "configurations": pl.Int64,  # with a result
    "used": pl.Int64,  # of them, at most MAX_CONFIGURATIONS
    "dropped": pl.Int64,  # without
    "seeds": pl.Int64,
}

Values = list[Any]
Scores = NDArray[np.float64]


def importance(run: Run, method: str, evaluator: str = "ped-anova", resamples: int = RESAMPLES) -> pl.DataFrame:
    """Return the importance of each setting of a method, or of training, for the validation metric: IMPORTANCE.

    `evaluator` is ped-anova or fanova. Numbers enter as their positions on the axis of a figure: logarithmic where the
    study varied them so, 0 and infinity one step outside. Configurations in which a setting does not act are one step
    below, so that what switches it on counts for it, too.
    """
    configurations = design(run, method)
    settings = {axis: axis_values(configurations, axis, run.vary[axis]) for axis in configurations.axes}
    return importances(
        settings, configurations.scores, evaluator, higher_is_better=run.higher_is_better, resamples=resamples
    )


def importances(
    settings: Mapping[str, Values],
    scores: Scores,
    evaluator: str = "ped-anova",
    *,
    higher_is_better: bool = True,
    resamples: int = RESAMPLES,
) -> pl.DataFrame:
    """Return the importance of settings from their values in N configurations with scores [N, S], nan if missing.

    A configuration enters with the mean over the seeds that it has; without any it is dropped.
    """
    known = np.flatnonzero(np.isfinite(scores).any(axis=1))
    limit = MAX_CONFIGURATIONS.get(evaluator, len(known))
    used = known if len(known) <= limit else np.sort(np.random.default_rng(0).choice(known, limit, replace=False))
    kept = {name: [values[i] for i in used] for name, values in settings.items()}
    y = np.where(np.isfinite(scores), scores, np.nan)[used]
    count, seeds = y.shape
    estimates: dict[str, tuple[float, float]] = {}
    floor = NAN
    if count > 1 and float(np.ptp(np.nanmean(y, axis=1))) > 0:
        estimates, floor = resampled_importance(kept, y, evaluator, higher_is_better, resamples)
    rows = []
    for name in settings:
        value, half_width = estimates.get(name, (NAN, NAN))
        above = bool(value - half_width > floor) if np.isfinite(value - half_width - floor) else None
        low, high = max(value - half_width, min(value, 0.0)), value + half_width
        high = min(high, max(value, 1.0)) if evaluator in SHARES else high
        ends = {"value": value, "low": low, "high": high, "floor": floor}
        counts = {"configurations": len(known), "used": count, "dropped": len(scores) - len(known), "seeds": seeds}
        rows.append({"factor": name, **ends, "above_floor": above, **counts})
    return table_from_rows(rows, IMPORTANCE).sort("value", descending=True, nulls_last=True, maintain_order=True)


def resampled_importance(
    settings: Mapping[str, Values], y: Scores, evaluator: str, higher_is_better: bool, resamples: int
) -> tuple[dict[str, tuple[float, float]], float]:
    """Return each setting's importance with the half width of its interval, and the floor.

    Configurations are halved and not resampled with replacement: equal ones would look like a narrow peak of good ones.
    An estimate from a random half varies about that from all as much as the latter does about the truth.
    """
    rng = np.random.default_rng(0)
    axes = {name: distribution(values) for name, values in settings.items()}
    value = evaluate(settings, axes, np.nanmean(y, axis=1), build_evaluator(evaluator, TREES), higher_is_better)
    resampled: dict[str, list[float]] = {name: [] for name in [*settings, DUMMY_FACTOR]}
    axes[DUMMY_FACTOR] = distribution([0.0, 1.0])
    for _ in range(resamples):
        half = rng.permutation(len(y))[: -(-len(y) // 2)]
        scores = y[half][:, rng.integers(0, y.shape[1], y.shape[1])]
        known = np.isfinite(scores).any(axis=1)
        if known.sum() < 2:
            continue
        subset = {name: [values[i] for i in half[known]] for name, values in settings.items()}
        subset[DUMMY_FACTOR] = list(rng.random(int(known.sum())))
        means = np.nanmean(scores[known], axis=1)
        half_importances = evaluate(subset, axes, means, build_evaluator(evaluator, RESAMPLED_TREES), higher_is_better)
        for name, value_of_half in half_importances.items():
            resampled[name].append(value_of_half)
    spread = {name: np.std(resampled[name], ddof=1) if len(resampled[name]) > 1 else NAN for name in settings}
    floor = float(np.quantile(resampled[DUMMY_FACTOR], 0.95)) if resampled[DUMMY_FACTOR] else NAN
    return {name: (value[name], Z * float(spread[name])) for name in settings}, floor


def evaluate(
    settings: Mapping[str, Values],
    axes: "Mapping[str, BaseDistribution]",
    y: Scores,
    evaluator: "BaseImportanceEvaluator",
    higher_is_better: bool,
) -> dict[str, float]:
    """Return the importance of each setting by an evaluator, given scores [N] and the distribution of each axis."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if higher_is_better else "minimize")
    points = (dict(zip(settings, values, strict=True)) for values in zip(*settings.values(), strict=True))
    study.add_trials(
        [
            optuna.trial.create_trial(params=point, distributions=dict(axes), value=float(score))
            for point, score in zip(points, y, strict=True)
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # `normalize`, since 2022
        warnings.filterwarnings("ignore", "Target and region quantiles")  # equal scores: no setting matters
        try:
            result = optuna.importance.get_param_importances(study, evaluator=evaluator, normalize=False)
        except RuntimeError as error:
            if "zero total variance" not in str(error):
                raise
            result = dict.fromkeys(settings, 0.0)  # a forest's resampled scores are all equal: no setting matters
    return {name: float(result[name]) for name in settings}


def build_evaluator(name: str, trees: int) -> "BaseImportanceEvaluator":
    """Return Optuna's evaluator of that name.

    Raises:
        ValueError: there is none.
    """
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator

    if name == "fanova":
        return FanovaImportanceEvaluator(n_trees=trees, seed=0)
    if name == "ped-anova":
        return PedAnovaImportanceEvaluator()
    raise ValueError(f"unknown evaluator `{name}`; use `ped-anova` or `fanova`.")


def distribution(values: Sequence[Any]) -> "BaseDistribution":
    """Return the distribution of an axis: a range of numbers, or categories."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if is_numeric(list(values)):
        return FloatDistribution(min(values), max(values))
    return CategoricalDistribution(sorted(set(values)))


def axis_values(configurations: Design, axis: str, spec: Mapping[str, Any]) -> Values:
    """Return the positions of numbers on an axis, one step below where the setting does not act; choices as text."""
    values = configurations.points[axis].to_list()
    known = [value for value in values if value is not None]
    if not known or not is_numeric(known):
        return [str(value) for value in values]
    at = axis_layout(known, spec["scale"]).positions
    low, high = min(at.values()), max(at.values())
    below = low - ((high - low) / 10 or 1.0)
    return [below if value is None else float(at[value]) for value in values]
