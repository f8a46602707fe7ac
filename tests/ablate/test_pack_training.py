"""What a worker does with a pack beside training it, and what becomes of one whose process died."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ablate import pack_training
from ablate.checkpoints import pack_checkpoint
from ablate.dispatcher import PackDispatcher
from ablate.errors import UserError
from ablate.remote import Mirror, mirror_of
from ablate.run import build_job
from ablate.scaffold import write_scaffold
from ablate.search import rounds
from ablate.study import Study, load
from ablate.tables import TableWriter
from ablate.trial import Result, Trial
from ablate.trial_queue import StudyRun, open_queue
from ablate.worker import Worker
from analysis import load as load_tables
from tests.ablate.helpers import ROOT, train, write


def test_what_a_shape_needs_of_the_memory_is_measured_once_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shape's packs differ in their numbers; another share of the memory is another number of trials."""
    measured: list[str] = []
    max_pack_size = pack_training.max_pack_size

    def counted(config: dict[str, Any], *where: Any) -> int:
        measured.append(config["method"])
        return max_pack_size(config, *where)

    monkeypatch.setattr(pack_training, "CAPACITIES", {})
    monkeypatch.setattr(pack_training, "max_pack_size", counted)
    study = load(str(write(tmp_path, methods=["agm"], vary={"agm.alpha": [0.5, 1, 2]})))
    trials, asked = next(rounds(study)), build_job(study)
    packs = [trials[i : i + 2] for i in range(0, 6, 2)]
    assert [pack_training.pack_capacity(asked, pack) for pack in packs] == [
        pack_training.pack_capacity(asked, trials)
    ] * 3
    assert len(measured) == 1
    pack_training.pack_capacity({**asked, "cpu": 1e-3}, packs[0])
    assert len(measured) == 2


def worker(study: Study) -> Worker:
    """A worker of a study, without Ray."""
    made = Worker.__new__(Worker)
    made.reset_config({"job": json.dumps({**build_job(study), "pack": [], "pruner": None})})
    return made


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the trials of each pass of training."""
    result: list[int] = []
    fit_pack = pack_training.fit_pack

    def counted(configs: list[Any], *how: Any) -> Any:
        result.append(len(configs))
        return fit_pack(configs, *how)

    monkeypatch.setattr(pack_training, "fit_pack", counted)
    monkeypatch.setattr(pack_training, "RETRY_SECONDS", 0)
    return result


def test_a_bucket_out_of_reach_for_a_moment_repeats_no_training_and_for_long_ends_the_process(
    tmp_path: Path, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was trained lies in the mirror, and is done."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    study = load(str(write(tmp_path, methods=["agm"], vary={"agm.alpha": [0.5, 1]})), f"file://{tmp_path}/bucket")
    pack, upload, fails = next(rounds(study)), Mirror.upload_new, 2

    def shaky(self: Mirror, folder: Path) -> None:
        nonlocal fails
        fails -= 1
        if fails >= 0:
            raise UserError("store: it cannot be reached")
        upload(self, folder)

    monkeypatch.setattr(Mirror, "upload_new", shaky)
    assert {told[0] for told in worker(study).train_or_split(pack[:2]).values()} == {"done"}
    assert passes == [2]
    fails = 99
    with pytest.raises(pack_training.RetryableError, match="it cannot be reached"):
        worker(study).train_or_split(pack[2:])
    assert passes == [2, 2]
    assert len(open_queue(study).results) == 4
    assert len([*mirror_of(f"file://{tmp_path}/bucket").list_files("trials")]) > 0


def test_what_cannot_be_stored_is_not_trained_again_in_halves(
    tmp_path: Path, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pack_training, "write_pack", full)
    study = load(str(write(tmp_path, methods=["agm"])), str(tmp_path / "store"))
    told = worker(study).train_or_split(next(rounds(study)))
    assert set(told.values()) == {("failed", None, "cannot be stored: No space left on device")}
    assert passes == [4]


def test_an_error_with_bytes_that_are_no_text_is_a_row_of_the_table(tmp_path: Path) -> None:
    """As in the name of a file, or of the folder that a method of one's own is in."""
    method = (ROOT / "ablate/templates/method.py").read_text()
    fails = "        raise ValueError(b'caf\\xe9'.decode(errors='surrogateescape'))"
    (tmp_path / "naming.py").write_text(method.replace("        return ()", fails))
    study = load(str(write(tmp_path, methods=["naming:Half"], vary=None, seeds=1)), str(tmp_path / "store"))
    plan: list[Trial] = []
    queue, (told,) = open_queue(study, plan=plan), worker(study).train_or_split(plan).values()
    tables = TableWriter(study, queue, pytest.fail, plan)
    queue.complete(plan[0], Result("failed", None))
    tables.add_result(plan[0], Result("failed", None), told[2])
    tables.close()
    (error,) = load_tables(study.folder).trials.collect()["error"]
    assert error.startswith("ValueError: caf\\udce9\n")


