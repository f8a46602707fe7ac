"""What a person sees: progress while trials run, and tables."""

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from ablate.agenda import Agenda
from ablate.cleaning import Inventory
from ablate.doctor import Check
from ablate.forecast import Forecast, open_run
from ablate.forecast import Progress as Seen
from ablate.methods import axes_of
from ablate.plan import Result, Trial, size
from ablate.replay import Compared
from ablate.study import Study, lacking
from search_spaces.methods import SPAN

if TYPE_CHECKING:
    import polars as pl

    from analysis.tables import Run

WIDTH = 112  # columns of the widest table
EVERY = 10.0  # seconds between plain lines, where there is no terminal


class Screen:
    """Trials done, rate, time left and the best so far: a live line on a terminal, plain lines elsewhere."""

    def __init__(self, studies: Sequence[Study]) -> None:
        """Show nothing yet."""
        self.studies = studies
        # Bound to the stream that was there at the start: Ray's output is redirected, ours is not.
        self.console = Console(file=sys.stderr, soft_wrap=True, highlight=False, markup=False)
        self.output = screen()
        self.left = sum(map(size, studies))
        self.done = self.failed = 0
        self.told = False  # why a trial failed
        self.best: tuple[float, str] | None = None  # of a single study
        self.began = self.spoken = time.monotonic()
        self.bar = Bar(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TimeRemainingColumn(), console=self.console, transient=True,
        )  # fmt: skip
        self.task = self.bar.add_task("starting Ray", total=self.left)

    def __enter__(self) -> "Screen":
        """Return itself; the bar starts with the first study that has trials to run."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Take the bar away, if there is one."""
        if self.bar.live.is_started:
            self.bar.stop()

    def tell(self, verdict: Mapping[str, Any], folder: Path) -> None:
        """Print a verdict; the bar makes room for it."""
        if shown := self.bar.live.is_started:
            self.bar.stop()
        show_verdict(verdict, folder, self.output)
        if shown:
            self.bar.start()

    def watch(self, study: Study) -> "Progress":
        """Return who is told of what happens to a study."""
        return Progress(study, self)

    def begin(self, known: int) -> None:
        """Begin a study, of which so many trials are known."""
        self.left -= known
        self.bar.update(self.task, total=self.done + self.left)
        if self.console.is_terminal and not self.bar.live.is_started:
            self.bar.start()

    def heard(self) -> None:
        """Count a result, and show what there is to show."""
        now = time.monotonic()
        if not self.done:
            self.began = now  # Ray's start is behind us
        self.done, self.left = self.done + 1, self.left - 1
        self.bar.update(self.task, completed=self.done, description=self.line())
        if not self.console.is_terminal and now - self.spoken > EVERY:
            self.spoken = now
            self.console.print(
                f"{self.done} done, {self.left} left, about {spell(self.left / self.rate)}; {self.line()}"
            )

    @property
    def rate(self) -> float:
        """Return trials a second since the first result."""
        return max(self.done - 1, 1) / max(time.monotonic() - self.began, 1.0)

    def line(self) -> str:
        """Return the rate, the failures and the best validation score so far."""
        failed = f", {self.failed} without a score" if self.failed else ""
        best = f", best {self.studies[0].metric} {self.best[0]:.4g} ({self.best[1]})" if self.best else ""
        return f"{self.rate:.1f} trials/s{failed}{best}"


