"""Training a pack in a worker process, alone or with others, and storing its results."""

import json
import os
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from ablate.checkpoints import pack_checkpoint
from ablate.errors import UserError, error_message
from ablate.identity import code_hash, trial_id
from ablate.methods import add_import_folders
from ablate.provenance import available_cpus, training_environment
from ablate.remote import is_remote, local_folder, mirror_of
from ablate.store import write_pack
from ablate.trial import Trial, data_identity, trial_data
from trainables.data import Dataset, load, load_sheet
from trainables.memory import max_pack_size, retain_freed_memory
from trainables.parallel import WorkerGroup
from trainables.setup import SINGLE_WORKER
from trainables.shape import pack_shape
from trainables.train import PruneCallback, fit_pack

CODE_ROOT = Path(__file__).parent.parent  # relative paths of a job were copied beside this code
COMPILE_CACHE = "trials/.compiled"  # of torch.compile, in the store, so that another study starts warm
CAPACITIES: dict[tuple[Any, ...], int] = {}  # how many trials of a shape fit into memory
UPLOAD_ATTEMPTS, RETRY_SECONDS = 3, 2.0  # for a remote store
TrialReport = tuple[str, float | None, str | None]  # status, score and error of a trial


class RetryableError(Exception):
    """A worker died, or cannot upload its results: no trial's fault, and the pack runs again."""


class UnrecoverableError(Exception):
    """A pack cannot be trained or stored: no trial's fault, and it is not tried again in this run."""


def resolve_job(job: dict[str, Any]) -> dict[str, Any]:
    """Return a job with the paths that this process reaches its files by; make user-defined modules importable."""
    folders, data = [str(CODE_ROOT / folder) for folder in job["folders"]], dict(job["data"])
    add_import_folders(folders)
    if "path" in data:
        data["path"] = str(CODE_ROOT / data["path"])
    store = local_folder(job["store"])
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(store / COMPILE_CACHE))
    return {**job, "folders": folders, "data": data, "store": str(store), "url": job["store"]}


def train_pack(
    job: dict[str, Any], pack: list[Trial], prune: PruneCallback | None, workers: WorkerGroup = SINGLE_WORKER
) -> dict[str, TrialReport]:
    """Train trials together, resuming from their checkpoint; the first worker of several stores the results.

    Returns:
        The report of each trial, by id.

    Raises:
        RuntimeError: data or code have changed since the trials' ids were computed.
        UnrecoverableError: the results cannot be stored.
        RetryableError: the results cannot be uploaded to the remote store.
    """
    data = trial_data(job["data"], pack[0].config)
    check_unchanged(pack, data)
    retain_freed_memory()
    configs, device = [trial.config for trial in pack], job_device(job)
    checkpoint = pack_checkpoint(job, pack)
    dataset, resume_from = load_dataset(json.dumps(data)), checkpoint if job["checkpoint"] else None
    outcomes = fit_pack(configs, dataset, prune, job["compile"], workers, device, resume_from)
    if workers.rank == 0:
        origin = training_environment(device, workers.size) | {key: job[key] for key in ("data", "folders", "compile")}
        origin["code"] = code_hash(pack[0].config)
        try:
            folder = write_pack(Path(job["store"]), list(zip(pack, outcomes, strict=True)), origin)
        except OSError as error:
            raise UnrecoverableError(f"cannot be stored: {error_message(error)}") from error
        if is_remote(job["url"]):
            upload_pack(job["url"], folder)
        checkpoint.remove()
    metric = f"validation.{job['metric']}"
    return {
        trial.id: (outcome.status, outcome.final.get(metric), outcome.error)
        for trial, outcome in zip(pack, outcomes, strict=True)
    }


def upload_pack(url: str, folder: Path) -> None:
    """Upload a pack to a remote store; raise a RetryableError if that fails UPLOAD_ATTEMPTS times."""
    for attempts_left in reversed(range(UPLOAD_ATTEMPTS)):
        try:
            mirror_of(url).upload_new(folder)
        except UserError as error:
            if not attempts_left:
                raise RetryableError(str(error)) from error
            time.sleep(RETRY_SECONDS)
        else:
            return


def pack_capacity(job: dict[str, Any], pack: list[Trial]) -> int:
    """Return how many of these trials fit into a pack's share of the memory of this machine, or GPU.

    It is measured on the first trial of a shape that this process trains. It is the whole pack if several workers share
    the samples, and if the measurement fails: a trial that cannot be set up fails when it is trained.
    """
    if len(pack) == 1 or job["workers"] > 1:
        return len(pack)
    config, share = pack[0].config, min(1.0, job["gpu"] or job["cpu"] / available_cpus())
    data = json.dumps(trial_data(job["data"], config))
    with suppress(Exception):
        key = pack_shape(config), data, job_device(job), share
        if key not in CAPACITIES:
            CAPACITIES[key] = max_pack_size(config, load_dataset(data), job_device(job), share)
        return CAPACITIES[key]
    return len(pack)


def job_device(job: dict[str, Any]) -> str:
    """Return the device that trials of a job are trained on."""
    return "cuda" if job["gpu"] else "cpu"


def check_unchanged(pack: list[Trial], data: dict[str, Any]) -> None:
    """Raise a RuntimeError if data or code have changed since the trials' ids were computed."""
    current = data_identity(data, load_sheet(data))
    if any(trial.config["data"] != current or trial_id(trial.config) != trial.id for trial in pack):
        raise RuntimeError("the data or the code changed after the study was planned; run it again")


@lru_cache(maxsize=2)
def load_dataset(spec: str) -> Dataset:
    """Return a data set, given as JSON; the last two are cached."""
    return load(json.loads(spec))
