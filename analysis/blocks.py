"""Seeds of several kinds, nested in each other: the independent ones, and what each kind adds to the variance."""

import math
from collections.abc import Iterable

import polars as pl

from analysis.choice import best_configurations, test_scores
from analysis.components import COMPONENTS, components
from analysis.formatting import plural
from analysis.pareto import with_balance
from analysis.tables import METRICS, TRIALS, Run

SEED_KINDS = {"split": "split", "init": "initialisation", "order": "order"}  # of seeds -> noun
STATUSES = ("done", "pruned", "diverged", "failed")
COUNTED_STATUSES = ("diverged", "failed")
OUTCOME_COLUMNS = ("trial", "seed", "status", "error", "seconds", "steps", "params")
SEED_VARIANCE = {"method": pl.String, "modality": pl.String, **COMPONENTS}
GAIN_SUFFIX = " - joint"  # ends the name of a difference to joint training


def independent(run: Run) -> Run:
    """Return a run with one trial per independent seed, which are those of the first kind.

    Trials of one such seed that differ in seeds of other kinds are repetitions: they become one trial with the id of
    the first and their mean scores, without a score unless all have one; `failed` and `diverged` count them. A run
    without nested seeds is returned as it is.
    """
    if draws_per_seed(run) == 1:
        return run
    all_trials = with_balance(run.trials, run.metrics) if "balance" in run.objectives else run.trials
    names = all_trials.collect_schema().names()
    setting_columns, score_columns = setting_column_names(names), score_column_names(names)
    rank = pl.col("status").replace_strict({status: i for i, status in enumerate(STATUSES)}, return_dtype=pl.Int8)
    trials = (
        trials_with_draws(run._replace(trials=all_trials))
        .sort("seed", "draw", maintain_order=True)
        .group_by(*setting_columns, "seed", maintain_order=True)
        .agg(
            pl.col("trial", "params").first(),
            *((pl.col("status") == status).sum().alias(status) for status in COUNTED_STATUSES),
            pl.col("status").sort_by(rank).last(),
            pl.col("error").drop_nulls().first(),
            pl.col("seconds").mean(),
            pl.col("steps").max(),
            *(
                pl.when(pl.col(name).is_not_null().all()).then(pl.col(name).mean()).alias(name)
                for name in score_columns
            ),
            members=pl.col("trial"),
        )
    )
    members = trials.select(pl.col("trial").alias("independent"), trial="members").explode("trial").unique("trial")
    keys = [name for name in METRICS if name not in ("trial", "value")]
    metrics = (
        run.metrics.join(members, on="trial")
        .group_by("independent", *keys, maintain_order=True)
        .agg(pl.col("value").implode().list.sort().list.mean())  # added up in one order: the same bit for bit
        .rename({"independent": "trial"})
    )
    kept = [
        *TRIALS,
        *COUNTED_STATUSES,
        *(name for name in names if name in {*setting_columns, *score_columns} - {*TRIALS}),
    ]
    return run._replace(trials=trials.select(kept), metrics=metrics.select(list(METRICS)))


def trials_with_draws(run: Run) -> pl.LazyFrame:
    """Return the trials with the seed of the first kind as `seed`, and the number of the seeds nested in it as `draw`.

    Seeds of which a configuration lacks trials that are still to come are left out. Without nested seeds all trials are
    of `draw` 0.
    """
    if draws_per_seed(run) == 1:
        return run.trials.with_columns(draw=pl.lit(0))
    first = f"seed.{next(iter(run.seed_counts))}"
    setting_columns = setting_column_names(run.trials.collect_schema().names())
    return (
        run.trials.with_columns(draw=pl.col("seed").rank("dense").over(first).cast(pl.Int32) - 1)
        .filter(pl.col("trial").n_unique().over(*setting_columns, first) == draws_per_seed(run))
        .with_columns(seed=first)
    )


def with_independent_trials(run: Run) -> Run:
    """Return a run in which every trial counts as an independent seed."""
    seeds = math.prod(run.seed_counts.values())
    return run._replace(study=run.study | {"study": run.study["study"] | {"seeds": seeds}}) if run.seed_counts else run


def held_kinds(run: Run) -> list[str]:
    """Return the kinds of seeds that are held at one seed while others vary."""
    return [kind for kind in SEED_KINDS if kind not in run.seed_counts] if run.seed_counts else []


def seeds_text(run: Run, count: int) -> str:
    """Return `8 seeds`, or `8 orders of one split and one initialisation` where kinds of seeds are held."""
    if not held_kinds(run):
        return plural(count, "seed")
    outer = SEED_KINDS[next(iter(run.seed_counts))]
    return f"{plural(count, outer)} of {' and '.join(f'one {SEED_KINDS[kind]}' for kind in held_kinds(run))}"


def seed_variance(run: Run) -> pl.DataFrame:
    """Return what each kind of seed adds to the variance of chosen configurations' test scores.

    The columns are those of SEED_VARIANCE. The last rows are of the differences to joint training, paired by
    seed, in which what a seed does to both cancels.
    """
    parts, kinds = [pl.DataFrame(schema=SEED_VARIANCE)], list(run.seed_counts)
    if not kinds:
        return parts[0]
    scores = test_scores(run, best_configurations(run)).drop_nulls("score")
    seeds = run.trials.select("trial", **{kind: f"seed.{kind}" for kind in kinds}).unique("trial").collect()
    scores = scores.join(seeds, on="trial", maintain_order="left")
    joint = scores.filter(method="joint").select("seed", baseline="score")
    others = scores.filter(~pl.col("method").is_in(["joint", "unimodal"]))
    gains = others.join(joint, on="seed", maintain_order="left").with_columns(
        pl.col("method") + GAIN_SUFFIX, score=pl.col("score") - pl.col("baseline")
    )
    for table in (scores, gains):
        for (method, modality), group in table.group_by("method", "modality", maintain_order=True):
            result = components(group, kinds)
            parts.append(
                result.select(pl.lit(method).alias("method"), pl.lit(modality, pl.String).alias("modality"), pl.all())
            )
    return pl.concat(parts)


def draws_per_seed(run: Run) -> int:
    """Return the number of trials of a configuration per seed of the first kind."""
    return math.prod([*run.seed_counts.values()][1:])


def score_column_names(names: Iterable[str]) -> list[str]:
    """Return the columns of trials that are scores."""
    return [name for name in names if name.partition(".")[0] in ("validation", "test")]


def setting_column_names(names: Iterable[str]) -> list[str]:
    """Return the columns of trials that describe what was trained, except the seed."""
    outcomes = {*OUTCOME_COLUMNS, *score_column_names(names)}
    return [name for name in names if name not in outcomes and not name.startswith("seed.")]
