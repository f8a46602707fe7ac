"""Checks of the parts of a study against each other; a contradiction is reported in one sentence."""

from typing import TYPE_CHECKING, Any

from ablate.designs import active_components, search_space, trials_per_point
from ablate.document import KeyPath
from ablate.errors import describe_choices
from ablate.methods import method_axes
from ablate.search_options import SIZED_SEARCHES
from search_spaces.axes import Condition, describe_condition, yaml_literal

if TYPE_CHECKING:
    from ablate.study import Study

# methods that draw no random numbers
DETERMINISTIC_METHODS = {"joint", "joint-uni", "unimodal", "mslr", "mses", "ogm", "agm", "cggm"}


def check_consistency(study: "Study") -> None:
    """Raise a UserError if parts of a study contradict each other."""
    check_metrics(study)
    check_parts(study)
    check_search(study)


def check_metrics(study: "Study") -> None:
    """Raise a UserError if the metrics do not apply to the data, or need a measurement that is not taken."""
    document, sheet = study.document, study.sheet
    inapplicable = "accuracy" if sheet.task == "regression" else "mae"
    if inapplicable in study.objectives:
        raise document.error(("metric",), f"`{inapplicable}` does not apply to {sheet.task} ({sheet.name})")
    if study.metric in {"seconds", "balance"}:
        raise document.error(
            ("metric",), f"`{study.metric}` cannot be the first metric; start with accuracy, mae or loss"
        )
    target = study.file.budget.target
    if target is not None and study.metric == "accuracy" and target > 1:
        suggestion = f". Did you mean `{target / 100:g}`?" if target <= 100 else ""
        raise document.error(("budget", "target"), f"an accuracy is at most 1, got {target:g}{suggestion}")
    if len(set(study.objectives)) < len(study.objectives):
        raise document.error(("metric",), "lists a metric twice")
    if "balance" in study.objectives and not {"probe", "shapley"} & study.measure.keys():
        raise document.error(
            ("metric",), "`balance` is computed from `probe` or `shapley`; add one of them to `measure`"
        )
    if "balance" in study.objectives and len(sheet.modalities) < 2:
        raise document.error(("metric",), f"`balance` needs several modalities, and {sheet.name} has one")


def check_parts(study: "Study") -> None:
    """Raise a UserError if methods, settings and training do not fit the data or each other."""
    document, file, sheet = study.document, study.file, study.sheet
    if "agm" in file.methods and len(sheet.modalities) > 6 and 0 in study.possible_values("agm.samples"):
        rule = f"{len(sheet.modalities)} modalities have too many coalitions; set agm.samples (for example 8)"
        raise document.error(("methods", file.methods.index("agm")), rule)
    values: list[tuple[KeyPath, Any]] = [(("model", "encoder"), file.model.encoder)]
    values += [(("set", key), value) for key, value in study.set.items()]
    values += [(("vary", axis.key), value) for axis in study.vary for value in axis.values]
    for where, value in values:
        for modality in value if isinstance(value, dict) else ():
            if modality not in sheet.modalities:
                rule = f"{sheet.name} has no modality `{modality}` {describe_choices(modality, sheet.modalities)}"
                raise document.error(where, rule)
        missing = [m for m in sheet.modalities if m not in value] if isinstance(value, dict) else []
        if where[-1] == "agm.target" and missing:
            raise document.error(where, f"needs a cross-entropy for every modality; missing: {', '.join(missing)}")
    check_training(study)
    if "batch" in study.possible_values("model.norm") and 1 in study.possible_values("train.batch_size"):
        raise document.error(("train", "batch_size"), "batch normalisation needs batches of more than one sample")
    rescaling = [axis.key for axis in study.vary if axis.key in {"train.loss", "train.reduction"}]
    if study.metric == "loss" and rescaling:
        raise document.error(("vary", rescaling[0]), "changes the scale of the loss, which is the metric of this study")


