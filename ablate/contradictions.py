"""Parts of a study that are right by themselves and do not fit; a broken rule is one sentence."""

from typing import TYPE_CHECKING, Any

from ablate.designs import active_components, search_space, trials_per_point
from ablate.document import KeyPath
from ablate.errors import describe_choices
from ablate.methods import method_axes
from ablate.search_options import SIZED_SEARCHES
from search_spaces.axes import Condition, describe_condition, yaml_literal

if TYPE_CHECKING:
    from ablate.study import Study

STILL = {"joint", "joint-uni", "unimodal", "mslr", "mses", "ogm", "agm", "cggm"}  # methods that draw nothing


def check(study: "Study") -> None:
    """Raise a UserError where parts of a study contradict each other."""
    check_metrics(study)
    check_together(study)
    check_search(study)


def check_metrics(study: "Study") -> None:
    """Raise a UserError if the metrics do not apply to the data, or cannot be measured or weighed."""
    document, about = study.document, study.sheet
    wrong = "accuracy" if about.task == "regression" else "mae"
    if wrong in study.objectives:
        raise document.error(("metric",), f"`{wrong}` does not apply to {about.task} ({about.name})")
    if study.metric in {"seconds", "balance"}:
        raise document.error(
            ("metric",), f"`{study.metric}` cannot be chosen by alone; begin with accuracy, mae or loss"
        )
    target = study.file.budget.target
    if target is not None and study.metric == "accuracy" and target > 1:
        percent = f". Did you mean `{target / 100:g}`?" if target <= 100 else ""
        raise document.error(("budget", "target"), f"an accuracy is at most 1, got {target:g}{percent}")
    if len(set(study.objectives)) < len(study.objectives):
        raise document.error(("metric",), "lists a metric twice")
    if "balance" in study.objectives and not {"probe", "shapley"} & study.measure.keys():
        raise document.error(
            ("metric",), "`balance` compares modalities by `probe` or `shapley`; `measure` one of them"
        )
    if "balance" in study.objectives and len(about.modalities) < 2:
        raise document.error(("metric",), f"`balance` is about several modalities, and {about.name} has one")


def check_together(study: "Study") -> None:
    """Raise a UserError where parts that are right by themselves do not fit."""
    document, file, about = study.document, study.file, study.sheet
    if "agm" in file.methods and len(about.modalities) > 6 and 0 in study.possible_values("agm.samples"):
        rule = f"{len(about.modalities)} modalities have too many coalitions; set agm.samples (for example 8)"
        raise document.error(("methods", file.methods.index("agm")), rule)
    values: list[tuple[KeyPath, Any]] = [(("model", "encoder"), file.model.encoder)]
    values += [(("set", key), value) for key, value in study.set.items()]
    values += [(("vary", one.key), value) for one in study.vary for value in one.values]
    for where, value in values:
        for modality in value if isinstance(value, dict) else ():
            if modality not in about.modalities:
                rule = f"{about.name} has no modality `{modality}` {describe_choices(modality, about.modalities)}"
                raise document.error(where, rule)
        lacking = [m for m in about.modalities if m not in value] if isinstance(value, dict) else []
        if where[-1] == "agm.target" and lacking:
            raise document.error(where, f"needs a cross-entropy of every modality; {', '.join(lacking)} has none")
    check_training(study)
    if "batch" in study.possible_values("model.norm") and 1 in study.possible_values("train.batch_size"):
        raise document.error(("train", "batch_size"), "batch normalisation needs batches of more than one sample")
    scales = [one.key for one in study.vary if one.key in {"train.loss", "train.reduction"}]
    if study.metric == "loss" and scales:
        raise document.error(("vary", scales[0]), "changes the scale of the loss, which is the metric of this study")


