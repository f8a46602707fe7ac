"""The results of a run, of two side by side, and of a trial that was trained again."""

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
from ablate.terminal.console import screen, shorter

if TYPE_CHECKING:
    import polars as pl

    from analysis.tables import Run


def show_report(folder: Path, *, pdf: bool = False) -> None:
    """Print the tables of a run and write its figures, also as ``pdf``, and report; of a claim, its verdict.

    Raises:
        UserError: the folder holds neither.
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
        show_verdict(verdict, folder, screen(), pdf=pdf)
        return
    run = independent(open_run(folder))
    console = screen()
    table, beside = summary(run), encoder_summary(run)
    console.print(summary_table(table, run.metric))
    if len(beside):
        console.print(encoders_table(beside, run.metric))
    if len(run.objectives) > 1:
        console.print(front_table(pareto_front(without_dummy(run)), run.objectives))
    for method, found in indices(run).items():
        console.print(indices_table(method, found))
    console.print(headline(run, table))
    page = write_report(folder, pdf=pdf)
    if (folder / "figures").is_dir():
        console.print(f"figures: {shorter(folder / 'figures')}")
    console.print(f"report: {shorter(page)}")


def show_outcome(outcome: RunOutcome) -> None:
    """Say why a run ended early, and how many of its trials have no score."""
    if outcome.stop_reason:
        more = f"{outcome.trials} trials are known; with a larger budget the same command continues"
        sys.stderr.write(f"Ended by the budget: {outcome.stop_reason}. {more}.\n")
    fates = {
        "ended early, lagging behind; they have no score": outcome.pruned,
        "diverged; the report lists them": outcome.diverged,
        "failed; the report says why; the same command tries them again": outcome.failed,
    }
    for fate, count in fates.items():
        if count:
            sys.stderr.write(f"{count} of {outcome.trials} trials {fate}.\n")


def summary_table(rows: "pl.DataFrame", metric: str) -> Table:
    """Return one line a method: its chosen setting, test score with interval, and difference to joint training."""
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
    """Return one line a method and modality: what a linear probe reads off the encoder, and what company cost it."""
    from analysis.formatting import format_score

    table = Table("method", "encoder", f"probe {metric} (test)", "minus the same encoder alone", box=SIMPLE)
    for row in rows.iter_rows(named=True):
        probe = format_score(metric, row["probe"], row["low"], row["high"])
        table.add_row(
            row["method"], row["modality"], probe,
            format_score(metric, row["gap"], row["gap_low"], row["gap_high"], sign="+"),
        )  # fmt: skip
    return table


def front_table(rows: "pl.DataFrame", objectives: dict[str, str]) -> Table:
    """Return the configurations of the Pareto front, one a line, with their metrics on validation."""
    from analysis.formatting import format_score

    names = [f"{name} ({direction})" for name, direction in objectives.items()]
    table = Table("Pareto front (*)", "", "seeds", *names, box=SIMPLE)
    for row in rows.filter("front").iter_rows(named=True):
        values = [format_score(name, row[name]) for name in objectives]
        table.add_row(row["method"], row["settings"], str(row["seeds"]), *values)
    return table


def indices_table(method: str, rows: "pl.DataFrame") -> Table:
    """Return the indices of a method's settings with their intervals, one line each, beside the noise floor."""
    columns = rows["index"].unique(maintain_order=True).to_list()
    groups, dropped = rows.select("groups", "dropped").row(0)
    lost = f"left out for want of a result: {dropped} of {groups + dropped} groups of points" if dropped else None
    names = [name.replace("_", " ") for name in columns]
    table = Table(f"indices of {method}", *names, "above the floor", box=SIMPLE, caption=lost)
    for (factor, other), found in rows.group_by("factor", "other", maintain_order=True):
        held = {row["index"]: row for row in found.iter_rows(named=True)}
        judged = next((held[index]["above_floor"] for index in ("total", *columns) if index in held), None)
        name = factor if other is None else f"{factor} x {other}"
        cells = [interval(held.get(index)) for index in columns]
        table.add_row(str(name), *cells, "" if judged is None else "yes" if judged else "no")
    return table


def interval(row: Mapping[str, Any] | None) -> str:
    """Return an index with its interval, as far as they are known."""
    if row is None or row["value"] is None:
        return ""
    if row["low"] is None:
        return f"{row['value']:.3g}"
    return f"{row['value']:.3g} [{row['low']:.2g}, {row['high']:.2g}]"


def show_comparison(runs: "tuple[Run, Run]", changes: Mapping[str, tuple[Any, Any]], rows: "pl.DataFrame") -> None:
    """Print what two runs were asked differently, and one line a method that both have."""
    from analysis.comparison import same_data
    from analysis.formatting import format_p_value, format_score, format_setting, method_label

    console = screen()
    names, metric = [run.name for run in runs], runs[0].metric
    if len(set(names)) == 1:
        names = [str(shorter(Path(run.folder).absolute())) for run in runs]
    if changes:
        asked = Table("differs", *names, box=SIMPLE)
        for key, values in changes.items():
            asked.add_row(key, *map(format_setting, values))
        console.print(asked)
    table = Table(
        "method", *(f"test {metric}, {name}" for name in names), "difference", "p (Holm)", "pairs", box=SIMPLE
    )
    for row in rows.iter_rows(named=True):
        same = f", {row['shared']} the same trial" if row["shared"] else ""
        table.add_row(
            method_label(row["method"], row["modality"]),
            *(f"{format_score(metric, row[value])} {row[chosen]}".strip()
              for value, chosen in (("test", "settings"), ("other", "other_settings"))),
            format_score(metric, row["difference"], row["low"], row["high"], sign="+"),
            format_p_value(row["p"]), f"{row['pairs']}{same}",
        )  # fmt: skip
    console.print(table if len(rows) else "No method is in both.")
    if not same_data(*runs):
        console.print(
            "The data, or what seeds decide, differ: means are over all seeds of a run, and nothing is tested."
        )


def show_replay(seen: Comparison) -> None:
    """Print what training a trial again gave, and what has changed since where it is not the same."""
    console = screen()
    table = Table("", "stored", "now", "difference", box=SIMPLE)
    for name, (one, other) in seen.scores.items():
        apart = "" if one is None or other is None or one == other else f"{other - one:+.2g}"
        table.add_row(name, digits(one), digits(other), apart)
    if seen.scores:
        console.print(table)
    if seen.same:
        console.print(f"The same bit for bit: the weights, the scores, and {seen.measured} numbers along the way.")
        return
    if seen.status[0] != seen.status[1]:
        console.print(f"It was {seen.status[0]}, and now is {seen.status[1]}.")
    equal = "are the same" if seen.weights[0] == seen.weights[1] else "differ"
    largest = f", by {seen.largest:.2g} at most" if seen.apart else ""
    console.print(f"The weights {equal}; {seen.apart} of {seen.measured} numbers along the way differ{largest}.")
    for name, (one, other) in seen.changed.items():
        console.print(f"  {name}: was {one}, and now is {other}")
    if not seen.changed:
        console.print("Versions, code, data, processor, threads and device are the same; so it is none of these.")


def digits(value: float | None) -> str:
    """Return a score with all that tells it from another."""
    return "" if value is None else f"{value:.9g}"