def check_training(study: "Study") -> None:
    """Raise a UserError if settings of training contradict each other, the task or the epochs of a method."""
    document, file = study.document, study.file
    check_clipping(study)
    varies = any(axis.key == "train.loss" for axis in study.vary)
    if study.sheet.task != "regression" and (varies or file.train.loss != type(file.train)().loss):
        location = ("vary", "train.loss") if varies else ("train", "loss")
        raise document.error(location, f"applies to regression; the loss of {study.sheet.task} is cross-entropy")
    if "batch" in study.possible_values("model.norm") and max(study.possible_values("train.accumulate")) > 1:
        rule = "splits a batch into parts, but `model.norm: batch` normalises it as a whole"
        raise document.error(("train", "accumulate"), rule)
    for name in study.methods:
        check_active_epochs(study, name)
    for key in (f"{method}.ratio" for method in ("ogm", "ogm-ge") if method in file.methods):
        if study.sheet.task == "regression" and {"bb", "bb3"}.intersection(study.possible_values(key)):
            section = "set" if key in study.set else "vary"
            raise document.error(
                (section, key), "BalanceBenchmark's ratios count correct predictions; they do not apply to regression"
            )


def check_active_epochs(study: "Study", method: str) -> None:
    """Raise a UserError if a value or range leaves a method no epoch to act in, whatever the other settings are."""
    keys = (f"{method}.start", f"{method}.end", "train.epochs")
    possible, base = {key: study.possible_values(key) for key in keys}, search_space(study, method).base
    combined = {key: [base[key]] for key in keys} if study.search.name == "one-at-a-time" else possible
    for axis in study.vary:
        for values in [[value] for value in axis.values] or [axis.values_or_bounds] if axis.key in keys else ():
            check_epochs(study, method, ("vary", axis.key), [*(combined | {axis.key: values}).values()])
    for key in keys:
        if key in study.set:
            check_epochs(study, method, ("set", key), [*possible.values()])


def check_epochs(study: "Study", method: str, where: KeyPath, possible: list[list[Any]]) -> None:
    """Raise a UserError unless a method can act, given the possible values of start, end and number of epochs."""
    starts, ends, epochs = possible
    last = min(max(ends), max(epochs))
    if min(starts) > last:
        start, end = yaml_literal(min(starts)), yaml_literal(last)
        raise study.document.error(
            where, f"{method} would never act: it starts in epoch {start}, and the last epoch is {end}"
        )


def check_clipping(study: "Study") -> None:
    """Raise a UserError if gradients are to be clipped that do not exist."""
    document, file = study.document, study.file
    clips = [key for key in ("clip", "clip_before") if any(study.possible_values(f"train.{key}"))]
    if file.train.clip_trigger is not None and not clips:
        raise document.error(("train", "clip_trigger"), "has no effect alone; set `clip`, too")
    if "clip_before" not in clips:
        return
    without_gradient = {"bogc": "bogc has one gradient per source"}
    if "agm" in file.methods and "phi" in study.possible_values("agm.route"):
        without_gradient["agm"] = "agm's route phi has no gradient there"
    for method in study.methods:
        if method in without_gradient:
            rule = f"clips the gradient before the method, but {without_gradient[method]}; use `clip`"
            raise document.error(("train", "clip_before"), rule)