def check_training(study: "Study") -> None:
    """Raise a UserError where settings of training, or when a method acts, contradict each other."""
    document, file = study.document, study.file
    check_clips(study)
    varies = any(one.key == "train.loss" for one in study.vary)
    if study.sheet.task != "regression" and (varies or file.train.loss != type(file.train)().loss):
        at = ("vary", "train.loss") if varies else ("train", "loss")
        raise document.error(at, f"is of a regression; this is {study.sheet.task}, whose loss is cross-entropy")
    if "batch" in study.possible_values("model.norm") and max(study.possible_values("train.accumulate")) > 1:
        rule = "passes a batch through the model in parts, and `model.norm: batch` normalises it as a whole"
        raise document.error(("train", "accumulate"), rule)
    for name in study.methods:
        check_span(study, name)
    for key in (f"{method}.ratio" for method in ("ogm", "ogm-ge") if method in file.methods):
        if study.sheet.task == "regression" and {"bb", "bb3"}.intersection(study.possible_values(key)):
            place = "set" if key in study.set else "vary"
            raise document.error((place, key), "BalanceBenchmark's ratios count hits; they need classes")


def check_span(study: "Study", method: str) -> None:
    """Raise a UserError where a method would act in no epoch, whatever else is chosen beside a value, or a range."""
    keys = (f"{method}.start", f"{method}.end", "train.epochs")
    reached, base = {key: study.possible_values(key) for key in keys}, search_space(study, method).base
    beside = {key: [base[key]] for key in keys} if study.search.name == "one-at-a-time" else reached
    for one in study.vary:
        for values in [[value] for value in one.values] or [one.values_or_bounds] if one.key in keys else ():
            check_epochs(study, method, ("vary", one.key), [*(beside | {one.key: values}).values()])
    for key in keys:
        if key in study.set:
            check_epochs(study, method, ("set", key), [*reached.values()])


def check_epochs(study: "Study", method: str, where: KeyPath, among: list[list[Any]]) -> None:
    """Raise a UserError unless a method starts in one of the epochs, by its starts, ends and their numbers."""
    starts, ends, epochs = among
    last = min(max(ends), max(epochs))
    if min(starts) > last:
        start, end = yaml_literal(min(starts)), yaml_literal(last)
        raise study.document.error(
            where, f"{method} would never act: it starts in epoch {start}, and the last is {end}"
        )


def check_clips(study: "Study") -> None:
    """Raise a UserError where gradients are clipped that are not there."""
    document, file = study.document, study.file
    clips = [key for key in ("clip", "clip_before") if any(study.possible_values(f"train.{key}"))]
    if file.train.clip_trigger is not None and not clips:
        raise document.error(("train", "clip_trigger"), "says when to clip; set `clip`, too")
    if "clip_before" not in clips:
        return
    lacking = {"bogc": "bogc has one of each source"}
    if "agm" in file.methods and "phi" in study.possible_values("agm.route"):
        lacking["agm"] = "agm's route phi has none before it"
    for method in study.methods:
        if method in lacking:
            rule = f"clips the gradient before the method, and {lacking[method]}; use `clip`"
            raise document.error(("train", "clip_before"), rule)


