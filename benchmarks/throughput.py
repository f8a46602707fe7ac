"""Trials a second: this project against plain Ray Tune, with the same trials and the same final scores.

    python -m benchmarks.throughput [rounds] [trials]

Two studies on two cores: AGM on av-digits (10 epochs) and joint training on the six views of mfeat (20 epochs). Plain
Ray Tune trains every trial by this project's own loop, one after another on each core: as a function with Tune's
defaults, and `tuned`, as a class whose processes are used again and without loggers. Start of processes counts, that of
Ray does not; it is printed beside. Medians over the rounds, in each of which all three run in turn.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from ablate.agenda import Work
from ablate.launch import drive, local_ray  # sets Ray's environment, so it comes before Ray
from ablate.plan import Trial
from ablate.run import job, open_agenda
from ablate.study import Study, load
from ablate.work import dataset

import ray  # isort: skip
from ray import tune  # isort: skip

from trainables.data import load as load_data
from trainables.train import fit

CPUS = 2
STUDIES: dict[str, dict[str, Any]] = {
    "AGM on av-digits": {
        "data": "av-digits", "methods": ["agm"], "train": {"epochs": 10}, "vary": {"agm.alpha": {"log": [0.05, 1]}},
    },
    "joint on mfeat": {
        "data": "mfeat", "methods": ["joint"], "train": {"epochs": 20}, "vary": {"train.lr": {"log": [0.005, 0.05]}},
    },
}  # fmt: skip
Scores = dict[str, float]  # trial -> accuracy on validation


def study(folder: Path, spec: dict[str, Any], trials: int) -> Study:
    """Return a study of so many trials, four seeds a setting, with a fresh store."""
    ((axis, values),) = spec["vary"].items()
    content = {**spec, "name": "throughput", "seeds": 4, "vary": {axis: {**values, "num": trials // 4}}}
    file = folder / "throughput.yaml"
    file.write_text(yaml.safe_dump(content))
    return load(str(file), str(Path(tempfile.mkdtemp(dir=folder)) / "runs"))


def ours(made: Study, scratch: Path) -> Scores:
    """Run a study as `ablate run` does, but for its tables."""
    scores: Scores = {}

    def heard(trial: Trial, result: Any, error: str | None) -> None:
        scores[trial.id] = result.score

    work = Work(open_agenda(made, CPUS), job(made) | {"compile": "off"}, heard)
    drive(iter([work]), Path(tempfile.mkdtemp(dir=scratch)))
    return scores


def objective(config: dict[str, Any]) -> None:
    """Train one trial as a function of Tune."""
    tune.report({"score": fit(json.loads(config["trial"]), load_data(json.loads(config["data"]))).final[SCORE]})


class Reused(tune.Trainable):  # type: ignore[misc]
    """Train one trial after another in one process."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take the first trial."""
        self.config = config

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial."""
        self.config = new_config
        return True

    def step(self) -> dict[str, Any]:
        """Train."""
        outcome = fit(json.loads(self.config["trial"]), dataset(self.config["data"]))
        return {"score": outcome.final[SCORE], "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing, as Tune's processes need not to be used again."""


SCORE = "validation.accuracy"


def plain(trainable: Any, made: Study, scratch: Path, **how: Any) -> Scores:
    """Run the trials of a study by plain Ray Tune."""
    trials = list(open_agenda(made, CPUS).proposed.values())
    space = {"trial": tune.grid_search([json.dumps(t.config) for t in trials]), "data": json.dumps(made.data)}
    folder = tempfile.mkdtemp(dir=scratch)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}), param_space=space, tune_config=tune.TuneConfig(**how),
        run_config=tune.RunConfig(name="plain", storage_path=folder, verbose=0),
    )  # fmt: skip
    results = tuner.fit()
    ids = {json.dumps(t.config): t.id for t in trials}
    return {ids[result.config["trial"]]: result.metrics["score"] for result in results}


def default(made: Study, scratch: Path) -> Scores:
    """Run by plain Ray Tune as it comes."""
    os.environ.pop("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", None)
    return plain(objective, made, scratch)


def tuned(made: Study, scratch: Path) -> Scores:
    """Run by plain Ray Tune as those do who know it well."""
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    return plain(Reused, made, scratch, reuse_actors=True)


def main(rounds: int, trials: int) -> None:
    """Print seconds a trial and the ratios."""
    ways: dict[str, Callable[[Study, Path], Scores]] = {"ours": ours, "tuned": tuned, "default": default}
    began = time.perf_counter()
    with local_ray(CPUS) as scratch, tempfile.TemporaryDirectory() as folder:
        ray.get(ray.remote(lambda: None).remote())
        sys.stdout.write(f"Ray started in {time.perf_counter() - began:.1f} s\n")
        for name, spec in STUDIES.items():
            seconds: dict[str, list[float]] = {way: [] for way in ways}
            scores: dict[str, Scores] = {}
            for _ in range(rounds):
                for way, run in ways.items():
                    made = study(Path(folder), spec, trials)
                    began = time.perf_counter()
                    scores[way] = run(made, scratch)
                    seconds[way].append((time.perf_counter() - began) / trials)
            apart = max(abs(scores["ours"][t] - s) for way in ("tuned", "default") for t, s in scores[way].items())
            sys.stdout.write(f"{name}, {trials} trials: accuracies differ by {apart:.4f} at most\n")
            for way in ways:
                ratio = median(theirs / mine for theirs, mine in zip(seconds[way], seconds["ours"], strict=True))
                sys.stdout.write(f"  {way:8s} {median(seconds[way]):7.3f} s a trial {ratio:6.1f} x ours\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*(int(word) for word in (sys.argv[1:] + ["5", "64"][len(sys.argv) - 1 :])))
