"""Checks of a study before it runs, made before anything is written."""

import json
import math
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from ablate.errors import UserError, describe_choices
from ablate.files import free_bytes, nearest_existing
from ablate.manifest import is_manifest
from ablate.plan import num_trials
from ablate.schema import schema_version
from ablate.study import Study, data_error
from ablate.trackers import check_installed
from ablate.trial_queue import TrialQueue
from trainables.data import DataError, Dataset, load
from trainables.data.sanity import dataset_warnings
from trainables.methods import METHODS

MAX_TRIALS = 1_000_000  # trials of a study
MIN_FREE_BYTES = 200 * 2**20  # of the disk, before and during a run


def preflight(study: Study, cpus: int) -> None:
    """Raise a UserError if a study cannot run with so many CPUs, or its results cannot be stored."""
    resources = study.file.resources
    if resources.total_cpus > cpus:
        key = "cpu" if resources.workers == 1 else f"workers: {resources.workers} of {resources.cpu:g} CPU each"
        raise UserError(f"resources.{key}: a trial needs {resources.total_cpus:g} CPUs, and this run has {cpus}")
    if resources.workers > 1 and resources.gpu != int(resources.gpu):
        raise UserError(f"resources.gpu: each of several workers needs a whole number of GPUs, got {resources.gpu:g}")
    if num_trials(study) > MAX_TRIALS:
        raise UserError(
            f"{study.document.file}: has {num_trials(study):,} trials; a study may have at most {MAX_TRIALS:,}"
        )
    for folder in (study.folder, study.store / "trials"):
        existing = nearest_existing(folder)
        if not existing.is_dir():
            raise UserError(f"store: {existing} is not a folder")
    manifest = study.folder / "study.yaml"
    if manifest.exists() and not is_manifest(manifest):
        raise UserError(
            f"store: results would replace {manifest}, which belongs to no run; choose another store or `name`"
        )
    check_installed(study.file.track)
    schema_version(study.store)
    check_disk_space(study.store)


def overwrite_warnings(study: Study) -> list[str]:
    """Return a warning if running a study replaces results of something else that has its name.

    It is the verdict of a claim, the tables of a study of other data, or, for a cell of a claim, the report of a study
    that has the claim's name. That study's tables stay, so that `ablate gc` keeps its trials; the first cell to start
    warns.
    """
    import yaml

    parent = study.folder.parent
    is_first_cell = "/" in study.file.name and not any(parent.glob("*/study.yaml"))
    if is_first_cell and (parent / "study.yaml").exists():
        rule = "whose report and figures will be replaced; use another `name` to keep both."
        return [f"{parent} contains a study of the same name, {rule}"]
    is_of_claim = ("claim",) in study.document.lines
    if (study.folder / "verdict.json").exists() and not is_of_claim:
        rule = "whose verdict will be deleted; use another `name` to keep both."
        return [f"{study.folder} contains a claim of the same name, {rule}"]
    file = study.folder / "study.yaml"
    if not file.exists():
        return []
    with suppress(yaml.YAMLError, KeyError, TypeError, AttributeError):  # it may be damaged
        before = data_name(yaml.safe_load(file.read_bytes())["study"]["data"])
        if before != data_name(study.file.data):
            return [
                f"{study.folder} contains a study of the same name on {before}. Its tables, figures and report will be "
                "replaced, and `ablate gc` will list its trials as unused; use another `name` to keep both."
            ]
    return []


def data_name(data: str | dict[str, Any]) -> str:
    """Return the name or the path of a data set."""
    return data if isinstance(data, str) else str(data.get("name") or data["path"])


def check_writable(study: Study) -> None:
    """Raise a UserError if the store cannot be written to."""
    for folder in (study.folder, study.store / "trials"):
        existing = nearest_existing(folder)
        if not os.access(existing, os.W_OK):
            raise UserError(f"store: cannot write to {existing}")
    if study.mirror:
        with study.mirror.marker():
            pass


def write_warnings(study: Study) -> list[str]:
    """Return a warning if the store cannot be written to; a remote one is not tried, because that writes to it."""
    if study.mirror:
        return []
    try:
        check_writable(study)
    except UserError as error:
        return [f"{error}, so `run` cannot start."]
    return []


def available_gpus(study: Study) -> int:
    """Return the number of GPUs of this machine; 0 for a study that uses none.

    Raises:
        UserError: it uses more than there are.
    """
    resources = study.file.resources
    if not resources.gpu:
        return 0
    import torch

    available, requested = torch.cuda.device_count(), resources.gpu * resources.workers
    if requested > available:
        request = f"{requested:g} GPU{'s' * (requested != 1)}"
        raise UserError(f"resources.gpu: a trial needs {request}, and this machine has {available}")
    return available


