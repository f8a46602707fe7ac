"""Training a stored trial again and comparing its results and weights bit for bit.

A trial that was trained in a pack is trained again in that pack, because matrix products of another size are rounded
differently.
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ablate import store
from ablate.errors import UserError, did_you_mean
from ablate.identity import code_hash
from ablate.methods import add_import_folders, module_folders
from ablate.provenance import training_environment
from ablate.study import Study
from ablate.trial import trial_data

if TYPE_CHECKING:
    import polars as pl

    from trainables.evaluation import Outcome
    from trainables.train import PruneCallback

TRAINING_INPUTS = ("data", "folders", "compile")  # keys of an origin; the others are versions and hardware
TIMINGS = ("seconds_per_step", "step_ratio")
METRIC_KEYS = ["epoch", "step", "split", "modality", "metric"]


class StoredTrial(NamedTuple):
    """A stored trial, with the other trials of its pack."""

    id: str
    position: int  # in its pack
    row: dict[str, Any]
    metrics: "pl.DataFrame"
    configs: list[dict[str, Any]]  # of the trials of the pack
    origin: dict[str, Any]
    pruned_after: dict[int, int]  # position in the pack -> epoch, of the trials that were pruned

    @property
    def device(self) -> str:
        """Return the device to train on: a GPU if it was trained on one and this machine has one, else the CPU."""
        import torch

        return "cuda" if self.origin["device"] != "cpu" and torch.cuda.is_available() else "cpu"


class Comparison(NamedTuple):
    """The results of training a trial again, compared with the stored ones."""

    scores: dict[str, tuple[float | None, float | None]]  # final score -> stored value, new value
    measured: int  # number of measurements during training
    apart: int  # how many of these differ
    largest: float  # difference among them; infinite if one is missing
    weights: tuple[str | None, str | None]  # hashes
    status: tuple[str, str]
    changed: dict[str, tuple[Any, Any]]  # version, hardware, code or data -> stored value, new value

    @property
    def same(self) -> bool:
        """Return whether all results are equal bit for bit."""
        equal = all(stored == new for stored, new in (*self.scores.values(), self.weights, self.status))
        return equal and not self.apart


def load_trial(folder: Path, prefix: str) -> StoredTrial:
    """Return a trial of a store by its id, or by a prefix of it.

    Raises:
        UserError: there is none, there are several, or it cannot be read or trained again.
    """
    import polars as pl

    trial, pack = find_trial(folder, prefix)
    try:
        rows, metrics = store.read_table(pack, "trials"), store.read_table(pack, "metrics")
    except store.DamagedError as error:
        raise UserError(str(error)) from None
    if "origin" not in rows.columns:
        raise UserError(f"{trial}: was stored by an earlier release, without the information needed to retrain it")
    last = dict(metrics.group_by("trial").agg(pl.col("epoch").max()).iter_rows())
    statuses = zip(rows["trial"], rows["status"], strict=True)
    pruned_after = {i: last[name] for i, (name, status) in enumerate(statuses) if status == "pruned"}
    position = rows["trial"].to_list().index(trial)
    row, configs = rows.row(position, named=True), [json.loads(config) for config in rows["config"]]
    return StoredTrial(
        trial, position, row, metrics.filter(trial=trial), configs, json.loads(row["origin"]), pruned_after
    )


def find_trial(folder: Path, prefix: str) -> tuple[str, Path]:
    """Return the id of the only trial of a store that has a prefix, and its folder; raise a UserError otherwise.

    If several folders hold it, it is the one that tables show.
    """
    trials = sorted({trial for pack in store.pack_folders(folder) for trial in store.readable_trial_ids(pack)})
    matches = [trial for trial in trials if trial.startswith(prefix)]
    if not matches:
        raise UserError(f"{folder}: contains no trial {prefix}{did_you_mean(prefix, trials)}")
    if len(matches) > 1:
        raise UserError(f"{folder}: contains {len(matches)} trials that begin with {prefix}")
    return matches[0], store.locate(folder, matches)[matches[0]]


def replay(trial: StoredTrial, study: Study | None = None) -> Comparison:
    """Train a trial again, with its pack, and compare the results.

    Args:
        trial: the stored trial.
        study: a study with the present paths of its data and user-defined modules; None: they have not moved.

    Raises:
        UserError: data or code are gone.
    """
    from trainables.data import DataError, load, load_sheet
    from trainables.train import fit_pack

    origin = trial.origin
    data = trial_data(study.data if study else origin["data"], trial.configs[0])
    add_import_folders(module_folders(study.document.file) if study else origin["folders"])
    try:
        sheet, dataset = load_sheet(data), load(data)
        outcomes = fit_pack(
            trial.configs, dataset, prune_as_recorded(trial.pruned_after), origin["compile"], device=trial.device
        )
    except (DataError, ModuleNotFoundError) as error:
        raise UserError(
            f"{trial.id}: {str(error).rstrip('.')}; give a study file with the current paths as --study"
        ) from None
    except Exception as error:
        raise UserError(f"{trial.id}: cannot be retrained: {type(error).__name__}: {error}") from None
    config = trial.configs[trial.position]
    now = {**training_environment(trial.device), "code": code_hash(config), "data": sheet.sha256}
    before = {key: value for key, value in origin.items() if key not in TRAINING_INPUTS} | {
        "data": config["data"]["sha256"]
    }
    changed = {key: (value, now[key]) for key, value in before.items() if value != now[key]}
    return compare(trial, outcomes[trial.position], changed)


def prune_as_recorded(pruned_after: Mapping[int, int]) -> "PruneCallback | None":
    """Return a callback that ends trials of a pack after the same epochs as before; None if none was pruned."""
    return (lambda epoch, scores: {i for i in scores if pruned_after.get(i) == epoch}) if pruned_after else None


def compare(trial: StoredTrial, outcome: "Outcome", changed: dict[str, tuple[Any, Any]]) -> Comparison:
    """Compare an outcome with what is stored."""
    names = [name for name in trial.row if name.partition(".")[0] in {"validation", "test"}]
    scores = {name: (trial.row[name], outcome.final.get(name)) for name in names}
    differences = list(measurement_differences(trial, outcome))
    return Comparison(
        scores,
        len(differences),
        sum(difference != 0 for difference in differences),
        max(differences, default=0.0),
        (trial.row["weights"], outcome.weights),
        (str(trial.row["status"]), outcome.status),
        changed,
    )


def measurement_differences(trial: StoredTrial, outcome: "Outcome") -> Iterator[float]:
    """Yield the absolute difference of every measurement during training, except of seconds."""
    import polars as pl

    columns = dict(zip(METRIC_KEYS, [pl.Int32, pl.Int64, pl.String, pl.String, pl.String], strict=True)) | {
        "value": pl.Float64
    }
    now = pl.DataFrame(outcome.rows, schema=columns, orient="row")
    both = trial.metrics.join(now, on=METRIC_KEYS, how="full", nulls_equal=True, coalesce=True, suffix="_now")
    both = both.filter(~pl.col("metric").is_in(TIMINGS))
    for stored, new in both.select("value", "value_now").iter_rows():
        if stored is None or new is None:
            yield math.inf
        else:
            yield 0.0 if stored == new or (math.isnan(stored) and math.isnan(new)) else abs(stored - new)
