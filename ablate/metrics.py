"""The metrics that the trials of a study will have, known before they run.

A name that ends with `*` stands for all names with that prefix. A test trains every method with every measurement, and
compares these names with those recorded.
"""

from collections.abc import Iterable, Sequence

from ablate.errors import did_you_mean
from ablate.study import Study
from trainables.measurements import MEASUREMENTS
from trainables.methods import METHODS

TRIAL_METRICS = ("seconds", "params", "steps")  # columns of the trials, without split and epoch
SPLITS = ("train", "validation", "test")
METHOD_METRICS: dict[str, tuple[str, ...]] = {  # method -> metrics that its steps record on train, except `score`
    "joint": (),
    "joint-uni": (),
    "unimodal": (),
    "moddrop": ("heard",),
    "ogm": ("scale", "ratio"),
    "ogm-ge": ("scale", "ratio"),
    "agm": ("scale", "ratio", "reference"),
    "mslr": ("scale", "ratio"),
    "mses": ("scale",),
    "cggm": ("scale", "balance", "eps", "joint_eps", "negative", "clipped", "cosine", "direction"),
    "bogc": ("scale", "uncertainty"),
}
QUANTILES = ("low", "median", "high")
COSINE_METRICS = ("f1", "f2", "f3", "f1_permuted", "f2_permuted", "f3_permuted", "f1_joint", "f1_mismatched")
WEIGHT_METRICS = ("weight_own", "weight_rest", "weight_joint", "uncertainty", "uncertainty_joint")
CORRUPTIONS = ("noise", "blank", "missing")
QUALITY_METRICS = {"classification": ["f1"], "regression": ["correlation"], "segmentation": ["dice", "iou"]}


def cosine_metrics(names: Iterable[str]) -> list[str]:
    """Return the metric names of gradient cosines: mean, quantiles, and fraction above 0."""
    return [f"fidelity_{name}{end}" for name in names for end in ("", *(f"_{e}" for e in (*QUANTILES, "positive")))]


def measurement_metrics(task: str) -> dict[str, tuple[Sequence[str], list[str]]]:
    """Return the splits and metrics of each measurement, for a task."""
    score, evaluation = "mae" if task == "regression" else "accuracy", SPLITS[1:]
    train, validation, test = ([split] for split in SPLITS)
    bands = [f"fidelity_{space}_permuted_band" for space in ("f1", "f2", "f3")]
    competition = ["competition", "competition_rank", "competition_share", "competition_preferred", f"concept_{score}"]
    return {
        "attribution": (validation, ["attribution_gap", "attribution_gap_mean", "attribution_theory"]),
        "combination": (validation, ["combination_error", "combination_conflict_*", "combination_certain_*"]),
        "competition": (validation, competition),
        "concepts": (validation, ["competition_concept_*"]),
        "contribution": (validation, ["share", "share_loss"]),
        "corruption": (test, [f"{name}_{score}_*" for name in CORRUPTIONS]),
        "cost": (train, ["seconds_per_step", "step_ratio", "kept_bytes", "kept_ratio", "state_bytes"]),
        "fidelity": (train, [*cosine_metrics(COSINE_METRICS), *bands]),
        "gradients": (train, ["gradient_norm", "gradient_cosine", "encoder_cosine"]),
        "laws": (validation, ["shape_error_*", "shape_plain_*"]),
        "precision": (validation, ["precision_error", "precision_coverage"]),
        "probe": (evaluation, [f"probe_{score}"]),
        "quality": (evaluation, QUALITY_METRICS[task]),
        "separate": (train, cosine_metrics(["f1_separate"])),
        "shape": (validation, ["shape_contribution", "shape_cooperation"]),
        "shapley": (validation, ["shapley", "shapley_share", "shapley_empty"]),
        "truth": (validation, ["truth_rank", "truth_error", "shapley_truth_rank"]),
        "variance": (train, [f"variance_{end}" for end in (*QUANTILES, "spread")]),
        "weights": (train, [f"{name}_{end}" for name in WEIGHT_METRICS for end in QUANTILES]),
    }


def expected_metrics(study: Study, method: str) -> set[tuple[str, str]]:
    """Return the splits and metrics that trials of a method may have.

    A user-defined method may record any metric on train.
    """
    is_user_defined = study.methods[method] != METHODS.get(method)
    score = "mae" if study.sheet.task == "regression" else "accuracy"
    recorded = ["*"] if is_user_defined else METHOD_METRICS[method]
    ranges = ["scale_min", "scale_max"] if "scale" in recorded else []
    expected = {("train", name) for name in ["loss", *recorded, *ranges]}
    expected |= {(split, name) for split in SPLITS[1:] for name in ("loss", score)}
    for name, (splits, names) in measurement_metrics(study.sheet.task).items():
        skipped = MEASUREMENTS[name].multimodal and method == "unimodal"
        if name in study.measure and not skipped and (name != "weights" or is_user_defined or method == "bogc"):
            expected |= {(split, metric) for split in splits for metric in names}
    return expected | {(split, "score") for split, name in expected if name == study.metric}


def names_match(requested: str, name: str) -> bool:
    """Return whether two metric names, each possibly ending with `*`, can denote the same metric."""
    prefix, other_prefix = requested.removesuffix("*"), name.removesuffix("*")
    is_prefix = (requested != prefix and other_prefix.startswith(prefix)) or (
        name != other_prefix and prefix.startswith(other_prefix)
    )
    return requested == name or is_prefix


def availability_hint(metric: str, available: set[tuple[str, str]], studies: Iterable[Study]) -> str:
    """Return a hint on a missing metric: the splits that have it, a measurement that takes it, or a similar name."""
    if metric in TRIAL_METRICS:
        return " per epoch; it is measured once per trial"
    splits = [name for name in SPLITS if any(s == name and n != "*" and names_match(metric, n) for s, n in available)]
    if splits:
        return f"; it exists on {' and '.join(splits)}"
    by_measurement = {
        name: names for study in studies for name, (_, names) in measurement_metrics(study.sheet.task).items()
    }
    measurements = [name for name, names in by_measurement.items() if any(names_match(metric, name) for name in names)]
    if measurements:
        return f"; `measure: [{measurements[0]}]` records it"
    others = [name for names in by_measurement.values() for name in names]
    return did_you_mean(metric, sorted({*TRIAL_METRICS, *others, *(name for _, name in available)}))
