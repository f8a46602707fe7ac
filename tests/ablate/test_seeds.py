"""Seeds that are added until methods are told from joint training: `seeds: {auto: [fewest, most]}`."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from ablate.cleaning import take_inventory
from ablate.plan import num_trials
from ablate.search import rounds
from ablate.store import write_pack
from ablate.study import Study, load
from ablate.tables import TableWriter
from ablate.trial import Result, Trial
from ablate.trial_queue import TrialQueue, num_unfinished, open_queue
from analysis import load as load_run
from analysis.sequential import level_shares
from analysis.statistics import paired
from analysis.summary import summary
from tests.ablate.helpers import here, write
from trainables.train import Outcome

Score = Callable[[Trial], float | None]
METHODS = ["joint", "agm", "ogm", "unimodal"]


def load_study(tmp_path: Path, **changes: object) -> Study:
    return load(str(write(tmp_path, **{"methods": METHODS, "seeds": {"auto": [5, 20]}} | changes)), str(tmp_path / "s"))


def requested_seeds(study: Study, score: Score) -> dict[str, set[int]]:
    """Return the seeds that each method was asked for, where trials score so."""
    queue = TrialQueue(rounds(study), lambda trials: {t.id: result(score(t)) for t in trials})
    assert queue.is_finished
    assert num_unfinished(study, queue) == 0
    found: dict[str, set[int]] = {}
    for trial in queue.trials.values():
        found.setdefault(trial.labels["method"], set()).add(trial.seed)
    return found


def result(score: float | None) -> Result:
    return Result("failed" if score is None else "done", score)


def noise(trial: Trial) -> float:
    """Differ by method and seed, and on average by nothing."""
    return 0.1 * ((7 * trial.seed + len(trial.labels["method"])) % 5 - 2)


def test_a_method_that_is_told_apart_gets_no_more(tmp_path: Path) -> None:
    """Agm is better by ten deviations, ogm by nothing; joint training goes on beside ogm, unimodal beside none."""
    study = load_study(tmp_path)
    assert study.looks == [5, 10, 20]
    output = here("plan", study.name_or_path, "--store", study.store).stdout
    assert output.startswith("small on synthetic: 120 trials at most, 0 in the store, 120 to run.\n")
    result = requested_seeds(study, lambda t: 0.01 * noise(t) + (t.labels["method"] == "agm"))
    assert {method: len(seeds) for method, seeds in result.items()} == {"joint": 20, "agm": 5, "ogm": 20, "unimodal": 5}
    assert result["ogm"] == set(range(20))


def test_nothing_is_added_where_all_are_told_apart(tmp_path: Path) -> None:
    worse = {"joint": 0.0, "agm": 1.0, "ogm": -1.0, "unimodal": 0.0}
    result = requested_seeds(load_study(tmp_path), lambda t: 0.01 * noise(t) + worse[t.labels["method"]])
    assert all(seeds == set(range(5)) for seeds in result.values())


def test_a_method_without_a_result_is_not_told_apart(tmp_path: Path) -> None:
    result = requested_seeds(load_study(tmp_path), lambda t: None if t.labels["method"] == "agm" else 0.01 * noise(t))
    assert result["agm"] == set(range(20))


def test_the_best_of_many_configurations_has_to_be_better_by_more(tmp_path: Path) -> None:
    """One of one is told apart after five seeds, the best of forty by as much is not."""

    def score(trial: Trial) -> float:
        return 0.1 * noise(trial) + (0.08 if trial.labels.get("agm.alpha") == 1.0 else 0.0)

    one = requested_seeds(load_study(tmp_path, methods=["joint", "agm"], vary=None), score)
    many = requested_seeds(
        load_study(tmp_path, methods=["joint", "agm"], vary={"agm.alpha": [i / 20 for i in range(40)]}), score
    )
    assert (len(one["agm"]), len(many["agm"]) > 5) == (5, True)


def test_it_ends_where_a_round_has_no_answer(tmp_path: Path) -> None:
    conversation = rounds(load_study(tmp_path))
    assert {trial.seed for trial in next(conversation)} == set(range(5))
    with pytest.raises(StopIteration):
        conversation.send({})


def test_a_run_is_finished_with_fewer_seeds_than_the_most(tmp_path: Path) -> None:
    """Its tables say that it is whole, and its summary how surely methods are told apart, looks counted."""
    study = load_study(tmp_path, methods=["joint", "agm"], vary=None)
    for trial in next(rounds(study)):
        score = 0.5 + 0.01 * noise(trial) + 0.1 * (trial.labels["method"] == "agm")
        final = {"validation.accuracy": score, "test.accuracy": score}
        write_pack(study.store, [(trial, Outcome("done", None, 1.0, 6, 9, final, [], []))])
    plan: list[Trial] = []
    queue = open_queue(study, plan=plan)
    assert queue.is_finished
    TableWriter(study, queue, pytest.fail, plan).close()
    run = load_run(study.folder)
    assert (run.looks, run.study["planned"], len(plan), num_trials(study)) == ([5, 10, 20], 10, 10, 40)
    assert take_inventory(study.store).unfinished == []
    assert here("status", study.folder).stdout == "small: 10 of 10 trials done.\n"
    assert (
        "all 10 trials are in the store; nothing to run."
        in here("run", study.name_or_path, "--store", study.store).stderr
    )
    agm = summary(run).row(by_predicate=pl.col("method") == "agm", named=True)
    once = paired([0.1 + 0.01 * (noise(plan[5 + s]) - noise(plan[s])) for s in range(5)], [0.0] * 5)
    assert agm["p"] == pytest.approx(once.p / level_shares([5, 10, 20])[0])
    assert agm["difference_low"] < once.low
