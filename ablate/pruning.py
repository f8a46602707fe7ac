"""Early stopping: trials that lag behind others of their method and seed end at the end of an epoch.

A judge sits beside the workers and hears of every pack at once, so that the trials of a pack are compared with each
other, too, and first of what the store knows, so that a run that goes on judges as one that never stopped. Which trials
it ends depends on those that were there before; a study that prunes therefore keeps its results apart from those that
do not, or that go by another metric (`ablate.plan`).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablate import store
from ablate.keys import Halving, Median
from ablate.trial import Result, Trial

RULES: dict[str, type[Halving] | type[Median]] = {"asha": Halving, "median": Median}


class Pruner:
    """Hears the scores of packs, and says whose training ends."""

    def __init__(self, rule: str, options: dict[str, Any], metric: str, *, maximise: bool) -> None:
        """Judge by a rule with its options, on a metric of the validation split."""
        self.rule = RULES[rule](**options)
        self.metric, self.sign = metric, 1 if maximise else -1
        self.known: dict[tuple[str, int], dict[str, float]] = defaultdict(dict)

    def ends(self, epoch: int, groups: dict[str, dict[str, dict[str, float]]]) -> set[str]:
        """Return which trials of a pack end after an epoch, given their scores by group: whom they are compared with.

        What is told again, of trials that were interrupted, counts once.
        """
        if not self.rule.rung(epoch):
            return set()
        found: set[str] = set()
        for group, scores in groups.items():
            own = self.hear(group, epoch, scores)
            needed = self.rule.kept(list(self.known[group, epoch].values()))
            found |= {trial for trial, score in own.items() if not score >= needed}
        return found

    def hear(self, group: str, epoch: int, scores: dict[str, dict[str, float]]) -> dict[str, float]:
        """Take the scores of trials after an epoch, and return them so that more is better."""
        own = {trial: self.sign * told[self.metric] for trial, told in scores.items()}
        self.known[group, epoch] |= own
        return own


def comparison_group(trial: Trial) -> str:
    """Return whom a trial is compared with: those of its method and seed and, where it has one, of its modality.

    Some seeds are easier than others: across them luck would decide, and a method without settings lose all but one.
    """
    return " ".join(filter(None, (trial.labels["method"], trial.labels["modality"], str(trial.seed))))


def group_scores(
    pack: Sequence[Trial], scores: Mapping[int, dict[str, float]]
) -> dict[str, dict[str, dict[str, float]]]:
    """Return the scores of trials of a pack by their places, by group and trial."""
    found: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    for place, told in scores.items():
        found[comparison_group(pack[place])][pack[place].id] = told
    return dict(found)


def stored_scores(
    folder: Path, trials: Mapping[str, Trial], results: Mapping[str, Result], metric: str
) -> dict[tuple[str, int], dict[str, Any]]:
    """Return what a judge heard of the trials that a store holds: (group, epoch) -> trial -> metric -> value.

    A judge was asked after each epoch of a trial but its last, and after that in which it was ended.
    """
    import polars as pl

    told = defaultdict[tuple[str, int], dict[str, Any]](dict)
    pruned = [trial for trial, result in results.items() if result.status == "pruned"]
    for pack, here in store.group_by_pack(store.locate(folder, results)).items():
        rows = store.read_table(pack, "metrics").filter(
            pl.col("trial").is_in(here), pl.col("modality").is_null(), split="validation", metric=metric
        )
        ended = pl.col("trial").is_in(pruned)
        asked = rows.filter((pl.col("epoch") < pl.col("epoch").max().over("trial")) | ended)
        for trial, epoch, value in asked.select("trial", "epoch", "value").iter_rows():
            told[comparison_group(trials[trial]), epoch][trial] = {metric: value}
    return told
