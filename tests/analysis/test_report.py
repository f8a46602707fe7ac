import re
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from analysis import load
from analysis.formatting import DASH, format_p_value, format_score, format_settings
from analysis.headline import headline, limitations
from analysis.report import inline_svg, write_report
from analysis.report_tables import configurations_table, effects_table, escape_latex, escape_markdown, methods_table
from analysis.summary import SUMMARY, summary
from analysis.tables import Run
from analysis.verdicts import write_verdict
from tests.analysis.conftest import STUDY, Write, alphas, trial, write_folder


def asked(**study: Any) -> Run:
    """Return a run of which nothing is known but what was asked for."""
    return Run("", {"study": STUDY | study}, pl.LazyFrame(), pl.LazyFrame())


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run with its report."""
    folder = write_folder(tmp_path_factory.mktemp("report") / "run", *alphas())
    write_report(folder)
    return folder


def test_the_page_tells_the_finding_the_failures_and_what_was_run(written: Path) -> None:
    folder, page = written, (written / "report.html").read_text()
    for text in (
        "agm (alpha=0.5) reaches 74.0 % on test",
        "2 of 21 trials have no result",
        "the test split was read for 5 configurations",
        "best on validation at agm.alpha=0.5",
        "torch",
        "ablate run alphas",
        "unequal tuning budgets",
        "The p-values do not account for it",
    ):
        assert text in page
    kinds = ("csv", "pdf", "png", "svg")
    names = ("curve-agm.alpha", "differences", "encoders", "ranks", "best-of-n")
    assert {file.name for file in (folder / "figures").iterdir()} == {f"{n}.{kind}" for n in names for kind in kinds}


def test_what_an_earlier_report_drew_does_not_stay(folder: Path) -> None:
    (folder / "figures").mkdir()
    (folder / "figures" / "curve-agm.cap.svg").touch()
    (folder / "figures" / "notes.txt").touch()
    write_report(folder)
    names = {file.name for file in (folder / "figures").iterdir()}
    assert "curve-agm.cap.svg" not in names
    assert "notes.txt" in names


def test_what_a_trial_said_cannot_become_markup(written: Path) -> None:
    page = (written / "report.html").read_text()
    assert "<script>alert" not in page
    assert page.count("<script>") == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;script>alert(1)&lt;/script>" in (written / "report.md").read_text()


def test_the_page_needs_nothing_from_elsewhere(written: Path) -> None:
    page = (written / "report.html").read_text().replace("http://www.w3.org/", "")  # names of SVG's own vocabulary
    assert "http:" not in page
    assert "https:" not in page
    assert "src=" not in page
    assert "default-src 'none'" in page


def test_the_page_is_the_same_twice(written: Path, folder: Path) -> None:
    assert write_report(folder).read_bytes() == (written / "report.html").read_bytes()


def test_a_run_that_goes_on_says_how_far_it_is(write_run: Write) -> None:
    page = write_report(write_run([trial("a", "joint", 0, 0.8, 0.7)])).read_text()
    assert "1 of 20 trials" in page
    assert "joint reaches 70.0 % on test; there is nothing to compare it with." in page


def test_a_run_without_trials_has_a_page(write_run: Write) -> None:
    page = write_report(write_run([])).read_text()
    assert "No trial has finished yet." in page
    assert "0 of 20 trials" in page


def test_a_trial_that_several_points_ask_for_counts_once(write_run: Write) -> None:
    """With an axis that does nothing each of 6 trials is asked for twice, which 12 of the planned 20 are."""
    rows = [trial(f"j{s}", "joint", s, 0.8, 0.7) for s in range(2)]
    rows += [trial(f"{a}{s}", "agm", s, 0.8, 0.7, **{"agm.alpha": a}) for a in (0.0, 0.5) for s in range(2)]
    rows[2] |= {"status": "diverged", "validation.accuracy": None}
    rows[3] |= {"status": "pruned", "validation.accuracy": None}
    vary = STUDY["vary"] | {"dummy": {"values": [1, 2], "scale": "linear"}}
    folder = write_run([row | {"dummy": d} for row in rows for d in (1, 2)], vary=vary)
    for page in (write_report(folder).read_text(), (folder / "report.md").read_text()):
        assert "12 of 20 trials" in page
        assert "1 of 6 trials has no result" in page
        assert "1 of 6 trials ended early" in page
    table = configurations_table(load(folder))
    assert [[cell.text for cell in row[:2]] for row in table.rows] == [
        ["joint", DASH], ["agm", "alpha=0.5"], ["agm", "alpha=0"],
    ]  # fmt: skip
    assert not [one for one in limitations(load(folder), summary(load(folder))) if one.startswith("joint: all conf")]


def test_a_run_in_which_nothing_trained_says_so(write_run: Write) -> None:
    page = write_report(write_run([trial("a", "joint", 0, None, None), trial("b", "agm", 0, None, None)])).read_text()
    assert "No trial has a score: 2 failed, 0 diverged." in page


def test_no_file_remains_beside_the_page(folder: Path) -> None:
    shutil.rmtree(folder / "metrics")
    write_report(folder)
    names = {"study.yaml", "trials", "figures", "tables", "readings.csv", "report.html", "report.md"}
    assert {file.name for file in folder.iterdir()} == names


def finding(seeds: Any = 10, **agm: float | None) -> str:
    fixed = {"metric": "accuracy", "direction": "max", "configurations": 1, "settings": ""}
    joint = {"method": "joint", "validation": 0.9, "test": 0.9} | fixed
    other = {"method": "agm", "validation": 0.91, "test": 0.969, "pairs": 10} | fixed | agm
    return headline(asked(seeds=seeds), pl.DataFrame([joint, other], schema=SUMMARY))


def test_a_difference_is_separated_only_by_its_p() -> None:
    ends = {"difference_low": -0.001, "difference_high": 0.007}
    text = finding(difference=0.003, p=0.25, **ends)
    assert text == (
        "agm reaches 96.9 % on test, +0.3 points against joint [−0.1, 0.7], p=0.25: "  # noqa: RUF001
        "no significant difference from joint training over 10 seeds."
    )
    above, below = (
        {"difference_low": low, "difference_high": high} for low, high in ((0.001, 0.005), (-0.005, -0.001))
    )
    assert finding(difference=0.003, p=0.01, **above).endswith("p=0.01: better than joint training.")
    assert finding(difference=-0.003, p=0.0004, **below).endswith("p<0.001: worse than joint training.")


def test_one_seed_tells_nothing() -> None:
    assert finding(difference=0.003, pairs=1).endswith(
        "+0.3 points against joint: one seed, so significance cannot be tested."
    )
    assert "no finished trial with the same seed" in finding()


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        ({"order": 10}, "10 orders of one split and one initialisation"),
        ({"split": 10, "init": 3}, "10 splits of one order"),
        ({"split": 10, "init": 3, "order": 2}, "10 seeds"),
    ],
)
def test_what_is_held_stands_beside_the_number(seeds: dict[str, int], words: str) -> None:
    ends = {"difference_low": 0.001, "difference_high": 0.005, "difference": 0.003}
    assert finding(seeds, p=0.25, **ends).endswith(f"no significant difference from joint training over {words}.")
    over = f" over {words}" if " of " in words else ""
    assert finding(seeds, p=0.01, **ends).endswith(f"better than joint training{over}.")
    note = methods_table(asked(seeds=seeds), pl.DataFrame(schema=SUMMARY), 2).note
    assert (f"Seeds are {words}: p and intervals hold for this " in note) is bool(over)


def test_seeds_that_change_nothing_are_one_result(write_run: Write) -> None:
    """Every loss is the same bit for bit; where scores alone are, as at a bound, seeds are what they are."""
    rows = [
        trial(f"{m}{s}", m, s, test, test, **{"validation.loss": loss, "test.loss": loss})
        for m, test, loss in (("joint", 0.5, 0.7), ("agm", 0.75, 0.6)) for s in range(8)
    ]  # fmt: skip
    run = load(write_run(rows, seeds={"order": 8}, vary={}, methods=["joint", "agm"]))
    result = summary(run)
    assert result.select("low", "high", "difference_low", "difference_high", "p").null_count().row(0) == (2,) * 5
    assert result["difference"][1] == pytest.approx(0.25)
    assert headline(run, result).endswith(
        "+25.0 points against joint: all seeds have the same result, which counts once."
    )
    for changed in ("joint", "both"):
        own = pl.col("validation.loss") + pl.when(pl.lit(changed == "both") | (pl.col("method") == changed)).then(
            "seed"
        )
        moved = run._replace(
            trials=run.trials.with_columns(pl.coalesce(own, "validation.loss").alias("validation.loss"))
        )
        assert summary(moved)["p"][1] == 2.0**-7


def test_a_method_that_lost_seeds_is_not_ahead() -> None:
    """On validation agm's one seed is better than ogm's five."""
    fixed = {"metric": "accuracy", "direction": "max", "configurations": 1, "settings": "", "test": 0.9}
    rows = [{"method": m, "validation": v, "seeds": n} | fixed for m, v, n in (("agm", 0.95, 1), ("ogm", 0.93, 5))]
    assert headline(asked(), pl.DataFrame(rows, schema=SUMMARY)).startswith("ogm reaches")


def test_a_method_that_was_told_apart_early_lost_no_seed() -> None:
    """Looks are at 4, 8 and 12 seeds: ogm, which is better on validation, lost one of 8."""
    fixed = {"metric": "accuracy", "direction": "max", "configurations": 1, "settings": "", "test": 0.9}
    tried = (("agm", 0.93, 12), ("cggm", 0.95, 4), ("ogm", 0.97, 7))
    table = pl.DataFrame([{"method": m, "validation": v, "seeds": n} | fixed for m, v, n in tried], schema=SUMMARY)
    assert headline(asked(seeds={"auto": [4, 12]}), table).startswith("cggm reaches")
    assert headline(asked(seeds=12), table).startswith("agm reaches")
    lost = table.filter(pl.col("seeds") != 4).with_columns(seeds=pl.Series([3, 7]))
    assert headline(asked(seeds={"auto": [4, 12]}), lost).startswith("ogm reaches")


def test_a_better_baseline_is_named(folder: Path) -> None:
    """On validation alone; joint-uni with 81 is behind agm with 82."""
    run = load(folder)
    table = summary(run)
    assert "joint-uni" not in headline(run, table)
    ahead = table.with_columns(validation=pl.when(pl.col("method") == "joint-uni").then(1.0).otherwise("validation"))
    assert headline(run, ahead).endswith("; the baseline joint-uni reaches 73.3 %.")
    baselines = ahead.filter(pl.col("method").is_in(["joint", "joint-uni"]))
    assert headline(run, baselines).startswith("joint-uni reaches 73.3 % on test, +1.3 points against joint")


@pytest.mark.parametrize(("metric", "shown"), [("accuracy", "96.9 [96.5, 97.2]"), ("mae", "0.969 [0.965, 0.972]")])
def test_accuracy_is_in_percent_and_the_rest_has_three_digits(metric: str, shown: str) -> None:
    assert format_score(metric, 0.9687, 0.9651, 0.9719) == shown


def test_what_is_missing_is_a_dash_and_nothing_is_minus_zero() -> None:
    assert format_score("accuracy", None) == format_p_value(None) == "\N{EN DASH}"
    assert format_score("accuracy", -0.0001, sign="+") == "+0.0"


def test_a_setting_that_is_null_is_named_and_one_of_another_method_is_not() -> None:
    row = {"method": "agm", "train.clip": None, "agm.alpha": 0.5, "ogm.alpha": None}
    assert format_settings(row, ["train.clip", "agm.alpha", "ogm.alpha"]) == "train.clip=none, alpha=0.5"


def test_modalities_alone_have_nothing_to_be_compared_with() -> None:
    alone = pl.DataFrame({"method": ["unimodal"], "test": [0.9], "failed": [0], "diverged": [0]})
    assert headline(asked(), alone) == "Each modality was trained alone; there is no joint prediction to compare."


def test_a_paper_gets_the_tables_in_latex(written: Path) -> None:
    assert {file.name for file in (written / "tables").iterdir()} == {
        "methods.tex",
        "encoders.tex",
        "configurations.tex",
    }
    lines = (written / "tables" / "methods.tex").read_text().splitlines()
    assert r"  \begin{tabular}{llrrrrrrrrr}" in lines
    assert next(line for line in lines if line.startswith("    agm ")).startswith(
        "    agm & alpha=0.5 & 3 & 3 & 82.0 & 74.0 "
    )
    rules = [line.strip() for line in lines if line.endswith("rule")]
    assert rules == [r"\toprule", r"\midrule", r"\bottomrule"]
    body = [line for line in lines if line.endswith(r"\\")]
    assert {line.count("&") for line in body} == {10}


def test_signs_of_latex_and_markdown_are_printed_and_not_obeyed() -> None:
    assert escape_latex(r"50 % of a_b & {c} \d $x$ #1 ~ ^ [2]") == (
        r"50 \% of a\_b \& \{c\} \textbackslash{}d \$x\$ \#1 \textasciitilde{} \textasciicircum{} {[}2{]}"
    )
    assert escape_markdown("a|b <i> [c](d) *e* `f`\nx") == r"a\|b &lt;i> \[c\](d) \*e\* \`f\` x"


def test_the_figures_of_a_page_do_not_share_their_ids(written: Path) -> None:
    page = (written / "report.html").read_text()
    names = re.findall(r'\bid="([^"]+)"', page)
    assert len(names) > 100
    assert len(set(names)) == len(names)
    known = {*names}
    used = {*re.findall(r'href="#([^"]+)"', page), *re.findall(r"url\(#([^)]+)\)", page)}
    assert used <= known


def test_a_figure_has_a_text_instead_and_nothing_that_is_not_drawn() -> None:
    svg = '<?xml version="1.0"?><!DOCTYPE svg><svg width="1pt"><!-- <script> --><metadata>x</metadata><g id="a"/></svg>'
    assert inline_svg(svg, "b.c", 'say "x" & <y>') == (
        '<svg role="img" aria-label="say &#34;x&#34; &amp; &lt;y&gt;" width="1pt"><g id="b-c-a"/></svg>'
    )


@pytest.mark.parametrize(
    ("trials", "sentence"),
    [
        ([trial("a", "agm", 0, None, None)], "agm: no trial has a score"),
        ([trial("a", "joint", 0, 0.8, 0.7)], "There is only one seed"),
        ([trial(f"{m}{s}", m, s, 0.8, 0.7) for m in ("agm", "ogm") for s in (0, 1)], "Joint training has no result"),
        ([trial("a", "joint", 0, 0.8, 0.7), trial("b", "joint", 1, 0.8, 0.7)], "There are only two seeds"),
        (
            [trial(f"{a}{s}", "agm", s, 0.8, 0.7, **{"agm.alpha": a}) for a in (0.0, 0.5) for s in range(3)],
            "agm: all configurations have the same score",
        ),
        ([trial("a", "joint", 0, float("nan"), float("nan"))], "joint: no trial has a score"),
    ],
)
def test_it_is_said_what_the_study_cannot_tell(write_run: Write, trials: list[Any], sentence: str) -> None:
    run = load(write_run(trials))
    assert [one for one in limitations(run, summary(run)) if one.startswith(sentence)]


def test_modalities_that_score_alike_alone_are_no_configurations_of_a_setting(write_run: Write) -> None:
    trials = [trial(f"{m}{s}", "unimodal", s, 0.8, 0.7, modality=m) for m in ("image", "audio") for s in range(3)]
    run = load(write_run(trials))
    assert not [sentence for sentence in limitations(run, summary(run)) if "have the same score" in sentence]


def test_a_claim_has_its_verdict_first_and_then_its_runs(write_run: Write) -> None:
    made = {"optimizer": "sgd", "epochs": 2}, {"fusion": "concat", "encoder": "mlp", "hidden": 8}
    folder = write_run(*alphas(), train=made[0], model=made[1])
    analysis = {"difference": {"of": {"method": "agm", "agm.alpha": 0.5}, "minus": {"method": "joint"}}}
    claim = {"name": "c", "quick": True, "source": "s", "question": "Does <b>it</b>?", "says": "y", "support": "z"}
    cells = {cell: folder.parent / "claim" / cell for cell in ("one", "two")}
    for place in cells.values():
        shutil.copytree(folder, place)
    write_verdict(claim, [analysis], [], {"every": {"rule": "greater"}}, cells, folder.parent / "claim")
    page = write_report(folder.parent / "claim").read_text()
    assert (
        page.index('class="word">')
        < page.index("Does &lt;b&gt;it&lt;/b&gt;?")
        < page.index("<svg")
        < page.index("Methods")
    )
    assert page.count("<svg") == 1
    assert "ablate run alphas --quick" in page
    names = {file.name for file in (folder.parent / "claim" / "tables").iterdir()}
    assert "effects.tex" in names
    for place in cells.values():
        shutil.rmtree(place)
    assert "ablate run c --quick" in write_report(folder.parent / "claim").read_text()


def test_a_page_links_the_files_of_a_figure_that_there_are(folder: Path) -> None:
    """A pdf of an earlier report is none of this figure."""
    for pdf in (False, True, False):
        page = write_report(folder, pdf=pdf).read_text()
        linked = set(re.findall(r'href="(figures/[^"]+)"', page))
        assert linked == {f"figures/{file.name}" for file in (folder / "figures").iterdir()}
        assert any(file.endswith(".pdf") for file in linked) is pdf


@pytest.fixture
def claimed(tmp_path: Path) -> Path:
    """Return the folder of a claim with three cells, in the last of which joint-uni was not run."""
    trials, metrics = alphas()
    fewer = [row for row in trials if row["method"] != "joint-uni"]
    (tmp_path / "claim").mkdir()
    (tmp_path / "claim" / "verdict.json").write_text("{}")
    for cell, rows in (("one", trials), ("two", trials), ("three", fewer)):
        write_folder(tmp_path / "claim" / cell, rows, metrics, name=f"claim/{cell}")
    write_report(tmp_path / "claim", pdf=False)
    return tmp_path / "claim"


def test_a_note_that_differs_between_cells_is_shown(claimed: Path) -> None:
    """That of three is the first on the page, cells being in the order of their names."""
    page = (claimed / "report.html").read_text()
    notes = re.findall(r'class="note">Chosen on [^.]+ read for (\d) configurations', page)
    assert notes == ["5", "4"]
    assert page.count("Test score of a linear probe on each encoder after training") == 1


def test_the_tables_of_cells_have_labels_and_captions_of_their_own(claimed: Path) -> None:
    for file in (claimed / "tables").iterdir():
        assert f"\\label{{tab:{file.stem}}}" in file.read_text()
    assert "\\caption{Methods of two. " in (claimed / "tables" / "two-methods.tex").read_text()


@pytest.mark.parametrize(("metric", "shown"), [("accuracy", "+1.2 points"), ("", "+0.012")])
def test_what_is_beside_a_verdict_has_its_unit(metric: str, shown: str) -> None:
    """That of an effect is the verdict's where it has none of its own, as in files of earlier versions."""
    one = {"verdict": "reported", "effect": 0.012, "low": None, "high": None, "p": None, "seeds": 3, "difference": True}
    one |= {"sentence": "It is."}
    verdict = {"metric": metric, "effects": {"a": one}, "beside": {"b": one | {"metric": metric}, "c": one}}
    assert [row[2].text for row in effects_table(verdict).rows] == [shown, shown, "+0.012"]
    other = {"metric": "loss", "effects": {"a": one | {"metric": "accuracy"}}, "beside": {}}
    assert effects_table(other).rows[0][2].text == "+1.2 points"
