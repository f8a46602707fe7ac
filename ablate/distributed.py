"""Packs that several workers train together, by Ray Train. The Tune trial holds nothing itself; it waits for them."""

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
from trainables.parallel import crew

WORKER_DEATHS = {"WorkerHealthCheckFailedError", "WorkerHealthCheckTimeoutError"}  # by name: Ray keeps them to itself
COLLECTIVE_TIMEOUT = (
    7 * 24 * 3600
)  # seconds that workers wait for one that measures alone; for one that died they do not


def train_distributed(job: dict[str, Any], pack: list[Trial]) -> dict[str, TrialReport]:
    """Train trials together on a job's ``workers``, each with its share of every batch; return what came of each.

    Raises:
        Exception: that of the first worker that failed.
        LostError: a worker died.
        StrandedError: the workers could not start.
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
                name=uuid4().hex,  # a name that was used would continue that run
                storage_path=str(folder),
                failure_config=FailureConfig(max_failures=0, controller_failure_limit=0),
            ),
        )
        try:
            return {trial: tuple(told) for trial, told in json.loads(trainer.fit().return_value).items()}
        except WorkerGroupError as error:
            if any(type(raised).__name__ in WORKER_DEATHS for raised in error.worker_failures.values()):
                raise RetryableError("a worker died") from None
            raise first_failure(error) from None
        except TrainingFailedError as error:
            raise UnrecoverableError(f"the workers could not start: {' '.join(str(error).split())}") from None


def torch_config(job: dict[str, Any]) -> TorchConfig:
    """Return how the workers of a job meet."""
    return TorchConfig(backend="nccl" if job["gpu"] else "gloo", timeout_s=COLLECTIVE_TIMEOUT)


def first_failure(error: WorkerGroupError) -> BaseException:
    """Return what the first of the workers raised."""
    raised: BaseException = error.worker_failures[min(error.worker_failures)]
    return getattr(raised, "_base_exc", raised)


def run_worker(config: dict[str, Any]) -> str:
    """Train a pack as one of its workers; return what came of each trial, as text."""
    job = resolve_job(json.loads(config["job"]))
    pack = [Trial(*trial) for trial in job["pack"]]
    return json.dumps(train_pack(job, pack, prune_callback(job, pack), crew()))
