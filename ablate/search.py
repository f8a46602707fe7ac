"""Rounds of trials, as generators: each yields the trials of a round and is sent their results before the next.

A design is one round. A search asks Optuna for a batch of points per round and reports all of their results, in the
order of asking, before it asks again; so its proposals depend on the study alone, not on how many trials run in
parallel or which finishes first, unless it prunes or minimises seconds. Run again, it makes the same proposals and
finds their results in the store. If results of a round are missing, the run was stopped, and the generator ends.
"""

import math
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple

from ablate.designs import DesignPoint, Point, Space, build_point, design_points, search_space
from ablate.keys import DIRECTIONS
from ablate.objectives import point_objectives
from ablate.plan import num_search_points, point_trials
from ablate.study import Study
from ablate.trial import Result, Trial
from ablate.vary import VariedAxis

Rounds = Generator[list[Trial], dict[str, Result], None]


class Proposal(NamedTuple):
    """A point proposed by Optuna, and its trials."""

    study: Any  # optuna.Study
    optuna_trial: Any  # optuna.Trial
    trials: list[Trial]


def rounds(
    study: Study, storage_file: Path | None = None, stop_reason: Callable[[], str | None] = lambda: None
) -> Rounds:
    """Yield the trials of a study, round by round; a trial may recur with other labels.

    Args:
        study: what to run.
        storage_file: of Optuna's storage, for its dashboard; an existing file is replaced.
        stop_reason: returns, between two rounds of a search, why it should end; None: it should go on.
    """
    if study.search.batch is None:
        plan = truncate_to_budget(study, [trial for method in study.methods for trial in design_trials(study, method)])
        yield from sequential_rounds(study, plan)
    else:
        yield from optuna_rounds(study, study.search.batch, storage_file, stop_reason)


def sequential_rounds(study: Study, plan: list[Trial]) -> Rounds:
    """Yield the trials of a plan up to each number of seeds; after the first, only those of undecided methods."""
    results: dict[str, Result] = {}
    undecided, num_done = set(study.methods), 0
    for look in study.looks:
        proposed = [t for t in plan if num_done <= t.seed < look and t.point_labels["method"] in undecided]
        answers = yield proposed
        if look == study.looks[-1] or any(trial.id not in answers for trial in proposed):
            break
        results |= answers
        undecided, num_done = undecided_methods(study, plan, results), look
        if not undecided:
            break


def undecided_methods(study: Study, plan: list[Trial], results: dict[str, Result]) -> set[str]:
    """Return the methods that do not differ significantly from joint training yet, and joint training itself.

    Methods are compared by their best configurations.
    """
    from analysis.sequential import sequential_difference
    from analysis.statistics import LEVEL, holm

    scores = {method: validation_scores(method, plan, results) for method in study.methods if method != "unimodal"}
    joint = best_scores(study, scores.pop("joint"))
    # the factor corrects for choosing the best configuration
    p = [
        sequential_difference(best_scores(study, configurations), joint, study.looks).p * len(configurations)
        for configurations in scores.values()
    ]
    remaining = {method for method, corrected in zip(scores, holm(p), strict=True) if not corrected < LEVEL}
    return {"joint", *remaining} if remaining else set()


def validation_scores(method: str, plan: list[Trial], results: dict[str, Result]) -> list[dict[int, float]]:
    """Return the validation scores, by seed, of each configuration of a method that has any."""
    scores: dict[int, dict[int, float]] = {}
    for trial in plan:
        result = results.get(trial.id)
        if trial.point_labels["method"] == method and result and result.score is not None:
            scores.setdefault(trial.point_labels["point"], {})[trial.seed] = result.score
    return list(scores.values())


def best_scores(study: Study, scores: list[dict[int, float]]) -> dict[int, float]:
    """Return the scores, by seed, of the best configuration among those with the most seeds."""
    sign = 1 if study.maximise else -1
    return max(
        scores, key=lambda by_seed: (len(by_seed), sign * math.fsum(by_seed.values()) / len(by_seed)), default={}
    )


def design_trials(study: Study, method: str) -> list[Trial]:
    """Return the trials of a method's design."""
    return [trial for point in design_points(study, method) for trial in point_trials(study, method, point)]


