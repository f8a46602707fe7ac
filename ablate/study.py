"""The study file: one page of YAML, checked as a whole before anything starts."""

import math
from pathlib import Path
from typing import Any, NamedTuple

from ablate.contradictions import check
from ablate.document import Document, Where
from ablate.errors import UserError, did_you_mean, type_name
from ablate.keys import DIRECTIONS, Pruning, StudyFile
from ablate.measuring import intervals
from ablate.methods import axes_of, check_encoder, named, own_encoders
from ablate.remote import Mirror, is_remote, mirror_of
from ablate.searching import Search, searched
from ablate.settings import axis, checked
from ablate.validation import validated
from ablate.vary import Scope, Varied, varied
from search_spaces import CLAIMS, RECIPES, STUDIES
from search_spaces.methods import COMPANIONS
from trainables.data import DataError, Sheet, sheet

RESERVED = {"trials", "schema"}  # what a store keeps for itself


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
    mirror: Mirror | None = None  # that the store is, if it is that of a remote one

    @property
    def metric(self) -> str:
        """Return the metric that is chosen by and reported: accuracy, mae or loss."""
        return self.objectives[0]

    @property
    def looks(self) -> list[int]:
        """Return the numbers of seeds at which it may end, rising; most studies have one."""
        seeds = self.file.seeds
        if isinstance(seeds, int):
            return [seeds]
        if seeds.auto is None:
            return [math.prod(seeds.blocks)]
        from analysis.sequential import looks

        return looks(*seeds.auto)

    @property
    def blocks(self) -> tuple[int, ...]:
        """Return how many seeds there are of each of `keys.BLOCKS`; none where one decides all but the split."""
        seeds = self.file.seeds
        return () if isinstance(seeds, int) or seeds.auto else seeds.blocks

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

    def reach(self, key: str) -> list[Any]:
        """Return the values that a setting takes, those of a range by its ends."""
        owner, _, name = key.partition(".")
        taken = [value for one in self.vary if one.key == key for value in one.reach]
        if taken and self.search.name != "one-at-a-time":
            return taken
        sections = {"train": self.file.train, "model": self.file.model}
        if owner in sections:
            return [getattr(sections[owner], name), *taken]
        return [self.set.get(key, axes_of(owner, self.methods[owner])[name].default), *taken]

    @property
    def address(self) -> str:
        """Return where the store is, as every node of a cluster reaches it."""
        return self.mirror.url if self.mirror else str(self.store)

    @property
    def folder(self) -> Path:
        """Return where the tables and figures of the study lie."""
        return self.store / self.file.name


def lacking(study: Study) -> list[str]:
    """Say which methods were published with settings of training of which the study has none."""
    given = {f"train.{name}" for name in study.file.train.model_fields_set} | {one.key for one in study.vary}
    said = []
    for method, companions in COMPANIONS.items():
        if method in study.methods and not given & companions.keys():
            stated = " and ".join(f"{key}: {value:g}" for key, value in companions.items())
            them = "it" if len(companions) == 1 else "them"
            said.append(f"{method} was published with {stated}; this study does not set {them}.")
    return said


def find(name: str) -> Path:
    """Return the file of a study or a claim: a path, or the name of one that comes with the package.

    Raises:
        UserError: there is neither such a file nor such a name.
    """
    path = Path(name)
    if path.is_file():
        return path
    ready = {file.stem: file for folder in (STUDIES, CLAIMS, RECIPES) for file in sorted(folder.glob("*.yaml"))}
    if name in ready:
        return ready[name]
    if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
        raise UserError(f"{name}: there is no such file")
    studies = ", ".join(one for one, file in ready.items() if file.parent == STUDIES)
    known = f"no ready study (they are: {studies}) and no claim of that name{did_you_mean(name, ready)}"
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
    file = parsed(document)
    methods = named(document, file.methods)
    place, mirrored = placed(document, file.store if store is None else store)
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
        place, mirrored,
    )  # fmt: skip
    check(study)
    return study


def placed(document: Document, store: str) -> tuple[Path, Mirror | None]:
    """Return the folder of this machine that a store is worked on in, and the mirror that it is if that is remote."""
    if not store or "\0" in store:
        raise document.error(("store",), f"must be a folder, or an address such as s3://bucket/runs, got {store!r}")
    if not is_remote(store):
        return expanded(document, ("store",), store).absolute(), None
    try:
        mirrored = mirror_of(store)
    except UserError as error:
        raise document.error(("store",), str(error).removeprefix("store: ")) from None
    return mirrored.folder, mirrored


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
        raise document.error((), f"a study is a mapping of keys to values, got {type_name(document.value)}")
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
