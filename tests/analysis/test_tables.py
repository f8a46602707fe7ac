from pathlib import Path

import polars as pl
import pytest

from analysis import load
from analysis.choice import chosen
from analysis.sensitivity import axes, curve, probe_curve
from analysis.summary import ENCODERS, SUMMARY, encoders, summary
from analysis.tables import METRICS, TRIALS
from tests.analysis.conftest import Write, trial


def test_a_folder_that_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"is no run: it has no study\.yaml"):
        load(tmp_path)


def test_files_with_different_settings_are_one_table(folder: Path) -> None:
    trials = load(folder).trials.collect()
    assert len(trials) == 21
    assert trials.filter(pl.col("method") == "joint")["agm.alpha"].null_count() == 3


def test_half_written_files_are_not_read(folder: Path) -> None:
    (folder / "trials" / ".draft.parquet").write_bytes(b"half")
    assert len(load(folder).trials.collect()) == 21


def test_a_run_without_trials_has_empty_tables_of_the_right_shape(write_run: Write) -> None:
    run = load(write_run([]))
    assert set(TRIALS) | {"agm.alpha", "test.accuracy"} <= set(run.trials.collect_schema())
    assert run.metrics.collect_schema() == METRICS
    assert chosen(run).is_empty()
    assert summary(run).schema == SUMMARY
    assert encoders(run).schema == ENCODERS
    assert axes(run) == ["agm.alpha"]
    assert curve(run, "agm.alpha").is_empty()
    assert probe_curve(run, "agm.alpha").is_empty()


def test_varied_choices_keep_their_type(write_run: Write) -> None:
    vary = {"agm.route": {"values": ["phi", "encoder"], "scale": "choice"}}
    run = load(write_run([trial("a", "agm", 0, 0.8, 0.7, **{"agm.route": "phi"})], vary=vary))
    assert run.trials.collect()["agm.route"].to_list() == ["phi"]
    assert summary(run)["settings"].to_list() == ["route=phi"]
    assert axes(run) == []
