"""The command line: parse, call, print. Each command imports the heavy packages that it needs itself."""

import shlex
import signal
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ablate import __version__
from ablate.errors import UserError, error_message

if TYPE_CHECKING:
    from ablate.claims import Claim
    from ablate.remote import Mirror
    from ablate.study import Study

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

StudyName = Annotated[
    str, typer.Argument(metavar="STUDY", help="A study or claim file, or the name of a built-in one.")
]
RunFolder = Annotated[str, typer.Argument(metavar="RUN", help="Folder of a run, such as runs/first-look, or address.")]
Store = Annotated[str | None, typer.Option(help="Folder of the results, or s3://...; overrides the study's `store`.")]
Cpus = Annotated[int | None, typer.Option(min=1, help="Number of CPUs to use; by default all of this machine.")]
Address = Annotated[
    str | None,
    typer.Option(help="Ray cluster to use: HOST:6379, or auto on one of its machines; by default this machine."),
]
QUICK = "--quick: applies to claims; a study sets its own `seeds` and `epochs`"
Quick = Annotated[
    bool, typer.Option("--quick", help="For claims: use few seeds and epochs; the verdict is marked as quick.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def handle_errors(command: Callable[..., int | None]) -> Callable[..., None]:
    """Turn UserError and OSError into one sentence and exit code 2, and Ctrl-C into one sentence and exit code 130."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            code = command(*args, **kwargs)
        except (UserError, OSError) as error:
            sys.stderr.write(f"{error_message(error)}\n")
            code = 2
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not interrupt the shutdown of Ray
            sys.stderr.write(
                "Stopped; run the same command to continue.\n" if command.__name__ == "run" else "Stopped.\n"
            )
            code = 130
        raise typer.Exit(code or 0)

    return wrapped


def print_version(is_requested: bool) -> None:
    """Print the version and exit, if requested."""
    if is_requested:
        sys.stdout.write(f"ablate {__version__}\n")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Ablation and sensitivity studies of multimodal learning."""


def copy_run(run: str, *patterns: str) -> "Mirror":
    """Return a local copy of a remote run, or of its files that match one of the patterns."""
    from ablate.remote import pull_copy

    run_copy = pull_copy(run, *patterns)
    if not (run_copy.folder / "study.yaml").is_file() and not (run_copy.folder / "verdict.json").is_file():
        raise UserError(f"{run} is not a run: it has no study.yaml.")
    return run_copy


def run_folder(run: str, *patterns: str) -> Path:
    """Return the folder of a run, or that of a local copy of a remote run."""
    from ablate.remote import is_remote

    return copy_run(run, *patterns).folder if is_remote(run) else Path(run)


@app.command()
@handle_errors
def run(
    study: Annotated[
        str | None, typer.Argument(metavar="STUDY|CLAIM", help="A study or claim file, or the name of a built-in one.")
    ] = None,
    store: Store = None,
    cpus: Cpus = None,
    claims: Annotated[
        str | None,
        typer.Option(
            metavar="all|recipes|NAME,...", help="Run all claims, all recipes (published settings), or those named."
        ),
    ] = None,
    quick: Quick = False,
    address: Address = None,
) -> int:
    """Run the missing trials of a study or claim. Then print its tables or verdict, and write its report."""
    from ablate.study import is_claim

    if (study is None) == (claims is None):
        raise UserError("run: give either a study or --claims")
    if claims is not None or is_claim(str(study)):
        from ablate.claims import requested_claims

        names = [str(study)] if claims is None else requested_claims(claims)
        return execute_claims(names, store, cpus, address, quick=quick)
    if quick:
        raise UserError(QUICK)
    return execute_study(str(study), store, cpus, address)


def load_studies(name: str, store: str | None, *, quick: bool) -> "list[Study]":
    """Return the study of a name, or the studies of a claim's cells."""
    from ablate.study import is_claim, load

    if is_claim(name):
        from ablate.claims import load as load_claim

        return list(load_claim(name, store, quick=quick).cells.values())
    if quick:
        raise UserError(QUICK)
    return [load(name, store)]


def execute_study(name: str, store: str | None, cpus: int | None, address: str | None) -> int:
    """Run a study; return the exit code."""
    from ablate import terminal
    from ablate.run import run_study
    from ablate.study import load

    resolved = load(name, store)
    with terminal.ProgressDisplay([resolved]) as display:
        outcome = run_study(resolved, cpus, display.study_callback(resolved), address)
    if outcome.interrupted:
        sys.stderr.write(f"Stopped with {outcome.trials} trials known; run the same command to continue.\n")
        return 130
    terminal.show_report(resolved.folder)
    if resolved.mirror:
        resolved.mirror.push(resolved.folder)
        sys.stdout.write(f"stored: {resolved.mirror.url}/{resolved.file.name}\n")
    terminal.show_outcome(outcome)
    return 1 if outcome.failed else 0


def execute_claims(names: list[str], store: str | None, cpus: int | None, address: str | None, *, quick: bool) -> int:
    """Run claims and show their verdicts; return the exit code. All claims are checked before the first one runs."""
    from ablate import terminal
    from ablate.claims import load, run_claims

    claims = [load(name, store, quick=quick) for name in names]

    def show_verdict(claim: "Claim", verdict: dict[str, Any]) -> None:
        display.print_verdict(verdict, claim.folder)
        if claim.mirror:
            claim.mirror.push(claim.folder)

    with terminal.ProgressDisplay([study for claim in claims for study in claim.cells.values()]) as display:
        outcomes = run_claims(claims, cpus, display.study_callback, show_verdict, address)
    num_cells = sum(len(claim.cells) for claim in claims)
    if len(outcomes) < num_cells or any(outcome.interrupted for outcome in outcomes):  # some may not have begun
        sys.stderr.write("Stopped; run the same command to continue.\n")
        return 130
    return 1 if any(outcome.failed for outcome in outcomes) else 0


@app.command()
@handle_errors
def submit(
    study: StudyName,
    address: Annotated[
        str, typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="Address of the cluster's dashboard.")
    ] = "http://127.0.0.1:8265",
    store: Store = None,
    cpus: Annotated[
        int | None, typer.Option(min=1, help="Number of CPUs to use; by default all of the cluster.")
    ] = None,
    quick: Quick = False,
) -> int:
    """Run a study or claim as a job on a Ray cluster. Follow its log; stopping this command does not stop the job."""
    from ablate.submit import submit as send

    studies = load_studies(study, store, quick=quick)
    options = [*(["--cpus", str(cpus)] if cpus else []), *(["--quick"] if quick else [])]
    job = send(studies, store or studies[0].file.store, address, options)
    sys.stderr.write(f"Submitted as {job.name}; `ray job stop {job.name}` stops it.\n")
    try:
        code = job.follow(sys.stdout.write)
    except KeyboardInterrupt:
        code = None
    if code is None:
        sys.stderr.write(f"The job keeps running; `ray job logs --follow {job.name}` follows it again.\n")
    return 130 if code is None else code


@app.command()
@handle_errors
def plan(
    study: StudyName,
    store: Store = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="If no trial is stored, run a few steps to estimate time and memory.")
    ] = False,
    quick: Quick = False,
    as_json: Json = False,
) -> None:
    """Show what `run` would do, without running it. For a claim, show it for each cell."""
    from ablate import terminal
    from ablate.forecast import forecast
    from ablate.study import is_claim

    studies = load_studies(study, store, quick=quick)
    forecasts = {cell.file.name: forecast(cell, measure=measure) for cell in studies}
    if as_json:
        as_dicts = {name: item._asdict() for name, item in forecasts.items()}
        terminal.print_json(as_dicts if is_claim(study) else next(iter(as_dicts.values())))
        return
    for cell in studies:
        terminal.show_forecast(forecasts[cell.file.name], cell.measure)


