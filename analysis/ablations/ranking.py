"""Which method is best over several data sets, and how much of the gap to a late ensemble one closes."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from analysis import rankings
from analysis.ablations.differences import require_rows, select_tuned
from analysis.ablations.finding import Effect, Finding, Sample, mean_estimate
from analysis.ablations.scores import (
    Cells,
    mean_over_draws,
    orient_scores,
    paired_samples,
    partition_draws,
    scores,
    seed_means,
    select_rows,
    unit_metric,
)
from analysis.effects import improvement
from analysis.statistics import Estimate, interval, pseudovalues
from analysis.tables import Run


def ranking(cells: Cells, *, methods: Sequence[str], choose: Sequence[str] = (), baseline: str = "joint") -> Finding:
    """Return each method's gain over a baseline on test, averaged over the cells, and their mean ranks.

    ``choose`` are columns whose values each method has chosen on validation, in each cell, from the same grid.
    The first method is the one that gains most on validation: the largest of several gains on test would be too large.
    The tests of ranks are over blocks of a cell and a seed, in which all methods have a result.
    """
    on_validation, on_test = (tuned_scores(cells, methods, choose, split) for split in ("validation", "test"))
    blocks = [
        {"block": f"{cell} {seed}", "method": method, "score": value}
        for method, rows in on_test.items()
        for (cell, seed), value in seed_means(rows).items()
    ]
    result = rankings.ranking(
        pl.DataFrame(blocks, schema={"block": pl.String, "method": pl.String, "score": pl.Float64})
    )
    others = [method for method in methods if method != baseline]

    def validation_gains(method: str) -> Sample:
        return np.subtract(*paired_samples(on_validation[method], on_validation[baseline]))

    best_first = sorted(others, key=lambda method: gain_sort_key(validation_gains(method)))
    effects = [Effect(method, *paired_samples(on_test[method], on_test[baseline])) for method in best_first]
    note = "A block is a seed of a data set: the ranks hold for these data sets only."
    ranks = f"{rankings.ranking_text(result, 'block')} {note}"
    improvements = [f"{m} {improvement_text(on_test[m], on_test[baseline], [*cells])}" for m in others]
    remark = f"Probability that a run beats one of {baseline}, over these data sets: {', '.join(improvements)}."
    return Finding(effects, unit_metric(cells, "score"), remarks=(ranks, remark), ranking=result)


def tuned_scores(cells: Cells, methods: Sequence[str], choose: Sequence[str], split: str) -> dict[str, pl.DataFrame]:
    """Return each method's scores on a split, oriented so that more is better, at its choice on validation."""
    table = orient_scores(scores(cells, split=split), cells)
    return {
        m: require_rows(select_tuned(cells, table, {"method": m, "choose": list(choose)}), {"method": m})
        for m in methods
    }


def improvement_text(rows: pl.DataFrame, baseline: pl.DataFrame, cells: Sequence[str]) -> str:
    """Return `73% [60%, 85%]`: how likely a run is to beat one of the baseline in the same cell, with the interval."""
    draws = (partition_draws(side) for side in (rows, baseline))
    result = mean_estimate([improvement_probability(x, y, cells) for x, y in zip(*draws, strict=False)])
    return "not known" if np.isnan(result.mean) else f"{result.mean:.0%} [{result.low:.0%}, {result.high:.0%}]"


def improvement_probability(rows: pl.DataFrame, baseline: pl.DataFrame, cells: Sequence[str]) -> Estimate:
    """Return the probability that a run beats a run of the baseline, the mean over the cells."""
    left, right = seed_means(rows), seed_means(baseline)
    shared = sorted(left.keys() & right.keys())
    return improvement(*([[side[cell, s] for cell, s in shared if cell == c] for c in cells] for side in (left, right)))


def gain_sort_key(gains: Sample) -> tuple[bool, float]:
    """Return the key by which methods are sorted from their gains, [N]: the best first, those without a result last."""
    known = gains[np.isfinite(gains)]
    return (False, -float(known.mean())) if len(known) else (True, 0.0)


