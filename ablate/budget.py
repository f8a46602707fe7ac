"""When a study ends before all of it has run: after so many hours, or once a configuration is good enough.

The third limit, of trials, shortens the plan itself (`ablate.search.rounds`).
"""

import json
import math
import time
from collections import defaultdict

from ablate.study import Study
from ablate.trial import Result, Trial


class Budget:
    """Takes the results of a run as they come, known before or new, and says when nothing more should start."""

    def __init__(self, study: Study) -> None:
        """Count the hours from now."""
        self.limits, self.maximise, self.seeds = study.file.budget, study.maximise, study.looks[0]
        self.began = time.monotonic()
        self.reached: str | None = None
        self._scores: dict[str, dict[int, float]] = defaultdict(dict)  # configuration -> seed -> score

    def add(self, trial: Trial, result: Result) -> None:
        """Take a result; `unimodal` is no configuration to choose."""
        if self.limits.target is None or result.score is None or trial.point_config["modality"]:
            return
        scores = self._scores[json.dumps(trial.point_config, sort_keys=True)]
        scores[trial.seed] = result.score
        mean = math.fsum(scores.values()) / len(scores)
        good = mean >= self.limits.target if self.maximise else mean <= self.limits.target
        if good and len(scores) >= self.seeds:
            self.reached = f"a configuration reaches {mean:.4g}, and the target is {self.limits.target:g}"

    def spent(self) -> str | None:
        """Return why nothing more should start; None while it may."""
        hours = (time.monotonic() - self.began) / 3600
        if self.limits.hours is not None and hours >= self.limits.hours:
            return f"{self.limits.hours:g} hours are over"
        return self.reached
