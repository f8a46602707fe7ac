"""The study file: one page of YAML, checked as a whole before anything starts."""

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ablate.document import Document, Where
from ablate.errors import UserError, meant
from ablate.settings import Varied, axes_of, axis, checked
from search_spaces import STUDIES
from trainables.data import DataError, Sheet, sheet
from trainables.methods import METHODS

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
LEARNING_RATES = {"sgd": 0.02, "adam": 1e-3, "adamw": 1e-3}
POINTS_ASKED_FOR = {"log": "log: [low, high]", "linear": "linear: [low, high]", "choice": "choice: [...]"}


class Section(BaseModel):
    """A mapping whose keys are all known."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


SomeSection = TypeVar("SomeSection", bound=Section)


class Training(Section):
    """How a trial is trained; the same for all methods of a study, unless varied."""

    epochs: Count = 20
    batch_size: Count = 64
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: Positive | None = None  # 0.02 for sgd, 0.001 for adam and adamw
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    loss: Literal["mse", "l1", "huber"] = "mse"  # of regression
    reduction: Literal["mean", "sum"] = "mean"  # of the loss over a batch
    clip: Positive | None = None  # total norm of the gradients, after the method
    clip_trigger: Positive | None = None  # clip only if the head's gradient has an element beyond this
    dtype: Literal["float32", "float64"] = "float32"


class Network(Section):
    """What is trained."""

    fusion: Literal["concat", "sum", "early"] = "concat"
    encoder: Literal["mlp", "cnn", "gru"] | dict[str, Literal["mlp", "cnn", "gru"]] = "mlp"
    hidden: Annotated[int, Field(ge=1, le=65536)] = 64
    norm: Literal["none", "batch"] = "none"


class TPE(Section):
    """Tree-structured Parzen estimator, asked in rounds."""

    batch: Count = 8  # proposals a round; a search gives the same trials whatever runs at once


class Search(Section):
    """How values are chosen, where it takes more than a name."""

    tpe: TPE = TPE()


class Resources(Section):
    """What one trial reserves."""

    cpu: Positive = 1


class StudyFile(Section):
    """The keys of a study file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]
    data: str | dict[str, Any]
    model: Network = Network()
    train: Training = Training()
    methods: Annotated[list[str], Field(min_length=1)]
    set: dict[str, Any] = {}
    vary: dict[str, Any] = {}
    seeds: Count = 5
    search: Literal["grid", "tpe"] | Search = "grid"
    trials: Count = 50
    metric: Literal["accuracy", "mae", "loss"] | None = None
    measure: list[Literal["probe"]] = []
    resources: Resources = Resources()
    store: str = "runs"


class Study(NamedTuple):
    """A study that is known to be runnable."""

    given: str  # as on the command line: a path, or the name of a ready study
    document: Document
    file: StudyFile
    data: dict[str, Any]  # as `trainables.data` takes it, with an absolute path
    sheet: Sheet
    set: dict[str, Any]  # "agm.cap" -> value
    vary: list[Varied]
    metric: str  # accuracy | mae | loss
    store: Path

    @property
    def maximise(self) -> bool:
        """Say whether more of the metric is better."""
        return self.metric == "accuracy"

    @property
    def rounds(self) -> int | None:
        """Return how many proposals a search makes at once; None for a grid."""
        search = self.file.search
        if isinstance(search, Search):
            return search.tpe.batch
        return TPE().batch if search == "tpe" else None

    @property
    def folder(self) -> Path:
        """Return where the tables and figures of the study lie."""
        return self.store / self.file.name


def find(name: str) -> Path:
    """Return the file of a study: a path, or the name of a ready one.

    Raises:
        UserError: there is neither such a file nor such a ready study.
    """
    path = Path(name)
    if path.is_file():
        return path
    ready = {file.stem: file for file in sorted(STUDIES.glob("*.yaml"))}
    if name in ready:
        return ready[name]
    if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
        raise UserError(f"{name}: there is no such file")
    raise UserError(f"{name}: there is no such file, and no ready study of that name {meant(name, ready)}")


