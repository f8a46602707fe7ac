"""The tables of a report, shared by its HTML page, its Markdown file and its LaTeX tables."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import polars as pl

from analysis.blocks import GAIN_SUFFIX, SEED_KINDS, held_kinds, seeds_text
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

LOST_STATUSES = ("failed", "diverged")
MAX_ROWS = 500  # of a table; the rest is on disk
LATEX_ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "[": "{[}", "]": "{]}", "<": r"\textless{}",
    ">": r"\textgreater{}", "\N{MINUS SIGN}": "$-$", DASH: "--", "\n": " ",
}  # fmt: skip


class Cell(NamedTuple):
    """The text of a cell and its sort key."""

    text: str
    sort_key: float | str | None = None


class Column(NamedTuple):
    """A column header."""

    title: str
    numeric: bool = False


class Table(NamedTuple):
    """A table of formatted cells."""

    name: str  # of its file, and its id on the page
    title: str
    columns: list[Column]
    rows: list[list[Cell]]
    note: str = ""


def methods_table(run: Run, summary: pl.DataFrame, num_read: int, *, claimed: bool = False) -> Table:
    """Return the table of the methods, from `summary.summary`.

    Args:
        run: of the summary.
        summary: one row per method.
        num_read: number of configurations whose test scores it reads.
        claimed: whether the run is of a claim, whose analyses may read the test scores of other configurations.
    """
    metric, unit = run.metric, metric_with_unit(run.metric)
    columns = make_columns(
        ["method", "chosen settings"],
        [
            "configurations",
            "seeds",
            f"validation {unit}",
            f"test {unit}",
            "minus joint",
            "p",
            *LOST_STATUSES,
            "seconds per trial",
        ],
    )
    rows = [
        [
            Cell(method_label(row["method"], row["modality"])),
            Cell(row["settings"] or DASH),
            count_cell(row["configurations"]),
            count_cell(row["seeds"]),
            Cell(format_score(metric, row["validation"]), row["validation"]),
            Cell(format_score(metric, row["test"], row["low"], row["high"]), row["test"]),
            Cell(format_difference(metric, row), row["difference"]),
            Cell(format_p_value(row["p"]), row["p"]),
            count_cell(row["failed"]),
            count_cell(row["diverged"]),
            Cell(DASH if row["seconds"] is None else f"{row['seconds']:.3g}", row["seconds"]),
        ]
        for row in summary.iter_rows(named=True)
    ]
    return Table("methods", "Methods", columns, rows, methods_note(run, num_read, claimed=claimed))


def methods_note(run: Run, num_read: int, *, claimed: bool) -> str:
    """Return the note below the table of the methods."""
    looks = ", ".join(map(str, run.looks))
    sequential = f"; p and intervals of differences are also corrected for looks at {looks} seeds"
    sequential = sequential if len(run.looks) > 1 else ""
    note = (
        f"Chosen on the validation split; {'here ' * claimed}the test split was read for "
        f"{plural(num_read, 'configuration')}. "
        "Brackets are 95 % intervals over seeds, Student's t. Differences are paired by seed; p is from the paired "
        f"t-test, Holm-corrected for the methods compared{sequential}. "
        "Failed and diverged trials are counted over all configurations of a method."
    )
    if held_kinds(run):
        fixed = " and ".join(f"this {SEED_KINDS[kind]}" for kind in held_kinds(run))
        note += f" Seeds are {seeds_text(run, run.looks[-1])}: p and intervals hold for {fixed} only."
    if run.metric == "mae" and run.data.get("standardise", True):
        note += " The target is standardised: errors are in standard deviations of the training targets."
    return note


def encoders_table(run: Run, table: pl.DataFrame) -> Table:
    """Return the table of encoder probes and their gaps to encoders trained alone, from `summary.encoder_summary`."""
    metric = run.metric
    columns = make_columns(
        ["method", "encoder"],
        [f"probe on test, {metric_with_unit(metric)}", "seeds", "minus trained alone", "sd of the difference"],
    )
    rows = [
        [
            Cell(row["method"]),
            Cell(row["modality"]),
            Cell(format_score(metric, row["probe"], row["low"], row["high"]), row["probe"]),
            count_cell(row["seeds"]),
            Cell(format_score(metric, row["gap"], row["gap_low"], row["gap_high"], sign="+"), row["gap"]),
            Cell(format_score(metric, row["gap_sd"]), row["gap_sd"]),
        ]
        for row in table.iter_rows(named=True)
    ]
    note = (
        "Test score of a linear probe on each encoder after training, and its difference, paired by seed, to the same "
        "encoder trained alone: the effect of joint training on the encoder."
    )
    fewer = table.filter(pl.col("pairs") > 0, pl.col("pairs") < pl.col("seeds"))["pairs"].unique().sort()
    if len(fewer):
        pairs = ", ".join(map(str, fewer))
        note += f" Differences are over the seeds that both have ({pairs}), and need not agree with the means."
    return Table("encoders", "Encoders", columns, rows, note)


def variance_table(run: Run, table: pl.DataFrame) -> Table:
    """Return the table of the variance that each kind of seed adds, from `blocks.seed_variance`."""
    labels = {
        "split": "split of training and validation",
        "init": "initial weights",
        "order": "data order and random draws",
    }
    errors = table.with_columns(error=(pl.col("variance") / pl.col("levels")).sqrt())
    roots = errors.with_columns(pl.col("variance", "low", "high").sqrt())
    rows = [
        [
            Cell(method_label(row["method"], row["modality"])),
            Cell(labels[row["source"]]),
            count_cell(row["levels"]),
            Cell(format_score(run.metric, row["variance"], row["low"], row["high"]), row["variance"]),
            Cell(DASH if row["share"] is None else f"{100 * row['share']:.0f} %", row["share"]),
            Cell(format_score(run.metric, row["error"]), row["error"]),
        ]
        for row in roots.iter_rows(named=True)
    ]
    unit = "sd, points" if is_percent(run.metric) else f"sd of {run.metric}"
    columns = make_columns(["method", "kind of seed"], ["seeds", unit, "share of the variance", "standard error"])
    held = " and ".join(held_kinds(run))
    note = (
        "Standard deviations of the chosen configurations' test scores due to each kind of seed, nested in the kinds "
        f"above it, with 95 % intervals{f'; seeds of {held} are fixed' if held else ''}. "
        "Elsewhere in this report a seed is one of the first kind, with the mean over the seeds nested in it. "
        f"Rows of METHOD{GAIN_SUFFIX} are differences paired by seed, which are tested. "
        "The last column is the contribution of a kind to the standard error of the mean."
        f"{largest_sources(errors) if len(run.seed_counts) > 1 else ''}"
    )
    return Table("spread", "Sources of variance", columns, rows, note)


def largest_sources(table: pl.DataFrame) -> str:
    """Return the kind of seed that adds most to the standard error of each difference, and the effect of more seeds."""
    gains = table.filter(pl.col("method").str.ends_with(GAIN_SUFFIX), pl.col("error") > 0)
    largest = gains.group_by("method", maintain_order=True).agg(pl.col("source").sort_by("error").last())
    sources = ", ".join(f"{source} for {method}" for method, source in largest.rows())
    rule = (
        "More seeds of a kind reduce its contribution and those of the kinds nested in it; for the same number of "
        "trials, more seeds of the first kind reduce the standard error most."
    )
    return f" The largest contribution is that of {sources}. {rule}" if sources else f" {rule}"


def configurations_table(run: Run) -> Table:
    """Return the table of all configurations and their validation scores, best first within a method."""
    run = without_dummy(run)
    table = configurations(run)
    joint = validation_scores(run, table.head(MAX_ROWS))
    keys = ["method", "modality", *run.vary]
    estimates = {
        key: estimate(part["score"].drop_nulls(), bounds(run.metric))
        for key, part in joint.group_by(keys, maintain_order=True)
    }
    rows = []
    for row in table.head(MAX_ROWS).iter_rows(named=True):
        mean, low, high, seeds = estimates[tuple(row[key] for key in keys)]
        interval = (mean, low, high) if seeds > 1 else (mean if seeds else None, None, None)
        rows.append(
            [
                Cell(method_label(row["method"], row["modality"])),
                Cell(format_settings(row, run.vary) or DASH),
                count_cell(row["seeds"]),
                Cell(format_score(run.metric, *interval), interval[0]),
                count_cell(row["failed"]),
                count_cell(row["diverged"]),
                Cell(DASH if row["seconds"] is None else f"{row['seconds']:.3g}", row["seconds"]),
            ]
        )
    numbers = ["seeds", f"validation {metric_with_unit(run.metric)}", "failed", "diverged", "seconds per trial"]
    more = f" The first {MAX_ROWS} of {len(table)} are shown; all are in trials/." if len(table) > MAX_ROWS else ""
    note = f"On the validation split, with 95 % intervals over seeds; best first within a method.{more}"
    return Table("configurations", "All configurations", make_columns(["method", "settings"], numbers), rows, note)


def failures_table(run: Run) -> Table:
    """Return the table of failed and diverged trials, each with its error."""
    seeds = [f"seed.{kind}" for kind in run.seed_counts]
    trials = run.trials.select("status", "trial", "method", "seed", "error", *seeds).unique(
        "trial", maintain_order=True
    )
    table = trials.filter(pl.col("status").is_in(LOST_STATUSES)).sort("method", "seed", "trial").collect()
    rows = [
        [
            Cell(row["trial"]),
            Cell(row["method"]),
            count_cell(row["seed"]),
            *(count_cell(row[seed]) for seed in seeds),
            Cell(row["status"]),
            Cell(row["error"] or "no error was recorded"),
        ]
        for row in table.head(MAX_ROWS).iter_rows(named=True)
    ]
    columns = [
        Column("trial"),
        Column("method"),
        *make_columns([], ["seed", *run.seed_counts]),
        Column("status"),
        Column("error"),
    ]
    more = f"The first {MAX_ROWS} of {len(table)} are shown. " if len(table) > MAX_ROWS else ""
    return Table("failures", "Trials without a result", columns, rows, f"{more}Means exclude these trials.")


def effects_table(verdict: Mapping[str, Any]) -> Table:
    """Return the table of the effects of a claim: those that its verdict rests on, and further ones."""
    decisions = [
        (name, decision, decision.get("metric") or verdict["metric"]) for name, decision in verdict["effects"].items()
    ]
    decisions += [
        (f"{name} (additional)", decision, decision.get("metric", "")) for name, decision in verdict["beside"].items()
    ]
    nouns = sample_nouns(decision for _, decision, _ in decisions)
    columns = [*make_columns(["comparison", "verdict"], ["effect", "p", nouns]), Column("finding")]
    rows = [
        [
            Cell(name),
            Cell(decision["verdict"]),
            effect_cell(metric, decision),
            Cell(format_p_value(decision["p"]), decision["p"]),
            count_cell(decision["seeds"]),
            Cell(decision["sentence"]),
        ]
        for name, decision, metric in decisions
    ]
    over = sample_nouns(decision for _, decision, _ in decisions if decision["low"] is not None)
    note = (
        f"Effects with 95 % intervals over {over}, paired by seed in comparisons; "
        "p is uncorrected for an effect that supports the claim, and otherwise Holm-corrected for their number."
    )
    return Table("effects", "Measured effects", columns, rows, note)


def escape_latex(text: str) -> str:
    """Return a text with the special characters of LaTeX escaped."""
    return "".join(LATEX_ESCAPES.get(letter, letter) for letter in text)


def escape_markdown(text: str) -> str:
    """Return a text without line breaks, with the special characters of Markdown escaped."""
    escaped = "".join(f"\\{letter}" if letter in "\\`*_{}[]|#" else letter for letter in text)
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace("\n", " ")


def format_difference(metric: str, row: Mapping[str, Any]) -> str:
    """Return the difference of a row to joint training with its interval."""
    return format_score(metric, row["difference"], row["difference_low"], row["difference_high"], sign="+")


def make_columns(text: Iterable[str], numeric: Iterable[str]) -> list[Column]:
    """Return columns of text, followed by numeric ones."""
    return [*(Column(title) for title in text), *(Column(title, numeric=True) for title in numeric)]


def sample_nouns(decisions: Iterable[Mapping[str, Any]]) -> str:
    """Return what samples of effects are called, such as `data sets or seeds`; older verdicts have seeds."""
    return " or ".join(dict.fromkeys(f"{decision.get('noun', 'seed')}s" for decision in decisions)) or "seeds"


def effect_cell(metric: str, decision: Mapping[str, Any]) -> Cell:
    """Return the effect of a decision with its interval."""
    value = decision["effect"]
    if value is None:
        return Cell(DASH, value)
    change = decision["difference"]
    return Cell(format_effect(metric, value, decision["low"], decision["high"], change=change), value)


def count_cell(count: int | None) -> Cell:
    """Return a count, or a dash if it is not known."""
    return Cell(DASH if count is None else str(count), count)


def metric_with_unit(metric: str) -> str:
    """Return a metric with `%` if it is shown in percent."""
    return f"{metric}, %" if is_percent(metric) else metric
