"""What is killed within a pack goes on from where it was, and the store ends as if nothing had been."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from ablate import store
from ablate.checkpoints import Checkpoint
from ablate.cleaning import delete_unused, take_inventory
from ablate.designs import DesignPoint
from ablate.pack_training import resolve_job, train_pack
from ablate.plan import point_trials
from ablate.run import build_job
from ablate.study import Study, load
from ablate.tables import TableWriter
from ablate.trial import Trial
from ablate.trial_queue import open_queue
from tests.ablate.helpers import ROOT, here, start, table, train, write
from tests.ablate.nodes import below, eventually, trainers
from tests.ablate.test_cleaning import written
from tests.ablate.test_store import fill, trial

NAMES = [trial(0).id, trial(1).id]


def noted(folder: Path, pause: float = 0.0, **changes: Any) -> Path:
    """Write a study of a method that leaves a line in `steps` for every step of a pack, and return its file.

    Each step takes so many seconds more.
    """
    method = (ROOT / "ablate/templates/method.py").read_text()
    lines = f"""        import time
        time.sleep({pause})
        with open({str(folder / "steps")!r}, "a") as file:
            file.write("step\\n")
"""
    (folder / "noted.py").write_text(method.replace("        grads = pull", f"{lines}        grads = pull"))
    usual = {"vary": {"Half.factor": [0.25, 0.5]}, "seeds": 1, "train": {"epochs": 6}}
    return write(folder, methods=["noted:Half"], **usual | changes)


def steps(folder: Path) -> int:
    """Return how many steps were made, and forget them."""
    made = (folder / "steps").read_text().count("\n")
    (folder / "steps").unlink()
    return made


def test_a_file_holds_the_last_state_and_nothing_else(tmp_path: Path) -> None:
    kept = Checkpoint(tmp_path, NAMES, 60)
    assert (kept.is_due(), kept.exists) == (False, False)
    kept.write({"number": 1, "learner": [torch.ones(3)]})
    kept.write({"number": 2, "learner": [torch.zeros(2, 3).mT]})
    result = Checkpoint(tmp_path, NAMES, 60).read()
    assert (result["number"], result["learner"][0].stride()) == (2, (1, 3))
    assert [file.name for file in kept.file.parent.iterdir()] == [f"{store.pack_name(NAMES)}.pt"]
    assert not Checkpoint(tmp_path, NAMES[::-1], 60).exists  # in another order it is another pack
    assert store.pack_folders(tmp_path) == []
    kept.remove()
    kept.remove()
    assert not kept.exists


def test_it_is_due_after_some_seconds_and_comes_more_seldom_where_it_takes_long(tmp_path: Path) -> None:
    kept = Checkpoint(tmp_path, NAMES, 0.01)
    time.sleep(0.02)
    assert kept.is_due()
    kept.write({"learner": [torch.zeros(5_000_000)]})
    assert not kept.is_due()
    assert kept.next - time.monotonic() > 0.01


def test_where_it_cannot_be_written_training_goes_on(tmp_path: Path) -> None:
    (tmp_path / "trials").mkdir()
    (tmp_path / "trials/.checkpoints").write_text("in the way")
    kept = Checkpoint(tmp_path, NAMES, 60)
    kept.write({"number": 1})
    assert not kept.exists


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    kept = Checkpoint(tmp_path, NAMES, 60)
    kept.write({"number": Path("/")})
    with pytest.raises(Exception, match="Weights only load failed"):
        kept.read()


class Stop(BaseException):
    """What ends a process, and no exception of a trial."""


def stopping(after: int) -> Any:
    def asked(epoch: int, scores: dict[int, dict[str, float]]) -> set[int]:
        if epoch == after:
            raise Stop
        return set()

    return asked


def by_worker(study: Study, prune: Any = None) -> None:
    """Train the study's trials as one pack, as a worker does."""
    pack = [t for factor in (0.25, 0.5) for t in point_trials(study, "Half", DesignPoint({"Half.factor": factor}, {}))]
    train_pack(resolve_job({**build_job(study), "checkpoint": 1e-9}), pack, prune)


