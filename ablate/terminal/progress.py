"""Progress while trials run."""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from ablate.plan import num_trials
from ablate.preflight import compile_warnings, inactive_method_warnings
from ablate.study import Study, missing_companions
from ablate.terminal.claims import show_verdict
from ablate.terminal.console import screen, spell
from ablate.trial import Result, Trial
from ablate.trial_queue import TrialQueue, count_unfinished
from analysis.formatting import plural

EVERY = 10.0  # seconds between plain lines, where there is no terminal


class Screen:
    """Trials done, rate, time left and the best so far: a live line on a terminal, plain lines elsewhere."""

    def __init__(self, studies: Sequence[Study]) -> None:
        """Show nothing yet."""
        self.studies = studies
        # Bound to the stream that was there at the start: Ray's output is redirected, ours is not.
        self.console = Console(file=sys.stderr, soft_wrap=True, highlight=False, markup=False)
        self.output = screen()
        self.left = sum(map(num_trials, studies))
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

    def on_start(self, queue: TrialQueue) -> None:
        """Say what is known and what will run."""
        name, total = self.study.file.name, num_trials(self.study)
        missing = count_unfinished(self.study, queue)
        self.screen.begin(total if queue.has_ended else total - missing)
        if queue.is_finished and not missing:
            self.screen.console.print(f"{name}: all {len(queue.trials)} trials are in the store; nothing to run.")
        if queue.has_ended:
            return
        for sentence in (
            missing_companions(self.study) + compile_warnings(self.study) + inactive_method_warnings(self.study)
        ):
            self.note(sentence)
        known = f", {queue.num_cached} of {total} in the store already" if queue.num_cached else ""
        words = f"{plural(missing, 'trial')} to run on {self.study.sheet.name}"
        self.screen.console.print(f"{name}: {words}{known}.")

    def on_result(self, trial: Trial, result: Result, error: str | None) -> None:
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
