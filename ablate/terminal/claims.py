"""Output of claims and verdicts."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from ablate.terminal.console import output_console, relative_path


def show_verdict(verdict: Mapping[str, Any], folder: Path, console: Console, *, pdf: bool = False) -> None:
    """Print the verdict on a claim with its test bed, write its report, and print the paths of figures and report."""
    from analysis.record import decision_label
    from analysis.report import write_report

    trials = verdict["trials"]
    unsuccessful = ", ".join(f"{trials[word]} {word}" for word in ("pruned", "diverged", "failed") if trials[word])
    quick = " (quick: few seeds and epochs)" if verdict["quick"] else ""
    test_bed = (
        f"on {verdict['bed']}; {trials['planned']} trials{f', {unsuccessful}' if unsuccessful else ''}"
        if verdict["bed"]
        else ""
    )
    beside = [
        f"also: {decision_label(name, finding)}: {finding['sentence']}" for name, finding in verdict["beside"].items()
    ]
    console.print(f"{verdict['name']}: {verdict['verdict'].upper()}{quick}", style="bold")
    for line in (verdict["question"], verdict["sentence"], *beside, *verdict["remarks"], test_bed):
        if line:
            console.print(f"  {line}")
    for figure in verdict["figures"]:
        console.print(f"  figure: {relative_path(folder / 'figures' / figure['stem'])}.png")
    console.print(f"  report: {relative_path(write_report(folder, pdf=pdf))}")


def show_claims(claims: Iterable[Mapping[str, Any]]) -> None:
    """Print the claims with their sources and last verdicts."""
    table = Table("claim", "question", "source", "verdict", "date", box=SIMPLE)
    for claim in claims:
        verdict = f"{claim.get('verdict', '')}{' (quick)' if claim['quick'] else ''}"
        table.add_row(claim["name"], claim["question"], claim["source"], verdict, claim.get("date", "")[:10])
    output_console().print(table)
