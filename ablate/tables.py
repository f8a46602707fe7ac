"""Writing the tables of a study while it runs: the stored results of its trials, in the order of its plan.

<store>/<study>/study.yaml                                  the study as resolved, with versions and machine
<store>/<study>/{trials,metrics,predictions}/*.parquet      one file a shard of the plan
<store>/<study>/trials/again-*.parquet                      trials that several points of a design request, again
"""

import time
from collections.abc import Callable

from ablate import store
from ablate.errors import UserError
from ablate.manifest import build_manifest, write_manifest
from ablate.shards import SHARD_SIZE, Part, shard_name, write_shard
from ablate.study import Study
from ablate.trackers import Trackers
from ablate.trial import Result, Trial
from ablate.trial_queue import TrialQueue

MIN_INTERVAL = 10.0  # seconds between two writes
INTERVAL_RATIO = 20  # the interval is at least this many times as long as the last write took


class TableWriter:
    """Rewrites the shards that have changed from time to time, so that another process can read them."""

    def __init__(self, study: Study, queue: TrialQueue, note: Callable[[str], None], plan: list[Trial]) -> None:
        """Write the stored results; no verdict and no search log of an earlier form of the study is kept."""
        self.study, self.queue, self.note, self.plan = study, queue, note, plan
        self.failures: dict[str, str] = {}
        self.changed: set[str] = set()  # ids of trials that are not written yet
        self.num_planned = 0  # trials of the plan when it was last written
        write_manifest(study.folder, build_manifest(study))
        for file in (study.folder / "verdict.json", *(study.folder / "figures").glob("verdict*")):
            file.unlink(missing_ok=True)  # of a claim; a cell is judged anew
        if study.search.batch is None:
            (study.folder / "search.log").unlink(missing_ok=True)
        self.trackers = Trackers(study.file.track, study.folder, note)
        self.remove_old_shards()
        self.write()

    def add_result(self, trial: Trial, result: Result, error: str | None) -> None:
        """Record a result, and write if the last write is long enough ago."""
        if result.status == "failed":
            self.failures[trial.id] = error or "no reason was given"
        self.changed.add(trial.id)
        if time.monotonic() > self.next_write:
            try:
                self.write()
            except UserError as failure:
                self.note(f"{failure}; writing is retried later.")

    def write(self) -> None:
        """Write the shards that have changed; raise a UserError if a remote store cannot be reached."""
        start = time.monotonic()
        self.next_write = start + MIN_INTERVAL  # if this one fails
        if self.study.mirror:
            self.study.mirror.sync(self.note)
        self.changed |= {trial.id for trial in self.plan[self.num_planned :]}
        self.num_planned = len(self.plan)
        written: set[str] = set()
        for part, plan in self.plans().items():
            numbers = {i // SHARD_SIZE for i, trial in enumerate(plan) if trial.id in self.changed}
            for number in sorted(numbers):
                written |= self.write_shard(plan, number, part)
        self.changed &= self.queue.results.keys() - written  # a shared file system may show them later
        self.trackers.update()
        if self.study.mirror:
            self.study.mirror.push(self.study.folder)
        now = time.monotonic()
        self.next_write = now + max(MIN_INTERVAL, INTERVAL_RATIO * (now - start))

    def remove_old_shards(self) -> None:
        """Remove the shards of an earlier, larger form of the study; of a search, those that are not proposed yet."""
        names = {shard_name(i, part) for part, plan in self.plans().items() for i in range(-(-len(plan) // SHARD_SIZE))}
        for table in store.TABLES:
            for file in (self.study.folder / table).glob("*.parquet"):
                if file.stem not in names:
                    file.unlink()

    def plans(self) -> dict[Part, list[Trial]]:
        """Return the trials of the study, and as `again` those that an earlier point had requested."""
        trials = self.queue.trials
        return {"": list(trials.values()), "again": [t for t in self.plan if t is not trials[t.id]]}

    def write_shard(self, plan: list[Trial], number: int, part: Part) -> set[str]:
        """Write a shard, and return the trials in it; those of a damaged folder of the store fail in this run."""
        try:
            return write_shard(self.study.store, self.study.folder, plan, self.failures, number, part)
        except store.DamagedError as damage:
            lost = store.trial_ids(damage.folder)
            quarantine(damage, self.note)
            self.mark_failed(self.queue.results.keys() & set(lost), "was damaged")
            return self.write_shard(plan, number, part)

    def mark_failed(self, trials: set[str], reason: str) -> None:
        """Replace the results of trials that the store has lost by failures."""
        for trial in trials:
            self.queue.results[trial] = Result("failed", None)
            self.failures[trial] = f"its stored result {reason} while the study ran"

    def close(self) -> None:
        """Write what is left."""
        self.write()
        if self.changed:
            self.mark_failed(set(self.changed), "disappeared")
            self.write()
        if self.queue.is_finished and len(self.study.looks) > 1:  # fewer seeds may have been enough
            write_manifest(self.study.folder, build_manifest(self.study) | {"planned": len(self.plan)})
        if self.study.mirror:
            self.study.mirror.push(self.study.folder)


def quarantine(damage: store.DamagedError, note: Callable[[str], None]) -> None:
    """Rename a damaged folder of the store, and note that once."""
    renamed = store.set_aside(damage.folder)
    note(f"{damage}; it is renamed to {renamed.name}, and its trials run again.")