def test_data_whose_datasheet_changed_after_the_plan_is_not_trained_on(tmp_path: Path) -> None:
    for file in write_scaffold(tmp_path):
        if file.name == "data.py":
            subprocess.run([sys.executable, file], check=True)
    study = load(str(tmp_path / "study.yaml"), str(tmp_path / "store"))
    pack = next(rounds(study))[:1]
    pack_training.check_unchanged(pack, study.data)
    sheet = tmp_path / "mine.json"
    sheet.write_text(json.dumps(json.loads(sheet.read_text()) | {"standardise": {"image": "none"}}))
    with pytest.raises(RuntimeError, match="the data or the code changed"):
        pack_training.check_unchanged(pack, study.data)


def dispatch(*studies: Study) -> tuple[PackDispatcher, list[tuple[Trial, Result, str | None]]]:
    """Return a dispatcher of studies, and the list that results are added to."""
    received: list[tuple[Trial, Result, str | None]] = []
    study_runs = [StudyRun(open_queue(one), build_job(one), lambda *result: received.append(result)) for one in studies]
    return PackDispatcher(iter(study_runs), None, {}), received


def test_of_a_pack_whose_process_died_what_is_in_the_store_is_done(tmp_path: Path) -> None:
    study = load(str(write(tmp_path, methods=["agm"], resources={"pack": 4})), str(tmp_path / "store"))
    dispatcher, received = dispatch(study)
    pack = [Trial(*trial) for trial in json.loads(dispatcher.suggest("a")["job"])["pack"]]
    pack_training.train_pack(pack_training.resolve_job(build_job(study)), pack[:1], None)
    dispatcher.on_trial_complete("a", error=True)
    assert [(trial.id, result.status) for trial, result, _ in received] == [(pack[0].id, "done")]
    rest = [trial.id for pack in dispatcher.active[0].queue.pending_packs for trial in pack]
    assert rest == [trial.id for trial in pack[1:]]


def test_a_pack_that_ends_as_the_run_is_stopped_is_known(tmp_path: Path) -> None:
    """Tune ends its trials without a result; what is in the store when all is closed is told."""
    study = load(str(write(tmp_path, methods=["agm"], resources={"pack": 2})), str(tmp_path / "store"))
    dispatcher, received = dispatch(study)
    packs = [[Trial(*trial) for trial in json.loads(dispatcher.suggest(name)["job"])["pack"]] for name in "ab"]
    dispatcher.stop()
    for name in "ab":
        dispatcher.on_trial_complete(name)
    pack_training.train_pack(pack_training.resolve_job(build_job(study)), packs[1], None)
    dispatcher.close()
    assert [trial.id for trial, _, _ in received] == [trial.id for trial in packs[1]]


def test_what_was_not_over_when_tune_failed_was_cut_short(tmp_path: Path) -> None:
    study = load(str(write(tmp_path, methods=["agm"], resources={"pack": 1})), str(tmp_path / "store"))
    dispatcher, received = dispatch(study)
    assert dispatcher.suggest("a") is not None
    (run,) = dispatcher.active
    dispatcher.close()
    assert (run.queue.is_stopped, received) == (True, [])