def load(name: str, store: str | None = None) -> Study:
    """Read and check a study.

    Raises:
        UserError: anything in it is wrong; one sentence with file, line, key, rule, finding and the nearest name.
    """
    document = Document(find(name))
    if document.value is None:
        raise document.error((), "the file is empty; a study has at least `name`, `data` and `methods`")
    if not isinstance(document.value, dict):
        raise document.error((), f"a study is a mapping of keys to values, got {kind(document.value)}")
    file = validated(document, StudyFile, document.value, ())
    for i, method in enumerate(file.methods):
        if method not in METHODS:
            raise document.error(("methods", i), f"there is no method `{method}` {meant(method, METHODS)}")
        if method in file.methods[:i]:
            raise document.error(("methods", i), f"`{method}` is listed twice")
    data = located(document, file.data)
    try:
        described = sheet(data)
    except DataError as error:
        raise document.error(("data",), str(error)) from None
    settings = {
        key: checked(document, ("set", key), axis(document, ("set", key), key, file.methods), value)
        for key, value in file.set.items()
    }
    vary = [varied(document, file, key, value) for key, value in file.vary.items()]
    for one in vary:
        if one.key in settings:
            raise document.error(("vary", one.key), "is both set and varied; keep one of the two")
    default_metric = "mae" if described.task == "regression" else "accuracy"
    study = Study(
        name,
        document, file, data, described, settings, vary, file.metric or default_metric,
        Path(store or file.store).expanduser().absolute(),
    )  # fmt: skip
    check_together(study)
    return study


def validated(document: Document, section: type[SomeSection], value: Any, where: Where) -> SomeSection:
    """Return a section of the file, or raise its first error as one sentence."""
    try:
        return section.model_validate(value)
    except ValidationError as errors:
        first = errors.errors(include_url=False)[0]
        found = first["input"]
        at = tuple(part for part in first["loc"] if not isinstance(part, str) or in_file(value, first["loc"], part))
        match first["type"]:
            case "extra_forbidden":
                known = fields(section, at[:-1])
                raise document.error((*where, *at), f"there is no such key {meant(at[-1], known)}") from None
            case "missing":
                raise document.error((*where, *at[:-1]), f"the key `{at[-1]}` is missing") from None
            case "literal_error":
                names = [name.strip("' ") for name in first["ctx"]["expected"].replace(" or ", ", ").split(",")]
                rule = f"must be one of {', '.join(names)}, got {shown(found)} {meant(found, names)}"
            case "model_type" | "dict_type" | "list_type" | "string_type":
                wanted = {"list_type": "a list", "string_type": "text"}.get(first["type"], "a mapping")
                rule = f"must be {wanted}, got {shown(found)}"
            case "string_pattern_mismatch":
                rule = f"must start with a letter or digit and hold letters, digits, `._-`, got {shown(found)}"
            case _:
                rule = f"{first['msg'].replace('Input should be', 'must be')}, got {shown(found)}"
        raise document.error((*where, *at), rule) from None


def in_file(value: Any, location: tuple[str | int, ...], part: str) -> bool:
    """Say whether a part of pydantic's location is a key, and not the name of a member of a union."""
    return not part[0].isupper() and "[" not in part and part not in {"str", "dict", "int", "float"}


def fields(section: type[Section], where: Where) -> list[str]:
    """Return the keys that a section of the study file has."""
    for part in where:
        inner = section.model_fields[str(part)].annotation
        options = getattr(inner, "__args__", (inner,))
        section = next(o for o in options if isinstance(o, type) and issubclass(o, Section))
    return list(section.model_fields)


def located(document: Document, data: str | dict[str, Any]) -> dict[str, Any]:
    """Return the data key as a mapping; a relative path is relative to the study file."""
    spec = {"name": data} if isinstance(data, str) else dict(data)
    if isinstance(spec.get("path"), str):
        spec["path"] = str((document.file.parent / Path(spec["path"]).expanduser()).resolve())
    return spec


def varied(document: Document, file: StudyFile, key: str, given: Any) -> Varied:
    """Return one axis of `vary`: a list, {choice: [...]}, or {log | linear: [low, high], num, also}."""
    where: Where = ("vary", key)
    if isinstance(given, list):
        given = {"choice": given}
    if not isinstance(given, dict):
        raise document.error(
            where, f"must be a list or one of {', '.join(POINTS_ASKED_FOR.values())}, got {shown(given)}"
        )
    scales = [scale for scale in POINTS_ASKED_FOR if scale in given]
    unknown = [name for name in given if name not in {*POINTS_ASKED_FOR, "num", "also"}]
    if unknown:
        names = [*POINTS_ASKED_FOR, "num", "also"]
        raise document.error((*where, unknown[0]), f"there is no such key {meant(unknown[0], names)}")
    if len(scales) != 1:
        raise document.error(where, f"must have exactly one of {', '.join(POINTS_ASKED_FOR)}")
    scale = scales[0]
    ends = given[scale]
    if not isinstance(ends, list) or not ends:
        raise document.error((*where, scale), f"must be a list, got {shown(ends)}")
    integer = whole(key)
    if scale == "choice":
        if "num" in given or "also" in given:
            raise document.error(where, "`num` and `also` belong to `log` and `linear`, not to a list of values")
        values = [one_value(document, file, (*where, scale, i), key, value) for i, value in enumerate(ends)]
        if len(set(map(repr, values))) < len(values):
            raise document.error(where, "lists a value twice")
        return Varied(key, scale, values)
    low, high = limits(document, (*where, scale), ends, scale)
    num = given.get("num")
    if num is None and file.search == "grid":
        raise document.error(where, "a grid needs `num`, the number of points")
    if num is not None and (not isinstance(num, int) or num < 2):
        raise document.error((*where, "num"), f"must be an integer of at least 2, got {shown(num)}")
    also = given.get("also", [])
    if not isinstance(also, list):
        raise document.error((*where, "also"), f"must be a list, got {shown(also)}")
    if also and file.search != "grid":
        raise document.error((*where, "also"), "belongs to a grid; a search chooses its own values")
    points = spaced(low, high, scale, num) if num else [low, high]
    chosen = sorted({*map(float, also)} | {round(p) if integer else p for p in points})
    values = [one_value(document, file, where, key, int(v) if integer else v) for v in chosen]
    return Varied(key, scale, values if num else [], low, high, integer)


