"""What a worker does with a pack: it trains it, alone or with others, and puts it into the store."""

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
from ablate.methods import reach
from ablate.provenance import available_cpus, training_environment
from ablate.remote import is_remote, local_folder, mirror_of
from ablate.store import write_pack
from ablate.trial import Trial, data_identity, trial_data
from trainables.data import Dataset, load, sheet
from trainables.memory import keep, room
from trainables.parallel import Crew
from trainables.setup import ALONE
from trainables.shape import shape
from trainables.train import Prune, fit_pack

CODE_ROOT = Path(__file__).parent.parent  # what is named by a relative path came along with this code
COMPILE_CACHE = "trials/.compiled"  # what torch.compile keeps, in the store, so that another study starts warm
CAPACITIES: dict[tuple[Any, ...], int] = {}  # trials of a shape that fit into the memory
UPLOAD_ATTEMPTS, RETRY_SECONDS = 3, 2.0  # to reach a remote store, and seconds before the next
TrialReport = tuple[str, float | None, str | None]  # status, score and error of a trial


class RetryableError(Exception):
    """What trained a pack is gone, or cannot hand over what it has made: no trial's fault, the pack runs again."""


class UnrecoverableError(Exception):
    """A pack cannot train, or be stored, as things are: no trial's fault, and it is not tried again in this run."""


def resolve_job(job: dict[str, Any]) -> dict[str, Any]:
    """Return a job as this process reaches its files, and make user-defined modules importable."""
    folders, data = [str(CODE_ROOT / folder) for folder in job["folders"]], dict(job["data"])
    reach(folders)
    if "path" in data:
        data["path"] = str(CODE_ROOT / data["path"])
    store = local_folder(job["store"])
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(store / COMPILE_CACHE))
    return {**job, "folders": folders, "data": data, "store": str(store), "url": job["store"]}


def train_pack(
    job: dict[str, Any], pack: list[Trial], prune: Prune | None, crew: Crew = ALONE
) -> dict[str, TrialReport]:
    """Train trials together, from where they were interrupted; the first worker of a crew puts them into the store.

    Returns:
        What came of each.

    Raises:
        RuntimeError: data or code are no longer those that the trials' ids were made of.
        StrandedError: they cannot be stored.
        LostError: they cannot be sent to the remote store.
    """
    data = trial_data(job["data"], pack[0].config)
    check_unchanged(pack, data)
    keep()
    configs, device = [trial.config for trial in pack], job_device(job)
    kept = pack_checkpoint(job, pack)
    memory = kept if job["checkpoint"] else None
    outcomes = fit_pack(configs, load_dataset(json.dumps(data)), prune, job["compile"], crew, device, memory)
    if crew.rank == 0:
        origin = training_environment(device, crew.size) | {key: job[key] for key in ("data", "folders", "compile")}
        origin["code"] = code_hash(pack[0].config)
        try:
            folder = write_pack(Path(job["store"]), list(zip(pack, outcomes, strict=True)), origin)
        except OSError as error:
            raise UnrecoverableError(f"cannot be stored: {error_message(error)}") from error
        if is_remote(job["url"]):
            upload_pack(job["url"], folder)
        kept.remove()
    metric = f"validation.{job['metric']}"
    ended = zip(pack, outcomes, strict=True)
    return {trial.id: (outcome.status, outcome.final.get(metric), outcome.error) for trial, outcome in ended}


def upload_pack(url: str, folder: Path) -> None:
    """Send a pack to a remote store; raise a LostError where that cannot be reached, again and again."""
    for left in reversed(range(UPLOAD_ATTEMPTS)):
        try:
            mirror_of(url).deliver(folder)
        except UserError as error:
            if not left:
                raise RetryableError(str(error)) from error
            time.sleep(RETRY_SECONDS)
        else:
            return


def pack_capacity(job: dict[str, Any], pack: list[Trial]) -> int:
    """Return how many of these trials fit into the memory that a pack may use: its share of this machine's, or GPU's.

    It is measured on the first of a shape that this process trains. Several workers share the samples, and a trial that
    cannot be set up fails where it trains.
    """
    if len(pack) == 1 or job["workers"] > 1:
        return len(pack)
    config, part = pack[0].config, min(1.0, job["gpu"] or job["cpu"] / available_cpus())
    data = json.dumps(trial_data(job["data"], config))
    with suppress(Exception):
        key = shape(config), data, job_device(job), part
        if key not in CAPACITIES:
            CAPACITIES[key] = room(config, load_dataset(data), job_device(job), part)
        return CAPACITIES[key]
    return len(pack)


def job_device(job: dict[str, Any]) -> str:
    """Return where the trials of a job train."""
    return "cuda" if job["gpu"] else "cpu"


def check_unchanged(pack: list[Trial], data: dict[str, Any]) -> None:
    """Raise a RuntimeError if data or code are no longer those that the trials' ids were made of."""
    found = data_identity(data, sheet(data))
    if any(trial.config["data"] != found or trial_id(trial.config) != trial.id for trial in pack):
        raise RuntimeError("the data or the code changed after the study was planned; run it again")


@lru_cache(maxsize=2)
def load_dataset(spec: str) -> Dataset:
    """Return a data set, kept by the process that trains on it."""
    return load(json.loads(spec))
