"""Keeps account of a study while it runs: what is proposed, queued, running and known."""

from collections import deque
from collections.abc import Callable

from ablate.plan import Result, Trial
from ablate.search import Rounds

Known = Callable[[list[Trial]], dict[str, Result]]  # what the store knows of some trials
Listener = Callable[[Trial, Result, str | None], None]  # (trial, result, error)


class Agenda:
    """The trials of a study: rounds open one after another, and what the store knows is not run again."""

    def __init__(self, rounds: Rounds, known: Known) -> None:
        """Open the first round, and all that follow from results in the store."""
        self.proposed: dict[str, Trial] = {}  # in the order of the plan
        self.results: dict[str, Result] = {}
        self.cached = 0
        self.finished = False
        self.stopped = False
        self._rounds, self._known = rounds, known
        self._queue: deque[Trial] = deque()
        self._open(next(rounds))

    @property
    def waiting(self) -> int:
        """Return how many proposed trials have no result yet."""
        return len(self.proposed) - len(self.results)

    def next(self) -> Trial | None:
        """Return a trial to run; None while the round waits for those that run."""
        return self._queue.popleft() if self._queue and not self.stopped else None

    def complete(self, trial: Trial, result: Result) -> None:
        """Take the result of a trial."""
        self.results[trial.id] = result
        if not self.waiting:
            self._open(self._answer())

    def _open(self, proposals: list[Trial] | None) -> None:
        while proposals is not None:
            self._round = proposals
            fresh = {t.id: t for t in proposals if t.id not in self.proposed}
            self.proposed |= fresh
            known = self._known(list(fresh.values()))
            self.results |= known
            self.cached += len(known)
            self._queue.extend(t for t in fresh.values() if t.id not in known)
            if self._queue:
                return
            proposals = self._answer()

    def _answer(self) -> list[Trial] | None:
        try:
            return self._rounds.send({t.id: self.results[t.id] for t in self._round})
        except StopIteration:
            self.finished = True
            return None