def limits(document: Document, where: Where, ends: list[Any], scale: str) -> tuple[float, float]:
    """Return the ends of a range; raise a UserError if they are none."""
    numeric = len(ends) == 2 and all(isinstance(e, int | float) and not isinstance(e, bool) for e in ends)
    if not numeric or not ends[0] < ends[1]:
        raise document.error(where, f"must be two numbers [low, high] with low < high, got {ends}")
    if scale == "log" and ends[0] <= 0:
        raise document.error(where, f"must start above 0 on a log scale (0 itself goes into `also`), got {ends}")
    return float(ends[0]), float(ends[1])


def spaced(low: float, high: float, scale: str, num: int) -> list[float]:
    """Return ``num`` values from low to high, ends included, evenly spaced; rounded to 6 digits where inside."""
    steps = [i / (num - 1) for i in range(num)]
    inner = [low * (high / low) ** s if scale == "log" else low + (high - low) * s for s in steps]
    return [low, *(float(f"{value:.6g}") for value in inner[1:-1]), high]


def whole(key: str) -> bool:
    """Say whether a setting counts something."""
    owner, _, name = key.partition(".")
    if owner in METHODS:
        return name in axes_of(owner) and axes_of(owner)[name].kind == "integer"
    return key in {"train.epochs", "train.batch_size", "model.hidden"}


def one_value(document: Document, file: StudyFile, where: Where, key: str, value: Any) -> Any:
    """Return one value of a varied setting, checked as if it were set."""
    owner, _, name = key.partition(".")
    if owner in {"train", "model"}:
        section: Section = getattr(file, owner)
        if name not in type(section).model_fields:
            raise document.error(
                where[:2], f"{owner} has no setting `{name}` {meant(name, type(section).model_fields)}"
            )
        try:
            return getattr(type(section).model_validate({**section.model_dump(), name: value}), name)
        except ValidationError as errors:
            rule = errors.errors(include_url=False)[0]["msg"].replace("Input should be", "must be")
            raise document.error(where, f"{rule}, got {shown(value)}") from None
    return checked(document, where, axis(document, where[:2], key, file.methods), value)


def check_together(study: Study) -> None:
    """Raise a UserError where parts that are right by themselves do not fit."""
    document, file, about = study.document, study.file, study.sheet
    regression = about.task == "regression"
    if file.metric is not None and file.metric == ("accuracy" if regression else "mae"):
        raise document.error(("metric",), f"`{file.metric}` does not apply to {about.task} ({about.name})")
    if regression and "agm" in file.methods:
        at = ("methods", file.methods.index("agm"))
        raise document.error(at, f"agm compares cross-entropies, and {about.name} is a regression")
    if "agm" in file.methods and len(about.modalities) > 6:
        sampled = study.set.get("agm.samples", 0) or any(one.key == "agm.samples" for one in study.vary)
        if not sampled:
            rule = f"{len(about.modalities)} modalities have too many coalitions; set agm.samples (for example 8)"
            raise document.error(("methods", file.methods.index("agm")), rule)
    if isinstance(file.model.encoder, dict):
        for modality in file.model.encoder:
            if modality not in about.modalities:
                where = ("model", "encoder", modality)
                raise document.error(where, f"{about.name} has no such modality {meant(modality, about.modalities)}")
    if study.rounds and not study.vary:
        raise document.error(("search",), "a search needs something to `vary`")


def kind(value: Any) -> str:
    """Return what a YAML value is, in a user's words."""
    names = {list: "a list", dict: "a mapping", str: "text", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number")


def shown(value: Any) -> str:
    """Return a value for a message: what it is, and itself if it is short."""
    text = repr(value)
    return kind(value) if isinstance(value, list | dict) or len(text) > 60 else text