def check_search(study: "Study") -> None:
    """Raise a UserError if `search` contradicts `trials`, `seeds`, `prune`, `budget`, `set` or `vary`."""
    document, name = study.document, study.search.name
    if not study.vary and name not in {"grid", "ablate"}:
        raise document.error(("search",), "a search needs at least one axis in `vary`")
    if "trials" in study.file.model_fields_set and name not in SIZED_SEARCHES:
        rule = f"applies to the searches {', '.join(SIZED_SEARCHES)}; the size of `{name}` follows from `vary`"
        raise document.error(("trials",), rule)
    if study.file.prune and name in {"sobol", "morris"}:
        raise document.error(("prune",), f"stops trials early, but `{name}` needs the score of every point")
    if len(study.looks) > 1:
        check_added_seeds(study)
    if study.blocks and study.blocks[0] > 1:
        check_splits(study)
    if study.blocks and study.blocks[-1] > 1 and not has_randomness(study):
        rule = "have no effect: with `train.order: stream` and no dropout, these methods draw no random numbers"
        raise document.error(("seeds", "order"), rule)
    if name == "cma":
        check_cma(study)
    if name == "ablate":
        check_components(study)
    minimum = sum(trials_per_point(study, method) for method in study.methods)
    if study.file.budget.trials is not None and study.file.budget.trials < minimum:
        raise document.error(("budget", "trials"), f"one point of every method already takes {minimum} trials")
    for axis in study.vary:
        if not is_satisfiable(study, axis.when):
            raise document.error(
                ("vary", axis.key), f"has no effect here: it applies only if {describe_condition(axis.when)}"
            )
    for key, value in study.set.items():
        method, _, setting = key.partition(".")
        setting_axis = method_axes(method, study.methods[method])[setting]
        when = {f"{method}.{other}": values for other, values in setting_axis.when.items()}
        if value != setting_axis.default and not is_satisfiable(study, when):
            raise document.error(("set", key), f"has no effect here: it applies only if {describe_condition(when)}")


def check_splits(study: "Study") -> None:
    """Raise a UserError if `data` fixes the split that seeds vary, or there are fewer splits than seeds."""
    from trainables.data import DataError, check_deals

    if "deal" in study.data:
        rule = "fixes one split of the samples, but `seeds: {split: ...}` varies it"
        raise study.document.error(("data", "deal"), rule)
    try:
        check_deals(study.data, study.blocks[0])
    except DataError as error:
        raise study.document.error(("seeds", "split"), str(error).rstrip(".")) from None


def has_randomness(study: "Study") -> bool:
    """Return whether training draws random numbers: for the order, for dropout, or in a method."""
    samples = any("samples" in key for key in (*study.set, *(axis.key for axis in study.vary)))
    shuffles, drops = "shuffled" in study.possible_values("train.order"), any(study.possible_values("model.dropout"))
    return shuffles or drops or samples or not {*study.methods} <= DETERMINISTIC_METHODS


def check_added_seeds(study: "Study") -> None:
    """Raise a UserError if the study does not allow `seeds: auto`."""
    if not study.search.uses_listed_values:
        rule = f"cannot be `auto`, because `{study.search.name}` needs equally many at all points; give a number"
        raise study.document.error(("seeds",), rule)
    if "joint" not in study.methods or not {*study.methods} - {"joint", "unimodal"}:
        rule = "cannot be `auto` without a comparison: list `joint` and methods besides `unimodal`"
        raise study.document.error(("seeds",), rule)


def is_satisfiable(study: "Study", when: Condition) -> bool:
    """Return whether a condition holds for any trial of the study."""
    varied = {} if study.search.name == "one-at-a-time" else {axis.key: axis for axis in study.vary}

    def can_take(key: str, value: Any) -> bool:
        if key in varied:
            return varied[key].contains(value)
        owner = key.partition(".")[0]
        base = search_space(study, owner if owner in study.methods else next(iter(study.methods))).base
        return bool(base[key] == value)

    return not when or any(can_take(key, value) for key, values in when.items() for value in values)


def check_cma(study: "Study") -> None:
    """Raise a UserError if CMA-ES has several metrics, or fewer than two numeric axes and would sample at random."""
    if len(study.objectives) > 1:
        raise study.document.error(("search",), "cma supports one metric; tpe supports several")
    for method in study.methods:
        axes = search_space(study, method).axes
        if axes and sum(axis.low is not None for axis in axes) < 2:
            raise study.document.error(("search",), f"cma needs two numeric ranges, and {method} has fewer; use tpe")


def check_components(study: "Study") -> None:
    """Raise a UserError if no component can be switched off, or one of them also varies."""
    components = {key for method in study.methods for key in active_components(study, method)}
    if not components:
        raise study.document.error(
            ("search",), "ablate removes parts of methods, but none of these methods has a part that is on"
        )
    for axis in study.vary:
        if axis.key in components:
            raise study.document.error(
                ("vary", axis.key), "is already switched off by `search: ablate`; vary other settings"
            )
