"""Progress display while trials run."""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from ablate.plan import num_trials
from ablate.preflight import compile_warnings, inactive_method_warnings
from ablate.study import Study, missing_companions
from ablate.terminal.claims import show_verdict
from ablate.terminal.console import format_duration, output_console
from ablate.trial import Result, Trial
from ablate.trial_queue import TrialQueue, num_distinct_trials, num_unfinished
from analysis.formatting import plural

LINE_INTERVAL = 10.0  # seconds between two plain lines, without a terminal


class ProgressDisplay:
    """Shows trials done, rate, time left and best score of a run: a live bar on a terminal, plain lines elsewhere."""

    def __init__(self, studies: Sequence[Study]) -> None:
        """Prepare the display of a run of studies; nothing is shown yet."""
        self.studies = studies
        # Bound to the present stderr: Ray's output is redirected later, this console's is not.
        self.console = Console(file=sys.stderr, soft_wrap=True, highlight=False, markup=False)
        self.output = output_console()
        self.left = sum(map(num_trials, studies))
        self.done = self.failed = 0
        self.failure_shown = False  # only the first failure of a trial is shown
        self.best: tuple[float, str] | None = None  # of a single study
        self.start_time = self.last_line_time = time.monotonic()
        self.bar = ProgressBar(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TimeRemainingColumn(), console=self.console, transient=True,
        )  # fmt: skip
        self.task = self.bar.add_task("starting Ray", total=self.left)

    def __enter__(self) -> "ProgressDisplay":
        """Return itself; the bar starts with the first study that has trials to run."""
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove the bar, if it is shown."""
        if self.bar.live.is_started:
            self.bar.stop()

    def print_verdict(self, verdict: Mapping[str, Any], folder: Path) -> None:
        """Print a verdict, hiding the bar meanwhile."""
        if bar_is_shown := self.bar.live.is_started:
            self.bar.stop()
        show_verdict(verdict, folder, self.output)
        if bar_is_shown:
            self.bar.start()

    def study_callback(self, study: Study) -> "StudyProgress":
        """Return the callback that shows the run of a study."""
        return StudyProgress(study, self)

    def start_study(self, num_known: int) -> None:
        """Account for a study that starts with a number of known trials, and show the bar."""
        self.left -= num_known
        self.bar.update(self.task, total=self.done + self.left)
        if self.console.is_terminal and not self.bar.live.is_started:
            self.bar.start()

    def count_result(self) -> None:
        """Count a result, and update the display."""
        now = time.monotonic()
        if not self.done:
            self.start_time = now  # the start of Ray does not count
        self.done, self.left = self.done + 1, self.left - 1
        self.bar.update(self.task, completed=self.done, description=self.summary_line())
        if not self.console.is_terminal and now - self.last_line_time > LINE_INTERVAL:
            self.last_line_time = now
            time_left = f", about {format_duration(self.left / self.rate)}" if self.rate else ""
            line = f"{self.done} done, {self.left} left{time_left}"
            self.console.print("; ".join(filter(None, (line, self.summary_line()))))

    @property
    def rate(self) -> float | None:
        """Return trials per second since the first result; None in the first second, as a pack ends as a whole."""
        seconds = time.monotonic() - self.start_time
        return (self.done - 1) / seconds if seconds > 1 else None

    def summary_line(self) -> str:
        """Return the rate, the failures and the best validation score so far."""
        rate = f"{self.rate:.1f} trials/s" if self.rate else ""
        failed = f"{self.failed} without a score" if self.failed else ""
        best = f"best {self.studies[0].metric} {self.best[0]:.4g} ({self.best[1]})" if self.best else ""
        return ", ".join(filter(None, (rate, failed, best)))


class StudyProgress:
    """Callback that shows the run of one study on a display."""

    def __init__(self, study: Study, display: ProgressDisplay) -> None:
        """Show a study on a display."""
        self.study, self.display = study, display

    def on_start(self, queue: TrialQueue) -> None:
        """Print warnings, and how many trials are in the store and will run."""
        name, planned = self.study.file.name, num_trials(self.study)
        missing = num_unfinished(self.study, queue)
        self.display.start_study(planned if queue.has_ended else planned - missing)
        if queue.is_finished and not missing:
            self.display.console.print(f"{name}: all {len(queue.trials)} trials are in the store; nothing to run.")
        if queue.has_ended:
            return
        for sentence in (
            missing_companions(self.study) + compile_warnings(self.study) + inactive_method_warnings(self.study)
        ):
            self.note(sentence)
        total = num_distinct_trials(self.study, queue)
        known = f", {queue.num_cached} of {total} already in the store" if queue.num_cached else ""
        what_runs = f"{plural(missing, 'trial')} to run on {self.study.sheet.name}"
        self.display.console.print(f"{name}: {what_runs}{known}.")

    def on_result(self, trial: Trial, result: Result, error: str | None) -> None:
        """Count a result; print the error of the first failed trial, and keep the best score."""
        self.display.failed += result.status != "done"
        if result.status == "failed" and not self.display.failure_shown:
            self.display.failure_shown = True
            self.note(f"{trial.id} ({trial.labels['method']}) failed: {str(error).partition(chr(10))[0]}")
        if result.score is not None and trial.labels["method"] != "unimodal" and len(self.display.studies) == 1:
            best = self.display.best
            better = best is None or (result.score > best[0]) == self.study.maximise
            self.display.best = (result.score, trial.labels["method"]) if better else best
        self.display.count_result()

    def note(self, sentence: str) -> None:
        """Print a warning."""
        self.display.console.print(f"Note: {sentence}")
