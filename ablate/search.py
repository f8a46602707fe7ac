"""What to run next, as a conversation: a round of trials is proposed, their results are told, the next follows.

A design is one round. A search asks Optuna for a batch of points in each round and tells it all of their results,
in the order of asking, before it asks again; so its proposals depend on the study alone, and not on how many trials
run at once or which finishes first. Run again, it makes the same proposals and finds their results in the store.
Where results of a round are missing from the answer, nothing more will run, and the conversation ends.
"""

import math
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple

from ablate.designs import DesignPoint, Point, Space, build_point, design_points, search_space
from ablate.keys import DIRECTIONS
from ablate.objectives import measured
from ablate.plan import num_search_points, point_trials
from ablate.study import Study
from ablate.trial import Result, Trial
from ablate.vary import VariedAxis

Rounds = Generator[list[Trial], dict[str, Result], None]


class Asked(NamedTuple):
    """A proposal of Optuna, and the trials that answer it."""

    study: Any  # optuna.Study
    proposal: Any  # optuna.Trial
    trials: list[Trial]


def rounds(study: Study, log: Path | None = None, spent: Callable[[], str | None] = lambda: None) -> Rounds:
    """Propose the trials of a study, round by round; one may be proposed again, under other labels.

    Args:
        study: what to run.
        log: where a search keeps Optuna's storage, for its dashboard; what is there is replaced.
        spent: says between two rounds of a search why no other should follow; None: it should.
    """
    if study.search.batch is None:
        plan = shortened(study, [trial for method in study.methods for trial in design(study, method)])
        yield from looked(study, plan)
    else:
        yield from search(study, study.search.batch, log, spent)


def looked(study: Study, plan: list[Trial]) -> Rounds:
    """Propose the seeds of a plan up to each look; after one, of the methods that are still to be told apart."""
    results: dict[str, Result] = {}
    going, done = set(study.methods), 0
    for look in study.seed_counts:
        proposed = [t for t in plan if done <= t.seed < look and t.point_labels["method"] in going]
        answers = yield proposed
        if look == study.seed_counts[-1] or any(trial.id not in answers for trial in proposed):
            break
        results |= answers
        going, done = undecided(study, plan, results), look
        if not going:
            break


def undecided(study: Study, plan: list[Trial], results: dict[str, Result]) -> set[str]:
    """Return the methods whose best configurations are not told from that of joint training yet, and that itself."""
    from analysis.sequential import sequential_difference
    from analysis.statistics import LEVEL, holm

    scores = {method: validated(method, plan, results) for method in study.methods if method != "unimodal"}
    joint = best(study, scores.pop("joint"))
    p = [
        sequential_difference(best(study, ones), joint, study.seed_counts).p * len(ones) for ones in scores.values()
    ]  # the best of so many
    left = {method for method, corrected in zip(scores, holm(p), strict=True) if not corrected < LEVEL}
    return {"joint", *left} if left else set()


def validated(method: str, plan: list[Trial], results: dict[str, Result]) -> list[dict[int, float]]:
    """Return the scores on validation, by seed, of each configuration of a method that has some."""
    scores: dict[int, dict[int, float]] = {}
    for trial in plan:
        result = results.get(trial.id)
        if trial.point_labels["method"] == method and result and result.score is not None:
            scores.setdefault(trial.point_labels["point"], {})[trial.seed] = result.score
    return list(scores.values())


def best(study: Study, scores: list[dict[int, float]]) -> dict[int, float]:
    """Return the scores of the best configuration among those that have the most seeds."""
    sign = 1 if study.maximise else -1
    return max(scores, key=lambda one: (len(one), sign * math.fsum(one.values()) / len(one)), default={})


def design(study: Study, method: str) -> list[Trial]:
    """Return the trials of a method that are known up front."""
    return [trial for row in design_points(study, method) for trial in point_trials(study, method, row)]


def shortened(study: Study, plan: list[Trial]) -> list[Trial]:
    """Return as much of a plan as the budget of trials allows, the first points of every method."""
    places = sorted(range(len(plan)), key=lambda place: plan[place].labels["point"])[: study.file.budget.trials]
    return [plan[place] for place in sorted(places)]


def search(study: Study, batch: int, log: Path | None, spent: Callable[[], str | None]) -> Rounds:
    """Search the axes of every method that has some, each with the same number of points; others run once."""
    spaces = {method: search_space(study, method) for method in study.methods}
    storage = opened(log)
    searched = {method: sampler(study, method, storage) for method, among in spaces.items() if among.axes}
    waiting = [trial for method in study.methods if method not in searched for trial in design(study, method)]
    for first in range(0, num_search_points(study), batch):
        if spent():
            break
        numbers = range(first, min(first + batch, num_search_points(study)))
        asked = [ask(study, m, spaces[m], optuna, n) for m, optuna in searched.items() for n in numbers]
        proposed = waiting + [trial for one in asked for trial in one.trials]
        answers = yield proposed
        tell(study, asked, answers)
        if any(trial.id not in answers for trial in proposed):
            break
        waiting = []


def opened(log: Path | None) -> Any:
    """Return Optuna's storage: a new file that its dashboard can read meanwhile, or memory."""
    from optuna.storages import InMemoryStorage, JournalStorage
    from optuna.storages.journal import JournalFileBackend

    if log is None:
        return InMemoryStorage()
    log.parent.mkdir(parents=True, exist_ok=True)
    for stale in (log, log.with_name(f"{log.name}.lock")):  # this process is the only one that writes it
        stale.unlink(missing_ok=True)
    return JournalStorage(JournalFileBackend(str(log)))


def sampler(study: Study, method: str, storage: Any) -> Any:
    """Return the Optuna study that searches a method's axes.

    TPE draws the points of a round independently: with the constant liar they would keep apart from each other, which
    on Branin's function makes the search no better.
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


def ask(study: Study, method: str, among: Space, optuna_study: Any, number: int) -> Asked:
    """Return the next point that Optuna proposes, with its trials."""
    proposal = optuna_study.ask()
    point: Point = build_point(among, lambda axis: suggested(proposal, axis))
    asked = point_trials(study, method, DesignPoint(point, {"point": number}))
    proposal.set_user_attr("trials", [trial.id for trial in asked])
    return Asked(optuna_study, proposal, asked)


def suggested(proposal: Any, axis: VariedAxis) -> Any:
    """Return the value of an axis that Optuna proposes."""
    if axis.low is None or axis.high is None:
        labels = [repr(value) for value in axis.values]  # Optuna's categories must be plain; ours may be lists
        return axis.values[labels.index(proposal.suggest_categorical(axis.key, labels))]
    low, high = axis.bounds
    suggest = proposal.suggest_int if axis.integer else proposal.suggest_float
    return suggest(axis.key, low, high, log=axis.scale == "log")


def tell(study: Study, asked: list[Asked], results: dict[str, Result]) -> None:
    """Tell Optuna the means over the trials of each point; a point with a failed trial has failed, without a number."""
    from optuna.trial import TrialState

    for one, values in zip(asked, measured(study, [one.trials for one in asked], results), strict=True):
        ended = {results[trial.id].status if trial.id in results else "failed" for trial in one.trials}
        if values is not None:
            one.study.tell(one.proposal, values)
        else:
            pruned = "pruned" in ended and ended <= {"pruned", "done"}
            one.study.tell(one.proposal, state=TrialState.PRUNED if pruned else TrialState.FAIL)
