"""Numbers as a reader sees them."""

from ablate.metrics import METHOD_METRICS, TRIAL_METRICS, measurement_metrics
from analysis.formatting import lower_is_better

ERRORS = {
    "mae", "loss", "seconds", "share_loss", "truth_error", "combination_error", "precision_error", "shape_error_*",
    "shape_plain_*", "attribution_gap", "attribution_gap_mean", "attribution_theory", "probe_mae", "concept_mae",
    "noise_mae_*", "blank_mae_*", "missing_mae_*", "seconds_per_step", "step_ratio", "kept_bytes", "kept_ratio",
    "state_bytes",
}  # fmt: skip


def test_less_is_better_of_errors_losses_and_costs_and_of_nothing_else_that_is_measured() -> None:
    taken_of = [
        names
        for task in ("classification", "regression", "segmentation")
        for _, names in measurement_metrics(task).values()
    ]
    every = {*TRIAL_METRICS, "accuracy", "mae", "loss", "balance", *(name for names in taken_of for name in names)}
    every |= {name for made in METHOD_METRICS.values() for name in made}
    assert {name for name in every if lower_is_better(name)} == ERRORS
    assert all(lower_is_better(name) for name in ("missing_mae_0.5", "shape_error_heavy", "shape_error", "shape_plain"))
