"""Early stopping: trials that lag behind others of their method and seed end at the end of an epoch.

The pruner is an actor of its own. It gets the scores of a whole pack at once, so that the trials of a pack are
compared with each other, too, and first those in the store, so that a resumed run prunes as an uninterrupted one would.
Which trials it ends depends on those that came before; a study that prunes therefore shares no results with studies
that do not, or that prune by another metric (`ablate.plan`).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablate import store
from ablate.keys import MedianRule, SuccessiveHalving
from ablate.trial import Result, Trial

PRUNING_RULES: dict[str, type[SuccessiveHalving] | type[MedianRule]] = {"asha": SuccessiveHalving, "median": MedianRule}


class Pruner:
    """Collects the scores of trials, and selects those whose training ends."""

    def __init__(self, rule: str, options: dict[str, Any], metric: str, *, maximise: bool) -> None:
        """Apply a rule with its options to a metric of the validation split."""
        self.rule = PRUNING_RULES[rule](**options)
        self.metric, self.sign = metric, 1 if maximise else -1
        self.scores: dict[tuple[str, int], dict[str, float]] = defaultdict(dict)  # (group, epoch) -> trial -> score

    def trials_to_prune(self, epoch: int, groups: dict[str, dict[str, dict[str, float]]]) -> set[str]:
        """Return which trials of a pack end after an epoch, given their metrics: group -> trial -> metric -> value.

        Scores that are reported again, by trials that were interrupted, count once.
        """
        if not self.rule.is_rung(epoch):
            return set()
        pruned: set[str] = set()
        for group, metrics in groups.items():
            scores = self.add_scores(group, epoch, metrics)
            threshold = self.rule.threshold(list(self.scores[group, epoch].values()))
            pruned |= {trial for trial, score in scores.items() if not score >= threshold}
        return pruned

    def add_scores(self, group: str, epoch: int, metrics: dict[str, dict[str, float]]) -> dict[str, float]:
        """Add the scores of trials of a group after an epoch, and return them with the sign by which more is better."""
        scores = {trial: self.sign * values[self.metric] for trial, values in metrics.items()}
        self.scores[group, epoch] |= scores
        return scores


def comparison_group(trial: Trial) -> str:
    """Return the group in which a trial is compared: its method, its modality if it has one, and its seed.

    Some seeds are easier than others: across seeds luck would decide, and a method without settings would lose all
    trials but one.
    """
    return " ".join(filter(None, (trial.labels["method"], trial.labels["modality"], str(trial.seed))))


def group_scores(
    pack: Sequence[Trial], scores: Mapping[int, dict[str, float]]
) -> dict[str, dict[str, dict[str, float]]]:
    """Return the metrics of trials of a pack, given by index, as group -> trial -> metric -> value."""
    groups: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    for index, values in scores.items():
        groups[comparison_group(pack[index])][pack[index].id] = values
    return dict(groups)


def stored_scores(
    folder: Path, trials: Mapping[str, Trial], results: Mapping[str, Result], metric: str
) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the scores that a pruner was given of the trials in a store: (group, epoch) -> trial -> metric -> value.

    A pruner is asked after each epoch of a trial but the last one; a trial that it ended, also after that.
    """
    import polars as pl

    scores = defaultdict[tuple[str, int], dict[str, Any]](dict)
    pruned = [trial for trial, result in results.items() if result.status == "pruned"]
    for pack, ids in store.group_by_pack(store.locate(folder, results)).items():
        rows = store.read_table(pack, "metrics").filter(
            pl.col("trial").is_in(ids), pl.col("modality").is_null(), split="validation", metric=metric
        )
        was_pruned = pl.col("trial").is_in(pruned)
        reported = rows.filter((pl.col("epoch") < pl.col("epoch").max().over("trial")) | was_pruned)
        for trial, epoch, value in reported.select("trial", "epoch", "value").iter_rows():
            scores[comparison_group(trials[trial]), epoch][trial] = {metric: value}
    return scores
