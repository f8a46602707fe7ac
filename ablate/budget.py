"""When a study stops early: after a number of hours, or once a configuration reaches the target of the metric.

The third limit, the number of trials, shortens the plan itself (`ablate.search.rounds`).
"""

import json
import math
import time
from collections import defaultdict

from ablate.study import Study
from ablate.trial import Result, Trial


class Budget:
    """The limits of a run, checked against its results, whether stored or new."""

    def __init__(self, study: Study) -> None:
        """Count the hours from now."""
        self.limits, self.maximise, self.seeds = study.file.budget, study.maximise, study.looks[0]
        self.start = time.monotonic()
        self.target_message: str | None = None
        self._scores: dict[str, dict[int, float]] = defaultdict(dict)  # configuration -> seed -> score

    def add_result(self, trial: Trial, result: Result) -> None:
        """Take a result into account; `unimodal` is no configuration to choose."""
        if self.limits.target is None or result.score is None or trial.point_config["modality"]:
            return
        scores = self._scores[json.dumps(trial.point_config, sort_keys=True)]
        scores[trial.seed] = result.score
        mean = math.fsum(scores.values()) / len(scores)
        reached = mean >= self.limits.target if self.maximise else mean <= self.limits.target
        if reached and len(scores) >= self.seeds:
            self.target_message = f"a configuration reached {mean:.4g}, and the target is {self.limits.target:g}"

    def stop_reason(self) -> str | None:
        """Return why no further pack should start; None while it may."""
        hours = (time.monotonic() - self.start) / 3600
        if self.limits.hours is not None and hours >= self.limits.hours:
            return f"{self.limits.hours:g} hours have passed"
        return self.target_message
