"""The study file: one page of YAML, checked as a whole before anything starts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field, field_validator, model_validator

from ablate.contradictions import check
from ablate.document import Document, Where
from ablate.errors import UserError, kind, near
from ablate.measuring import intervals
from ablate.methods import check_encoder, named, own_encoders
from ablate.searching import Count, Search, searched
from ablate.settings import axis, checked
from ablate.validation import Section, validated
from ablate.vary import Scope, Varied, varied
from search_spaces import CLAIMS, RECIPES, STUDIES
from search_spaces.methods import COMPANIONS
from trainables.data import DataError, Sheet, sheet

if TYPE_CHECKING:
    from ablate.remote import Mirror

Positive = Annotated[float, Field(gt=0)]
Encoder = Literal["mlp", "cnn", "gru", "transformer"] | Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
RESERVED = {"trials", "schema"}  # what a store keeps for itself
Metric = Literal["accuracy", "mae", "loss", "seconds", "balance"]
DIRECTIONS = {"accuracy": "max", "mae": "min", "loss": "min", "seconds": "min", "balance": "max"}
REDUCED = {"bfloat16", "tf32"}  # precision of training
LEARNING_RATES = {"sgd": 0.02, "adam": 1e-3, "adamw": 1e-3}


def portion(number: float) -> float:
    """Return a part of a processor as Ray can count it; Ray drops further digits, or fails on them."""
    if round(number, 4) != number:
        raise ValueError("must be a multiple of 0.0001")
    return number


class Training(Section):
    """How a trial is trained; the same for all methods of a study, unless varied."""

    epochs: Count = 20
    batch_size: Count = 64
    accumulate: Count = 1  # parts in which a batch passes through the model, one after another
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: Positive | None = None  # 0.02 for sgd, 0.001 for adam and adamw
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    loss: Literal["mse", "l1", "huber"] = "mse"  # of regression
    reduction: Literal["mean", "sum"] = "mean"  # of the loss over a batch
    clip: Positive | None = None  # total norm of the gradients, after the method
    clip_before: Positive | None = None  # the same, before the method
    clip_trigger: Positive | None = None  # clip only if the head's gradient has an element beyond this
    order: Literal["shuffled", "stream"] = "shuffled"  # stream: one pass over the samples in their order, in all epochs
    schedule: Literal["constant", "cosine", "step"] = "constant"  # of the learning rate, over the epochs
    dtype: Literal["float32", "float64", "bfloat16", "tf32"] = "float32"

    @property
    def rate(self) -> float:
        """Return the learning rate: the one that is given, or that of the optimiser."""
        return self.lr or LEARNING_RATES[self.optimizer]

    @field_validator("dtype", mode="before")
    @classmethod
    def unscaled(cls, dtype: Any) -> Any:
        """Raise a ValueError for what would need its losses scaled."""
        if dtype == "float16":
            raise ValueError("must not overflow, as float16 does where losses are not scaled; take bfloat16")
        return dtype


class Network(Section):
    """What is trained."""

    fusion: Literal["concat", "sum", "early", "gated", "film", "attention"] = "concat"
    encoder: Encoder | dict[str, Encoder] = "mlp"
    hidden: Annotated[int, Field(ge=1, le=65536)] = 64
    norm: Literal["none", "batch", "layer"] = "none"  # of mlp and cnn; a transformer has its own, a gru has none
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share of hidden units left out in training

    @model_validator(mode="before")
    @classmethod
    def one_module(cls, given: Any) -> Any:
        """Return `module: my_package.nets:Net` as what it says, the encoder of all modalities."""
        if isinstance(given, dict) and "module" in given and "encoder" not in given:
            return {"encoder" if key == "module" else key: value for key, value in given.items()}
        return given


class Limits(Section):
    """When a study ends before all of it has run."""

    hours: Positive | None = None  # of a run, by the clock
    trials: Count | None = None  # of the study, those known before included
    target: Annotated[float, Field(allow_inf_nan=False)] | None = None  # of a configuration's mean on validation


class Halving(Section):
    """Successive halving: after `first` epochs, and each `reduction` times as many, the best of the trials go on."""

    reduction: Annotated[int, Field(ge=2, le=100)] = 3
    first: Count = 1


class Median(Section):
    """The median rule: from epoch `first` on, what is worse than half of the trials ends, once `enough` came so far."""

    first: Count = 3
    enough: Annotated[int, Field(ge=2, le=10**6)] = 5


class Pruning(Section):
    """How lagging trials are ended early; one of both."""

    asha: Halving | None = None
    median: Median | None = None

    @model_validator(mode="after")
    def one(self) -> "Pruning":
        """Raise a ValueError unless there is one rule."""
        if (self.asha is None) == (self.median is None):
            raise ValueError("must name one rule: asha or median")
        return self


class Resources(Section):
    """What a pack of trials reserves, and how large it may be."""

    cpu: Annotated[float, Field(ge=0.01), AfterValidator(portion)] = 1  # of each worker
    gpu: Annotated[float, Field(ge=0), AfterValidator(portion)] = 0  # of each worker
    workers: Annotated[int, Field(ge=1, le=1024)] = 1  # that train a pack together, each with its share of a batch
    pack: Literal["auto"] | Annotated[int, Field(ge=1, le=4096)] = "auto"  # trials, at most, that train together
    compile: Literal["auto", "on", "off"] = "auto"  # a pack's steps; auto: where they are many
    checkpoint: Annotated[float, Field(ge=0)] = 60  # seconds, at least, between two; 0: none are written

    @property
    def cpus(self) -> float:
        """Return how many CPUs all workers of a pack need."""
        return self.cpu * self.workers


class Seeds(Section):
    """Seeds that are added until methods are told apart from joint training: the fewest, and the most."""

    auto: Annotated[list[Annotated[int, Field(ge=2, le=10_000)]], Field(min_length=2, max_length=2)]

    @field_validator("auto")
    @classmethod
    def rising(cls, auto: list[int]) -> list[int]:
        """Raise a ValueError unless there is room for more seeds."""
        if auto[0] >= auto[1]:
            raise ValueError("must be the fewest and the most seeds, as [5, 40]")
        return auto


class StudyFile(Section):
    """The keys of a study file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]
    data: str | dict[str, Any]
    model: Network = Network()
    train: Training = Training()
    methods: Annotated[list[str], Field(min_length=1)]
    set: dict[str, Any] = Field(default_factory=dict)
    vary: dict[str, Any] = Field(default_factory=dict)
    seeds: Annotated[int, Field(ge=1, le=10_000)] | Seeds = 5
    search: str | dict[str, Any] = "grid"
    trials: Annotated[int, Field(ge=1, le=100_000)] = 50
    metric: Metric | Annotated[list[Metric], Field(min_length=1)] | None = None
    budget: Limits = Limits()
    measure: list[str] | dict[str, Any] = Field(default_factory=list)
    prune: Literal["asha", "median"] | Pruning | None = None
    resources: Resources = Resources()
    track: list[Literal["tensorboard", "mlflow", "wandb"]] = Field(default_factory=list)
    store: str = "runs"


