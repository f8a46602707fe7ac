"""Seeds of several kinds, nested in each other: what is independent of each other, and what each kind adds."""

import math
from collections.abc import Iterable

import polars as pl

from analysis.choice import chosen, test_scores
from analysis.components import COMPONENTS, components
from analysis.formatting import plural
from analysis.pareto import balanced
from analysis.tables import METRICS, TRIALS, Run

KINDS = {"split": "split", "init": "initialisation", "order": "order"}  # of seeds, in words
WORST = ("done", "pruned", "diverged", "failed")
COUNTED = ("diverged", "failed")
OUTCOMES = ("trial", "seed", "status", "error", "seconds", "steps", "params")
SPREAD = {"method": pl.String, "modality": pl.String, **COMPONENTS}
JOINT = " - joint"  # how the name of a difference to joint training ends


def independent(run: Run) -> Run:
    """Return a run whose seeds are independent of each other: those of the first kind alone.

    What was seen under one of them with seeds of other kinds is repetition: its trials become one, named like the
    first, with their mean, and without a score unless all have one; `failed` and `diverged` say how many of them were.
    A run without such seeds stays as it is.
    """
    if _inner(run) == 1:
        return run
    whole = balanced(run.trials, run.metrics) if "balance" in run.objectives else run.trials
    names = whole.collect_schema().names()
    told, finals = _told(names), _finals(names)
    rank = pl.col("status").replace_strict({status: i for i, status in enumerate(WORST)}, return_dtype=pl.Int8)
    trials = (
        nested(run._replace(trials=whole))
        .sort("seed", "draw", maintain_order=True)
        .group_by(*told, "seed", maintain_order=True)
        .agg(
            pl.col("trial", "params").first(),
            *((pl.col("status") == status).sum().alias(status) for status in COUNTED),
            pl.col("status").sort_by(rank).last(),
            pl.col("error").drop_nulls().first(),
            pl.col("seconds").mean(),
            pl.col("steps").max(),
            *(pl.when(pl.col(name).is_not_null().all()).then(pl.col(name).mean()).alias(name) for name in finals),
            members=pl.col("trial"),
        )
    )
    units = trials.select(pl.col("trial").alias("unit"), trial="members").explode("trial").unique("trial")
    keys = [name for name in METRICS if name not in ("trial", "value")]
    metrics = (
        run.metrics.join(units, on="trial")
        .group_by("unit", *keys, maintain_order=True)
        .agg(pl.col("value").implode().list.sort().list.mean())  # added up in one order: the same bit for bit
        .rename({"unit": "trial"})
    )
    kept = [*TRIALS, *COUNTED, *(name for name in names if name in {*told, *finals} - {*TRIALS})]
    return run._replace(trials=trials.select(kept), metrics=metrics.select(list(METRICS)))


def nested(run: Run) -> pl.LazyFrame:
    """Return the trials, `seed` being that of the first kind, and `draw` which of the seeds nested in it a trial has.

    What a configuration has of a seed of which trials are still to come is left out. All are `draw` 0 where seeds of
    one kind, or one that decides all, have no others in them.
    """
    if _inner(run) == 1:
        return run.trials.with_columns(draw=pl.lit(0))
    first = f"seed.{next(iter(run.seed_counts))}"
    told = _told(run.trials.collect_schema().names())
    return (
        run.trials.with_columns(draw=pl.col("seed").rank("dense").over(first).cast(pl.Int32) - 1)
        .filter(pl.col("trial").n_unique().over(*told, first) == _inner(run))
        .with_columns(seed=first)
    )


def trialwise(run: Run) -> Run:
    """Return a run whose trials all count by themselves, whatever their seeds have in common."""
    seeds = math.prod(run.seed_counts.values())
    return run._replace(study=run.study | {"study": run.study["study"] | {"seeds": seeds}}) if run.seed_counts else run


def held(run: Run) -> list[str]:
    """Return which kinds of seeds are held at one while others vary."""
    return [kind for kind in KINDS if kind not in run.seed_counts] if run.seed_counts else []


def units(run: Run, count: int) -> str:
    """Return so many seeds in words, `8 orders of one split and one initialisation` where kinds of seeds are held."""
    if not held(run):
        return plural(count, "seed")
    outer = KINDS[next(iter(run.seed_counts))]
    return f"{plural(count, outer)} of {' and '.join(f'one {KINDS[kind]}' for kind in held(run))}"


def spread(run: Run) -> pl.DataFrame:
    """Return what each kind of seed adds to the variance of the chosen configurations' test scores, as SPREAD says.

    Behind them it does so of the differences to joint training, paired by seed: what seeds do to both cancels there.
    """
    parts, kinds = [pl.DataFrame(schema=SPREAD)], list(run.seed_counts)
    if not kinds:
        return parts[0]
    scores = test_scores(run, chosen(run)).drop_nulls("score")
    drawn = run.trials.select("trial", **{kind: f"seed.{kind}" for kind in kinds}).unique("trial").collect()
    scores = scores.join(drawn, on="trial", maintain_order="left")
    joint = scores.filter(method="joint").select("seed", baseline="score")
    others = scores.filter(~pl.col("method").is_in(["joint", "unimodal"]))
    gains = others.join(joint, on="seed", maintain_order="left").with_columns(
        pl.col("method") + JOINT, score=pl.col("score") - pl.col("baseline")
    )
    for table in (scores, gains):
        for (method, modality), group in table.group_by("method", "modality", maintain_order=True):
            found = components(group, kinds)
            parts.append(
                found.select(pl.lit(method).alias("method"), pl.lit(modality, pl.String).alias("modality"), pl.all())
            )
    return pl.concat(parts)


def _inner(run: Run) -> int:
    """Return how many trials of a configuration a seed of the first kind has."""
    return math.prod([*run.seed_counts.values()][1:])


def _finals(names: Iterable[str]) -> list[str]:
    """Return which columns of trials are their scores."""
    return [name for name in names if name.partition(".")[0] in ("validation", "test")]


def _told(names: Iterable[str]) -> list[str]:
    """Return which columns of trials say what was trained, whatever the seed."""
    ends = {*OUTCOMES, *_finals(names)}
    return [name for name in names if name not in ends and not name.startswith("seed.")]