def test_a_worker_repeats_what_it_did_since_its_last_checkpoint_and_nothing_else(tmp_path: Path) -> None:
    """Three steps an epoch, of six epochs; the fourth was not over when it was stopped, and not each has a checkpoint."""
    file = noted(tmp_path)
    calm, disturbed = (load(str(file), str(tmp_path / name)) for name in ("calm", "disturbed"))
    by_worker(calm)
    assert steps(tmp_path) == 3 * 6
    with pytest.raises(Stop):
        by_worker(disturbed, stopping(4))
    (kept,) = (tmp_path / "disturbed/trials/.checkpoints").iterdir()
    done = torch.load(kept, weights_only=True)["number"]
    assert 1 <= done <= 3
    assert steps(tmp_path) == 3 * 4
    by_worker(disturbed)
    assert steps(tmp_path) == 3 * (6 - done)
    assert not kept.exists()
    (one,), (other,) = store.pack_folders(calm.store), store.pack_folders(disturbed.store)
    for name in store.TABLES:
        ours, theirs = (store.read_table(folder, name) for folder in (one, other))
        assert_frame_equal(ours.drop("seconds", strict=False), theirs.drop("seconds", strict=False))


def test_plan_and_status_name_checkpoints_from_which_packs_resume(tmp_path: Path) -> None:
    """Of two packs of a study one was interrupted; checkpoints of packs in the store are of no use."""
    file = write(tmp_path, seeds=2, resources={"pack": 2})
    plan, status = ("plan", file, "--store", tmp_path / "runs"), ("status", tmp_path / "runs/small")
    assert "checkpoint" not in here(*plan).stdout
    study, proposed = load(str(file), str(tmp_path / "runs")), list[Trial]()
    queue = open_queue(study, plan=proposed)
    first, *_ = packs = queue.pending_packs
    assert len(packs) > 1
    TableWriter(study, queue, pytest.fail, proposed).close()
    assert "checkpoint" not in here(*status).stdout
    Checkpoint(study.store, [trial.id for trial in first], 60).write({"number": 1})
    assert "1 pack resumes from a checkpoint.\n" in here(*plan).stdout
    assert here(*status).stdout.endswith("Interrupted packs resume from 1 checkpoint.\n")
    assert json.loads(here(*plan, "--json").stdout)["checkpoints"] == 1
    assert json.loads(here(*status, "--json").stdout)["checkpoints"] == 1
    train(file, study.store)
    Checkpoint(study.store, [trial.id for trial in first], 60).write({"number": 1})
    assert "checkpoint" not in here(*plan).stdout + here(*status).stdout


def test_checkpoints_go_that_no_study_goes_on_from(tmp_path: Path) -> None:
    fill(tmp_path, [0, 1], [2])
    names = [[trial(0).id, trial(1).id], [trial(5).id]]  # in the store, and not
    kept = [Checkpoint(tmp_path, ids, 60) for ids in names]
    for one in kept:
        one.write({"number": 1})
    written(tmp_path, planned=2)
    result = {part.what: [path.stem for path in part.folders] for part in take_inventory(tmp_path).parts}
    assert result["checkpoints of unfinished packs"] == [trial(5).id]
    assert result["unused checkpoints"] == [store.pack_name(names[0])]
    delete_unused(tmp_path)
    assert [one.exists for one in kept] == [False, True]
    written(tmp_path, planned=1)
    delete_unused(tmp_path)
    assert [one.exists for one in kept] == [False, False]


def total(store: Path) -> pl.DataFrame:
    """Return all numbers of the small study."""
    return table(store, "small", "metrics").sort("trial", "epoch", "split", "modality", "metric")


@pytest.mark.nightly
def test_a_worker_and_a_driver_are_killed_within_a_pack(tmp_path: Path) -> None:
    """Of 147 steps so many are made again as lie between two checkpoints, which come once in a second or so.

    Three more would be traced, and the method not be asked at each.
    """
    file = noted(tmp_path, pause=0.06, train={"epochs": 49}, resources={"checkpoint": 0.5})
    words = ("run", file, "--cpus", 1, "--store")

    def goes_on(more: int) -> bool:
        made = tmp_path / "steps"
        here = made.read_text().count("\n") if made.exists() else 0
        return eventually(lambda: made.exists() and made.read_text().count("\n") > here + more, 120)

    with start(*words, tmp_path / "disturbed") as first:
        assert goes_on(50)
        result = trainers(first.pid)
        assert len(result) == 1, below(first.pid)
        os.kill(result[0], signal.SIGKILL)
        assert goes_on(40)
        first.kill()
    assert len(list((tmp_path / "disturbed/trials/.checkpoints").glob("*.pt"))) == 1
    with start(*words, tmp_path / "disturbed") as second:
        assert second.wait(300) == 0
    assert 147 < steps(tmp_path) < 147 + 50 + 40
    assert list((tmp_path / "disturbed/trials/.checkpoints").glob("*.pt")) == []
    with start(*words, tmp_path / "calm") as calm:
        assert calm.wait(300) == 0
    assert steps(tmp_path) == 147 + 2  # of which one tries the method, and one measures what a trial needs of memory
    assert_frame_equal(total(tmp_path / "disturbed"), total(tmp_path / "calm"))
