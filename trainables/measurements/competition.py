"""Competition strength: what of a modality's own concept is lost in the joint feature (METHODS.md 10.4)."""

import math
import warnings
from typing import NamedTuple

from torch import Tensor

from trainables.diagnostics.competition import Competition, competition_strength, preferred
from trainables.measure import Moment, Row, having, outputs, tabulate, validate
from trainables.methods.joint import Joint
from trainables.optim import Apart
from trainables.setup import Learner, Setup, start
from trainables.tasks import report
from trainables.train import epochs


class Concept(NamedTuple):
    """What a network trained on one modality makes of the validation split."""

    feature: Tensor  # [N, H]
    score: float  # as recorded


def begin(setup: Setup) -> dict[str, Concept]:
    """Return each modality's concept: the unimodal trial of the same study and seed, trained to its end."""
    return {m: learnt(setup, m) for m in setup.model.encoders}


def learnt(setup: Setup, modality: str) -> Concept:
    """Return the concept of one modality."""
    alone = isolated(setup, modality)
    *_, last = epochs(alone, start(alone))
    feature = outputs(alone, last.learner, "validation", frozenset({"features"})).features[modality]
    score = validate(alone, last.learner, last.number).joint_score
    return Concept(feature, report(setup.task, score.item())[1])


def plain(setup: Setup) -> Setup:
    """Return the same training by no method, unobserved."""
    rule = setup.optimizer.model if isinstance(setup.optimizer, Apart) else setup.optimizer
    trial = {**setup.trial, "start": 1, "end": math.inf, "warmup": 0, "measure": {}}
    model = setup.model._replace(classifier=None)
    return setup._replace(trial=trial, model=model, method=Joint(), needs=frozenset(), optimizer=rule)


def isolated(setup: Setup, modality: str) -> Setup:
    """Return the same training by no method, on one modality alone and unobserved."""
    bare, place = plain(setup), list(setup.model.encoders).index(modality)
    return bare._replace(
        trial={**bare.trial, "modality": modality},
        model=bare.model._replace(encoders={modality: setup.model.encoders[modality]}, silence={}),
        inputs={split: {modality: x[modality]} for split, x in setup.inputs.items()},
        present={split: None if p is None else p[place : place + 1] for split, p in setup.present.items()},
    )


def rows(setup: Setup, known: dict[str, Concept], learner: Learner, moment: Moment) -> list[Row]:
    """Return each modality's competition strength, its concept's rank, and which modality is preferred.

    The strength is an average over all features of the concept, also where they vary in fewer directions, its rank:
    a concept that is lost altogether has rank / Q. The share is over the directions alone, by how much the concept
    varies in them on all of validation. They are of the samples that have the modality, and of their positions that
    have a label.
    Of the validation split, every other sample is for fitting and the rest for evaluation: it may be sorted. What
    the concepts score themselves, the ceiling, comes with the last moment.
    """
    fused = outputs(setup, learner, "validation", frozenset({"fused"})).fused
    mine, labelled = [having(setup, "validation", place) for place in range(len(known))], setup.labelled("validation")
    found = {m: strength(fused, one.feature, own, labelled) for (m, one), own in zip(known.items(), mine, strict=True)}
    first = preferred({m: one.strength for m, one in found.items()})
    values = {
        "competition": [one.strength for one in found.values()],
        "competition_rank": [one.rank for one in found.values()],
        "competition_share": [one.share for one in found.values()],
        "competition_preferred": [m == first for m in found],
    }
    if moment.last:
        values[f"concept_{report(setup.task, 0.0)[0]}"] = [concept.score for concept in known.values()]
    return tabulate(setup, values, "validation", moment)


def strength(fused: Tensor, concept: Tensor, samples: Tensor, labelled: Tensor | None = None) -> Competition:
    """Return the competition strength of a concept, [N, ..., H], in the joint feature, of some samples [n].

    ``labelled`` [N, L] bool are the positions that count; None: all. nan where a feature is not finite, or no sample is
    left to fit or to evaluate on.
    """
    fused, concept = fused[samples].cpu(), concept[samples].cpu()
    labelled = None if labelled is None else labelled[samples].cpu()
    if len(samples) < 2:
        return Competition(math.nan, 0, math.nan)
    if not (fused.isfinite().all() and concept.isfinite().all()):
        return Competition(math.nan, 0, math.nan)

    def half(x: Tensor, first: int) -> Tensor:
        return x[first::2].flatten(0, -2) if labelled is None else x[first::2][labelled[first::2]]

    seen, wanted = ((half(x, 0), half(x, 1)) for x in (fused, concept))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of features so large that the penalty is lost in rounding
        return competition_strength(seen, wanted)
