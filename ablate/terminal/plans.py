"""Output of the commands `plan`, `status` and `gc`."""

from collections.abc import Collection
from pathlib import Path

from rich.box import SIMPLE
from rich.table import Table

from ablate.cleaning import Inventory
from ablate.forecast import Forecast, RunProgress
from ablate.outdated import PACKAGES
from ablate.terminal.console import format_duration, output_console


def show_forecast(forecast: Forecast, measure: Collection[str] = ()) -> None:
    """Print a forecast; ``measure`` are the study's measurements, which an estimate from a few steps does not cover."""
    from analysis.formatting import plural

    console = output_console()
    requested = plural(forecast.trials, "trial") + " at most" * forecast.adds
    console.print(
        f"{forecast.study} on {forecast.data}: {requested}, {forecast.stored} in the store, {forecast.missing} to run."
    )
    for sentence in forecast.damaged:
        console.print(f"Note: {sentence}")
    if forecast.spent:
        console.print(f"Nothing will run: {forecast.spent}.")
        return
    for method, missing in forecast.methods.items():
        console.print(f"  {method}: {missing}")
    if forecast.changed:
        changes = (
            f"{name} ({before}, now {now})" if name in PACKAGES else name
            for name, (before, now) in forecast.changed.items()
        )
        console.print(f"Changed since the last run, so its trials run again: {', '.join(changes)}.")
    if forecast.packs:
        smallest, largest = min(forecast.packs), plural(max(forecast.packs), "trial")
        size = largest if smallest == max(forecast.packs) else f"{smallest} to {largest}"
        console.print(
            f"{plural(len(forecast.packs), 'pack')} of {size}{' trained together' * (max(forecast.packs) > 1)}."
        )
    if forecast.checkpoints:
        resume = "resumes" if forecast.checkpoints == 1 else "resume"
        console.print(f"{plural(forecast.checkpoints, 'pack')} {resume} from a checkpoint.")
    if not forecast.missing:
        return
    if forecast.seconds is None:
        console.print(
            f"{plural(forecast.cpus, 'pack')} at a time; no trial of this study has run yet: `ablate plan --measure` "
            "runs a few steps to estimate time and memory."
        )
        return
    disk = "" if forecast.megabytes is None else f", {forecast.megabytes:.1f} MB on disk"
    memory = "" if forecast.memory is None else f"; the largest pack needs {forecast.memory:.0f} MB of memory"
    console.print(
        f"About {format_duration(forecast.seconds)} with {plural(forecast.cpus, 'pack')} at a time{disk}{memory}."
    )
    if measure and forecast.memory is not None:
        console.print(f"This does not include the measurements: {', '.join(measure)}.")


def show_progress(folder: Path, progress: RunProgress) -> None:
    """Print the progress of a run."""
    from analysis.formatting import plural

    counts = (("failed", progress.failed), ("diverged", progress.diverged), ("pruned", progress.pruned))
    others_text = "".join(f", {count} {word}" for word, count in counts if count)
    console = output_console()
    console.print(f"{folder.resolve().name}: {progress.done} of {progress.planned} trials done{others_text}.")
    if progress.driver:
        console.print(f"Running: {progress.driver}.")
    if progress.checkpoints:
        console.print(f"Interrupted packs resume from {plural(progress.checkpoints, 'checkpoint')}.")


def show_inventory(inventory: Inventory, *, deleted: bool) -> None:
    """Print what a store holds, and what may be or has been deleted."""
    console = output_console()
    table = Table("contents", "folders", "MB", "", box=SIMPLE)
    for part in inventory.parts:
        fate = ("deleted" if deleted else "can be deleted") if part.may_go else ""
        table.add_row(part.what, str(len(part.folders)), f"{part.size / 1e6:.1f}", fate)
    console.print(table)
    for driver in inventory.running:
        console.print(f"Running: {driver}.")
    if inventory.unfinished:
        names = ", ".join(inventory.unfinished)
        console.print(f"Unfinished: {names}. Unused trials may belong to them and are kept.")
    if not deleted and any(part.may_go for part in inventory.parts):
        console.print("Use --delete to delete what can be deleted.")
