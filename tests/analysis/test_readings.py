"""What reports have read on test, and what they say of it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis.readings import FILE, read_readings
from analysis.report import write_report
from tests.analysis.conftest import Write, trial

ALPHAS = {"agm.alpha": {"values": [0.5, 1.0], "scale": "linear"}}


def rows(**scores: float) -> list[dict[str, Any]]:
    """Return two seeds of joint training and of agm at each alpha, with its score on validation; test is one less."""
    result = [trial(f"joint-{s}", "joint", s, 0.8, 0.7) for s in range(2)]
    for alpha, score in scores.items():
        value = float(alpha.removeprefix("a"))
        result += [trial(f"{alpha}-{s}", "agm", s, score, score - 0.1, **{"agm.alpha": value}) for s in range(2)]
    return result


def changed(folder: Path, **study: Any) -> None:
    """Ask something else of a run."""
    about = yaml.safe_load((folder / "study.yaml").read_text())
    about["study"] |= study
    (folder / "study.yaml").write_text(yaml.safe_dump(about))


def test_a_report_records_what_it_reads_on_test(write_run: Write) -> None:
    folder = write_run(rows(**{"a0.5": 0.9, "a1": 0.6}), vary=ALPHAS)
    page = write_report(folder).read_text()
    seen = read_readings(folder / FILE)
    assert seen.select("method", "settings", "seeds", "metric", "test").rows() == [
        ("joint", "", 2, "accuracy", 0.7), ("agm", "alpha=0.5", 2, "accuracy", 0.8),
    ]  # fmt: skip
    assert seen["time"].str.ends_with("+00:00").all()
    assert FILE not in page


def test_the_same_report_again_reads_nothing_new(write_run: Write) -> None:
    folder = write_run(rows(**{"a0.5": 0.9, "a1": 0.6}), vary=ALPHAS)
    write_report(folder)
    before = (folder / FILE).read_bytes()
    write_report(folder)
    assert (folder / FILE).read_bytes() == before


def test_a_change_that_is_made_after_test_was_read_is_told(write_run: Write) -> None:
    """Of agm three configurations are read, of joint training one: a setting of agm is none of it."""
    folder = write_run(rows(**{"a0.5": 0.9, "a1": 0.6}), vary=ALPHAS)
    write_report(folder)
    changed(folder, set={"agm.cap": 5})
    page = write_report(folder).read_text()
    assert "Reports in this folder have shown test scores of several configurations since " in page
    assert ": agm 2 (readings.csv). Choosing" in page
    changed(folder, set={"agm.cap": 6})
    assert ": agm 3 (readings.csv)" in write_report(folder).read_text()
    changed(folder, train={"epochs": 9})
    page = write_report(folder).read_text()
    assert ": joint 2, agm 4 (readings.csv)" in page
    assert ": joint 2, agm 4 (readings.csv)" in (folder / "report.md").read_text()


def test_more_seeds_and_other_measurements_are_no_other_configuration(write_run: Write) -> None:
    folder = write_run(rows(**{"a0.5": 0.9})[:3], vary=ALPHAS)
    write_report(folder)
    for table in (folder / "trials").iterdir():
        table.unlink()
    whole = rows(**{"a0.5": 0.9})
    folder.rename(folder.with_name("first"))
    other = write_run(whole, vary=ALPHAS, measure={"probe": 1}, seeds=2)
    (folder.with_name("first") / FILE).rename(other / FILE)
    page = write_report(other).read_text()
    assert read_readings(other / FILE)["seeds"].to_list() == [2, 1, 2]
    assert FILE not in page


def test_an_axis_over_the_value_that_there_was_is_no_other_configuration(write_run: Write) -> None:
    folder = write_run(rows(**{"a0.5": 0.9}), vary=ALPHAS, train={"lr": 0.1, "epochs": 2})
    write_report(folder)
    changed(folder, vary=ALPHAS | {"train.lr": {"values": [0.1], "scale": "linear"}})
    assert FILE not in write_report(folder).read_text()


def test_what_was_read_of_other_data_is_no_reading_of_this_test_split(write_run: Write) -> None:
    folder = write_run(rows(**{"a0.5": 0.9}), vary=ALPHAS)
    write_report(folder)
    about = yaml.safe_load((folder / "study.yaml").read_text())
    about["study"]["data"], about["data_sha256"] = "mfeat", "0" * 64
    (folder / "study.yaml").write_text(yaml.safe_dump(about))
    page = write_report(folder).read_text()
    assert len(read_readings(folder / FILE)) == 4
    assert FILE not in page


def test_a_run_without_results_has_read_nothing(write_run: Write) -> None:
    folder = write_run([trial("a", "joint", 0, None, None)])
    write_report(folder)
    assert not (folder / FILE).exists()


@pytest.mark.parametrize("content", ["", "no table", 'time,"'])
def test_a_damaged_record_is_not_written_over(write_run: Write, content: str) -> None:
    folder = write_run(rows(**{"a0.5": 0.9}), vary=ALPHAS)
    (folder / FILE).write_text(content)
    with pytest.raises(FileNotFoundError, match=r"readings\.csv is damaged"):
        write_report(folder)
    assert (folder / FILE).read_text() == content
