"""Measure the error rates of verdicts and the coverage of intervals, on simulated tables of trials.

    python -m benchmarks.calibration [replications]

Tables of trials as the engine writes them, with a known difference between two methods; the accuracy of a trial is that
of its seed, which both methods share, and its own luck: normal, or heavy-tailed, or rounded to what 50 test samples can
show. For each rule the truth lies on the border of its claim, where either verdict would be wrong.
"""

import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from analysis.ablations import ABLATIONS, Finding
from analysis.choice import LOSSES
from analysis.decisions import Decision
from analysis.power import power, power_within
from analysis.sequential import looks, sequential_difference
from analysis.statistics import LEVEL, Difference, holm
from analysis.summary import summary
from analysis.tables import METRICS, TRIALS, Run
from analysis.verdicts import apply_rule

REPLICATIONS = 1000
MEAN, SEED_SD, LUCK_SD, MARGIN = 0.8, 0.02, 0.01, 0.01
SD = LUCK_SD * 2**0.5  # of a paired difference
SAMPLES = 50  # of the rounded kind: a step of 2 points, beside luck of 1
KINDS = ("normal", "heavy", "rounded")
Rule = Mapping[str, Mapping[str, Any]]


class Border(NamedTuple):
    """A rule, and true effects on the border of its claim, at which some of its verdicts are wrong."""

    rule: Rule
    effects: tuple[float, ...] = (0.0,)  # one per group
    wrong_verdicts: tuple[str, ...] = ("supported", "refuted")
    single: bool = False  # about one method's scores


BORDERS = {
    "greater": Border({"greater": {}}),
    "greater by a margin": Border({"greater": {"by": MARGIN}}, (MARGIN,)),
    "greater, no effect": Border({"greater": {"margin": MARGIN}}, (0.0,), ("supported",)),
    "greater, an effect of the margin": Border({"greater": {"margin": MARGIN}}, (MARGIN,), ("refuted",)),
    "less": Border({"less": {}}),
    "non_inferior": Border({"non_inferior": {"margin": MARGIN}}, (-MARGIN,)),
    "equivalent": Border({"equivalent": {"margin": MARGIN}}, (MARGIN,)),
    "above": Border({"above": {"threshold": MEAN}}, single=True),
    "below": Border({"below": {"threshold": MEAN}}, single=True),
    "every, no effect in four": Border({"every": {}}, (0.0,) * 4),
    "every, an effect in three of four": Border({"every": {}}, (0.05, 0.05, 0.05, 0.0)),
    "every, half the margin in four": Border({"every": {"margin": MARGIN}}, (MARGIN / 2,) * 4, ("supported",)),
    "every, the margin in four": Border({"every": {"margin": MARGIN}}, (MARGIN,) * 4, ("refuted",)),
}


def simulate(
    effects: Sequence[float], seeds: int, replications: int, kind: str = "normal", number: int = 0
) -> pl.DataFrame:
    """Return simulated trials of `joint` and of `agm`, which is better by the effect of each group."""
    rng = np.random.default_rng(number)
    shape = (replications, len(effects), seeds)
    shared = rng.normal(0, SEED_SD, shape)
    rows = []
    for method, gain in (("joint", np.zeros(len(effects))), ("agm", np.asarray(effects))):
        luck = rng.standard_t(4, shape) / 2**0.5 if kind == "heavy" else rng.normal(size=shape)
        score = MEAN + shared + gain[:, None] + LUCK_SD * luck
        if kind == "rounded":
            score = np.round(score * SAMPLES + rng.uniform(-0.5, 0.5, shape)) / SAMPLES
        replication, group, seed = (axis.ravel() for axis in np.indices(shape))
        rows.append(
            pl.DataFrame({"replication": replication, "group": group, "seed": seed, "test.accuracy": score.ravel()})
            .with_columns(method=pl.lit(method), status=pl.lit("done"))
            .with_columns(pl.col("test.accuracy").alias("validation.accuracy"))
        )
    return pl.concat(rows).with_row_index("number").with_columns(trial=pl.col("number").cast(pl.String)).drop("number")


def run_from_trials(trials: pl.DataFrame) -> Run:
    """Return a run with the given trials."""
    study = {"name": "simulated", "metric": "accuracy", "direction": "max", "methods": ["joint", "agm"], "data": "none"}
    table = pl.concat([pl.DataFrame(schema=TRIALS | dict.fromkeys(LOSSES, pl.Float64)), trials], how="diagonal_relaxed")
    return Run("", {"study": study, "planned": len(trials)}, table.lazy(), pl.LazyFrame(schema=METRICS))


@cache
def findings(
    effects: tuple[float, ...], seeds: int, replications: int, kind: str = "normal", single: bool = False
) -> list[Finding]:
    """Return the finding of each replication."""
    cells = {"simulated": run_from_trials(simulate(effects, seeds, replications, kind))}
    per = ["replication", "group"]
    if single:
        finding = ABLATIONS["quantity"](cells, metric="accuracy", of={"method": "agm"}, per=per)
    else:
        finding = ABLATIONS["difference"](cells, of={"method": "agm"}, minus={"method": "joint"}, per=per)
    starts = range(0, len(finding.effects), len(effects))
    return [finding._replace(effects=finding.effects[start : start + len(effects)]) for start in starts]


