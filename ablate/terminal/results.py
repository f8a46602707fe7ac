"""Output of the commands `report`, `compare` and `replay`, and of a run's outcome."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.table import Table

from ablate.forecast import open_run
from ablate.replay import Comparison
from ablate.run import RunOutcome
from ablate.terminal.claims import show_verdict
from ablate.terminal.console import output_console, relative_path

if TYPE_CHECKING:
    import polars as pl

    from analysis.tables import Run


def show_report(folder: Path, *, pdf: bool = False) -> None:
    """Print the tables of a run and write its figures, with ``pdf`` also as PDF, and report; of a claim, its verdict.

    Raises:
        UserError: the folder holds neither a run nor a verdict.
    """
    from analysis.blocks import independent
    from analysis.choice import without_dummy
    from analysis.designs import indices
    from analysis.headline import headline
    from analysis.pareto import pareto_front
    from analysis.record import read_verdict
    from analysis.report import write_report
    from analysis.summary import encoder_summary, summary

    if verdict := read_verdict(folder):
        show_verdict(verdict, folder, output_console(), pdf=pdf)
        return
    run = independent(open_run(folder))
    console = output_console()
    table, encoder_rows = summary(run), encoder_summary(run)
    console.print(summary_table(table, run.metric))
    if len(encoder_rows):
        console.print(encoders_table(encoder_rows, run.metric))
    if len(run.objectives) > 1:
        console.print(pareto_table(pareto_front(without_dummy(run)), run.objectives))
    for method, method_indices in indices(run).items():
        console.print(indices_table(method, method_indices))
    console.print(headline(run, table))
    page = write_report(folder, pdf=pdf)
    if (folder / "figures").is_dir():
        console.print(f"figures: {relative_path(folder / 'figures')}")
    console.print(f"report: {relative_path(page)}")


def show_outcome(outcome: RunOutcome) -> None:
    """Print why a run ended early, and how many of its trials have no score."""
    if outcome.stop_reason:
        advice = f"{outcome.trials} trials are known; raise the budget and run the same command to continue"
        sys.stderr.write(f"Stopped by the budget: {outcome.stop_reason}. {advice}.\n")
    fates = {
        "were pruned and have no score": outcome.pruned,
        "diverged; the report lists them": outcome.diverged,
        "failed; the report lists the errors; run the same command to retry them": outcome.failed,
    }
    for fate, count in fates.items():
        if count:
            sys.stderr.write(f"{count} of {outcome.trials} trials {fate}.\n")


def summary_table(rows: "pl.DataFrame", metric: str) -> Table:
    """Return a table with a row per method: chosen setting, test score with interval, difference to joint training."""
    from analysis.formatting import format_p_value, format_score, method_label

    table = Table("method", "chosen of", "seeds", f"test {metric}", "minus joint", "p (Holm)", "failed", box=SIMPLE)
    for row in rows.iter_rows(named=True):
        name = f"{method_label(row['method'], row['modality'])}{' *' if row['front'] else ''}"
        choice = f"{row['settings'] or ''} of {row['configurations']}" if row["configurations"] > 1 else ""
        table.add_row(
            name, choice, str(row["seeds"]),
            format_score(metric, row["test"], row["low"], row["high"]),
            format_score(metric, row["difference"], row["difference_low"], row["difference_high"], sign="+"),
            format_p_value(row["p"]), str(row["failed"] + row["diverged"] or ""),
        )  # fmt: skip
    return table


def encoders_table(rows: "pl.DataFrame", metric: str) -> Table:
    """Return a table with a row per method and modality: probe score, and its difference to unimodal training."""
    from analysis.formatting import format_score

    table = Table("method", "encoder", f"probe {metric} (test)", "minus the same encoder alone", box=SIMPLE)
    for row in rows.iter_rows(named=True):
        probe = format_score(metric, row["probe"], row["low"], row["high"])
        table.add_row(
            row["method"], row["modality"], probe,
            format_score(metric, row["gap"], row["gap_low"], row["gap_high"], sign="+"),
        )  # fmt: skip
    return table


def pareto_table(rows: "pl.DataFrame", objectives: dict[str, str]) -> Table:
    """Return a table of the configurations on the Pareto front with their metrics on validation."""
    from analysis.formatting import format_score

    names = [f"{name} ({direction})" for name, direction in objectives.items()]
    table = Table("Pareto front (*)", "", "seeds", *names, box=SIMPLE)
    for row in rows.filter("front").iter_rows(named=True):
        values = [format_score(name, row[name]) for name in objectives]
        table.add_row(row["method"], row["settings"], str(row["seeds"]), *values)
    return table


def indices_table(method: str, rows: "pl.DataFrame") -> Table:
    """Return a table of the sensitivity indices of a method's settings, with intervals and the noise floor."""
    columns = rows["index"].unique(maintain_order=True).to_list()
    groups, dropped = rows.select("groups", "dropped").row(0)
    caption = (
        f"left out because results are missing: {dropped} of {groups + dropped} groups of points" if dropped else None
    )
    names = [name.replace("_", " ") for name in columns]
    table = Table(f"indices of {method}", *names, "above noise floor", box=SIMPLE, caption=caption)
    for (factor, other), factor_rows in rows.group_by("factor", "other", maintain_order=True):
        by_index = {row["index"]: row for row in factor_rows.iter_rows(named=True)}
        above_floor = next((by_index[index]["above_floor"] for index in ("total", *columns) if index in by_index), None)
        name = factor if other is None else f"{factor} x {other}"
        cells = [format_interval(by_index.get(index)) for index in columns]
        table.add_row(str(name), *cells, "" if above_floor is None else "yes" if above_floor else "no")
    return table


