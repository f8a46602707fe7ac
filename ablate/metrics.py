"""Which metrics the trials of a study will have, known before they run.

A name that ends with `*` stands for all that begin so. A test trains every method with every measurement, and holds
these names to what is recorded.
"""

from collections.abc import Iterable, Sequence

from ablate.errors import did_you_mean
from ablate.study import Study
from trainables.measurements import MEASUREMENTS
from trainables.methods import METHODS

FINAL = ("seconds", "params", "steps")  # metrics that are columns of the trials, of no split and no epoch
SPLITS = ("train", "validation", "test")  # those of `Split`
MADE: dict[str, tuple[str, ...]] = {  # method -> what its steps record on train, less `score`: that is the study's
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
ENDS = ("low", "median", "high")
COSINES = ("f1", "f2", "f3", "f1_permuted", "f2_permuted", "f3_permuted", "f1_joint", "f1_mismatched")
BELIEFS = ("weight_own", "weight_rest", "weight_joint", "uncertainty", "uncertainty_joint")
CORRUPTIONS = ("noise", "blank", "missing")
QUALITY = {"classification": ["f1"], "regression": ["correlation"], "segmentation": ["dice", "iou"]}


def cosines(names: Iterable[str]) -> list[str]:
    """Return the metrics of cosines of gradients: the mean, quantiles and the share above 0."""
    return [f"fidelity_{name}{end}" for name in names for end in ("", *(f"_{e}" for e in (*ENDS, "positive")))]


def taken(task: str) -> dict[str, tuple[Sequence[str], list[str]]]:
    """Return the splits and metrics of each measurement."""
    score, ends = "mae" if task == "regression" else "accuracy", SPLITS[1:]
    train, validation, test = ([split] for split in SPLITS)
    bands = [f"fidelity_{space}_permuted_band" for space in ("f1", "f2", "f3")]
    share = ["competition", "competition_rank", "competition_share", "competition_preferred", f"concept_{score}"]
    return {
        "attribution": (validation, ["attribution_gap", "attribution_gap_mean", "attribution_theory"]),
        "combination": (validation, ["combination_error", "combination_conflict_*", "combination_certain_*"]),
        "competition": (validation, share),
        "concepts": (validation, ["competition_concept_*"]),
        "contribution": (validation, ["share", "share_loss"]),
        "corruption": (test, [f"{name}_{score}_*" for name in CORRUPTIONS]),
        "cost": (train, ["seconds_per_step", "step_ratio", "kept_bytes", "kept_ratio", "state_bytes"]),
        "fidelity": (train, [*cosines(COSINES), *bands]),
        "gradients": (train, ["gradient_norm", "gradient_cosine", "encoder_cosine"]),
        "laws": (validation, ["shape_error_*", "shape_plain_*"]),
        "precision": (validation, ["precision_error", "precision_coverage"]),
        "probe": (ends, [f"probe_{score}"]),
        "quality": (ends, QUALITY[task]),
        "separate": (train, cosines(["f1_separate"])),
        "shape": (validation, ["shape_contribution", "shape_cooperation"]),
        "shapley": (validation, ["shapley", "shapley_share", "shapley_empty"]),
        "truth": (validation, ["truth_rank", "truth_error", "shapley_truth_rank"]),
        "variance": (train, [f"variance_{end}" for end in (*ENDS, "spread")]),
        "weights": (train, [f"{name}_{end}" for name in BELIEFS for end in ENDS]),
    }


def metrics(study: Study, method: str) -> set[tuple[str, str]]:
    """Return the splits and metrics that trials of a method may have, as far as that can be known.

    What a user-defined method records is not known.
    """
    own, score = study.methods[method] != METHODS.get(method), "mae" if study.sheet.task == "regression" else "accuracy"
    ours = ["*"] if own else MADE[method]
    found = {("train", name) for name in ["loss", *ours, *(["scale_min", "scale_max"] if "scale" in ours else [])]}
    found |= {(split, name) for split in SPLITS[1:] for name in ("loss", score)}
    for name, (splits, names) in taken(study.sheet.task).items():
        several = MEASUREMENTS[name].multimodal and method == "unimodal"
        if name in study.measure and not several and (name != "weights" or own or method == "bogc"):
            found |= {(split, one) for split in splits for one in names}
    return found | {(split, "score") for split, name in found if name == study.metric}


def alike(asked: str, name: str) -> bool:
    """Tell whether two names of metrics, each of which may end with `*`, may mean the same."""
    one, other = asked.removesuffix("*"), name.removesuffix("*")
    begins = (asked != one and other.startswith(one)) or (name != other and one.startswith(other))
    return asked == name or begins


def elsewhere(metric: str, there: set[tuple[str, str]], studies: Iterable[Study]) -> str:
    """Return where a metric is, if it is on another split or could be measured, else the name that is near to it."""
    if metric in FINAL:
        return " in some epochs; it is of a whole trial"
    splits = [one for one in SPLITS if any(s == one and n != "*" and alike(metric, n) for s, n in there)]
    if splits:
        return f"; it is on {' and '.join(splits)}"
    known = {name: names for study in studies for name, (_, names) in taken(study.sheet.task).items()}
    takers = [name for name, names in known.items() if any(alike(metric, one) for one in names)]
    if takers:
        return f"; `measure: [{takers[0]}]` takes it"
    others = [one for names in known.values() for one in names]
    return did_you_mean(metric, sorted({*FINAL, *others, *(name for _, name in there)}))