def decisions(border: Border, seeds: int, replications: int, kind: str = "normal") -> list[Decision]:
    """Return the decision of each replication."""
    simulated = findings(border.effects, seeds, replications, kind, border.single)
    return [apply_rule(finding, border.rule)[0] for finding in simulated]


def error_rate(border: Border, seeds: int, replications: int, kind: str = "normal") -> float:
    """Return the share of wrong verdicts."""
    simulated = decisions(border, seeds, replications, kind)
    return float(np.mean([decision.verdict in border.wrong_verdicts for decision in simulated]))


def coverage(seeds: int, replications: int, kind: str = "normal") -> tuple[float, float]:
    """Return how often the summary's intervals contain the true mean of a method, and the true difference."""
    effect, trials = 0.004, simulate((0.004,), seeds, replications, kind)
    contains = []
    for (_,), part in trials.group_by("replication", maintain_order=True):
        row = summary(run_from_trials(part)).row(by_predicate=pl.col("method") == "agm", named=True)
        difference = row["difference_low"] <= effect <= row["difference_high"]
        contains.append((row["low"] <= MEAN + effect <= row["high"], difference))
    mean, difference = np.mean(contains, axis=0)
    return float(mean), float(difference)


def detection_rate(rule: Rule, effect: float, seeds: int, replications: int) -> float:
    """Return how often a true effect leads to `supported`: the power of the rule."""
    simulated = decisions(Border(rule, (effect,)), seeds, replications)
    return float(np.mean([decision.verdict == "supported" for decision in simulated]))


def sequential_error_rate(effects: tuple[float, ...], replications: int) -> tuple[float, float]:
    """Return the share of families with an error in a sequential design with looks at 5 to 40 seeds, and mean seeds.

    Seeds are added to undecided comparisons. An error separates equal methods, or takes the worse one for the better.
    """
    at, errors, spent = looks(5, 40), 0, []
    for finding in findings(effects, at[-1], replications):
        seed_counts = [at[0]] * len(effects)
        for look in at[1:]:
            comparisons = zip(seed_counts, sequential_comparisons(finding, seed_counts, at), strict=True)
            seed_counts = [seeds if difference.p < LEVEL else look for seeds, difference in comparisons]
        final = zip(sequential_comparisons(finding, seed_counts, at), effects, strict=True)
        errors += any(difference.p < LEVEL and not (effect and difference.low > 0) for difference, effect in final)
        spent += seed_counts
    return errors / replications, float(np.mean(spent))


def sequential_comparisons(finding: Finding, seed_counts: Sequence[int], at: Sequence[int]) -> list[Difference]:
    """Return each comparison over its seeds, as in a summary: p adjusted for the looks and by Holm's method."""
    sides = [
        [dict(enumerate(side[:n])) for side in e.samples] for e, n in zip(finding.effects, seed_counts, strict=True)
    ]
    differences = [sequential_difference(values, baseline, at) for values, baseline in sides]
    corrected = holm([difference.p for difference in differences])
    return [difference._replace(p=p) for difference, p in zip(differences, corrected, strict=True)]


def main(replications: int) -> None:
    """Print error rates, coverage, power and the cost of sequential designs."""

    def show(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    error = 1.96 * (0.05 * 0.95 / replications) ** 0.5
    show(f"{replications} replications: 5 % is measured to within {100 * error:.1f} points\n")
    show("wrong verdicts, %, at most 5".ljust(40) + "seeds" + "".join(f"{kind:>10s}" for kind in KINDS))
    for name, border in BORDERS.items():
        for seeds in (5, 10, 20):
            shares = (error_rate(border, seeds, replications, kind) for kind in KINDS)
            show(f"{name:40s}{seeds:5d}" + "".join(f"{100 * share:10.1f}" for share in shares))
    show("\n" + "95 % intervals hold the truth, %".ljust(40) + "seeds" + "".join(f"{kind:>10s}" for kind in KINDS))
    for seeds in (5, 10, 20):
        shares = [coverage(seeds, replications, kind) for kind in KINDS]
        for place, name in enumerate(("mean", "paired difference")):
            show(f"{name:40s}{seeds:5d}" + "".join(f"{100 * share[place]:10.1f}" for share in shares))
    show("\n" + "effects found, %".ljust(40) + "seeds     found predicted")
    for seeds in (5, 10, 20):
        for effect in (0.005, 0.01, 0.02):
            share = detection_rate({"greater": {}}, effect, seeds, replications)
            show(
                f"{f'greater, effect {effect}':40s}{seeds:5d}{100 * share:10.1f}{100 * power(effect, SD, seeds):10.1f}"
            )
        for margin in (0.01, 0.02):
            share = detection_rate({"equivalent": {"margin": margin}}, 0.0, seeds, replications)
            predicted = power_within(margin, margin, SD, seeds)
            show(f"{f'equivalent within {margin}':40s}{seeds:5d}{100 * share:10.1f}{100 * predicted:10.1f}")
    show("\n" + "seeds added to the undecided of three".ljust(40) + "families with an error, %   mean seeds")
    for effects in ((0.0, 0.0, 0.0), (0.0, 0.01, 0.02)):
        share, spent = sequential_error_rate(effects, replications)
        show(f"{f'effects {effects}':48s}{100 * share:10.1f}{spent:15.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else REPLICATIONS)