def compile_warnings(study: Study) -> list[str]:
    """Return a warning if a study is to compile its steps and there is no compiler."""
    if study.file.resources.compile != "on":
        return []
    from trainables.compilation import find_compiler

    problem = "resources.compile is on, but this machine has no C++ compiler with Python's headers; without one"
    return [] if find_compiler() else [f"{problem}, steps are not compiled."]


def inactive_method_warnings(study: Study) -> list[str]:
    """Return a warning for MSES and MSLR if they would first act after the last epoch, and so be joint training."""
    keys = {*study.set, *(axis.key for axis in study.vary)}
    epochs = max(study.possible_values("train.epochs"))
    warnings = []
    for method, setting in (("mses", "patience"), ("mslr", "window")):
        key = f"{method}.{setting}"
        if method in study.file.methods and f"{method}.factor" not in keys:
            first = min(study.possible_values(key)) + 2
            if epochs < first < math.inf:  # at infinity it is switched off on purpose
                effect = f"{method} first acts in epoch {first:g}, so with {epochs} epochs it is joint training"
                warnings.append(f"{key} is {first - 2:g}: {effect}.")
    return warnings


def check_disk_space(store: Path) -> None:
    """Raise a UserError if too little of the disk is free."""
    free = free_bytes(store)
    if free < MIN_FREE_BYTES:
        raise UserError(
            f"store: the disk of {store} has {free // 2**20} MB free; a run needs {MIN_FREE_BYTES // 2**20} MB"
        )


def check_trials(study: Study, queue: TrialQueue) -> list[str]:
    """Raise a UserError if a proposed trial cannot be trained; return warnings about the data."""
    try:
        dataset = load(study.data)
    except DataError as error:
        raise data_error(study.document, error) from None
    check_models(study, queue, dataset)
    check_methods(study, queue, dataset)
    return dataset_warnings(dataset)


def check_models(study: Study, queue: TrialQueue, dataset: Dataset) -> None:
    """Raise a UserError if a model cannot take the data, or a stream has fewer samples than epochs."""
    from trainables.model import build_model
    from trainables.modules import ModuleEncoder

    shapes = {m: x.shape[1:] for m, x in dataset.train.inputs.items()}
    configs = {json.dumps(t.config["model"]): t.config["model"] for t in queue.trials.values()}
    try:
        models = [
            build_model(m, shapes, dataset.outputs, dense=dataset.task == "segmentation") for m in configs.values()
        ]
    except ValueError as error:
        raise study.document.error(("model",), str(error)) from None
    encoders = [encoder for model in models for encoder in model.encoders.values()]
    parts_by_key = {
        ("resources", "workers"): study.file.resources.workers,
        ("train", "accumulate"): max((t.config["train"]["accumulate"] for t in queue.trials.values()), default=1),
    }
    for key, parts in parts_by_key.items():
        if parts > 1 and any(isinstance(e, ModuleEncoder) and e.updated_buffers for e in encoders):
            rule = "must be 1 if a user-defined module normalises by the batch, because it would see only parts"
            raise study.document.error(key, rule)
    samples, training = len(dataset.train.target), [t.config["train"] for t in queue.trials.values()]
    longest = max((train["epochs"] for train in training if train["order"] == "stream"), default=0)
    if longest > samples:
        rule = f"must be at most {samples}: the epochs divide the {samples} samples of the stream, got {longest}"
        raise study.document.error(("train", "epochs"), rule)


def check_methods(study: Study, queue: TrialQueue, dataset: Dataset) -> None:
    """Raise a UserError if settings of a method contradict each other, or a user-defined method fails in a step."""
    from trainables.dry_run import check_first_step, dummy_task
    from trainables.setup import load_method
    from trainables.signals import REVEALED, attributes, needs

    order = list(study.methods)
    seen = set()
    for trial in queue.trials.values():
        settings = trial.config["settings"]
        fixed = {k: v if isinstance(v, str) else v != 0 for k, v in settings.items() if isinstance(v, str | int)}
        if (shape := json.dumps([trial.config["method"], fixed])) in seen:
            continue
        seen.add(shape)
        where = ("methods", order.index(trial.labels["method"]))
        try:
            method = load_method(trial.config["method"])(**settings)
            signals = frozenset(needs(method))
            if attributes(method) and not settings.get("samples"):
                method.coalitions(1 if trial.config["modality"] else len(study.sheet.modalities), dummy_task())
        except ValueError as error:
            raise study.document.error(where, str(error)) from None
        except Exception as error:
            raise study.document.error(where, f"cannot be set up: {type(error).__name__}: {error}") from None
        for name in signals - REVEALED:
            raise study.document.error(
                where, f"needs `{name}`, which is not a signal {describe_choices(name, REVEALED)}"
            )
        if trial.config["method"] not in METHODS.values() and not study.file.resources.gpu:
            try:
                check_first_step(trial.config, dataset)
            except ValueError as error:
                raise study.document.error(where, f"cannot train: {error}") from None
