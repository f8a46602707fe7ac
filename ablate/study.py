"""Studies: a study file is read, resolved and checked as a whole before anything starts."""

import math
from pathlib import Path
from typing import Any, NamedTuple

from ablate.contradictions import check_consistency
from ablate.document import Document, KeyPath
from ablate.errors import UserError, did_you_mean, type_name
from ablate.keys import DIRECTIONS, Pruning, StudyFile
from ablate.measure_options import parse_measure
from ablate.methods import check_encoder, method_axes, resolve_methods, user_encoders
from ablate.remote import Mirror, is_remote, mirror_of
from ablate.search_options import Search, parse_search
from ablate.settings import check_value, find_axis
from ablate.validation import validate_section
from ablate.vary import Scope, VariedAxis, parse_axis
from search_spaces import CLAIMS, RECIPES, STUDIES
from search_spaces.methods import PUBLISHED_TRAINING
from trainables.data import DataError, Sheet, load_sheet

RESERVED_NAMES = {"trials", "schema"}  # entries of a store that are no studies


class Study(NamedTuple):
    """A study that has been checked."""

    name_or_path: str  # as given on the command line: a path, or the name of a ready study
    document: Document
    file: StudyFile
    methods: dict[str, str]  # name -> module:attribute
    data: dict[str, Any]  # as `trainables.data` takes it, with an absolute path
    sheet: Sheet
    set: dict[str, Any]  # "agm.cap" -> value
    vary: list[VariedAxis]
    search: Search
    objectives: list[str]  # the metric for choosing, then those that a Pareto front weighs against it
    measure: dict[str, int]  # name -> interval in steps or epochs, sorted by name
    store: Path  # of a remote store: the folder of its mirror
    mirror: Mirror | None = None  # of a remote store

    @property
    def metric(self) -> str:
        """Return the metric for choosing and reporting: accuracy, mae or loss."""
        return self.objectives[0]

    @property
    def looks(self) -> list[int]:
        """Return the looks, numbers of seeds after which the study may stop, ascending; one unless `seeds: auto`."""
        seeds = self.file.seeds
        if isinstance(seeds, int):
            return [seeds]
        if seeds.auto is None:
            return [math.prod(seeds.blocks)]
        from analysis.sequential import looks

        return looks(*seeds.auto)

    @property
    def blocks(self) -> tuple[int, ...]:
        """Return the number of seeds of each of `keys.BLOCKS`; empty if one seed decides initialisation and order."""
        seeds = self.file.seeds
        return () if isinstance(seeds, int) or seeds.auto else seeds.blocks

    @property
    def maximise(self) -> bool:
        """Return whether a larger value of the metric is better."""
        return DIRECTIONS[self.metric] == "max"

    @property
    def pruning(self) -> dict[str, Any]:
        """Return the pruning rule with its options and metric; empty without pruning."""
        prune = self.file.prune
        if prune is None:
            return {}
        if isinstance(prune, str):
            prune = Pruning.model_validate({prune: {}})
        ((rule, options),) = prune.model_dump(exclude_none=True).items()
        return {"rule": rule, "options": options, "metric": self.metric}

    def possible_values(self, key: str) -> list[Any]:
        """Return the values that a setting takes in this study; of a range, its bounds."""
        owner, _, name = key.partition(".")
        varied = [value for axis in self.vary if axis.key == key for value in axis.values_or_bounds]
        if varied and self.search.name != "one-at-a-time":
            return varied
        sections = {"train": self.file.train, "model": self.file.model}
        if owner in sections:
            return [getattr(sections[owner], name), *varied]
        return [self.set.get(key, method_axes(owner, self.methods[owner])[name].default), *varied]

    @property
    def address(self) -> str:
        """Return the address of the store for all nodes of a cluster: its URL or its folder."""
        return self.mirror.url if self.mirror else str(self.store)

    @property
    def folder(self) -> Path:
        """Return the folder of the study's tables and figures."""
        return self.store / self.file.name


def missing_companions(study: Study) -> list[str]:
    """Return a sentence for each method that was published with training settings that the study does not set."""
    set_keys = {f"train.{name}" for name in study.file.train.model_fields_set} | {axis.key for axis in study.vary}
    sentences = []
    for method, companions in PUBLISHED_TRAINING.items():
        if method in study.methods and not set_keys & companions.keys():
            settings = " and ".join(f"{key}: {value:g}" for key, value in companions.items())
            pronoun = "it" if len(companions) == 1 else "them"
            sentences.append(f"{method} was published with {settings}; this study does not set {pronoun}.")
    return sentences


def find_study_file(name: str) -> Path:
    """Return the file of a study or a claim, given its path or the name of one in the package.

    Raises:
        UserError: there is no such file or name.
    """
    path = Path(name)
    if path.is_file():
        return path
    catalogue = {file.stem: file for folder in (STUDIES, CLAIMS, RECIPES) for file in sorted(folder.glob("*.yaml"))}
    if name in catalogue:
        return catalogue[name]
    if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
        raise UserError(f"{name}: there is no such file")
    studies = ", ".join(study_name for study_name, file in catalogue.items() if file.parent == STUDIES)
    hint = f"no built-in study ({studies}) or claim has that name{did_you_mean(name, catalogue)}"
    raise UserError(f"{name}: there is no such file, and {hint}")


