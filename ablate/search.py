"""What to run next, as a conversation: a round of trials is proposed, their results are told, the next follows.

A design is one round. A search asks Optuna for a batch of points in each round and tells it all of their results,
in the order of asking, before it asks again; so its proposals depend on the study alone, and not on how many trials
run at once or which finishes first. Run again, it makes the same proposals and finds their results in the store.
"""

import math
from collections.abc import Generator
from pathlib import Path
from typing import Any

from ablate.files import aside
from ablate.plan import Point, Result, Trial, axes_for, grid, trials
from ablate.study import Study
from ablate.vary import Varied

Rounds = Generator[list[Trial], dict[str, Result], None]


def rounds(study: Study, log: Path | None = None) -> Rounds:
    """Propose the trials of a study, round by round; ``log`` is where a finished search leaves Optuna's storage."""
    if study.rounds is None:
        yield [one for method in study.methods for point in grid(study, method) for one in trials(study, method, point)]
    else:
        yield from search(study, study.rounds, log)


def search(study: Study, batch: int, log: Path | None) -> Rounds:
    """Search the axes of every method that has some, each with the same number of points; others run once."""
    searched = {method: sampler(study, method) for method in study.methods if axes_for(study, method)}
    fixed = [t for method in study.methods if method not in searched for t in trials(study, method, {})]
    for first in range(0, study.file.trials, batch):
        count = min(batch, study.file.trials - first)
        asked = {
            method: [(proposal, trials(study, method, propose(proposal, axes_for(study, method)))) for proposal in asks]
            for method, asks in (
                (m, [optuna_study.ask() for _ in range(count)]) for m, optuna_study in searched.items()
            )
        }
        proposed = [t for pairs in asked.values() for _, seeds in pairs for t in seeds]
        results = yield (fixed if first == 0 else []) + list({t.id: t for t in proposed}.values())
        for method, pairs in asked.items():
            for proposal, seeds in pairs:
                tell(searched[method], proposal, [results[t.id] for t in seeds])
    if log:
        record(searched, log)


def record(searched: dict[str, Any], log: Path) -> None:
    """Write Optuna's storage of finished searches, for its dashboard; the file appears whole or not at all."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    with aside(log) as draft:
        storage = JournalStorage(JournalFileBackend(str(draft)))
        for optuna_study in searched.values():
            optuna.copy_study(
                from_study_name=optuna_study.study_name, from_storage=optuna_study._storage, to_storage=storage
            )


def sampler(study: Study, method: str) -> Any:
    """Return the Optuna study that searches a method's axes, seeded by name so that a search is reproducible."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(
        study_name=f"{study.file.name}/{method}",
        storage=optuna.storages.InMemoryStorage(),
        sampler=optuna.samplers.TPESampler(seed=0, constant_liar=True),
        direction="maximize" if study.maximise else "minimize",
    )


def propose(proposal: Any, axes: list[Varied]) -> Point:
    """Return the point that Optuna proposes."""
    point: Point = {}
    for axis in axes:
        if axis.scale == "choice":
            labels = [repr(value) for value in axis.values]  # Optuna's categories must be plain; ours may be lists
            point[axis.key] = axis.values[labels.index(proposal.suggest_categorical(axis.key, labels))]
        elif axis.integer and axis.low is not None and axis.high is not None:
            low, high = math.ceil(axis.low), math.floor(axis.high)
            point[axis.key] = proposal.suggest_int(axis.key, low, high, log=axis.scale == "log")
        else:
            point[axis.key] = proposal.suggest_float(axis.key, axis.low, axis.high, log=axis.scale == "log")
    return point


def tell(optuna_study: Any, proposal: Any, results: list[Result]) -> None:
    """Tell Optuna the mean over a point's seeds; a point with a failed seed has failed, and gets no number."""
    from optuna.trial import TrialState

    values = [result.score for result in results if result.score is not None]
    if len(values) < len(results):
        optuna_study.tell(proposal, state=TrialState.FAIL)
    else:
        optuna_study.tell(proposal, math.fsum(values) / len(values))
