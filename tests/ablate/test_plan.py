"""A study becomes trials: every cell once, paired by seed; a search is a function of the study and its results."""

import random
from pathlib import Path
from typing import Any

import optuna

from ablate.agenda import Agenda
from ablate.plan import Result, Trial, size
from ablate.search import rounds, sampler, tell
from ablate.study import Study, load
from tests.ablate.helpers import write


def study(tmp_path: Path, **changes: Any) -> Study:
    return load(str(write(tmp_path, **changes)), str(tmp_path / "store"))


def test_a_grid_has_every_cell_once_for_every_seed(tmp_path: Path) -> None:
    made = study(tmp_path, vary={"agm.alpha": [0, 1, 2], "train.lr": [0.1, 0.2]}, seeds=3)
    (proposed,) = list(rounds(made))
    assert len(proposed) == len({t.id for t in proposed}) == size(made) == 3 * 2 * 3 + 2 * 3
    agm = {
        (t.labels["agm.alpha"], t.labels["train.lr"], t.labels["seed"]) for t in proposed if t.labels["method"] == "agm"
    }
    assert agm == {(a, lr, s) for a in (0.0, 1.0, 2.0) for lr in (0.1, 0.2) for s in range(3)}


def test_unimodal_is_one_trial_of_joint_a_modality_and_seed(tmp_path: Path) -> None:
    made = study(tmp_path, methods=["unimodal"], vary=None)
    (proposed,) = list(rounds(made))
    assert [(t.labels["modality"], t.labels["seed"]) for t in proposed] == [("m0", 0), ("m0", 1), ("m1", 0), ("m1", 1)]
    assert {t.config["method"] for t in proposed} == {"trainables.methods.joint:Joint"}


def test_the_learning_rate_follows_the_optimiser_unless_given(tmp_path: Path) -> None:
    (proposed,) = list(rounds(study(tmp_path, methods=["joint"], vary={"train.optimizer": ["sgd", "adam"]})))
    assert [t.labels["train.lr"] for t in proposed] == [0.02, 0.02, 0.001, 0.001]


SEARCH: dict[str, Any] = {
    "search": {"tpe": {"batch": 4}},
    "trials": 20,
    "vary": {"agm.alpha": {"log": [0.01, 10]}},
    "seeds": 1,
}


def score(trial: Trial) -> Result:
    alpha = trial.labels.get("agm.alpha", 1.0)
    return Result("done", -((alpha - 2) ** 2))


def searched(made: Study, shuffle: int) -> list[str]:
    """Run a search whose trials finish in a random order, several at once."""
    agenda, order = Agenda(rounds(made), lambda trials: {}), random.Random(shuffle)
    running: list[Trial] = []
    while not agenda.finished:
        while (pack := agenda.next()) is not None:
            running += pack
        done = running.pop(order.randrange(len(running)))
        agenda.complete(done, score(done))
    return list(agenda.proposed)


def test_a_search_does_not_depend_on_which_trial_finishes_first(tmp_path: Path) -> None:
    made = study(tmp_path, **SEARCH)
    one, other = searched(made, 1), searched(made, 2)
    assert one == other
    assert len(one) == size(made) == 20 + 1


def test_a_search_approaches_the_best_value(tmp_path: Path) -> None:
    made = study(tmp_path, **SEARCH | {"trials": 60})
    agenda = Agenda(rounds(made), lambda trials: {})
    while (pack := agenda.next()) is not None:
        agenda.complete(pack[0], score(pack[0]))
    found = [t.labels["agm.alpha"] for t in agenda.proposed.values() if t.labels["method"] == "agm"]
    assert min(abs(alpha - 2) for alpha in found[40:]) < 0.1
    assert sum(abs(alpha - 2) < 1 for alpha in found[30:]) > sum(abs(alpha - 2) < 1 for alpha in found[:30])


def test_a_search_continues_from_what_is_stored(tmp_path: Path) -> None:
    made = study(tmp_path, **SEARCH)
    whole = searched(made, 1)
    stored = set(whole[:13])
    agenda = Agenda(rounds(made), lambda trials: {t.id: score(t) for t in trials if t.id in stored})
    while (pack := agenda.next()) is not None:
        assert pack[0].id not in stored
        agenda.complete(pack[0], score(pack[0]))
    assert agenda.cached == 13
    assert list(agenda.proposed) == whole


def test_a_point_with_a_failed_seed_has_failed_and_gets_no_number(tmp_path: Path) -> None:
    made = study(tmp_path, **SEARCH)
    of = sampler(made, "agm")
    for results in ([Result("done", 1.0), Result("diverged", None)], [Result("done", 1.0), Result("done", 2.0)]):
        tell(of, of.ask(), results)
    assert [t.state.name for t in of.trials] == ["FAIL", "COMPLETE"]
    assert of.trials[1].value == 1.5


def test_a_search_writes_optunas_storage(tmp_path: Path) -> None:
    made = study(tmp_path, **SEARCH)
    agenda = Agenda(rounds(made, tmp_path / "search.log"), lambda trials: {t.id: score(t) for t in trials})
    assert agenda.finished
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "search.log")))
    stored = optuna.load_study(study_name="small/agm", storage=storage)
    assert [t.state.name for t in stored.trials] == ["COMPLETE"] * 20