def is_claim(name: str) -> bool:
    """Return whether a name or a file is that of a claim rather than a study; raise a UserError if it is neither."""
    value = Document(find_study_file(name)).value
    return isinstance(value, dict) and "claim" in value


def load(name: str, store: str | None = None) -> Study:
    """Read and check a study.

    Raises:
        UserError: the study is invalid; one sentence with file, line, key, rule, value and the nearest valid name.
    """
    document = Document(find_study_file(name))
    if isinstance(document.value, dict) and "claim" in document.value:
        raise UserError(f"{name}: is a claim, but a study is required here; `ablate run {name}` runs it")
    return resolve(document, name, store)


def resolve(document: Document, name: str, store: str | None = None) -> Study:
    """Resolve and check the study of a document; ``name`` is its path or name on the command line.

    Raises:
        UserError: the study is invalid, as in `load`.
    """
    file = parse_keys(document)
    methods = resolve_methods(document, file.methods)
    folder, mirror = resolve_store(document, file.store if store is None else store)
    data = resolve_data(document, file.data)
    try:
        sheet = load_sheet(data)
    except DataError as error:
        raise data_error(document, error) from None
    settings = {
        key: check_value(document, ("set", key), find_axis(document, ("set", key), key, methods), value)
        for key, value in file.set.items()
    }
    search = parse_search(document, file.search)
    scope = Scope(document, methods, {"train": file.train, "model": file.model}, search.uses_listed_values)
    vary = [parse_axis(scope, key, value) for key, value in file.vary.items()]
    for where, encoder in encoder_entries(file, vary):
        for path in user_encoders(encoder):
            check_encoder(document, where, path)
    for axis in vary:
        if axis.key in settings:
            raise document.error(("vary", axis.key), "is both set and varied; keep one of the two")
    study = Study(
        name,
        document, file, methods, data, sheet, settings, vary, search, parse_objectives(file, sheet),
        parse_measure(document, file.measure, sheet),
        folder, mirror,
    )  # fmt: skip
    check_consistency(study)
    return study


def resolve_store(document: Document, store: str) -> tuple[Path, Mirror | None]:
    """Return the local folder of a store and, for a remote store, the mirror that the folder belongs to."""
    if not store or "\0" in store:
        raise document.error(("store",), f"must be a folder, or an address such as s3://bucket/runs, got {store!r}")
    if not is_remote(store):
        return expand_home(document, ("store",), store).absolute(), None
    try:
        mirror = mirror_of(store)
    except UserError as error:
        raise document.error(("store",), str(error).removeprefix("store: ")) from None
    return mirror.folder, mirror


def encoder_entries(file: StudyFile, vary: list[VariedAxis]) -> list[tuple[KeyPath, Any]]:
    """Return the values of `model.encoder` in a study, set and varied, each with its location in the file."""
    varied_entries = [
        (("vary", axis.key), value) for axis in vary if axis.key == "model.encoder" for value in axis.values
    ]
    return [(("model", "encoder"), file.model.encoder), *varied_entries]


def parse_objectives(file: StudyFile, sheet: Sheet) -> list[str]:
    """Return the metrics of a study: those listed in the file, or the default of its task."""
    if file.metric is None:
        return ["mae" if sheet.task == "regression" else "accuracy"]
    return list(file.metric) if isinstance(file.metric, list) else [file.metric]


def parse_keys(document: Document) -> StudyFile:
    """Return the keys of a study file, each validated by itself."""
    if document.value is None:
        raise document.error((), "the file is empty; a study has at least `name`, `data` and `methods`")
    if not isinstance(document.value, dict):
        raise document.error((), f"a study is a mapping of keys to values, got {type_name(document.value)}")
    file = validate_section(document, StudyFile, document.value, ())
    if file.name.lower() in RESERVED_NAMES:
        raise document.error(("name",), f"`{file.name}` is reserved in the store; choose another name")
    return file


def data_error(document: Document, error: DataError) -> UserError:
    """Return a DataError, whose message begins with its key, as an error at that key of the study file."""
    key, _, sentence = str(error).partition(": ")
    if key != "data" and not key.startswith("data."):
        key, sentence = "data", str(error)
    return document.error(tuple(key.split(".")), sentence.rstrip("."))


def resolve_data(document: Document, data: str | dict[str, Any]) -> dict[str, Any]:
    """Return the key `data` as a mapping with an absolute path; relative paths start at the study file."""
    spec = {"name": data} if isinstance(data, str) else dict(data)
    path = spec.get("path")
    if isinstance(path, str):
        location = document.file.parent / expand_home(document, ("data", "path"), path)
        try:
            spec["path"] = str(location.resolve())
        except (ValueError, RuntimeError):  # a null byte; links in a circle
            rule = f"must be the path of an .npz file or its folder, got {path!r}"
            raise document.error(("data", "path"), rule) from None
    return spec


def expand_home(document: Document, where: KeyPath, path: str) -> Path:
    """Return a path with `~` expanded; raise a UserError if that home directory is unknown."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise document.error(where, f"must not begin with an unknown home directory, got {path!r}") from None
