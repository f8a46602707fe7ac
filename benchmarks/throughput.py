"""Measure trials a second: this project against plain Ray Tune, with the same trials and final scores.

    python -m benchmarks.throughput [rounds] [trials]

Two studies on two cores: AGM on av-digits (10 epochs) and joint training on the six views of mfeat (20 epochs). Plain
Ray Tune trains every trial by a PyTorch script (`benchmarks.plain`), one after another on each core: as a function with
Tune's `default` settings, and `tuned`, as a class whose processes are used again and without loggers. `loop` is `tuned`
with this project's own training loop in place of the script: what packs alone gain. Medians over the rounds, in each of
which all four run in turn.

What comes before the first trial is set-up, printed beside and not counted: the start of two processes, and here the
compilation of the steps, in a study of one epoch before the one that is timed (`compile: on`; `auto` compiles none so
short). Then FEW trials run with everything counted but the start of Ray, as studies come.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import ray
from ray import tune

from ablate.launch import local_ray, run_on_ray
from ablate.pack_training import load_dataset
from ablate.run import build_job
from ablate.study import Study
from ablate.trial import Trial
from ablate.trial_queue import StudyRun, open_queue
from benchmarks import plain
from benchmarks.configurations import write_study
from trainables.data import Dataset
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
FEW = 16
SCORE = "validation.accuracy"


class Timing(NamedTuple):
    """The times and scores of a study."""

    setup: float  # seconds before the first trial
    seconds: float  # after that
    scores: dict[str, float]  # trial -> accuracy on validation


def make_study(folder: Path, spec: dict[str, Any], trials: int, **changes: Any) -> Study:
    """Return a study of a number of trials, four seeds a setting, with a fresh store."""
    ((axis, values),) = spec["vary"].items()
    vary = {axis: {**values, "num": trials // 4}}
    content = {**spec, "name": "throughput", "seeds": 4, "vary": vary, "resources": {"compile": "on"}, **changes}
    return write_study(folder, content, Path(tempfile.mkdtemp(dir=folder)) / "runs")


def run_ablate(scratch: Path, *studies: Study) -> Timing:
    """Run studies as `ablate run` does, but without tables; all but the last count as set-up."""
    scores: dict[str, float] = {}
    ends: list[float] = []

    def study_run(study: Study) -> StudyRun:
        def on_result(trial: Trial, result: Any, error: str | None) -> None:
            ends.append(time.time())
            if study is studies[-1]:
                scores[trial.id] = result.score

        return StudyRun(open_queue(study, CPUS), build_job(study), on_result)

    began = time.time()
    run_on_ray(map(study_run, studies), Path(tempfile.mkdtemp(dir=scratch)))
    ended = time.time()
    first = ends[0] if len(studies) > 1 else began
    return Timing(first - began, ended - first, scores)


def train_trial(config: dict[str, Any], data: Dataset) -> dict[str, Any]:
    """Train a trial by the script or this project's loop; return its score and start time."""
    began, trial = time.time(), json.loads(config["trial"])
    score = fit(trial, data).final[SCORE] if config["loop"] else plain.train(trial, data)
    return {"began": began, "score": score}


def objective(config: dict[str, Any]) -> None:
    """Train a trial as a function trainable of Tune."""
    tune.report(train_trial(config, load_data(json.loads(config["data"]))))


class ReusedTrainable(tune.Trainable):  # type: ignore[misc]
    """A trainable whose process trains one trial after another."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take the first trial."""
        self.config = config

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial."""
        self.config = new_config
        return True

    def step(self) -> dict[str, Any]:
        """Train."""
        return {**train_trial(self.config, load_dataset(self.config["data"])), "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing: Tune needs no checkpoint to reuse a process."""