def check_search(study: "Study") -> None:
    """Raise a UserError where `search`, `trials`, `set` and `vary` do not go together."""
    document, name = study.document, study.search.name
    if not study.vary and name not in {"grid", "ablate"}:
        raise document.error(("search",), "a search needs something to `vary`")
    if "trials" in study.file.model_fields_set and name not in SIZED_SEARCHES:
        rule = f"belongs to the searches {', '.join(SIZED_SEARCHES)}; the size of `{name}` follows from what varies"
        raise document.error(("trials",), rule)
    if study.file.prune and name in {"sobol", "morris"}:
        raise document.error(("prune",), f"ends trials early, and `{name}` needs the score of every point")
    if len(study.seed_counts) > 1:
        check_seeds(study)
    if study.blocks and study.blocks[0] > 1:
        check_splits(study)
    if study.blocks and study.blocks[-1] > 1 and not draws(study):
        rule = (
            "decide nothing where `train.order: stream` takes the samples as they are, and no dropout or method draws"
        )
        raise document.error(("seeds", "order"), rule)
    if name == "cma":
        check_numbers(study)
    if name == "ablate":
        check_components(study)
    least = sum(trials_per_point(study, method) for method in study.methods)
    if study.file.budget.trials is not None and study.file.budget.trials < least:
        raise document.error(("budget", "trials"), f"one point of every method takes {least} trials already")
    for one in study.vary:
        if not possible(study, one.when):
            raise document.error(("vary", one.key), f"never acts here: it acts where {describe_condition(one.when)}")
    for key, value in study.set.items():
        method, _, setting = key.partition(".")
        axis = method_axes(method, study.methods[method])[setting]
        when = {f"{method}.{other}": values for other, values in axis.when.items()}
        if value != axis.default and not possible(study, when):
            raise document.error(("set", key), f"never acts here: it acts where {describe_condition(when)}")


def check_splits(study: "Study") -> None:
    """Raise a UserError unless seeds of the split choose the deal, and there are as many deals of the samples."""
    from trainables.data import DataError, check_deals

    if "deal" in study.data:
        rule = "is one deal of the samples, and `seeds: {split: ...}` makes its own"
        raise study.document.error(("data", "deal"), rule)
    try:
        check_deals(study.data, study.blocks[0])
    except DataError as error:
        raise study.document.error(("seeds", "split"), str(error).rstrip(".")) from None


def draws(study: "Study") -> bool:
    """Say whether anything is drawn during training: an order, dropout, or by a method that is not in STILL."""
    sampled = any("samples" in key for key in (*study.set, *(one.key for one in study.vary)))
    shuffled, dropped = "shuffled" in study.possible_values("train.order"), any(study.possible_values("model.dropout"))
    return shuffled or dropped or sampled or not {*study.methods} <= STILL


def check_seeds(study: "Study") -> None:
    """Raise a UserError where seeds cannot be added until methods are told from joint training."""
    if not study.search.uses_listed_values:
        rule = f"are added to the points of a grid, and `{study.search.name}` wants as many of all; give a number"
        raise study.document.error(("seeds",), rule)
    if "joint" not in study.methods or not {*study.methods} - {"joint", "unimodal"}:
        rule = "are added until methods are told from joint training; name it and others among the methods"
        raise study.document.error(("seeds",), rule)


def possible(study: "Study", when: Condition) -> bool:
    """Say whether any trial fulfils a condition."""
    varied = {} if study.search.name == "one-at-a-time" else {one.key: one for one in study.vary}

    def taken(key: str, value: Any) -> bool:
        if key in varied:
            return varied[key].contains(value)
        owner = key.partition(".")[0]
        base = search_space(study, owner if owner in study.methods else next(iter(study.methods))).base
        return bool(base[key] == value)

    return not when or any(taken(key, value) for key, values in when.items() for value in values)


def check_numbers(study: "Study") -> None:
    """Raise a UserError if CMA-ES would have fewer than two numbers to adapt, in which case it only draws at random."""
    if len(study.objectives) > 1:
        raise study.document.error(("search",), "cma knows one metric; tpe takes several")
    for method in study.methods:
        axes = search_space(study, method).axes
        if axes and sum(axis.low is not None for axis in axes) < 2:
            raise study.document.error(("search",), f"cma needs two ranges of numbers, and {method} has fewer; use tpe")


def check_components(study: "Study") -> None:
    """Raise a UserError if there is nothing to leave out, or a part that is left out is varied, too."""
    parts = {key for method in study.methods for key in active_components(study, method)}
    if not parts:
        raise study.document.error(
            ("search",), "ablate leaves out parts of methods, and none of these has one that is on"
        )
    for one in study.vary:
        if one.key in parts:
            raise study.document.error(("vary", one.key), "is a part that `search: ablate` switches off; vary others")