def test_what_begins_as_the_run_is_stopped_is_cut_short_and_what_is_over_is_not(tmp_path: Path) -> None:
    """A signal comes before the first pack, while a study is made, or while one is closed."""
    file, closed = write(tmp_path), list[bool]()
    train(file, tmp_path / "full")

    def opened(store: str) -> StudyRun:
        study = load(str(file), str(tmp_path / store))
        queue = open_queue(study)
        return StudyRun(queue, build_job(study), print, lambda: closed.append(queue.is_stopped))

    def made_meanwhile() -> Iterator[StudyRun]:
        yield opened("full")
        dispatcher.stop()
        yield opened("empty")
        pytest.fail("another study begins")

    def closed_meanwhile() -> Iterator[StudyRun]:
        run = opened("full")
        yield run._replace(close=lambda: (run.close(), dispatcher.stop())[0])
        pytest.fail("another study begins")

    dispatcher = PackDispatcher(iter([opened("empty")]), None, {})
    dispatcher.stop()
    dispatcher.close()
    assert closed == [True]
    for study_runs, ends in ((made_meanwhile(), [False, True]), (closed_meanwhile(), [False])):
        closed.clear()
        dispatcher = PackDispatcher(study_runs, None, {})
        assert dispatcher.suggest("a") == dispatcher.FINISHED
        dispatcher.close()
        assert closed == ends


def test_a_part_of_a_pack_whose_process_died_goes_on_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three fit into the memory, of seven, and of the five that are left two parts by themselves would be others."""
    monkeypatch.setattr(pack_training, "CAPACITIES", {})
    monkeypatch.setattr(pack_training, "max_pack_size", lambda *given: 3)
    over = {"methods": ["joint"], "vary": None, "seeds": 7, "resources": {"pack": 7}}
    study = load(str(write(tmp_path, **over)), str(tmp_path / "store"))
    dispatcher, _ = dispatch(study)
    assert dispatcher.suggest("a") is not None
    _, pack = dispatcher.running["a"]
    first, second, third = worker(study).memory_parts(pack)
    assert [len(part) for part in (first, second, third)] == [2, 3, 2]
    pack_training.train_pack(pack_training.resolve_job(build_job(study)), first, None)
    pack_checkpoint(build_job(study), second).write({"number": 1})
    dispatcher.on_trial_complete("a", error=True)
    assert dispatcher.active[0].queue.pending_packs == [second + third]
    assert worker(study).memory_parts(second + third) == [second, third]


def test_a_study_that_cannot_be_closed_leaves_none_open_and_hides_no_trouble(tmp_path: Path) -> None:
    study, closed = load(str(write(tmp_path)), str(tmp_path / "store")), list[str]()

    def fails() -> None:
        raise UserError("store: it cannot be reached")

    dispatcher, _ = dispatch()
    dispatcher.active += [
        StudyRun(open_queue(study), build_job(study), print, end) for end in (fails, lambda: closed.append("second"))
    ]
    dispatcher.fail(OSError(28, "No space left on device"))
    with pytest.raises(OSError, match="No space left on device"):
        dispatcher.close()
    assert closed == ["second"]


def test_studies_with_several_workers_a_pack_run_one_after_another(tmp_path: Path) -> None:
    """Their packs reserve nothing: two of them would wait for each other's CPUs."""
    studies = [
        load(str(write(tmp_path, name=name, resources={"workers": count, "pack": 1})), str(tmp_path / "store"))
        for name, count in (("a", 2), ("b", 2), ("c", 1))
    ]
    dispatcher, _ = dispatch(*studies)
    assert dispatcher.suggest("first") is not None
    running = [dispatcher.suggest(str(i)) for i in range(9)]
    assert {run.job["workers"] for run, _ in dispatcher.running.values()} == {2}
    assert len({id(run) for run, _ in dispatcher.running.values()}) == 1
    assert running[-1] is None
    assert not dispatcher.finished