@app.command()
@handle_errors
def status(run: RunFolder, as_json: Json = False) -> None:
    """Show the progress of a run, also from another shell while it runs."""
    from ablate import terminal
    from ablate.forecast import run_progress

    progress = run_progress(run_folder(run, "study.yaml", "trials/*"))
    if as_json:
        terminal.print_json(progress._asdict())
    else:
        terminal.show_progress(Path(run), progress)


@app.command()
@handle_errors
def report(run: RunFolder) -> None:
    """Write figures, LaTeX tables and an HTML report of a run, also while it runs. Figures are written as PDF, too."""
    from ablate import terminal
    from ablate.remote import is_remote

    if not is_remote(run):
        terminal.show_report(Path(run), pdf=True)
        return
    run_copy = copy_run(run)
    terminal.show_report(run_copy.folder, pdf=True)
    run_copy.push(run_copy.folder, ("report.*", "readings.csv", "figures/*", "tables/*"))  # the run may have gone on
    sys.stdout.write(f"stored: {run_copy.url}\n")


@app.command()
@handle_errors
def compare(run: RunFolder, other: RunFolder, as_json: Json = False) -> None:
    """Compare two runs: how their studies differ, and the differences of their scores, paired by seed."""
    from ablate import terminal
    from ablate.forecast import open_run
    from analysis.blocks import independent
    from analysis.comparison import changes, comparison

    runs = independent(open_run(run_folder(run))), independent(open_run(run_folder(other)))
    try:
        differences, table = changes(*runs), comparison(*runs)
    except ValueError as error:
        raise UserError(f"compare: {error}") from None
    if as_json:
        terminal.print_json({"changes": differences, "methods": table.to_dicts()})
    else:
        terminal.show_comparison(runs, differences, table)


