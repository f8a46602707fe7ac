from pathlib import Path

import fsspec
import polars as pl
import pytest
import yaml

from analysis import load, load_store, traces
from analysis.choice import best_configurations
from analysis.sensitivity import axes, curve, probe_curve
from analysis.summary import ENCODERS, SUMMARY, encoder_summary, summary
from analysis.tables import METRICS, TRACE, TRIALS
from tests.analysis.conftest import Write, trial


def test_a_folder_that_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"is not a run: it has no study\.yaml"):
        load(tmp_path)


def test_files_with_different_settings_are_one_table(folder: Path) -> None:
    trials = load(folder).trials.collect()
    assert len(trials) == 21
    assert trials.filter(pl.col("method") == "joint")["agm.alpha"].null_count() == 3


def test_half_written_files_are_not_read(folder: Path) -> None:
    (folder / "trials" / ".draft.parquet").write_bytes(b"half")
    assert len(load(folder).trials.collect()) == 21


def test_a_table_that_was_cut_is_named(folder: Path) -> None:
    file = next((folder / "trials").glob("*.parquet"))
    for size in (0, 3, file.stat().st_size // 2):
        file.write_bytes(file.read_bytes()[:size])
        with pytest.raises(FileNotFoundError, match=rf"{file} is damaged; run its study again with `ablate run`"):
            load(folder)


@pytest.mark.parametrize("key", ["planned", "study"])
def test_a_study_that_lacks_what_a_run_writes_is_damaged(folder: Path, key: str) -> None:
    study = yaml.safe_load((folder / "study.yaml").read_text())
    del study[key]
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    with pytest.raises(FileNotFoundError, match=r"its study\.yaml is damaged"):
        load(folder)


def test_a_run_without_trials_has_empty_tables_of_the_right_shape(write_run: Write) -> None:
    run = load(write_run([]))
    assert set(TRIALS) | {"agm.alpha", "test.accuracy"} <= set(run.trials.collect_schema())
    assert run.metrics.collect_schema() == METRICS
    assert best_configurations(run).is_empty()
    assert summary(run).schema == SUMMARY
    assert encoder_summary(run).schema == ENCODERS
    assert axes(run) == ["agm.alpha"]
    assert curve(run, "agm.alpha").is_empty()
    assert probe_curve(run, "agm.alpha").is_empty()


def test_varied_choices_keep_their_type(write_run: Write) -> None:
    vary = {"agm.route": {"values": ["phi", "encoder"], "scale": "choice"}}
    run = load(write_run([trial("a", "agm", 0, 0.8, 0.7, **{"agm.route": "phi"})], vary=vary))
    assert run.trials.collect()["agm.route"].to_list() == ["phi"]
    assert summary(run)["settings"].to_list() == ["route=phi"]
    assert axes(run) == []


def remote(folder: Path, address: str) -> None:
    files = fsspec.filesystem(address.partition(":")[0])
    files.put(str(folder), address, recursive=True)


def test_a_run_is_read_from_a_remote_store(folder: Path) -> None:
    """As from a folder: the same trials, the same summary."""
    remote(folder, "memory://bucket/runs/alphas")
    run = load("memory://bucket/runs/alphas")
    assert run.folder == "memory:///bucket/runs/alphas"
    assert run.trials.sort("trial").collect().equals(load(folder).trials.sort("trial").collect())
    assert summary(run).equals(summary(load(folder)))
    assert summary(load(f"file://{folder}")).equals(summary(load(folder)))


def test_what_is_not_asked_for_is_not_read(folder: Path) -> None:
    remote(folder, "memory://bucket/lazy")
    for run in (load(folder), load("memory://bucket/lazy")):
        plan = run.trials.filter(pl.col("seed") == 1).select("trial").explain()
        assert "SELECTION" in plan
        assert "PROJECT" in plan


def test_runs_side_by_side(folder: Path) -> None:
    for name in ("one", "two"):
        remote(folder, f"memory://store/{name}")
    both = load_store("memory://store")
    assert set(both.runs) == {"memory:///store/one", "memory:///store/two"}  # their studies have one name
    assert both.trials.select("run").collect()["run"].value_counts()["count"].to_list() == [21, 21]
    assert len(load([folder]).runs["alphas"].trials.collect()) == 21
    assert load([]).trials.collect().is_empty()
    with pytest.raises(FileNotFoundError, match="is not a store: no folder in it has a study"):
        load_store("memory://empty")


def test_the_cells_of_a_claim_are_runs_of_its_store(folder: Path) -> None:
    """As `ablate claims` writes them, one folder deeper than studies."""
    for name in ("claim/one", "claim/two"):
        remote(folder, f"memory://claimed/{name}")
    assert set(load_store("memory://claimed").runs) == {"memory:///claimed/claim/one", "memory:///claimed/claim/two"}
    remote(folder, "memory://claimed/study")
    assert next(iter(load_store("memory://claimed").runs)) == "memory:///claimed/study"
    here = folder.parent / "store"
    (here / "claim").mkdir(parents=True)
    folder.rename(here / "claim" / "cell")
    runs = load_store(here)
    assert list(runs.runs) == ["alphas"]
    assert len(runs.trials.collect()) == 21


@pytest.mark.parametrize("name", ["a[1]", "a*", "a?", "a{b}"])
def test_the_name_of_a_store_is_no_pattern(folder: Path, name: str) -> None:
    remote(folder, f"memory://{name}/run")
    store = folder.parent / name
    store.mkdir()
    folder.rename(store / name)
    for runs in (load_store(store), load_store(f"memory://{name}")):
        assert len(runs.trials.collect()) == 21
    assert len(load(store / name).trials.collect()) == 21


def test_traces_by_hand(folder: Path) -> None:
    """The probe of images alone is 0.60, 0.61 and 0.62 on test at the last epoch."""
    table = traces(load(folder), ["probe_accuracy"])
    assert list(table.schema) == list(TRACE)
    where = {"method": "unimodal", "split": "test", "modality": "image", "epoch": 2}
    row = table.row(by_predicate=pl.all_horizontal(pl.col(k) == v for k, v in where.items()), named=True)
    assert row["mean"] == pytest.approx(0.61)
    assert row["sd"] == pytest.approx(0.01)
    assert (row["least"], row["most"], row["values"]) == (pytest.approx(0.6), pytest.approx(0.62), 3)
    assert traces(load(folder), ["loss"]).is_empty()


def test_a_value_that_is_not_finite_is_in_no_trace(write_run: Write) -> None:
    values = [0.5, float("nan"), float("inf"), None]
    rows = [
        {"trial": f"t{i}", "epoch": 1, "step": 5, "split": "test", "modality": None, "metric": "loss", "value": v}
        for i, v in enumerate(values)
    ]
    run = load(write_run([trial(f"t{i}", "joint", i, 0.8, 0.8) for i in range(4)], rows))
    assert traces(run).select("mean", "sd", "values").rows() == [(0.5, None, 1)]
