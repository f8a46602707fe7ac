"""The tables of a study while it runs: what the store knows of its trials, in the order of its plan.

<store>/<study>/study.yaml                                  the study as resolved, with versions and machine
<store>/<study>/{trials,metrics,predictions}/*.parquet      one file a wave of trials
<store>/<study>/trials/again-*.parquet                      the trials that several points of a design came to, again
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

MIN_INTERVAL = 10.0  # seconds, at least, between two looks of the tables at what has finished
INTERVAL_RATIO = 20  # and times as long as the last look took


class TableWriter:
    """Rewrites the waves that have changed, now and then, so that another shell can read them."""

    def __init__(self, study: Study, queue: TrialQueue, note: Callable[[str], None], plan: list[Trial]) -> None:
        """Write what is known at the start; nothing of an earlier form of the study stays under its name."""
        self.study, self.queue, self.note, self.plan = study, queue, note, plan
        self.failures: dict[str, str] = {}
        self.changed: set[str] = set()
        self.seen = 0  # trials of the plan
        write_manifest(study.folder, build_manifest(study))
        for file in (study.folder / "verdict.json", *(study.folder / "figures").glob("verdict*")):
            file.unlink(missing_ok=True)  # it was a claim, or is to be judged anew
        if study.search.batch is None:
            (study.folder / "search.log").unlink(missing_ok=True)
        self.trackers = Trackers(study.file.track, study.folder, note)
        self.write()

    def add_result(self, trial: Trial, result: Result, error: str | None) -> None:
        """Take note of a result, and write now and then."""
        if result.status == "failed":
            self.failures[trial.id] = error or "no reason was given"
        self.changed.add(trial.id)
        if time.monotonic() > self.due:
            try:
                self.write()
            except UserError as failure:
                self.note(f"{failure}; it is tried again.")

    def write(self) -> None:
        """Write the waves that have changed; a UserError where a remote store cannot be reached."""
        began = time.monotonic()
        self.due = began + MIN_INTERVAL  # where it fails
        if self.study.mirror:
            self.study.mirror.sync(self.note)
        self.changed |= {trial.id for trial in self.plan[self.seen :]}
        self.seen = len(self.plan)
        listed: set[str] = set()
        for part, plan in self.parts().items():
            waves = {i // SHARD_SIZE for i, trial in enumerate(plan) if trial.id in self.changed}
            for wave in sorted(waves):
                listed |= self.write_wave(plan, wave, part)
        self.changed &= self.queue.results.keys() - listed  # a shared file system may show them later
        self.trackers.follow()
        if self.study.mirror:
            self.study.mirror.push(self.study.folder)
        now = time.monotonic()
        self.due = now + max(MIN_INTERVAL, INTERVAL_RATIO * (now - began))

    def parts(self) -> dict[Part, list[Trial]]:
        """Return the trials of the study, and those that another point had asked for before."""
        proposed = self.queue.trials
        return {"": list(proposed.values()), "again": [t for t in self.plan if t is not proposed[t.id]]}

    def write_wave(self, plan: list[Trial], wave: int, part: Part) -> set[str]:
        """Write a wave, and return what is listed; a damaged folder of the store fails its trials for this time."""
        try:
            return write_shard(self.study.store, self.study.folder, plan, self.failures, wave, part)
        except store.DamagedError as damage:
            lost = store.trial_ids(damage.folder)
            quarantine(damage, self.note)
            self.fail(self.queue.results.keys() & set(lost), "was damaged")
            return self.write_wave(plan, wave, part)

    def fail(self, trials: set[str], what: str) -> None:
        """Take back the results of trials that the store has lost."""
        for trial in trials:
            self.queue.results[trial] = Result("failed", None)
            self.failures[trial] = f"what the store held of it {what} while the study ran"

    def close(self) -> None:
        """Write what is left, and remove waves of an earlier, larger form of the study."""
        self.write()
        if self.changed:
            self.fail(set(self.changed), "is gone")
            self.write()
        if self.queue.is_finished and len(self.study.looks) > 1:  # its methods may be told apart with fewer seeds
            write_manifest(self.study.folder, build_manifest(self.study) | {"planned": len(self.plan)})
        kept = {shard_name(i, part) for part, plan in self.parts().items() for i in range(-(-len(plan) // SHARD_SIZE))}
        for table in store.TABLES:
            for file in (self.study.folder / table).glob("*.parquet"):
                if file.stem not in kept:
                    file.unlink()
        if self.study.mirror:
            self.study.mirror.push(self.study.folder)


def quarantine(damage: store.DamagedError, note: Callable[[str], None]) -> None:
    """Move what is damaged aside, and say so once."""
    kept = store.set_aside(damage.folder)
    note(f"{damage}; it is kept as {kept.name}, and what it held runs again.")
