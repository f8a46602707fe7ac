import shutil
from pathlib import Path

import polars as pl
import pytest

from analysis import load
from analysis.report import headline, write
from analysis.summary import SUMMARY, summary
from analysis.text import pvalue, score, settings
from tests.analysis.conftest import Write, trial


def test_the_page_tells_the_finding_the_failures_and_what_was_run(folder: Path) -> None:
    page = write(folder).read_text()
    for text in (
        "agm (alpha=0.5) reaches 74.0 % on test",
        "2 of 21 trials have no result",
        "the test split was read for 5 configurations",
        "best on validation at agm.alpha=2",
        "torch",
        "ablate run alphas",
        "unequal tuning budgets",
    ):
        assert text in page
    kinds = ("csv", "pdf", "png", "svg")
    assert {file.name for file in (folder / "figures").iterdir()} == {f"agm.alpha.{kind}" for kind in kinds}


def test_what_a_trial_said_cannot_become_markup(folder: Path) -> None:
    page = write(folder).read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_the_page_needs_nothing_from_elsewhere(folder: Path) -> None:
    page = write(folder).read_text()
    assert "http:" not in page
    assert "https:" not in page
    assert 'src="data:image/svg+xml;base64,' in page


def test_the_page_is_the_same_twice(folder: Path) -> None:
    assert write(folder).read_bytes() == write(folder).read_bytes()


def test_a_run_that_goes_on_says_how_far_it_is(write_run: Write) -> None:
    page = write(write_run([trial("a", "joint", 0, 0.8, 0.7)])).read_text()
    assert "1 of 20 trials" in page
    assert "joint reaches 70.0 % on test; there is nothing to compare it with." in page


def test_a_run_without_trials_has_a_page(write_run: Write) -> None:
    page = write(write_run([])).read_text()
    assert "No trial has finished yet." in page
    assert "0 of 20 trials" in page


def test_a_run_in_which_nothing_trained_says_so(write_run: Write) -> None:
    page = write(write_run([trial("a", "joint", 0, None, None), trial("b", "agm", 0, None, None)])).read_text()
    assert "No trial has a score: 2 failed, 0 diverged." in page


def test_no_file_remains_beside_the_page(folder: Path) -> None:
    shutil.rmtree(folder / "metrics")
    write(folder)
    assert {file.name for file in folder.iterdir()} == {"study.yaml", "trials", "figures", "report.html"}


def finding(**agm: float | None) -> str:
    fixed = {"metric": "accuracy", "direction": "max", "configurations": 1, "settings": ""}
    joint = {"method": "joint", "validation": 0.9, "test": 0.9} | fixed
    other = {"method": "agm", "validation": 0.91, "test": 0.969, "pairs": 10} | fixed | agm
    return headline(pl.DataFrame([joint, other], schema=SUMMARY))


def test_a_difference_is_separated_only_by_its_p() -> None:
    ends = {"difference_low": -0.001, "difference_high": 0.007}
    text = finding(difference=0.003, p=0.25, **ends)
    assert text == (
        "agm reaches 96.9 % on test, +0.3 points against joint [−0.1, 0.7], p=0.25: "  # noqa: RUF001
        "not separated from joint training by 10 seeds."
    )
    assert finding(difference=0.003, p=0.01, **ends).endswith("p=0.01: better than joint training.")
    assert finding(difference=-0.003, p=0.0004, **ends).endswith("p<0.001: worse than joint training.")


def test_one_seed_tells_nothing() -> None:
    assert finding(difference=0.003, pairs=1).endswith(
        "+0.3 points against joint: one seed, which tells nothing about chance."
    )
    assert "no finished trial with the same seed" in finding()


def test_a_better_baseline_is_named(folder: Path) -> None:
    """On validation alone; joint-uni with 81 is behind agm with 82."""
    table = summary(load(folder))
    assert "joint-uni" not in headline(table)
    ahead = table.with_columns(validation=pl.when(pl.col("method") == "joint-uni").then(1.0).otherwise("validation"))
    assert headline(ahead).endswith("; the baseline joint-uni reaches 73.3 %.")
    baselines = ahead.filter(pl.col("method").is_in(["joint", "joint-uni"]))
    assert headline(baselines).startswith("joint-uni reaches 73.3 % on test, +1.3 points against joint")


@pytest.mark.parametrize(("metric", "shown"), [("accuracy", "96.9 [96.5, 97.2]"), ("mae", "0.969 [0.965, 0.972]")])
def test_accuracy_is_in_percent_and_the_rest_has_three_digits(metric: str, shown: str) -> None:
    assert score(metric, 0.9687, 0.9651, 0.9719) == shown


def test_what_is_missing_is_a_dash_and_nothing_is_minus_zero() -> None:
    assert score("accuracy", None) == pvalue(None) == "\N{EN DASH}"
    assert score("accuracy", -0.0001, sign="+") == "+0.0"


def test_a_setting_that_is_null_is_named_and_one_of_another_method_is_not() -> None:
    row = {"method": "agm", "train.clip": None, "agm.alpha": 0.5, "ogm.alpha": None}
    assert settings(row, ["train.clip", "agm.alpha", "ogm.alpha"]) == "train.clip=none, alpha=0.5"


def test_modalities_alone_have_nothing_to_be_compared_with() -> None:
    alone = pl.DataFrame({"method": ["unimodal"], "test": [0.9], "failed": [0], "diverged": [0]})
    assert headline(alone) == "Each modality was trained alone; there is no joint prediction to compare."