@app.command()
@handle_errors
def replay(
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="A trial id, or the beginning of one.")],
    store: Annotated[str, typer.Option(help="Folder of the results, or s3://...")] = "runs",
    study: Annotated[
        str | None, typer.Option(help="A study file with the current paths of your own data and methods.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Retrain a stored trial and compare its scores and weights. If they differ, show what has changed."""
    from ablate import terminal
    from ablate.remote import is_remote, local_folder, mirror_of
    from ablate.replay import load_trial
    from ablate.replay import replay as train_again
    from ablate.study import load
    from analysis.formatting import plural

    if is_remote(store):
        mirror_of(store).fetch(lambda note: typer.echo(f"Note: {note}", err=True))
    recording = load_trial(local_folder(store), trial)
    others = (
        f", with {plural(len(recording.configs) - 1, 'other trial')} of its pack" if len(recording.configs) > 1 else ""
    )
    device_is_missing = recording.device == "cpu" != recording.origin["device"]
    device = recording.origin["device"]
    where = f", on the CPU: it was trained on {device}, and this machine has no GPU" if device_is_missing else ""
    sys.stderr.write(f"{recording.id}: retraining{others}{where}.\n")
    comparison = train_again(recording, load(study) if study else None)
    if as_json:
        terminal.print_json({"trial": recording.id, "same": comparison.same, **comparison._asdict()})
    else:
        terminal.show_replay(comparison)
    return 0 if comparison.same else 1


@app.command()
@handle_errors
def gc(
    store: Annotated[str, typer.Argument(metavar="[STORE]", help="Folder of the store.")] = "runs",
    delete: Annotated[bool, typer.Option("--delete", help="Delete what is no longer needed.")] = False,
    as_json: Json = False,
) -> None:
    """Show what a store contains and what can be deleted: unused trials and checkpoints, damaged or partial files."""
    from ablate import cleaning, terminal
    from ablate.remote import is_remote

    if is_remote(store):
        raise UserError(f"gc: {store} is remote; gc works only on local folders")
    inventory = cleaning.delete_unused(Path(store)) if delete else cleaning.take_inventory(Path(store))
    if as_json:
        parts = [part._asdict() | {"folders": len(part.folders)} for part in inventory.parts]
        terminal.print_json(inventory._asdict() | {"parts": parts, "deleted": delete})
    else:
        terminal.show_inventory(inventory, deleted=delete)


@app.command()
@handle_errors
def methods(as_json: Json = False) -> None:
    """List the methods and their settings."""
    from ablate import terminal
    from ablate.methods import method_axes
    from trainables.methods import METHODS

    if as_json:
        axes = {method: method_axes(method, path) for method, path in METHODS.items()}
        terminal.print_json(
            {m: {name: axis._asdict() for name, axis in settings.items()} for m, settings in axes.items()}
        )
    else:
        terminal.show_methods()


@app.command()
@handle_errors
def data(as_json: Json = False) -> None:
    """List the data sets that come with the package."""
    from ablate import terminal
    from trainables.data import dataset_names, load_sheet

    sheets = [load_sheet(name) for name in dataset_names()]
    if as_json:
        keys = ("task", "outputs", "modalities", "sha256")
        terminal.print_json({sheet.name: {key: getattr(sheet, key) for key in keys} for sheet in sheets})
    else:
        terminal.show_data(sheets)


@app.command()
@handle_errors
def convert(
    layout: Annotated[
        str, typer.Argument(metavar="LAYOUT", help="Data layout of a paper, such as mult; `ablate data` lists them.")
    ],
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="File or folder in that layout.")],
    file: Annotated[
        Path, typer.Argument(metavar="FILE.npz", help="File to write; its datasheet is written next to it.")
    ],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="An option of the layout; may be repeated.")
    ] = None,
) -> None:
    """Convert data from a paper's layout to a file for `data: {path: FILE.npz}`."""
    from ablate import terminal
    from ablate.convert import convert as read

    terminal.show_conversion(read(layout, source, file, settings or []), file)