class Study(NamedTuple):
    """A study that is known to be runnable."""

    given: str  # as on the command line: a path, or the name of a ready study
    document: Document
    file: StudyFile
    methods: dict[str, str]  # name -> module:attribute
    data: dict[str, Any]  # as `trainables.data` takes it, with an absolute path
    sheet: Sheet
    set: dict[str, Any]  # "agm.cap" -> value
    vary: list[Varied]
    search: Search
    objectives: list[str]  # the metric that is chosen by, and those to be weighed against it
    measure: dict[str, int]  # name -> every how many steps or epochs, by name
    store: Path
    mirror: "Mirror | None" = None  # that the store is, if it is that of a remote one

    @property
    def metric(self) -> str:
        """Return the metric that is chosen by and reported: accuracy, mae or loss."""
        return self.objectives[0]

    @property
    def looks(self) -> list[int]:
        """Return the numbers of seeds at which it may end, rising; most studies have one."""
        if isinstance(self.file.seeds, int):
            return [self.file.seeds]
        from analysis.sequential import looks

        return looks(*self.file.seeds.auto)

    @property
    def maximise(self) -> bool:
        """Say whether more of the metric is better."""
        return DIRECTIONS[self.metric] == "max"

    @property
    def pruning(self) -> dict[str, Any]:
        """Return the rule by which trials are ended early, its options and its metric: all that decides who ends."""
        asked = self.file.prune
        if asked is None:
            return {}
        if isinstance(asked, str):
            asked = Pruning.model_validate({asked: {}})
        ((rule, options),) = asked.model_dump(exclude_none=True).items()
        return {"rule": rule, "options": options, "metric": self.metric}

    @property
    def address(self) -> str:
        """Return where the store is, as every node of a cluster reaches it."""
        return self.mirror.url if self.mirror else str(self.store)

    @property
    def folder(self) -> Path:
        """Return where the tables and figures of the study lie."""
        return self.store / self.file.name


def lacking(study: Study) -> list[str]:
    """Say which settings of training a method was published with and the study does not have."""
    said = []
    for method, companions in COMPANIONS.items():
        for key, value in companions.items():
            name = key.partition(".")[2]
            given = name in study.file.train.model_fields_set or any(one.key == key for one in study.vary)
            if method in study.methods and not given:
                said.append(f"{method} was published with {key}: {value:g}; this study does not set it.")
    return said


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
    claims = {file.stem for folder in (CLAIMS, RECIPES) for file in folder.glob("*.yaml")}
    if name in claims:
        raise UserError(f"{name}: is a claim, and here a study is asked for; `ablate run {name}` runs it")
    known = f"no ready study (they are: {', '.join(ready)}) and no claim of that name{near(name, [*ready, *claims])}"
    raise UserError(f"{name}: there is no such file, and {known}")