def format_interval(row: Mapping[str, Any] | None) -> str:
    """Return an index with its interval as text, as far as they are known."""
    if row is None or row["value"] is None:
        return ""
    if row["low"] is None:
        return f"{row['value']:.3g}"
    return f"{row['value']:.3g} [{row['low']:.2g}, {row['high']:.2g}]"


def show_comparison(runs: "tuple[Run, Run]", changes: Mapping[str, tuple[Any, Any]], rows: "pl.DataFrame") -> None:
    """Print the settings in which two runs differ, and a row per method that both have."""
    from analysis.comparison import same_data
    from analysis.formatting import format_p_value, format_score, format_setting, method_label

    console = output_console()
    names, metric = [run.name for run in runs], runs[0].metric
    if len(set(names)) == 1:
        names = [str(relative_path(Path(run.folder).absolute())) for run in runs]
    if changes:
        changes_table = Table("differs", *names, box=SIMPLE)
        for key, values in changes.items():
            changes_table.add_row(key, *map(format_setting, values))
        console.print(changes_table)
    table = Table(
        "method", *(f"test {metric}, {name}" for name in names), "difference", "p (Holm)", "pairs", box=SIMPLE
    )
    for row in rows.iter_rows(named=True):
        shared = f", {row['shared']} the same trial" if row["shared"] else ""
        table.add_row(
            method_label(row["method"], row["modality"]),
            *(f"{format_score(metric, row[value])} {row[chosen]}".strip()
              for value, chosen in (("test", "settings"), ("other", "other_settings"))),
            format_score(metric, row["difference"], row["low"], row["high"], sign="+"),
            format_p_value(row["p"]), f"{row['pairs']}{shared}",
        )  # fmt: skip
    console.print(table if len(rows) else "The runs have no method in common.")
    if not same_data(*runs):
        console.print(
            "The runs differ in their data or in what seeds vary: means are over all seeds of each run, without tests."
        )


def show_replay(comparison: Comparison) -> None:
    """Print how a replayed trial compares with the stored one, and what has changed since if they differ."""
    console = output_console()
    table = Table("", "stored", "now", "difference", box=SIMPLE)
    for name, (stored, current) in comparison.scores.items():
        difference = "" if stored is None or current is None or stored == current else f"{current - stored:+.2g}"
        table.add_row(name, format_exact(stored), format_exact(current), difference)
    if comparison.scores:
        console.print(table)
    if comparison.same:
        console.print(
            f"Identical bit for bit: the weights, the scores, and {comparison.measured} values from training."
        )
        return
    if comparison.status[0] != comparison.status[1]:
        console.print(f"The status was {comparison.status[0]}, and is now {comparison.status[1]}.")
    weights = "are the same" if comparison.weights[0] == comparison.weights[1] else "differ"
    largest = f", by at most {comparison.largest:.2g}" if comparison.apart else ""
    console.print(
        f"The weights {weights}; {comparison.apart} of {comparison.measured} values from training differ{largest}."
    )
    for name, (stored, current) in comparison.changed.items():
        console.print(f"  {name}: was {stored}, is now {current}")
    if not comparison.changed:
        console.print(
            "Versions, code, data, processor, kernels, threads and device are unchanged: none of them is the cause."
        )


def format_exact(value: float | None) -> str:
    """Return a score with nine digits, enough to show small differences; "" for none."""
    return "" if value is None else f"{value:.9g}"
