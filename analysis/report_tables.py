"""The tables of a report, once: what a page, a Markdown file and a paper show of them is the same."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import polars as pl

from analysis.blocks import GAIN_SUFFIX, held_kinds, seeds_text
from analysis.choice import configurations, validation_scores, without_dummy
from analysis.formatting import (
    DASH,
    format_effect,
    format_p_value,
    format_score,
    format_settings,
    is_percent,
    method_label,
    plural,
)
from analysis.statistics import bounds, estimate
from analysis.tables import Run

FAILED = ("failed", "diverged")
MAX_ROWS = 500  # rows of a table; the rest is on disk
LATEX_ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "[": "{[}", "]": "{]}", "<": r"\textless{}",
    ">": r"\textgreater{}", "\N{MINUS SIGN}": "$-$", DASH: "--", "\n": " ",
}  # fmt: skip


class Cell(NamedTuple):
    """What is read, and what it is sorted by."""

    text: str
    order: float | str | None = None


class Column(NamedTuple):
    """The head of a column."""

    title: str
    numeric: bool = False


class Table(NamedTuple):
    """A table to be read."""

    name: str  # of its file, and of its place on the page
    title: str
    columns: list[Column]
    rows: list[list[Cell]]
    note: str = ""


def methods_table(run: Run, summary: pl.DataFrame, looks: int, *, claimed: bool = False) -> Table:
    """Return the table of the methods, from `summary`; `looks` is how many configurations' test scores it reads.

    The analyses of a claim, whose run is ``claimed``, may read those of others.
    """
    metric, unit = run.metric, _metric_with_unit(run.metric)
    columns = _make_columns(
        ["method", "chosen"],
        [
            "of",
            "seeds",
            f"validation {unit}",
            f"test {unit}",
            "minus joint",
            "p",
            "failed",
            "diverged",
            "seconds a trial",
        ],
    )
    rows = [
        [
            Cell(method_label(row["method"], row["modality"])),
            Cell(row["settings"] or DASH),
            _count_cell(row["configurations"]),
            _count_cell(row["seeds"]),
            Cell(format_score(metric, row["validation"]), row["validation"]),
            Cell(format_score(metric, row["test"], row["low"], row["high"]), row["test"]),
            Cell(_format_difference(metric, row), row["difference"]),
            Cell(format_p_value(row["p"]), row["p"]),
            _count_cell(row["failed"]),
            _count_cell(row["diverged"]),
            Cell(DASH if row["seconds"] is None else f"{row['seconds']:.3g}", row["seconds"]),
        ]
        for row in summary.iter_rows(named=True)
    ]
    return Table("methods", "Methods", columns, rows, _methods_note(run, looks, claimed=claimed))


def _methods_note(run: Run, looks: int, *, claimed: bool) -> str:
    """Return what is to be known of the table of the methods."""
    shown = ", ".join(map(str, run.looks))
    added = f", and, as the interval, for looks at {shown} seeds, which were added until methods were told apart"
    added = added if len(run.looks) > 1 else ""
    note = (
        f"Chosen on the validation split; {'here ' * claimed}the test split was read for "
        f"{plural(looks, 'configuration')}. "
        "Brackets are 95 % intervals over seeds, Student's t. Differences are paired by seed; p is from the paired "
        f"t-test, corrected by Holm for the methods compared{added}. Failed and diverged trials are counted over all "
        "configurations of a method (column “of”)."
    )
    if held_kinds(run):
        note += f" Seeds are {seeds_text(run, run.looks[-1])}: of others p and intervals say nothing."
    if run.metric == "mae" and run.data.get("standardise", True):
        note += " The target is standardised: errors are in standard deviations of its training samples."
    return note


def encoders_table(run: Run, table: pl.DataFrame) -> Table:
    """Return the table of what each encoder is worth on its own, from `summary.encoders`."""
    metric = run.metric
    columns = _make_columns(
        ["method", "encoder"], [f"probe on test, {_metric_with_unit(metric)}", "seeds", "minus trained alone", "sd"]
    )
    rows = [
        [
            Cell(row["method"]),
            Cell(row["modality"]),
            Cell(format_score(metric, row["probe"], row["low"], row["high"]), row["probe"]),
            _count_cell(row["seeds"]),
            Cell(format_score(metric, row["gap"], row["gap_low"], row["gap_high"], sign="+"), row["gap"]),
            Cell(format_score(metric, row["gap_sd"]), row["gap_sd"]),
        ]
        for row in table.iter_rows(named=True)
    ]
    note = (
        "What a linear probe reads off each encoder after training, and its difference, paired by seed, to the same "
        "encoder trained alone: what the company of the other modalities cost it."
    )
    return Table("encoders", "Encoders", columns, rows, note)


def variance_table(run: Run, table: pl.DataFrame) -> Table:
    """Return the table of what each kind of seed adds to the spread of test scores: `blocks.seed_variance`."""
    names = {"split": "split of training and validation", "init": "initial weights", "order": "order and what is drawn"}
    errors = table.with_columns(error=(pl.col("variance") / pl.col("levels")).sqrt())
    roots = errors.with_columns(pl.col("variance", "low", "high").sqrt())
    rows = [
        [
            Cell(method_label(row["method"], row["modality"])),
            Cell(names[row["source"]]),
            _count_cell(row["levels"]),
            Cell(format_score(run.metric, row["variance"], row["low"], row["high"]), row["variance"]),
            Cell(DASH if row["share"] is None else f"{100 * row['share']:.0f} %", row["share"]),
            Cell(format_score(run.metric, row["error"]), row["error"]),
        ]
        for row in roots.iter_rows(named=True)
    ]
    unit = "sd, points" if is_percent(run.metric) else f"sd of {run.metric}"
    columns = _make_columns(["method", "kind of seed"], ["seeds", unit, "share of the variance", "error of the mean"])
    one = " and ".join(held_kinds(run))
    note = (
        "Standard deviations of the chosen configurations' test scores by what is drawn, each within one draw of those "
        f"before it, with 95 % intervals{f'; seeds of {one} are held' if one else ''}. In all else that is shown "
        "a seed is one of the first kind, with the mean over those within it. Rows of a method less joint are of the "
        "differences, paired by seed, which are what is tested. The error of the mean is what a kind adds to its "
        f"standard error.{_largest_sources(errors) if len(run.seed_counts) > 1 else ''}"
    )
    return Table("spread", "Where the spread comes from", columns, rows, note)


def _largest_sources(table: pl.DataFrame) -> str:
    """Return which kind of seed adds most to the standard error of each difference, and what more seeds do."""
    gains = table.filter(pl.col("method").str.ends_with(GAIN_SUFFIX), pl.col("error") > 0)
    most = gains.group_by("method", maintain_order=True).agg(pl.col("source").sort_by("error").last())
    said = ", ".join(f"{source} for {method}" for method, source in most.rows())
    rule = "More seeds of a kind lessen what it and those after it add; for as many trials, more of the first do most."
    return f" What adds most is {said}. {rule}" if said else f" {rule}"


def configurations_table(run: Run) -> Table:
    """Return the table of all configurations, best first within a method, scored on validation alone."""
    run = without_dummy(run)
    table = configurations(run)
    joint = validation_scores(run, table.head(MAX_ROWS))
    keys = ["method", "modality", *run.vary]
    found = {
        key: estimate(part["score"].drop_nulls(), bounds(run.metric))
        for key, part in joint.group_by(keys, maintain_order=True)
    }
    rows = []
    for row in table.head(MAX_ROWS).iter_rows(named=True):
        mean, low, high, seeds = found[tuple(row[key] for key in keys)]
        known = (mean, low, high) if seeds > 1 else (mean if seeds else None, None, None)
        rows.append(
            [
                Cell(method_label(row["method"], row["modality"])),
                Cell(format_settings(row, run.vary) or DASH),
                _count_cell(row["seeds"]),
                Cell(format_score(run.metric, *known), known[0]),
                _count_cell(row["failed"]),
                _count_cell(row["diverged"]),
                Cell(DASH if row["seconds"] is None else f"{row['seconds']:.3g}", row["seconds"]),
            ]
        )
    numbers = ["seeds", f"validation {_metric_with_unit(run.metric)}", "failed", "diverged", "seconds a trial"]
    more = (
        f" The first {MAX_ROWS} of {len(table)} are shown; the others are in trials/." if len(table) > MAX_ROWS else ""
    )
    note = f"On the validation split, with 95 % intervals over seeds; best first within a method.{more}"
    return Table("configurations", "All configurations", _make_columns(["method", "settings"], numbers), rows, note)


def failures_table(run: Run) -> Table:
    """Return the table of the trials without a result, each with its error."""
    kinds = [f"seed.{kind}" for kind in run.seed_counts]
    status = run.trials.select("status", "trial", "method", "seed", "error", *kinds).unique(
        "trial", maintain_order=True
    )
    table = status.filter(pl.col("status").is_in(FAILED)).sort("method", "seed", "trial").collect()
    rows = [
        [
            Cell(row["trial"]),
            Cell(row["method"]),
            _count_cell(row["seed"]),
            *(_count_cell(row[kind]) for kind in kinds),
            Cell(row["status"]),
            Cell(row["error"] or "no error was recorded"),
        ]
        for row in table.head(MAX_ROWS).iter_rows(named=True)
    ]
    columns = [
        Column("trial"),
        Column("method"),
        *_make_columns([], ["seed", *run.seed_counts]),
        Column("status"),
        Column("error"),
    ]
    more = f"The first {MAX_ROWS} of {len(table)}. " if len(table) > MAX_ROWS else ""
    return Table("failures", "Trials without a result", columns, rows, f"{more}They are in no mean.")


def effects_table(verdict: Mapping[str, Any]) -> Table:
    """Return the table of what a claim's verdict rests on, and of what is shown beside it."""
    listed = [(name, one, one.get("metric") or verdict["metric"]) for name, one in verdict["effects"].items()]
    listed += [(f"{name} (beside)", one, one.get("metric", "")) for name, one in verdict["beside"].items()]
    counted = _sample_nouns(one for _, one, _ in listed)
    columns = [*_make_columns(["comparison", "verdict"], ["effect", "p", counted]), Column("finding")]
    rows = [
        [
            Cell(name),
            Cell(one["verdict"]),
            Cell(
                DASH
                if one["effect"] is None
                else format_effect(metric, one["effect"], one["low"], one["high"], change=one["difference"]),
                one["effect"],
            ),
            Cell(format_p_value(one["p"]), one["p"]),
            _count_cell(one["seeds"]),
            Cell(one["sentence"]),
        ]
        for name, one, metric in listed
    ]
    over = _sample_nouns(one for _, one, _ in listed if one["low"] is not None)
    note = (
        f"Effects with 95 % intervals over {over}, paired by seed where two things are compared; "
        "p is an effect's own where it supports, and else corrected by Holm for their number."
    )
    return Table("effects", "What the verdict rests on", columns, rows, note)


def escape_latex(text: str) -> str:
    """Return a text as LaTeX prints it."""
    return "".join(LATEX_ESCAPES.get(letter, letter) for letter in text)


def escape_markdown(text: str) -> str:
    """Return a text that is no markup, and stays within its cell."""
    escaped = "".join(f"\\{letter}" if letter in "\\`*_{}[]|#" else letter for letter in text)
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace("\n", " ")


def _format_difference(metric: str, row: Mapping[str, Any]) -> str:
    return format_score(metric, row["difference"], row["difference_low"], row["difference_high"], sign="+")


def _make_columns(words: Iterable[str], numbers: Iterable[str]) -> list[Column]:
    return [*(Column(title) for title in words), *(Column(title, numeric=True) for title in numbers)]


def _sample_nouns(decisions: Iterable[Mapping[str, Any]]) -> str:
    """Return what effects are counted in, such as `data sets or seeds`; it is seeds in older verdicts."""
    return " or ".join(dict.fromkeys(f"{one.get('noun', 'seed')}s" for one in decisions)) or "seeds"


def _count_cell(count: int | None) -> Cell:
    return Cell(DASH if count is None else str(count), count)


def _metric_with_unit(metric: str) -> str:
    return f"{metric}, %" if is_percent(metric) else metric