def truncate_to_budget(study: Study, plan: list[Trial]) -> list[Trial]:
    """Return a plan within the budget of trials, keeping the first points of every method."""
    indices = sorted(range(len(plan)), key=lambda index: plan[index].labels["point"])[: study.file.budget.trials]
    return [plan[index] for index in sorted(indices)]


def optuna_rounds(study: Study, batch: int, storage_file: Path | None, stop_reason: Callable[[], str | None]) -> Rounds:
    """Yield rounds that search the axes of each method, all with as many points; methods without axes run once."""
    spaces = {method: search_space(study, method) for method in study.methods}
    storage = open_storage(storage_file)
    optuna_studies = {
        method: create_optuna_study(study, method, storage) for method, space in spaces.items() if space.axes
    }
    fixed_trials = [
        trial for method in study.methods if method not in optuna_studies for trial in design_trials(study, method)
    ]
    for first in range(0, num_search_points(study), batch):
        if stop_reason():
            break
        numbers = range(first, min(first + batch, num_search_points(study)))
        proposals = [
            ask(study, m, spaces[m], optuna_study, n) for m, optuna_study in optuna_studies.items() for n in numbers
        ]
        proposed = fixed_trials + [trial for proposal in proposals for trial in proposal.trials]
        answers = yield proposed
        tell(study, proposals, answers)
        if any(trial.id not in answers for trial in proposed):
            break
        fixed_trials = []


def open_storage(file: Path | None) -> Any:
    """Return Optuna's storage: a new file, which its dashboard can read at any time, or memory."""
    from optuna.storages import InMemoryStorage, JournalStorage
    from optuna.storages.journal import JournalFileBackend

    if file is None:
        return InMemoryStorage()
    file.parent.mkdir(parents=True, exist_ok=True)
    for old_file in (file, file.with_name(f"{file.name}.lock")):  # no other process writes them
        old_file.unlink(missing_ok=True)
    return JournalStorage(JournalFileBackend(str(file)))


def create_optuna_study(study: Study, method: str, storage: Any) -> Any:
    """Return the Optuna study that searches a method's axes.

    TPE draws the points of a round independently: the constant liar, which would spread them, does not improve the
    search of Branin's function.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    seed = study.search.options.seed
    return optuna.create_study(
        study_name=f"{study.file.name}/{method}",
        storage=storage,
        sampler=(
            optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
            if study.search.name == "cma"
            else optuna.samplers.TPESampler(seed=seed, constant_liar=False)
        ),
        directions=["maximize" if DIRECTIONS[metric] == "max" else "minimize" for metric in study.objectives],
    )


def ask(study: Study, method: str, space: Space, optuna_study: Any, number: int) -> Proposal:
    """Ask Optuna for the next point, and return it with its trials."""
    optuna_trial = optuna_study.ask()
    point: Point = build_point(space, lambda axis: suggest_value(optuna_trial, axis))
    planned = point_trials(study, method, DesignPoint(point, {"point": number}))
    optuna_trial.set_user_attr("trials", [trial.id for trial in planned])
    return Proposal(optuna_study, optuna_trial, planned)


def suggest_value(optuna_trial: Any, axis: VariedAxis) -> Any:
    """Return the value that Optuna suggests for an axis."""
    if axis.low is None or axis.high is None:
        labels = [repr(value) for value in axis.values]  # Optuna's categories must be scalars; values may be lists
        return axis.values[labels.index(optuna_trial.suggest_categorical(axis.key, labels))]
    low, high = axis.bounds
    suggest = optuna_trial.suggest_int if axis.integer else optuna_trial.suggest_float
    return suggest(axis.key, low, high, log=axis.scale == "log")


def tell(study: Study, proposals: list[Proposal], results: dict[str, Result]) -> None:
    """Report to Optuna the means over the trials of each point; a point with a failed trial fails without a value."""
    from optuna.trial import TrialState

    for proposal, values in zip(
        proposals, point_objectives(study, [proposal.trials for proposal in proposals], results), strict=True
    ):
        statuses = {results[trial.id].status if trial.id in results else "failed" for trial in proposal.trials}
        if values is not None:
            proposal.study.tell(proposal.optuna_trial, values)
        else:
            pruned = "pruned" in statuses and statuses <= {"pruned", "done"}
            proposal.study.tell(proposal.optuna_trial, state=TrialState.PRUNED if pruned else TrialState.FAIL)