class Progress:
    """What a person sees of a study while it runs."""

    def __init__(self, study: Study, screen: Screen) -> None:
        """Show a study on a screen."""
        self.study, self.screen = study, screen

    def begin(self, agenda: Agenda) -> None:
        """Say what is known and what will run."""
        name, total = self.study.file.name, size(self.study)
        missing = total - agenda.cached if self.study.search.batch else agenda.waiting
        self.screen.begin(total if agenda.over else total - missing)
        if agenda.finished:
            self.screen.console.print(f"{name}: all {len(agenda.proposed)} trials are in the store; nothing to run.")
        if agenda.over:
            return
        for sentence in lacking(self.study):
            self.note(sentence)
        known = f", {agenda.cached} of {total} in the store already" if agenda.cached else ""
        words = f"{missing} trial{'s' * (missing != 1)} to run on {self.study.sheet.name}"
        self.screen.console.print(f"{name}: {words}{known}.")

    def heard(self, trial: Trial, result: Result, error: str | None) -> None:
        """Take a result."""
        self.screen.failed += result.status != "done"
        if result.status == "failed" and not self.screen.told:
            self.screen.told = True
            self.note(f"{trial.id} ({trial.labels['method']}) failed: {str(error).partition(chr(10))[0]}")
        if result.score is not None and trial.labels["method"] != "unimodal" and len(self.screen.studies) == 1:
            best = self.screen.best
            better = best is None or (result.score > best[0]) == self.study.maximise
            self.screen.best = (result.score, trial.labels["method"]) if better else best
        self.screen.heard()

    def note(self, sentence: str) -> None:
        """Say something that does not stop the run."""
        self.screen.console.print(f"Note: {sentence}")


def screen() -> Console:
    """Return standard output, wide enough for our tables; longer lines are broken by the terminal alone."""
    return Console(file=sys.stdout, soft_wrap=True, highlight=False, markup=False, width=max(Console().width, WIDTH))


def show_report(folder: Path, *, pdf: bool = False) -> None:
    """Print the tables of a run and write its figures, also as ``pdf``, and report; of a claim, its verdict.

    Raises:
        UserError: the folder holds neither.
    """
    from analysis.designs import indices
    from analysis.headline import headline
    from analysis.pareto import front
    from analysis.report import write
    from analysis.summary import encoders, summary
    from analysis.verdicts import read

    if verdict := read(folder):
        show_verdict(verdict, folder, screen(), pdf=pdf)
        return
    run = open_run(folder)
    console = screen()
    table, beside = summary(run), encoders(run)
    console.print(summary_table(table, run.metric))
    if len(beside):
        console.print(encoders_table(beside, run.metric))
    if len(run.objectives) > 1:
        console.print(front_table(front(run), run.objectives))
    for method, found in indices(run).items():
        console.print(indices_table(method, found))
    console.print(headline(table))
    page = write(folder, pdf=pdf)
    console.print(f"figures: {shorter(folder / 'figures')}")
    console.print(f"report: {shorter(page)}")


def summary_table(rows: "pl.DataFrame", metric: str) -> Table:
    """Return one line a method: its chosen setting, test score with interval, and difference to joint training."""
    from analysis.text import pvalue, score

    table = Table("method", "chosen of", "seeds", f"test {metric}", "minus joint", "p (Holm)", "failed", box=SIMPLE)
    for row in rows.iter_rows(named=True):
        name = f"{row['method']} ({row['modality']})" if row["modality"] else row["method"]
        name += " *" if row["front"] else ""
        choice = f"{row['settings'] or ''} of {row['configurations']}" if row["configurations"] > 1 else ""
        table.add_row(
            name, choice, str(row["seeds"]),
            score(metric, row["test"], row["low"], row["high"]),
            score(metric, row["difference"], row["difference_low"], row["difference_high"], sign="+"),
            pvalue(row["p"]), str(row["failed"] + row["diverged"] or ""),
        )  # fmt: skip
    return table


def encoders_table(rows: "pl.DataFrame", metric: str) -> Table:
    """Return one line a method and modality: what a linear probe reads off the encoder, and what company cost it."""
    from analysis.text import score

    table = Table("method", "encoder", f"probe {metric} (test)", "minus the same encoder alone", box=SIMPLE)
    for row in rows.iter_rows(named=True):
        probe = score(metric, row["probe"], row["low"], row["high"])
        table.add_row(
            row["method"], row["modality"], probe,
            score(metric, row["gap"], row["gap_low"], row["gap_high"], sign="+"),
        )  # fmt: skip
    return table