def load(name: str, store: str | None = None) -> Study:
    """Read and check a study.

    Raises:
        UserError: anything in it is wrong; one sentence with file, line, key, rule, finding and the nearest name.
    """
    document = Document(find(name))
    if isinstance(document.value, dict) and "claim" in document.value:
        raise UserError(f"{name}: is a claim, and here a study is asked for; `ablate run {name}` runs it")
    return resolve(document, name, store)


def resolve(document: Document, name: str, store: str | None = None) -> Study:
    """Check a study that has been read; ``name`` is what it was asked for by.

    Raises:
        UserError: anything in it is wrong, as in `load`.
    """
    from ablate.remote import is_remote, mirror

    file = parsed(document)
    methods = named(document, file.methods)
    folder = file.store if store is None else store
    if not folder or "\0" in folder:
        raise document.error(("store",), f"must be a folder, or an address such as s3://bucket/runs, got {folder!r}")
    place = expanded(document, ("store",), folder)
    try:
        mirrored = mirror(folder) if is_remote(folder) else None
    except UserError as error:
        raise document.error(("store",), str(error).removeprefix("store: ")) from None
    data = located(document, file.data)
    try:
        described = sheet(data)
    except DataError as error:
        raise about_data(document, error) from None
    settings = {
        key: checked(document, ("set", key), axis(document, ("set", key), key, methods), value)
        for key, value in file.set.items()
    }
    search = searched(document, file.search)
    scope = Scope(document, methods, {"train": file.train, "model": file.model}, search.lists)
    vary = [varied(scope, key, value) for key, value in file.vary.items()]
    for where, encoder in encoders(file, vary):
        for path in own_encoders(encoder):
            check_encoder(document, where, path)
    for one in vary:
        if one.key in settings:
            raise document.error(("vary", one.key), "is both set and varied; keep one of the two")
    study = Study(
        name,
        document, file, methods, data, described, settings, vary, search, objectives(file, described),
        intervals(document, file.measure, described),
        mirrored.folder if mirrored else place.absolute(), mirrored,
    )  # fmt: skip
    check(study)
    return study


def encoders(file: StudyFile, vary: list[Varied]) -> list[tuple[Where, Any]]:
    """Return the encoders of a study, each one name or one for each modality, and where they are said."""
    varied = [(("vary", one.key), value) for one in vary if one.key == "model.encoder" for value in one.values]
    return [(("model", "encoder"), file.model.encoder), *varied]


def objectives(file: StudyFile, about: Sheet) -> list[str]:
    """Return the metrics of a study: those that it names, or the one of its task."""
    if file.metric is None:
        return ["mae" if about.task == "regression" else "accuracy"]
    return list(file.metric) if isinstance(file.metric, list) else [file.metric]


def parsed(document: Document) -> StudyFile:
    """Return the keys of a study file, each valid by itself."""
    if document.value is None:
        raise document.error((), "the file is empty; a study has at least `name`, `data` and `methods`")
    if not isinstance(document.value, dict):
        raise document.error((), f"a study is a mapping of keys to values, got {kind(document.value)}")
    file = validated(document, StudyFile, document.value, ())
    if file.name.lower() in RESERVED:
        raise document.error(("name",), f"`{file.name}` is the store's own; take another name")
    return file


def about_data(document: Document, error: DataError) -> UserError:
    """Return a complaint about the data, which names its key itself, as one about the study file."""
    key, _, sentence = str(error).partition(": ")
    if key != "data" and not key.startswith("data."):
        key, sentence = "data", str(error)
    return document.error(tuple(key.split(".")), sentence.rstrip("."))


def located(document: Document, data: str | dict[str, Any]) -> dict[str, Any]:
    """Return the data key as a mapping; a relative path is relative to the study file."""
    spec = {"name": data} if isinstance(data, str) else dict(data)
    path = spec.get("path")
    if isinstance(path, str):
        place = document.file.parent / expanded(document, ("data", "path"), path)
        try:
            spec["path"] = str(place.resolve())
        except (ValueError, RuntimeError):  # a null byte; links in a circle
            rule = f"must be the path of an .npz file or its folder, got {path!r}"
            raise document.error(("data", "path"), rule) from None
    return spec


def expanded(document: Document, where: Where, path: str) -> Path:
    """Return a path with the home directory in place of `~`; raise a UserError where there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise document.error(where, f"must not begin with an unknown home directory, got {path!r}") from None
