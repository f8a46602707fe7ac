"""Seeds of several kinds, nested in each other: what is independent of each other, and what each kind adds."""

import math

import polars as pl

from analysis.choice import chosen, test_scores
from analysis.components import COMPONENTS, components
from analysis.tables import METRICS, TRIALS, Run

WORST = ("done", "pruned", "diverged", "failed")
OUTCOMES = ("trial", "seed", "status", "error", "seconds", "steps", "params")
SPREAD = {"method": pl.String, "modality": pl.String, **COMPONENTS}


def independent(run: Run) -> Run:
    """Return a run whose seeds are independent of each other: those of the first kind alone.

    What was seen under one of them with seeds of other kinds is repetition: its trials become one, named like the
    first, with their mean, and without a score unless all have one. A run without such seeds stays as it is.
    """
    inner = math.prod([*run.kinds.values()][1:])
    if inner == 1:
        return run
    first = pl.col(f"seed.{next(iter(run.kinds))}")
    names = run.trials.collect_schema().names()
    finals = [name for name in names if name.partition(".")[0] in ("validation", "test")]
    told = [name for name in names if name not in {*OUTCOMES, *finals} and not name.startswith("seed.")]
    rank = pl.col("status").replace_strict({status: i for i, status in enumerate(WORST)}, return_dtype=pl.Int8)
    trials = (
        run.trials.sort("seed", maintain_order=True)
        .group_by(*told, first.alias("seed"), maintain_order=True)
        .agg(
            pl.col("trial", "params").first(),
            pl.col("status").sort_by(rank).last(),
            pl.col("error").drop_nulls().first(),
            pl.col("seconds").mean(),
            pl.col("steps").max(),
            *(pl.when(pl.col(name).is_not_null().all()).then(pl.col(name).mean()).alias(name) for name in finals),
            members=pl.col("trial"),
        )
        .filter(pl.col("members").list.n_unique() == inner)
    )
    units = trials.select(pl.col("trial").alias("unit"), trial="members").explode("trial").unique("trial")
    keys = [name for name in METRICS if name not in ("trial", "value")]
    metrics = (
        run.metrics.join(units, on="trial")
        .group_by("unit", *keys, maintain_order=True)
        .agg(pl.col("value").mean())
        .rename({"unit": "trial"})
    )
    kept = [*TRIALS, *(name for name in names if name in {*told, *finals} - {*TRIALS})]
    return run._replace(trials=trials.select(kept), metrics=metrics.select(list(METRICS)))


def spread(run: Run) -> pl.DataFrame:
    """Return what each kind of seed adds to the variance of the chosen configurations' test scores, as SPREAD says."""
    parts, kinds = [pl.DataFrame(schema=SPREAD)], list(run.kinds)
    if not kinds:
        return parts[0]
    joint = test_scores(run, chosen(run)).filter(pl.col("encoder").is_null()).drop_nulls("score")
    drawn = run.trials.select("trial", **{kind: f"seed.{kind}" for kind in kinds}).unique("trial").collect()
    joint = joint.join(drawn, on="trial", maintain_order="left")
    for (method, modality), group in joint.group_by("method", "modality", maintain_order=True):
        found = components(group, kinds)
        parts.append(
            found.select(pl.lit(method).alias("method"), pl.lit(modality, pl.String).alias("modality"), pl.all())
        )
    return pl.concat(parts)
