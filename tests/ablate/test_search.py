"""Searches: a function of the study and its results, whatever finishes first and wherever it was killed."""

import math
import random
import re
import shutil
import statistics
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from ablate import shards, tables
from ablate.budget import Budget
from ablate.plan import num_trials
from ablate.run import start_study
from ablate.search import rounds
from ablate.store import write_pack
from ablate.study import Study, load
from ablate.terminal import ProgressDisplay
from ablate.trial import Result, Trial
from ablate.trial_queue import TrialQueue, num_unfinished, open_queue
from analysis import load as tabled
from tests.ablate.helpers import here, write
from trainables.evaluation import Row
from trainables.train import Outcome

SEARCH: dict[str, Any] = {
    "search": {"tpe": {"batch": 4}},
    "trials": 20,
    "vary": {"agm.alpha": {"log": [0.01, 10]}},
    "seeds": 1,
}
PLANE = {"agm.alpha": {"linear": [0, 1]}, "agm.cap": {"linear": [0, 1]}}
Score = Callable[[Trial], Result]


def load_study(tmp_path: Path, **changes: Any) -> Study:
    return load(str(write(tmp_path, **changes)), str(tmp_path / "store"))


def quadratic_score(trial: Trial) -> Result:
    alpha = trial.labels.get("agm.alpha", 1.0)
    return Result("done", -((alpha - 2) ** 2))


def run_search(
    study: Study, score: Score = quadratic_score, log: Path | None = None, shuffle: int | None = None
) -> list[Trial]:
    """Run a search, several trials at once, those of a round in a random order; return all that was proposed."""
    budget, order = Budget(study), random.Random(shuffle)
    queue = TrialQueue(rounds(study, log, budget.stop_reason), lambda trials: {}, budget=budget)
    running: list[Trial] = []
    while not queue.is_finished:
        while (pack := queue.next_pack()) is not None:
            running += pack
        done = running.pop(order.randrange(len(running)) if shuffle is not None else 0)
        queue.complete(done, score(done))
    return list(queue.trials.values())


def load_optuna_study(log: Path, name: str = "small/agm") -> optuna.Study:
    """Return a search as another process sees it."""
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(log)))
    return optuna.load_study(study_name=name, storage=storage)


@pytest.mark.parametrize("name", ["tpe", "cma"])
def test_a_search_does_not_depend_on_which_trial_finishes_first(tmp_path: Path, name: str) -> None:
    study = load_study(tmp_path, **SEARCH | {"search": {name: {"batch": 4}}, "vary": PLANE})
    one, other = run_search(study, shuffle=1), run_search(study, shuffle=2)
    assert [trial.id for trial in one] == [trial.id for trial in other]
    assert len(one) == num_trials(study) == 20 + 1


@pytest.mark.parametrize("name", ["tpe", "cma"])
def test_its_seed_makes_another_search(tmp_path: Path, name: str) -> None:
    studies = [load_study(tmp_path, **SEARCH | {"search": {name: {"seed": seed}}, "vary": PLANE}) for seed in (0, 1)]
    one, other = ({trial.id for trial in run_search(each) if trial.labels["method"] == "agm"} for each in studies)
    assert not one & other


def test_a_search_continues_from_what_is_stored(tmp_path: Path) -> None:
    study = load_study(tmp_path, **SEARCH)
    whole = [trial.id for trial in run_search(study)]
    held = set(whole[:13])
    queue = TrialQueue(rounds(study), lambda trials: {t.id: quadratic_score(t) for t in trials if t.id in held})
    while (pack := queue.next_pack()) is not None:
        assert pack[0].id not in held
        queue.complete(pack[0], quadratic_score(pack[0]))
    assert queue.num_cached == 13
    assert list(queue.trials) == whole


def test_optunas_history_is_what_the_store_says_after_a_kill_at_any_moment(
    tmp_path: Path,
) -> None:
    """The driver is gone without a word, in the midst of a round; what it wrote remains, and is written anew."""
    study, log = load_study(tmp_path, **SEARCH), tmp_path / "search.log"

    def history() -> list[Any]:
        return [(t.state.name, t.params, t.values, t.user_attrs) for t in load_optuna_study(log).trials]

    run_search(study, log=log)
    undisturbed = history()
    assert [state for state, *_ in undisturbed] == ["COMPLETE"] * 20
    known: dict[str, Result] = {}
    for finished in (3, 9, 4, 100):
        queue = TrialQueue(rounds(study, log), lambda trials: {t.id: known[t.id] for t in trials if t.id in known})
        while finished and (pack := queue.next_pack()) is not None:
            known[pack[0].id] = quadratic_score(pack[0])
            queue.complete(pack[0], known[pack[0].id])
            finished -= 1
    assert history() == undisturbed