@app.command()
@handle_errors
def claims(
    store: Annotated[str, typer.Option(help="Folder of the results, or s3://...")] = "runs",
    as_json: Json = False,
    write: Annotated[
        Path | None, typer.Option(metavar="FILE.md", help="Write a Markdown page of the verdicts, with figures.")
    ] = None,
) -> None:
    """List the claims with their sources and latest verdicts."""
    from ablate import terminal
    from ablate.claims import list_claims
    from ablate.remote import is_remote, pull_copy

    if write is not None and write.is_dir():
        raise UserError(f"--write: must be a file, but {write} is a folder")
    verdicts = ("*/verdict.json", "*/study.yaml", "*/figures/verdict*.png", "*/figures/verdict*.svg")
    catalogue = list_claims(str(pull_copy(store, *verdicts).folder) if is_remote(store) else store)
    if write is not None:
        from analysis.claims_page import write_claims_page

        store_option = [] if store == "runs" else ["--store", store]
        write_claims_page(catalogue, write, shlex.join(["ablate", "claims", *store_option, "--write", str(write)]))
        sys.stdout.write(f"{write}\n")
    elif as_json:
        terminal.print_json([{k: v for k, v in claim.items() if k != "folder"} for claim in catalogue])
    else:
        terminal.show_claims(catalogue)


@app.command()
@handle_errors
def init(folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Folder to write to.")] = Path()) -> None:
    """Write a commented study file with example data, method and encoder. It runs as it is."""
    from ablate.scaffold import write_scaffold

    for file in write_scaffold(folder):
        sys.stdout.write(f"{file}\n")
    data, study = (shlex.quote(str(folder / name)) for name in ("data.py", "study.yaml"))
    sys.stdout.write(f"Next: python {data} && ablate run {study}\n")


@app.command()
@handle_errors
def doctor(study: Annotated[str | None, typer.Argument(metavar="[STUDY]", help="A study to check.")] = None,
           store: Store = None, cpus: Cpus = None, address: Address = None) -> int:  # fmt: skip
    """Check that the installation, the data sets and the methods work. If given, also check STUDY and a cluster."""
    from ablate import terminal
    from ablate.doctor import run_checks
    from ablate.study import load

    return terminal.show_checks(run_checks(load(study, store) if study else None, cpus, address))


def main() -> None:
    """Run the command line."""
    app()
