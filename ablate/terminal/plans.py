"""What a run would do, how far it is, and what a store holds."""

from collections.abc import Collection
from pathlib import Path

from rich.box import SIMPLE
from rich.table import Table

from ablate.cleaning import Inventory
from ablate.forecast import Forecast, Progress
from ablate.outdated import PACKAGES
from ablate.terminal.console import screen, spell


def show_forecast(seen: Forecast, measure: Collection[str] = ()) -> None:
    """Print what a run would do; what it measures costs more than the steps by which it may have been estimated."""
    from analysis.formatting import plural

    console = screen()
    asked = plural(seen.trials, "trial") + " at most" * seen.adds
    console.print(f"{seen.study} on {seen.data}: {asked}, {seen.stored} in the store, {seen.missing} to run.")
    for sentence in seen.damaged:
        console.print(f"Note: {sentence}")
    if seen.spent:
        console.print(f"Nothing will run: {seen.spent}.")
        return
    for method, missing in seen.methods.items():
        console.print(f"  {method}: {missing}")
    if seen.changed:
        told = (f"{name} ({was}, now {now})" if name in PACKAGES else name for name, (was, now) in seen.changed.items())
        console.print(f"Changed since the last run, so that its trials run again: {', '.join(told)}.")
    if seen.packs:
        least, most = min(seen.packs), plural(max(seen.packs), "trial")
        size = most if least == max(seen.packs) else f"{least} to {most}"
        console.print(f"{plural(len(seen.packs), 'pack')} of {size}{' trained together' * (max(seen.packs) > 1)}.")
    if not seen.missing:
        return
    if seen.seconds is None:
        console.print(
            f"{seen.cpus} at a time; no trial of this study has run yet: `ablate plan --measure` makes some steps, "
            "and estimates time and memory."
        )
        return
    disk = "" if seen.megabytes is None else f", {seen.megabytes:.1f} MB on disk"
    memory = "" if seen.memory is None else f"; the largest pack needs {seen.memory:.0f} MB of memory"
    console.print(f"About {spell(seen.seconds)} on {seen.cpus} at a time{disk}{memory}.")
    if measure and seen.memory is not None:
        console.print(f"What `measure` takes is not in it: {', '.join(measure)}.")


def show_progress(folder: Path, seen: Progress) -> None:
    """Print how far a run is."""
    others = (("failed", seen.failed), ("diverged", seen.diverged), ("pruned", seen.pruned))
    rest = "".join(f", {count} {word}" for word, count in others if count)
    console = screen()
    console.print(f"{folder.resolve().name}: {seen.done} of {seen.planned} trials done{rest}.")
    if seen.driver:
        console.print(f"Being run by {seen.driver}.")


def show_inventory(found: Inventory, *, deleted: bool) -> None:
    """Print what a store holds, and what may go or has gone."""
    console = screen()
    table = Table("holds", "folders", "MB", "", box=SIMPLE)
    for part in found.parts:
        fate = ("deleted" if deleted else "may go") if part.may_go else ""
        table.add_row(part.what, str(len(part.folders)), f"{part.size / 1e6:.1f}", fate)
    console.print(table)
    for who in found.running:
        console.print(f"Being run: {who}.")
    if found.unfinished:
        console.print(
            f"Unfinished: {', '.join(found.unfinished)}. Trials that no study names may belong to them and are kept."
        )
    if not deleted and any(part.may_go for part in found.parts):
        console.print("With --delete, what may go is removed.")