def test_a_search_can_be_watched_while_it_runs(tmp_path: Path) -> None:
    study, log = load_study(tmp_path, **SEARCH, methods=["agm"]), tmp_path / "search.log"
    proposals = rounds(study, log)
    first = next(proposals)
    assert Counter(t.state.name for t in load_optuna_study(log).trials) == {"RUNNING": 4}
    assert [t.user_attrs["trials"] for t in load_optuna_study(log).trials] == [[t.id] for t in first]
    proposals.send({t.id: quadratic_score(t) for t in first})
    assert Counter(t.state.name for t in load_optuna_study(log).trials) == {"COMPLETE": 4, "RUNNING": 4}


def test_a_search_that_ends_within_a_round_has_no_trial_that_runs_for_ever(tmp_path: Path) -> None:
    study, log = load_study(tmp_path, **SEARCH, methods=["agm"]), tmp_path / "search.log"
    queue = TrialQueue(rounds(study, log), lambda trials: {})
    for _ in range(5):
        (one,) = queue.next_pack() or []
        queue.complete(one, quadratic_score(one))
    queue.close()
    assert [t.state.name for t in load_optuna_study(log).trials] == ["COMPLETE"] * 5 + ["FAIL"] * 3
    assert queue.is_finished


def test_a_point_without_a_number_has_the_state_that_says_why(tmp_path: Path) -> None:
    study, log = load_study(tmp_path, **SEARCH | {"seeds": 2, "trials": 4}, methods=["agm"]), tmp_path / "search.log"
    proposals = rounds(study, log)
    asked = next(proposals)
    ends = [
        [Result("done", 1.0), Result("done", 2.0)],
        [Result("done", 1.0), Result("diverged", None)],
        [Result("pruned", None), Result("done", 2.0)],
        [Result("done", math.nan), Result("done", 2.0)],
    ]
    with pytest.raises(StopIteration):
        proposals.send({t.id: result for t, result in zip(asked, (r for end in ends for r in end), strict=True)})
    assert [(t.state.name, t.value) for t in load_optuna_study(log).trials] == [
        ("COMPLETE", 1.5), ("FAIL", None), ("PRUNED", None), ("FAIL", None),
    ]  # fmt: skip


def test_what_is_proposed_twice_runs_once_and_counts_twice(tmp_path: Path) -> None:
    study, log = load_study(tmp_path, **SEARCH | {"vary": {"agm.alpha": [0, 1, 2]}}), tmp_path / "search.log"
    trained = run_search(study, log=log)
    assert len(trained) == 3 + 1
    assert Counter(t.state.name for t in load_optuna_study(log).trials) == {"COMPLETE": 20}
    values = {t.params["agm.alpha"]: t.value for t in load_optuna_study(log).trials}
    assert values == {"0.0": -4.0, "1.0": -1.0, "2.0": 0.0}


def test_an_axis_is_proposed_only_where_it_acts(tmp_path: Path) -> None:
    vary = {
        "agm.beta": {"linear": [0.5, 1]},
        "agm.reference": ["ema", "window", "cumulative"],
        "train.lr": {"log": [0.01, 1]},
    }
    study, log = load_study(tmp_path, **SEARCH | {"vary": vary}, methods=["joint", "agm"]), tmp_path / "search.log"
    proposed = run_search(study, lambda trial: Result("done", trial.labels["train.lr"]), log)
    for trial in load_optuna_study(log).trials:
        assert ("agm.beta" in trial.params) == (trial.params["agm.reference"] == "'ema'")
    assert all(set(trial.params) == {"train.lr"} for trial in load_optuna_study(log, "small/joint").trials)
    of_agm = [t.labels for t in proposed if t.labels["method"] == "agm"]
    assert {labels["agm.reference"] for labels in of_agm} == {"ema", "window", "cumulative"}
    assert all((labels["agm.beta"] is None) == (labels["agm.reference"] != "ema") for labels in of_agm)


def branin(u: float, v: float) -> float:
    """Branin's function, negated, over the unit square: three peaks of 0."""
    x, y = 15 * u - 5, 15 * v
    bowl = (y - 5.1 * x**2 / (4 * math.pi**2) + 5 * x / math.pi - 6) ** 2
    return -(bowl + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10 - 0.397887)


def best_score(tmp_path: Path, search: dict[str, Any], trials: int = 64) -> float:
    def value(trial: Trial) -> float:
        return branin(trial.labels["agm.alpha"], trial.labels["agm.cap"])

    study = load_study(tmp_path, methods=["agm"], vary=PLANE, seeds=1, search=search, trials=trials)
    return max(value(trial) for trial in run_search(study, lambda trial: Result("done", value(trial))))