def ceiling(cells: Cells, *, of: str, baseline: str = "joint") -> Finding:
    """Return the share of the gap between a baseline and the late ensemble of single modalities that a method closes.

    The ensemble adds up the log-probabilities of the `unimodal` trials of the same seed; nested seeds have an ensemble
    a draw. The share is that of the means over the seeds, nan where the ensemble is not shown to be better than the
    baseline, so that there is no gap. Shown as well, in the score's unit: the ensemble, the modality that is best on
    validation, and the method less the baseline.
    """
    effects, beside, remarks = [], [], []
    for cell, run in cells.items():
        name = cell or run.name
        table = scores({cell: run})
        unimodal = select_rows(table, {"method": "unimodal"})
        ensemble_by_seed = mean_over_draws(unimodal, partial(ensemble_accuracy, load_test_predictions(run)))
        best_by_seed = seed_means(select_tuned({cell: run}, table, {"method": "unimodal", "choose": ["modality"]}))
        method_by_seed, baseline_by_seed = (seed_means(select_rows(table, {"method": m})) for m in (of, baseline))
        seeds = sorted(seed for _, seed in method_by_seed.keys() & baseline_by_seed.keys())
        joint, method = (np.array([side[cell, s] for s in seeds]) for side in (baseline_by_seed, method_by_seed))
        ensemble = np.array([ensemble_by_seed.get(s, np.nan) for s in seeds])
        best = np.array([best_by_seed.get((cell, s), np.nan) for s in seeds])
        share = closed_share(method - joint, ensemble - joint)
        effects.append(Effect(name, share))
        remarks += [f"{name}: no gap to the late ensemble is shown"] if np.isnan(share).all() else []
        beside += [
            Effect(f"{name}: late ensemble - {baseline}", ensemble, joint, run.metric),
            Effect(f"{name}: best modality - {baseline}", best, joint, run.metric),
            Effect(f"{name}: {of} - {baseline}", method, joint, run.metric),
        ]
    return Finding(effects, "share of the gap closed", beside=tuple(beside), remarks=tuple(remarks))


def closed_share(gain: Sample, gap: Sample) -> Sample:
    """Return the ratio of a mean gain to a mean gap, as the jackknife's pseudo-values, [N]; nan without a gap.

    A mean of the ratios of single seeds would be dominated by seeds whose gap is a sample or two.
    """
    known = np.isfinite(gain) & np.isfinite(gap)
    gains, gaps, shares = gain[known], gap[known], np.full(len(gain), np.nan)
    if not len(gaps) or not np.nanmin([*interval(gaps), gaps.mean()]) > 0:
        return shares
    share = gains.sum() / gaps.sum()
    shares_without = (gains.sum() - gains) / (gaps.sum() - gaps) if len(gaps) > 1 else [share]
    shares[known] = pseudovalues(share, shares_without)
    return shares


def load_test_predictions(run: Run) -> pl.DataFrame:
    """Return the predictions of the trials of a run on the test samples."""
    files = sorted((Path(run.folder) / "predictions").glob("[!.]*.parquet"))
    return pl.concat([pl.scan_parquet(file, glob=False) for file in files]).filter(split="test").collect()


def ensemble_accuracy(predictions: pl.DataFrame, unimodal: pl.DataFrame) -> dict[int, float]:
    """Return the test accuracy of the late ensemble by seed; seeds that lack a modality have none.

    Args:
        predictions: of all trials of a run.
        unimodal: the trials of single modalities.
    """
    done = unimodal.filter(pl.col("status") == "done").unique("trial", maintain_order=True)
    is_complete = pl.col("modality").n_unique().over("seed") == unimodal["modality"].n_unique()
    outputs = predictions.join(done.filter(is_complete).select("trial", "seed"), on="trial")
    accuracies = {}
    for (seed,), part in outputs.group_by("seed", maintain_order=True):
        members = part.partition_by("trial")
        logits = [m.sort("sample")["output"].to_numpy().astype(float) for m in members]
        total = sum(
            x - np.log(np.exp(x - x.max(1, keepdims=True)).sum(1, keepdims=True)) - x.max(1, keepdims=True)
            for x in logits
        )
        target = members[0].sort("sample")["target"].to_numpy()
        accuracies[int(str(seed))] = float((np.argmax(total, 1) == target).mean())
    return accuracies