def show_comparison(runs: "tuple[Run, Run]", changes: Mapping[str, tuple[Any, Any]], rows: "pl.DataFrame") -> None:
    """Print what two runs were asked differently, and one line a method that both have."""
    from analysis.text import pvalue, score, setting

    console = screen()
    names, metric = [run.name for run in runs], runs[0].metric
    if len(set(names)) == 1:
        names = [str(shorter(Path(run.folder).absolute())) for run in runs]
    if changes:
        asked = Table("differs", *names, box=SIMPLE)
        for key, values in changes.items():
            asked.add_row(key, *map(setting, values))
        console.print(asked)
    table = Table(
        "method", *(f"test {metric}, {name}" for name in names), "difference", "p (Holm)", "pairs", box=SIMPLE
    )
    for row in rows.iter_rows(named=True):
        name = f"{row['method']} ({row['modality']})" if row["modality"] else row["method"]
        same = f", {row['shared']} the same trial" if row["shared"] else ""
        table.add_row(
            name,
            *(f"{score(metric, row[value])} {row[chosen]}".strip()
              for value, chosen in (("test", "settings"), ("other", "other_settings"))),
            score(metric, row["difference"], row["low"], row["high"], sign="+"),
            pvalue(row["p"]), f"{row['pairs']}{same}",
        )  # fmt: skip
    console.print(table if len(rows) else "No method is in both.")


def show_replay(seen: Compared) -> None:
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


def front_table(rows: "pl.DataFrame", objectives: dict[str, str]) -> Table:
    """Return the configurations of the Pareto front, one a line, with their metrics on validation."""
    from analysis.text import score

    names = [f"{name} ({direction})" for name, direction in objectives.items()]
    table = Table("Pareto front (*)", "", "seeds", *names, box=SIMPLE)
    for row in rows.filter("front").iter_rows(named=True):
        values = [score(name, row[name]) for name in objectives]
        table.add_row(row["method"], row["settings"], str(row["seeds"]), *values)
    return table


def indices_table(method: str, rows: "pl.DataFrame") -> Table:
    """Return the indices of a method's settings with their intervals, one line each, beside the noise floor."""
    columns = rows["index"].unique(maintain_order=True).to_list()
    table = Table(f"indices of {method}", *(name.replace("_", " ") for name in columns), "above the floor", box=SIMPLE)
    for (factor, other), found in rows.group_by("factor", "other", maintain_order=True):
        held = {row["index"]: row for row in found.iter_rows(named=True)}
        above = any(row["above_floor"] for row in held.values())
        known = any(row["above_floor"] is not None for row in held.values())
        name = factor if other is None else f"{factor} x {other}"
        cells = [interval(held.get(index)) for index in columns]
        table.add_row(str(name), *cells, ("yes" if above else "no") if known else "")
    return table


def interval(row: Mapping[str, Any] | None) -> str:
    """Return an index with its interval, as far as they are known."""
    if row is None or row["value"] is None:
        return ""
    if row["low"] is None:
        return f"{row['value']:.3g}"
    return f"{row['value']:.3g} [{row['low']:.2g}, {row['high']:.2g}]"


