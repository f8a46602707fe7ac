"""What of a file a study uses: its `data` entry, checked against the datasheet before an array is read."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from trainables.data.archive import Archive
from trainables.data.dataset import DataError, choose

KEYS = (
    "name",
    "path",
    "protocol",
    "modalities",
    "target",
    "transform",
    "standardise",
    "deal",
    "groups",
    "shots",
    "missing",
)
PCA = ("pca_mean", "pca_basis", "pca_k25")  # what the file must hold for `image: pca25`


class Selection(NamedTuple):
    """The answers to every question that a `data` entry can settle."""

    columns: tuple[str, ...]  # all modalities of the file: the columns of its index tables
    modalities: tuple[str, ...]  # those used, in the order of the study
    variants: dict[str, str]  # modality -> clean or pca25
    protocol: str | None  # which index tables; None in the rows layout
    target: str | None  # array of labels that the study or datasheet names; None: the labels of the pools
    retargeted: bool  # the study names another target than the datasheet, so the classes are others too
    transform: str  # none or log1p, of a regression target before it is standardised
    standardise: bool
    deal: int  # how training and validation share their samples; 0: as in the file
    groups: str | None  # array of what samples belong to, which no deal parts; None: each is its own
    linked: tuple[str, ...]  # modalities whose pools tie pairs together: the default ones, and others that are used
    shots: int | None  # training samples of each class; None: all
    missing: dict[str, float]  # modality -> probability that a sample lacks it, where it is above 0


def select(options: Mapping[str, Any], archive: Archive) -> Selection:
    """Return what the `data` entry asks of the archive; raises DataError at what the file does not have."""
    columns, default = _modalities(archive)
    for key in options:
        # `split` is another spelling of `protocol`; a modality's name is the key of its variant
        choose(key, (*KEYS, "split", *columns), "data", archive.name, "key")
    modalities = _chosen(options.get("modalities", default), columns, archive)
    target, advised = _target(archive)
    wanted = target
    if "target" in options:
        wanted = choose(options["target"], archive.arrays, "data.target", archive.name, "array")
    for given in {wanted, "split"} & set(modalities):
        raise DataError(f"data.modalities: `{given}` of {archive.name} says what a sample is, and cannot be an input.")
    transform = options.get("transform", advised if wanted == target else "none")
    return Selection(
        columns=columns,
        modalities=modalities,
        variants={m: _variant(options.get(m, "clean"), m, archive) for m in columns},
        protocol=_protocol(options, archive),
        target=wanted,
        retargeted=wanted != target,
        transform=choose(transform, ("none", "log1p"), "data.transform", "a target", "transform"),
        standardise=_boolean(options.get("standardise", True), "data.standardise"),
        deal=whole(options.get("deal", 0), "data.deal", 0),
        groups=_groups(options, archive),
        linked=tuple(m for m in columns if m in {*default, *modalities}),
        shots=_shots(options.get("shots"), archive),
        missing=_missing(options.get("missing", {}), modalities, archive),
    )


def _modalities(archive: Archive) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return all modalities of the datasheet and, without those it marks as optional, the default ones.

    An entry is a name without spaces, which a remark may follow: `pen (optional third)`.
    """
    entries = archive.description.get("modalities")
    if not isinstance(entries, list) or not entries or not all(isinstance(e, str) and e.strip() for e in entries):
        raise DataError(
            f"data: the datasheet of {archive.path} must list its `modalities`, got {entries!r}; "
            "a file that only completes another one cannot be studied alone."
        )
    names = tuple(entry.split()[0] for entry in entries)
    for name in names:
        if name.startswith(".") or {"/", "\\"} & set(name):
            raise DataError(f"data: a modality of {archive.path} must not be named like a path, got {name!r}.")
    default = tuple(entry.split()[0] for entry in entries if "optional" not in entry)
    return names, default or names


def _target(archive: Archive) -> tuple[str | None, str]:
    """Return the datasheet's target, which a remark may follow, and the transform that the remark advises.

    Without one it is `label` in a file of rows and None, the labels of the pools, in a file of pairs.
    """
    words = str(archive.description.get("target", "label" if "label" in archive.arrays else "")).split()
    return (words[0] if words else None), ("log1p" if "log1p" in words else "none")


def _groups(options: Mapping[str, Any], archive: Archive) -> str | None:
    """Return the array that the study, or else the datasheet, names."""
    wanted = options.get("groups", archive.description.get("groups"))
    return None if wanted is None else choose(wanted, archive.arrays, "data.groups", archive.name, "array")


def _chosen(wanted: Any, columns: tuple[str, ...], archive: Archive) -> tuple[str, ...]:
    if not isinstance(wanted, list | tuple) or not wanted:
        raise DataError(f"data.modalities: must be a list of modalities ({', '.join(columns)}), got {wanted!r}.")
    chosen = tuple(choose(m, columns, "data.modalities", archive.name, "modality") for m in wanted)
    if len(set(chosen)) < len(chosen):
        raise DataError(f"data.modalities: each modality may be named once, got {', '.join(chosen)}.")
    for modality in chosen:
        if modality not in archive.arrays:
            spaced = any(array.startswith(f"{modality} ") for array in archive.arrays)
            rule = ": what follows a space is a remark, so that a name has none" if spaced else ""
            raise DataError(f"data: {archive.path} holds no array `{modality}`, which its datasheet lists{rule}.")
    return chosen


def _variant(wanted: Any, modality: str, archive: Archive) -> str:
    has_pca = modality == "image" and all(array in archive.arrays for array in PCA)
    known = ("clean", "pca25") if has_pca else ("clean",)
    return choose(wanted, known, f"data.{modality}", f"{modality} of {archive.name}", "variant")


def _protocol(options: Mapping[str, Any], archive: Archive) -> str | None:
    """Return the protocol asked for, or the first one in the file."""
    if "protocol" in options and "split" in options:
        raise DataError("data: `split` is another spelling of `protocol`; give one of them.")
    tables = [array.removeprefix("pairs_") for array in archive.arrays if array.startswith("pairs_")]
    known = tuple(dict.fromkeys(table.rpartition("_")[0] for table in tables))
    wanted = options.get("protocol", options.get("split"))
    if wanted is None:
        return known[0] if known else None
    return choose(wanted, known, "data.protocol", archive.name, "protocol")


def _shots(value: Any, archive: Archive) -> int | None:
    """Return how many training samples of each class there are to be."""
    if value is None:
        return None
    if archive.task != "classification":
        raise DataError(f"data.shots: counts samples of a class, and {archive.name} is {archive.task}.")
    return whole(value, "data.shots", 1)


def _missing(value: Any, modalities: tuple[str, ...], archive: Archive) -> dict[str, float]:
    """Return how often samples are to lack each modality, of one number for all or a mapping."""
    given = value if isinstance(value, Mapping) else dict.fromkeys(modalities, value)
    for modality, share in given.items():
        choose(modality, modalities, "data.missing", archive.name, "modality")
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1:
            raise DataError(f"data.missing: must be a probability in [0, 1), got {share!r}.")
    return {modality: float(share) for modality, share in given.items() if share}


def whole(value: Any, where: str, least: int) -> int:
    """Return a whole number that is not below the least."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise DataError(f"{where}: must be a whole number from {least}, got {value!r}.")
    return value


def _boolean(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise DataError(f"{where}: must be true or false, got {value!r}.")
    return value
