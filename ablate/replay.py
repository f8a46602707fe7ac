"""A stored trial, trained again: are the numbers and the weights the same, and if not, what has changed?

A trial trained in a pack is trained again in that pack, because products of another size are rounded otherwise.
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
    from trainables.train import Pruner

TRAINING_INPUTS = ("data", "folders", "compile")  # of an origin; the rest are circumstances
TIMINGS = ("seconds_per_step", "step_ratio")
MEASUREMENT_KEYS = ["epoch", "step", "split", "modality", "metric"]


class StoredTrial(NamedTuple):
    """A trial of the store, with those that trained with it."""

    trial: str
    place: int  # in its pack
    row: dict[str, Any]
    metrics: "pl.DataFrame"
    configs: list[dict[str, Any]]  # of the pack, in its order
    origin: dict[str, Any]
    ends: dict[int, int]  # place in the pack -> the epoch after which the trial there was pruned

    @property
    def device(self) -> str:
        """Return where it trains again: on a GPU if it did and there is one here, else on the CPU."""
        import torch

        return "cuda" if self.origin["device"] != "cpu" and torch.cuda.is_available() else "cpu"


class Comparison(NamedTuple):
    """What training a trial again gave."""

    scores: dict[str, tuple[float | None, float | None]]  # final score -> as stored, as now
    measured: int  # numbers along the way
    apart: int  # of these, how many differ
    largest: float  # difference among them; infinite where one is missing
    weights: tuple[str | None, str | None]  # hashes
    status: tuple[str, str]
    changed: dict[str, tuple[Any, Any]]  # circumstance -> as stored, as now

    @property
    def same(self) -> bool:
        """Say whether all is as stored, bit for bit."""
        equal = all(one == other for one, other in (*self.scores.values(), self.weights, self.status))
        return equal and not self.apart


def load_trial(folder: Path, prefix: str) -> StoredTrial:
    """Return a trial of a store by its id, or how that begins.

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
        raise UserError(f"{trial}: was stored by an earlier release, which did not keep what it was trained from")
    last = dict(metrics.group_by("trial").agg(pl.col("epoch").max()).iter_rows())
    ended = zip(rows["trial"], rows["status"], strict=True)
    ends = {i: last[name] for i, (name, status) in enumerate(ended) if status == "pruned"}
    place = rows["trial"].to_list().index(trial)
    row, configs = rows.row(place, named=True), [json.loads(config) for config in rows["config"]]
    return StoredTrial(trial, place, row, metrics.filter(trial=trial), configs, json.loads(row["origin"]), ends)


def find_trial(folder: Path, prefix: str) -> tuple[str, Path]:
    """Return the trial of a store whose id begins so, and the folder that holds it."""
    held = {trial: pack for pack in store.pack_folders(folder) for trial in store.readable_trial_ids(pack)}
    found = [trial for trial in held if trial.startswith(prefix)]
    if not found:
        raise UserError(f"{folder}: holds no trial {prefix}{did_you_mean(prefix, held)}")
    if len(found) > 1:
        raise UserError(f"{folder}: holds {len(found)} trials that begin with {prefix}")
    return found[0], held[found[0]]


def replay(found: StoredTrial, study: Study | None = None) -> Comparison:
    """Train a trial again, with its pack, and compare.

    Args:
        found: the trial.
        study: where its data and user-defined modules are now; None: where they were.

    Raises:
        UserError: data or code are gone.
    """
    from trainables.data import DataError, load, sheet
    from trainables.train import fit_pack

    origin = found.origin
    data = trial_data(study.data if study else origin["data"], found.configs[0])
    add_import_folders(module_folders(study.document.file) if study else origin["folders"])
    try:
        about, dataset = sheet(data), load(data)
        outcomes = fit_pack(
            found.configs, dataset, prune_as_recorded(found.ends), origin["compile"], device=found.device
        )
    except (DataError, ModuleNotFoundError) as error:
        raise UserError(
            f"{found.trial}: {str(error).rstrip('.')}; --study says where data and modules are now"
        ) from None
    except Exception as error:
        raise UserError(f"{found.trial}: cannot be trained again: {type(error).__name__}: {error}") from None
    config = found.configs[found.place]
    now = {**training_environment(found.device), "code": code_hash(config), "data": about.sha256}
    before = {key: value for key, value in origin.items() if key not in TRAINING_INPUTS} | {
        "data": config["data"]["sha256"]
    }
    changed = {key: (value, now[key]) for key, value in before.items() if value != now[key]}
    return compare(found, outcomes[found.place], changed)


def prune_as_recorded(ends: Mapping[int, int]) -> "Pruner | None":
    """Return what ends trials of a pack where they ended before."""
    return (lambda epoch, scores: {i for i in scores if ends.get(i) == epoch}) if ends else None


def compare(found: StoredTrial, outcome: "Outcome", changed: dict[str, tuple[Any, Any]]) -> Comparison:
    """Compare an outcome with what is stored."""
    names = [name for name in found.row if name.partition(".")[0] in {"validation", "test"}]
    scores = {name: (found.row[name], outcome.final.get(name)) for name in names}
    differences = list(measurement_differences(found, outcome))
    return Comparison(
        scores,
        len(differences),
        sum(difference != 0 for difference in differences),
        max(differences, default=0.0),
        (found.row["weights"], outcome.weights),
        (str(found.row["status"]), outcome.status),
        changed,
    )


def measurement_differences(found: StoredTrial, outcome: "Outcome") -> Iterator[float]:
    """Yield the difference of every number that was measured along the way, but for seconds."""
    import polars as pl

    columns = dict(zip(MEASUREMENT_KEYS, [pl.Int32, pl.Int64, pl.String, pl.String, pl.String], strict=True)) | {
        "value": pl.Float64
    }
    now = pl.DataFrame(outcome.rows, schema=columns, orient="row")
    both = found.metrics.join(now, on=MEASUREMENT_KEYS, how="full", nulls_equal=True, coalesce=True, suffix="_now")
    both = both.filter(~pl.col("metric").is_in(TIMINGS))
    for one, other in both.select("value", "value_now").iter_rows():
        if one is None or other is None:
            yield math.inf
        else:
            yield 0.0 if one == other or (math.isnan(one) and math.isnan(other)) else abs(one - other)
