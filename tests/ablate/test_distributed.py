"""Several workers a trial, by Ray Train, through the command line."""

import json
import os
import signal
from pathlib import Path

import polars as pl
import pytest

from ablate.distributed import torch_config
from ablate.run import max_packs
from ablate.study import load
from tests.ablate.helpers import ablate, here, start, table, write
from tests.ablate.nodes import below, eventually

FAILING = '''
from trainables.methods.joint import Joint


class Failing(Joint):
    """Fails where it has less than all samples."""

    def step(self, state, signals, task, pull):
        """Fail."""
        if len(signals.logits) < task.samples:
            raise ArithmeticError("a share is not all")
        return super().step(state, signals, task, pull)
'''


@pytest.mark.nightly
def test_two_workers_give_what_one_gives_and_a_failed_trial_its_own_error(tmp_path: Path) -> None:
    """Batches of 64 are shared out 32 and 32; the numbers agree to rounding, though single ones have many steps."""
    usual = {"vary": None, "seeds": 1, "train": {"epochs": 2, "dtype": "float64"}}
    (tmp_path / "mine.py").write_text(FAILING)
    for name, workers, more in (("one", 1, []), ("two", 2, ["mine:Failing"])):
        methods = ["agm", *more]
        file = write(tmp_path, name=name, methods=methods, resources={"workers": workers}, **usual)
        ended = ablate("run", file, "--store", tmp_path / name, "--cpus", 2)
        assert ended.returncode == len(more), ended.stderr
        report = (tmp_path / name / name / "report.html").read_text()
        assert ("ArithmeticError: a share is not all" in report) == bool(more)
    one, two = (
        table(tmp_path / name, name, "metrics").filter(pl.col("metric") != "seconds") for name in ("one", "two")
    )
    keys = ["trial", "epoch", "split", "modality", "metric"]
    both = one.join(two, on=keys, how="inner", nulls_equal=True)
    assert both.height == one.height == two.height > 20
    assert both["value"].to_list() == pytest.approx(both["value_right"].to_list(), abs=1e-9)
    assert not list((tmp_path / "two/trials").glob(".crew*"))
    origins = pl.read_parquet(tmp_path / "two/trials/*/trials.parquet")["origin"]
    assert {json.loads(origin)["workers"] for origin in origins} == {2}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"workers": 3}, "resources.workers: 3 of 1 CPU each: a trial needs 3 CPUs, and this run has 2"),
        ({"gpu": 99}, "resources.gpu: a trial needs 99 GPUs, and this machine has"),
    ],
)
def test_more_than_the_machine_has_is_refused_at_once(asked: dict[str, int], said: str, tmp_path: Path) -> None:
    ended = here("run", write(tmp_path, resources=asked), "--store", tmp_path / "store", "--cpus", 2)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert not (tmp_path / "store").exists()


def test_packs_of_several_workers_run_at_once_as_cpus_and_gpus_are_there(tmp_path: Path) -> None:
    """Ray knows it of the others, and does not see what workers will take."""
    asked = [{"workers": 2}, {"workers": 2, "cpu": 3}, {"workers": 2, "gpu": 1}, {"cpu": 2, "gpu": 1}]
    studies = [load(str(write(tmp_path, resources=resources))) for resources in asked]
    assert [max_packs(study, 16, 5) for study in studies] == [8, 2, 2, None]


def test_a_plan_refuses_gpus_that_the_machine_has_not(tmp_path: Path) -> None:
    ended = here("plan", write(tmp_path, resources={"gpu": 99}), "--store", tmp_path / "store")
    assert ended.returncode == 2
    assert "resources.gpu: a trial needs 99 GPUs, and this machine has" in ended.stderr


def test_workers_do_not_share_a_gpu(tmp_path: Path) -> None:
    ended = here("plan", write(tmp_path, resources={"workers": 2, "gpu": 0.5}), "--store", tmp_path / "store")
    assert ended.returncode == 2
    assert "resources.gpu: each of several workers needs a whole number of GPUs, got 0.5" in ended.stderr


def test_workers_wait_for_days_for_the_one_that_measures_alone() -> None:
    """`concepts` trains 20 networks a modality; a worker that died is not waited for, as the next test has it."""
    for gpu, backend in ((0, "gloo"), (1, "nccl")):
        meets = torch_config({"gpu": gpu})
        assert (meets.backend, meets.timeout_s) == (backend, 7 * 24 * 3600)


@pytest.mark.nightly
def test_a_crew_whose_worker_is_killed_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    """One trial, so that nothing is left to halve."""
    file = write(
        tmp_path, methods=["joint"], vary=None, seeds=1, train={"epochs": 1000, "dtype": "float64"},
        resources={"workers": 2, "checkpoint": 1},
    )  # fmt: skip
    with start("run", file, "--store", tmp_path / "store", "--cpus", 2) as process:
        states = tmp_path / "store/trials/.checkpoints"
        assert eventually(lambda: any(states.glob("*.pt")), 120)
        os.kill(max(child for child, name in below(process.pid).items() if "RayTrainWorker" in name), signal.SIGKILL)
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    (row,) = table(tmp_path / "store", "small", "trials").select("status", "steps").rows()
    assert row == ("done", 3000)
    assert not list((tmp_path / "store/trials").glob(".crew*"))