def shorter(path: Path) -> Path:
    """Return a path relative to the working directory if it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def show_forecast(seen: Forecast) -> None:
    """Print what a run would do."""
    console = screen()
    console.print(
        f"{seen.study} on {seen.data}: {seen.trials} trials, {seen.stored} in the store, {seen.missing} to run."
    )
    if seen.spent:
        console.print(f"Nothing will run: {seen.spent}.")
        return
    for method, count in seen.methods.items():
        console.print(f"  {method}: {count}")
    if seen.packs:
        s = "s" * (len(seen.packs) != 1)
        console.print(
            f"{len(seen.packs)} pack{s} of {min(seen.packs)} to {max(seen.packs)} trials that train together."
        )
    if seen.missing and seen.seconds is not None and seen.megabytes is not None:
        console.print(f"About {spell(seen.seconds)} on {seen.cpus} at a time, {seen.megabytes:.1f} MB on disk.")
    elif seen.missing:
        console.print(f"{seen.cpus} at a time; no trial of this study has run yet, so there is no estimate of time.")


def show_progress(folder: Path, seen: Seen) -> None:
    """Print how far a run is."""
    bad = ", ".join(f"{n} {word}" for n, word in ((seen.failed, "failed"), (seen.diverged, "diverged")) if n)
    console = screen()
    console.print(f"{folder.name}: {seen.done} of {seen.planned} trials done{f', {bad}' if bad else ''}.")
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
        console.print(f"Unfinished: {', '.join(found.unfinished)}. Trials that no study names may be theirs, and stay.")
    if not deleted and any(part.may_go for part in found.parts):
        console.print("With --delete, what may go is removed.")


def show_methods(*, as_json: bool) -> None:
    """Print the methods and their settings."""
    from trainables.methods import METHODS

    if as_json:
        listing = {
            method[0]: {name: axis._asdict() for name, axis in axes_of(*method).items()} for method in METHODS.items()
        }
        sys.stdout.write(json.dumps(listing) + "\n")
        return
    table = Table("method", "setting", "default", "off at", "allowed", "source", box=SIMPLE)
    for method, path in METHODS.items():
        settings = {name: axis for name, axis in axes_of(method, path).items() if name not in SPAN}
        for i, (name, axis) in enumerate(settings.items()):
            off = "" if axis.neutral is None else plain(axis.neutral)
            allowed = axis.rule.removeprefix("must be ").removeprefix("one of ")
            table.add_row(method if i == 0 else "", name, plain(axis.default), off, allowed, axis.source)
        if not settings:
            table.add_row(method, "", "", "", "", "")
    console = screen()
    console.print(table)
    console.print("Every method also has `start` and `end`, the epochs, from 1, in which it acts, and `warmup`.")


def show_data(*, as_json: bool) -> None:
    """Print the data sets that come with the package."""
    from trainables.data import names, sheet

    sheets = [sheet(name) for name in names()]
    if as_json:
        listing = {
            s.name: {"task": s.task, "outputs": s.outputs, "modalities": s.modalities, "sha256": s.sha256}
            for s in sheets
        }
        sys.stdout.write(json.dumps(listing) + "\n")
        return
    table = Table("data", "task", "outputs", "modalities", "licence", box=SIMPLE)
    for s in sheets:
        licence = s.description.get("licence", {"this file": ""})["this file"]
        table.add_row(s.name, s.task, str(s.outputs), ", ".join(s.modalities), licence)
    console = screen()
    console.print(table)
    console.print("Your own: `data: {path: FILE.npz}` beside a datasheet FILE.json.")


def show_verdict(verdict: Mapping[str, Any], folder: Path, console: Console, *, pdf: bool = False) -> None:
    """Print what was decided of a claim, on what, write its report, and say where it lies."""
    from analysis.report import write

    trials = verdict["trials"]
    lost = ", ".join(f"{trials[word]} {word}" for word in ("diverged", "failed") if trials[word])
    hurry = " (quick: few seeds and epochs)" if verdict["quick"] else ""
    console.print(f"{verdict['name']}: {verdict['verdict'].upper()}{hurry}", style="bold")
    console.print(f"  {verdict['question']}")
    console.print(f"  {verdict['sentence']}")
    for name, one in verdict["beside"].items():
        console.print(f"  beside: {name}: {one['sentence']}")
    for remark in verdict["remarks"]:
        console.print(f"  {remark}")
    console.print(f"  on {verdict['bed']}; {trials['planned']} trials{f', {lost}' if lost else ''}")
    console.print(f"  figure: {shorter(folder / 'figures' / 'verdict.png')}")
    console.print(f"  report: {shorter(write(folder, pdf=pdf))}")


def show_claims(listed: Iterable[Mapping[str, Any]]) -> None:
    """Print the claims with their sources and last verdicts."""
    table = Table("claim", "question", "source", "verdict", "date", box=SIMPLE)
    for claim in listed:
        verdict = f"{claim.get('verdict', '')}{' (quick)' if claim['quick'] else ''}"
        table.add_row(claim["name"], claim["question"], claim["source"], verdict, claim.get("date", "")[:10])
    screen().print(table)


def show_checks(checks: Iterable[Check]) -> int:
    """Print checks as they are made; return 1 if one failed."""
    console = screen()
    failed = 0
    for check in checks:
        failed += not check.ok
        console.print("ok  " if check.ok else "FAIL", style="green" if check.ok else "red", end=" ")
        console.print(f"{check.what}: {check.found}")
    console.print(f"{failed} checks failed." if failed else "All is well.")
    return 1 if failed else 0


def plain(value: Any) -> str:
    """Return a value as a study file would have it."""
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def spell(seconds: float) -> str:
    """Return a duration in words."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
