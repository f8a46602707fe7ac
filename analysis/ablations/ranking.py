"""Which method is best over several data sets, and how far one is from what single modalities could do together."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from analysis import rankings
from analysis.ablations.differences import chosen, some
from analysis.ablations.finding import Effect, Finding, Sample, mean_of
from analysis.ablations.scores import Cells, averaged, by_seed, draws, flipped, pairs, scores, select, unit
from analysis.effects import improvement
from analysis.statistics import Estimate, interval, pseudovalues
from analysis.tables import Run


def ranking(cells: Cells, *, methods: Sequence[str], choose: Sequence[str] = (), baseline: str = "joint") -> Finding:
    """Return each method's gain over a baseline on test, averaged over the cells, and their mean ranks.

    ``choose`` are columns whose values each method has chosen on validation, in each cell, from the same grid.
    The first method is the one that gains most on validation: the largest of several gains on test would be too large.
    The tests of ranks are over blocks of a cell and a seed, in which all methods have a result.
    """
    seen, sides = (compared(cells, methods, choose, split) for split in ("validation", "test"))
    blocks = [
        {"block": f"{cell} {seed}", "method": method, "score": value}
        for method, side in sides.items()
        for (cell, seed), value in by_seed(side).items()
    ]
    found = rankings.ranking(
        pl.DataFrame(blocks, schema={"block": pl.String, "method": pl.String, "score": pl.Float64})
    )
    others = [method for method in methods if method != baseline]
    best_first = sorted(others, key=lambda m: last_if_lost(np.subtract(*pairs(seen[m], seen[baseline]))))
    effects = [Effect(method, *pairs(sides[method], sides[baseline])) for method in best_first]
    words = f"{rankings.said(found, 'block')} A block is a seed of a data set: the ranks speak of these data sets."
    wins = [f"{m} {beats(sides[m], sides[baseline], [*cells])}" for m in others]
    said = f"How likely a run is to beat one of {baseline}, over these data sets: {', '.join(wins)}."
    return Finding(effects, unit(cells, "score"), remarks=(words, said), ranking=found)


def compared(cells: Cells, methods: Sequence[str], choose: Sequence[str], split: str) -> dict[str, pl.DataFrame]:
    """Return what each method scores on a split, where more is better, by what it has chosen on validation."""
    table = flipped(scores(cells, split=split), cells)
    return {m: some(chosen(cells, table, {"method": m, "choose": list(choose)}), {"method": m}) for m in methods}


def beats(side: pl.DataFrame, other: pl.DataFrame, cells: Sequence[str]) -> str:
    """Return how likely a run of one side is to beat one of the other in the same cell, with the interval."""
    sides = (draws(one) for one in (side, other))
    found = mean_of([wins(one, two, cells) for one, two in zip(*sides, strict=False)])
    return "not known" if np.isnan(found.mean) else f"{found.mean:.0%} [{found.low:.0%}, {found.high:.0%}]"


def wins(side: pl.DataFrame, other: pl.DataFrame, cells: Sequence[str]) -> Estimate:
    """Return how likely a run of one side is to beat one of the other, the mean over the cells."""
    ours, theirs = by_seed(side), by_seed(other)
    both = sorted(ours.keys() & theirs.keys())
    return improvement(*([[one[cell, s] for cell, s in both if cell == c] for c in cells] for one in (ours, theirs)))


def last_if_lost(gains: Sample) -> tuple[bool, float]:
    """Return by what the gains of methods, [N], are sorted: the best first, and last one that has none."""
    known = gains[np.isfinite(gains)]
    return (False, -float(known.mean())) if len(known) else (True, 0.0)


def ceiling(cells: Cells, *, of: str, baseline: str = "joint") -> Finding:
    """Return the share of the gap between a baseline and the late ensemble of single modalities that a method closes.

    The ensemble adds up the log-probabilities of the `unimodal` trials of the same seed; of seeds that are nested in
    one, each has an ensemble of its own. The share is that of the means over the seeds, nan where
    the ensemble is not shown to be better than the baseline, so that there is no gap. Beside it, in the score's unit:
    the ensemble, the modality that is best on validation, and the method less the baseline.
    """
    effects, beside, remarks = [], [], []
    for cell, run in cells.items():
        name = cell or run.name
        table = scores({cell: run})
        alone = select(table, {"method": "unimodal"})
        late = averaged(alone, partial(ensemble, predictions(run)))
        strongest = by_seed(chosen({cell: run}, table, {"method": "unimodal", "choose": ["modality"]}))
        ours, theirs = (by_seed(select(table, {"method": m})) for m in (of, baseline))
        seeds = sorted(seed for _, seed in ours.keys() & theirs.keys())
        joint, method = (np.array([side[cell, s] for s in seeds]) for side in (theirs, ours))
        top = np.array([late.get(s, np.nan) for s in seeds])
        best = np.array([strongest.get((cell, s), np.nan) for s in seeds])
        share = closed(method - joint, top - joint)
        effects.append(Effect(name, share))
        remarks += [f"{name}: no gap is shown that could be closed"] if np.isnan(share).all() else []
        beside += [
            Effect(f"{name}: late ensemble - {baseline}", top, joint, run.metric),
            Effect(f"{name}: best modality - {baseline}", best, joint, run.metric),
            Effect(f"{name}: {of} - {baseline}", method, joint, run.metric),
        ]
    return Finding(effects, "share of the gap closed", beside=tuple(beside), remarks=tuple(remarks))


def closed(gain: Sample, gap: Sample) -> Sample:
    """Return the share of a mean gap that a mean gain is, as the jackknife's pseudo-values, [N]; nan without a gap.

    A mean of the seeds' own shares would be that of the seeds whose gap is a sample or two.
    """
    known = np.isfinite(gain) & np.isfinite(gap)
    gains, gaps, shares = gain[known], gap[known], np.full(len(gain), np.nan)
    if not len(gaps) or not np.nanmin([*interval(gaps), gaps.mean()]) > 0:
        return shares
    whole = gains.sum() / gaps.sum()
    without = (gains.sum() - gains) / (gaps.sum() - gaps) if len(gaps) > 1 else [whole]
    shares[known] = pseudovalues(whole, without)
    return shares


def predictions(run: Run) -> pl.DataFrame:
    """Return what the trials of a run predict of the test samples."""
    files = sorted((Path(run.folder) / "predictions").glob("[!.]*.parquet"))
    return pl.concat([pl.scan_parquet(file, glob=False) for file in files]).filter(split="test").collect()


def ensemble(predicted: pl.DataFrame, asked: pl.DataFrame) -> dict[int, float]:
    """Return the test accuracy of adding up what single modalities predict, by seed; none of those that lack one."""
    done = asked.filter(pl.col("status") == "done").unique("trial", maintain_order=True)
    whole = pl.col("modality").n_unique().over("seed") == asked["modality"].n_unique()
    frame = predicted.join(done.filter(whole).select("trial", "seed"), on="trial")
    found = {}
    for (seed,), part in frame.group_by("seed", maintain_order=True):
        members = part.partition_by("trial")
        logits = [m.sort("sample")["output"].to_numpy().astype(float) for m in members]
        total = sum(
            x - np.log(np.exp(x - x.max(1, keepdims=True)).sum(1, keepdims=True)) - x.max(1, keepdims=True)
            for x in logits
        )
        target = members[0].sort("sample")["target"].to_numpy()
        found[int(str(seed))] = float((np.argmax(total, 1) == target).mean())
    return found
