"""Measurements of a trained model that never change its training; one idea a file."""

from trainables.diagnostics.coalitions import Shape, arrivals, sampled_shapley, shape, shapley, subsets
from trainables.diagnostics.competition import Competition, competition_strength, preferred
from trainables.diagnostics.fidelity import Fidelity, cosine, summarise
from trainables.diagnostics.probe import linear_probe
from trainables.diagnostics.truth import calibration_error, rank_correlation, shares

__all__ = [
    "Competition",
    "Fidelity",
    "Shape",
    "arrivals",
    "calibration_error",
    "competition_strength",
    "cosine",
    "linear_probe",
    "preferred",
    "rank_correlation",
    "sampled_shapley",
    "shape",
    "shapley",
    "shares",
    "subsets",
    "summarise",
]