def test_tpe_and_cma_find_better_points_than_random_search_over_20_seeds(tmp_path: Path) -> None:
    seeds = {"random": 20, "tpe": 20, "cma": 10}
    result = {name: [best_score(tmp_path, {name: {"seed": seed}}) for seed in range(n)] for name, n in seeds.items()}
    wins = sum(tpe > drawn for tpe, drawn in zip(result["tpe"], result["random"], strict=True))
    assert wins >= 15  # of 20: a sign test's p is 0.02
    for name in ("tpe", "cma"):
        assert statistics.median(result[name]) > statistics.median(result["random"])


def store_trial(study: Study, trial: Trial, accuracy: float, seconds: float, probes: tuple[float, float]) -> Result:
    """Put a trial into the store as if it had run."""
    final = {"validation.accuracy": accuracy, "validation.loss": 1 - accuracy}
    rows = [Row(2, 6, "validation", m, "probe_accuracy", p) for m, p in zip(("m0", "m1"), probes, strict=True)]
    write_pack(study.store, [(trial, Outcome("done", None, seconds, 6, 9, final, rows, []))])
    return Result("done", accuracy)


def test_every_proposal_is_a_row_whenever_tables_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a round proposes what was proposed and written before, or finds all of it in the store."""
    monkeypatch.setattr(tables, "MIN_INTERVAL", 0)
    monkeypatch.setattr(tables, "INTERVAL_RATIO", 0)
    for module in (tables, shards):
        monkeypatch.setattr(module, "SHARD_SIZE", 2)

    def rows(name: str) -> list[str]:
        study = load_study(tmp_path, **SEARCH | {"name": name, "vary": {"agm.alpha": [0, 1, 2, 3, 4, 5]}})
        run = start_study(study, 1, 0, ProgressDisplay([study]).study_callback(study), lambda study, outcome: None)
        while pack := run.queue.next_pack():
            for trial in pack:
                result = store_trial(study, trial, 1 / (1 + trial.labels.get("agm.alpha", 1.0)), 1.0, (0.5, 0.5))
                run.queue.complete(trial, result)
                run.on_result(trial, result, None)
        run.close()
        return tabled(study.folder).trials.collect()["trial"].to_list()

    first = rows("first")
    assert len(set(first)) < len(first) == 20 + 1
    shutil.rmtree(tmp_path / "store/trials" / first[0])
    assert sorted(rows("second")) == sorted(first)


def test_several_metrics_are_told_as_the_store_has_them(tmp_path: Path) -> None:
    changes = SEARCH | {"seeds": 2, "trials": 12, "metric": ["accuracy", "seconds", "balance"], "measure": ["probe"]}
    study, log = load_study(tmp_path, **changes, methods=["agm"]), tmp_path / "search.log"

    def trained(trial: Trial) -> Result:
        alpha, seed = trial.labels["agm.alpha"], trial.labels["seed"]
        return store_trial(study, trial, 1 / (1 + alpha) + 0.01 * seed, alpha + 2 * seed, (0.5, 0.5 + 0.1 * alpha))

    run_search(study, trained, log)
    history = load_optuna_study(log)
    assert [direction.name for direction in history.directions] == ["MAXIMIZE", "MINIMIZE", "MAXIMIZE"]
    for trial in history.trials:
        alpha = trial.params["agm.alpha"]
        assert trial.values == pytest.approx([1 / (1 + alpha) + 0.005, alpha + 1, -0.1 * alpha])
    first = [t.params for t in history.trials]
    run_search(study, trained, log)
    assert [t.params for t in load_optuna_study(log).trials] == first


def test_a_search_ends_when_its_budget_is_spent(tmp_path: Path) -> None:
    study = load_study(tmp_path, **SEARCH | {"budget": {"trials": 12}, "seeds": 2})
    assert len(run_search(study)) == num_trials(study) == 2 + 5 * 2
    study = load_study(tmp_path, **SEARCH | {"budget": {"target": -0.5}})
    reached = [quadratic_score(trial).score for trial in run_search(study) if trial.labels["method"] == "agm"]
    assert 4 <= len(reached) < 20
    assert max(reached[-4:]) >= -0.5 > max(reached[:-4], default=-9.0)


@pytest.mark.parametrize("search", ["grid", "tpe"])
def test_nothing_starts_once_the_hours_are_over_and_what_runs_is_heard(tmp_path: Path, search: str) -> None:
    vary = {"agm.alpha": {"log": [0.01, 10], "num": 9}}
    study = load_study(tmp_path, **SEARCH | {"budget": {"hours": 1e-9}, "search": search, "vary": vary, "trials": None})
    budget = Budget(study)
    queue = TrialQueue(rounds(study, None), lambda trials: {}, budget=budget)
    assert (queue.next_pack(), queue.has_ended, queue.is_finished) == (None, True, False)
    assert queue.stop_reason == "1e-09 hours have passed"
    (first, *_) = queue.pending_packs[0]
    queue.complete(first, quadratic_score(first))
    assert queue.results == {first.id: quadratic_score(first)}


def test_a_search_whose_hours_are_over_before_its_first_round_has_nothing_to_run(tmp_path: Path) -> None:
    study = load_study(tmp_path, **SEARCH | {"budget": {"hours": 1e-9}})
    queue = open_queue(study)
    assert (queue.next_pack(), queue.has_ended, queue.trials, queue.stop_reason) == (
        None,
        True,
        {},
        "1e-09 hours have passed",
    )
    planned = here("plan", write(tmp_path, **SEARCH | {"budget": {"hours": 1e-9}}), "--store", tmp_path / "store")
    assert planned.returncode == 0
    assert "1e-09 hours have passed" in planned.stdout


def test_a_search_that_its_budget_ends_between_two_rounds_is_not_complete_and_says_so(tmp_path: Path) -> None:
    study = load_study(tmp_path, **SEARCH | {"budget": {"target": -0.5}})
    queue = open_queue(study)
    while (pack := queue.next_pack()) is not None:
        for trial in pack:
            queue.complete(trial, quadratic_score(trial))
    assert queue.num_pending == 0
    assert num_unfinished(study, queue) == num_trials(study) - len(queue.trials) > 0
    ended = here("run", write(tmp_path, **SEARCH | {"budget": {"hours": 1e-9}}), "--store", tmp_path / "store")
    assert ended.returncode == 0
    assert "nothing to run" not in ended.stderr
    assert "Stopped by the budget: 1e-09 hours have passed. 0 trials are known; raise the budget" in ended.stderr


def test_a_budget_says_why_it_is_spent_and_one_lucky_seed_is_no_reason(tmp_path: Path) -> None:
    study = load_study(tmp_path, vary=None, methods=["joint", "unimodal"], seeds=2, budget={"target": 0.9})
    budget, (proposed,) = Budget(study), list(rounds(study))
    joint, *_, alone = proposed
    budget.add_result(joint, Result("done", 0.99))
    budget.add_result(alone, Result("done", 1.0))
    budget.add_result(proposed[1], Result("diverged", None))
    assert budget.stop_reason() is None
    budget.add_result(proposed[1], Result("done", 0.83))
    assert budget.stop_reason() == "a configuration reached 0.91, and the target is 0.9"


def test_metrics_that_are_less_when_better_reach_a_target_from_above(tmp_path: Path) -> None:
    study = load_study(tmp_path, vary=None, methods=["joint"], seeds=1, metric="loss", budget={"target": 0.5})
    budget, (proposed,) = Budget(study), list(rounds(study))
    budget.add_result(proposed[0], Result("done", 0.6))
    assert budget.stop_reason() is None
    budget.add_result(proposed[0], Result("done", 0.4))
    assert budget.stop_reason() is not None


def test_a_plan_of_points_that_repeat_adds_up(tmp_path: Path) -> None:
    """TPE proposes few values again and again: what is known and what is missing are all trials there are."""
    study = load_study(
        tmp_path, methods=["agm"], vary={"agm.alpha": [1, 2, 3]}, search={"tpe": {"batch": 4}}, trials=12, seeds=1
    )
    results: dict[str, Result] = {}
    conversation = rounds(study)
    proposed = next(conversation)
    while True:
        for trial in proposed:
            if trial.id not in results:
                results[trial.id] = quadratic_score(trial)
                final = {"validation.accuracy": results[trial.id].score, "test.accuracy": 0.0}
                write_pack(study.store, [(trial, Outcome("done", None, 1.0, 6, 9, final, [], []))])
        output = here("plan", study.name_or_path, "--store", study.store).stdout.splitlines()[0]
        total, stored, missing = map(int, re.findall(r"(\d+) (?:trials?,|in the store|to run)", output))
        assert (total, stored) == (stored + missing, len(results))
        try:
            proposed = conversation.send({trial.id: results[trial.id] for trial in proposed})
        except StopIteration:
            break
    assert (total, missing) == (3, 0)
    output = here("run", study.name_or_path, "--store", study.store).stderr
    assert "all 3 trials are in the store; nothing to run." in output
