"""Statistics for measurements of a trained model, independent of how it was trained; one topic per file."""

from trainables.diagnostics.coalitions import (
    Shape,
    all_coalitions,
    permutation_coalitions,
    sampled_shapley,
    shape,
    shapley,
)
from trainables.diagnostics.competition import Competition, competition_strength, preferred_modality
from trainables.diagnostics.fidelity import Fidelity, cosine, summarise
from trainables.diagnostics.probe import linear_probe
from trainables.diagnostics.truth import calibration_error, rank_correlation, shares

__all__ = [
    "Competition",
    "Fidelity",
    "Shape",
    "all_coalitions",
    "calibration_error",
    "competition_strength",
    "cosine",
    "linear_probe",
    "permutation_coalitions",
    "preferred_modality",
    "rank_correlation",
    "sampled_shapley",
    "shape",
    "shapley",
    "shares",
    "summarise",
]