def run_ray_tune(trainable: Any, study: Study, scratch: Path, *, loop: bool = False, **how: Any) -> Timing:
    """Run the trials of a study by plain Ray Tune; ``loop``: with this project's training loop."""
    trials = list(open_queue(study, CPUS).trials.values())
    configs = tune.grid_search([json.dumps(t.config) for t in trials])
    space = {"trial": configs, "data": json.dumps(study.data), "loop": loop}
    folder = tempfile.mkdtemp(dir=scratch)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}), param_space=space, tune_config=tune.TuneConfig(**how),
        run_config=tune.RunConfig(name="plain", storage_path=folder, verbose=0),
    )  # fmt: skip
    began = time.time()
    results = tuner.fit()
    ended = time.time()
    ids = {json.dumps(t.config): t.id for t in trials}
    first = min(result.metrics["began"] for result in results)
    scores = {ids[result.config["trial"]]: result.metrics["score"] for result in results}
    return Timing(first - began, ended - first, scores)


def run_default_ray_tune(study: Study, scratch: Path) -> Timing:
    """Run a study by plain Ray Tune with its defaults."""
    os.environ.pop("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", None)
    return run_ray_tune(objective, study, scratch)


def run_tuned_ray_tune(study: Study, scratch: Path, *, loop: bool = False) -> Timing:
    """Run a study by plain Ray Tune with reused processes and without loggers."""
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    return run_ray_tune(ReusedTrainable, study, scratch, loop=loop, reuse_actors=True)


def run_plainly(study: Study, scratch: Path) -> dict[str, Timing]:
    """Run a study by plain Ray Tune in every way."""
    return {
        "loop": run_tuned_ray_tune(study, scratch, loop=True),
        "tuned": run_tuned_ray_tune(study, scratch),
        "default": run_default_ray_tune(study, scratch),
    }


def time_without_setup(spec: dict[str, Any], trials: int, folder: Path, scratch: Path) -> dict[str, Timing]:
    """Run a study in every way, by this project after another study that compiles the same steps."""
    study = make_study(folder, spec, trials)
    before = make_study(folder, spec, trials, train={**spec["train"], "epochs": 1})
    return {"ours": run_ablate(scratch, before, study)} | run_plainly(study, scratch)


def time_with_setup(spec: dict[str, Any], trials: int, folder: Path, scratch: Path) -> dict[str, Timing]:
    """Run a study in every way, and count set-up as well."""
    study = make_study(folder, spec, trials, resources={})
    timed = {"ours": run_ablate(scratch, study)} | run_plainly(study, scratch)
    return {way: Timing(0.0, timing.setup + timing.seconds, timing.scores) for way, timing in timed.items()}


def print_timings(rounds: list[dict[str, Timing]], trials: int, what: str) -> None:
    """Print seconds a trial and the ratios."""
    last = {way: timing.scores for way, timing in rounds[-1].items()}
    apart = max(abs(last["ours"][t] - score) for scores in last.values() for t, score in scores.items())
    sys.stdout.write(f"{what}, {trials} trials: accuracies differ by {apart:.4f} at most\n")
    for way in last:
        cost = median(timings[way].seconds for timings in rounds) / trials
        ratio = median(timings[way].seconds / timings["ours"].seconds for timings in rounds)
        before = median(timings[way].setup for timings in rounds)
        apart = f"   (set-up {before:5.1f} s)" if before else ""
        sys.stdout.write(f"  {way:8s} {cost:7.3f} s a trial {ratio:6.1f} x ours{apart}\n")
    sys.stdout.flush()


def main(rounds: int, trials: int) -> None:
    """Time all studies in every way."""
    began = time.perf_counter()
    with local_ray(CPUS) as scratch, tempfile.TemporaryDirectory() as name:
        ray.get(ray.remote(lambda: None).remote())
        sys.stdout.write(f"Ray started in {time.perf_counter() - began:.1f} s\n")
        for what, spec in STUDIES.items():
            print_timings([time_without_setup(spec, trials, Path(name), scratch) for _ in range(rounds)], trials, what)
            few = [time_with_setup(spec, FEW, Path(name), scratch) for _ in range(rounds)]
            print_timings(few, FEW, f"{what}, set-up counted")


if __name__ == "__main__":
    main(*(int(word) for word in (sys.argv[1:] + ["5", "64"][len(sys.argv) - 1 :])))
