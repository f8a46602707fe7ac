"""Claims and their verdicts."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from ablate.terminal.console import screen, shorter


def show_verdict(verdict: Mapping[str, Any], folder: Path, console: Console, *, pdf: bool = False) -> None:
    """Print what was decided of a claim, on what, write its report, and say where it lies."""
    from analysis.record import decision_label
    from analysis.report import write_report

    trials = verdict["trials"]
    lost = ", ".join(f"{trials[word]} {word}" for word in ("pruned", "diverged", "failed") if trials[word])
    hurry = " (quick: few seeds and epochs)" if verdict["quick"] else ""
    bed = f"on {verdict['bed']}; {trials['planned']} trials{f', {lost}' if lost else ''}" if verdict["bed"] else ""
    beside = [f"beside: {decision_label(name, one)}: {one['sentence']}" for name, one in verdict["beside"].items()]
    console.print(f"{verdict['name']}: {verdict['verdict'].upper()}{hurry}", style="bold")
    for line in (verdict["question"], verdict["sentence"], *beside, *verdict["remarks"], bed):
        if line:
            console.print(f"  {line}")
    for figure in verdict["figures"]:
        console.print(f"  figure: {shorter(folder / 'figures' / figure['stem'])}.png")
    console.print(f"  report: {shorter(write_report(folder, pdf=pdf))}")


def show_claims(listed: Iterable[Mapping[str, Any]]) -> None:
    """Print the claims with their sources and last verdicts."""
    table = Table("claim", "question", "source", "verdict", "date", box=SIMPLE)
    for claim in listed:
        verdict = f"{claim.get('verdict', '')}{' (quick)' if claim['quick'] else ''}"
        table.add_row(claim["name"], claim["question"], claim["source"], verdict, claim.get("date", "")[:10])
    screen().print(table)
