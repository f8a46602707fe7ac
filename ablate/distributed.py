"""Data-parallel training of a pack by Ray Train; the Tune trial that waits for it reserves no resources itself."""

import json
from typing import Any
from uuid import uuid4

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError

from ablate.files import temporary_folder
from ablate.pack_training import RetryableError, TrialReport, UnrecoverableError, resolve_job, train_pack
from ablate.remote import local_folder
from ablate.trial import Trial
from ablate.worker import prune_callback
from trainables.parallel import current_workers

WORKER_DEATHS = {"WorkerHealthCheckFailedError", "WorkerHealthCheckTimeoutError"}  # by name: Ray does not export them
COLLECTIVE_TIMEOUT = 7 * 24 * 3600  # seconds; workers wait while the first measures, a dead one ends the wait at once


def train_distributed(job: dict[str, Any], pack: list[Trial]) -> dict[str, TrialReport]:
    """Train trials together on a job's ``workers``, each with its share of every batch; return their reports.

    Raises:
        Exception: the error of the first worker that failed.
        RetryableError: a worker died.
        UnrecoverableError: the workers could not start.
    """
    with temporary_folder(local_folder(job["store"]) / "trials" / "crew") as folder:
        trainer = TorchTrainer(
            run_worker,
            train_loop_config={"job": json.dumps({**job, "pack": pack})},
            torch_config=torch_config(job),
            scaling_config=ScalingConfig(
                num_workers=job["workers"],
                use_gpu=job["gpu"] > 0,
                resources_per_worker={"CPU": job["cpu"], **({"GPU": job["gpu"]} if job["gpu"] else {})},
            ),
            run_config=RunConfig(
                name=uuid4().hex,  # a name used before would resume that run
                storage_path=str(folder),
                failure_config=FailureConfig(max_failures=0, controller_failure_limit=0),
            ),
        )
        try:
            return {trial: tuple(report) for trial, report in json.loads(trainer.fit().return_value).items()}
        except WorkerGroupError as error:
            if any(type(failure).__name__ in WORKER_DEATHS for failure in error.worker_failures.values()):
                raise RetryableError("a worker died") from None
            raise first_failure(error) from None
        except TrainingFailedError as error:
            raise UnrecoverableError(f"the workers could not start: {' '.join(str(error).split())}") from None


def torch_config(job: dict[str, Any]) -> TorchConfig:
    """Return the process group settings of a job's workers."""
    return TorchConfig(backend="nccl" if job["gpu"] else "gloo", timeout_s=COLLECTIVE_TIMEOUT)


def first_failure(error: WorkerGroupError) -> BaseException:
    """Return the error of the failed worker with the lowest rank."""
    failure: BaseException = error.worker_failures[min(error.worker_failures)]
    return getattr(failure, "_base_exc", failure)


def run_worker(config: dict[str, Any]) -> str:
    """Train a pack as one of its workers; return the reports of its trials as JSON."""
    job = resolve_job(json.loads(config["job"]))
    pack = [Trial(*trial) for trial in job["pack"]]
    return json.dumps(train_pack(job, pack, prune_callback(job, pack), current_workers()))
