"""The `data` entry of a study, checked against the datasheet of its file before an array is read."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from trainables.data.archive import Archive
from trainables.data.dataset import DataError, check_choice
from trainables.data.standardise import standardised_modalities

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
    """All options of a `data` entry, resolved with the defaults of the datasheet."""

    all_modalities: tuple[str, ...]  # all modalities of the file: the columns of its index tables
    modalities: tuple[str, ...]  # selected ones, in the order of the study
    variants: dict[str, str]  # modality -> clean or pca25
    protocol: str | None  # which index tables; None in the rows layout
    target: str | None  # array of labels that the study or the datasheet names; None: the labels of the pools
    overrides_target: bool  # the study names another target than the datasheet, with other classes
    transform: str  # none or log1p, of a regression target before it is standardised
    standardise: bool
    deal: int  # number of the random reassignment between training and validation; 0: as in the file
    groups: str | None  # array with the group of each sample, which no deal separates; None: samples are independent
    linking_modalities: tuple[str, ...]  # default and selected ones: pairs that share a row of their pools are grouped
    shots: int | None  # training samples of each class; None: all
    missing: dict[str, float]  # modality -> probability that a sample lacks it, where it is above 0


def select(options: Mapping[str, Any], archive: Archive) -> Selection:
    """Return the options of a `data` entry, resolved; raises DataError at one that does not fit the file."""
    all_modalities, default = listed_modalities(archive)
    for modality in standardised_modalities(archive.description):
        check_choice(modality, all_modalities, "data.standardise", archive.name, "modality")
    for key in options:
        # `split` is another spelling of `protocol`; a modality's name is the key of its variant
        check_choice(key, (*KEYS, "split", *all_modalities), "data", archive.name, "key")
    modalities = select_modalities(options.get("modalities", default), all_modalities, archive)
    default_target, advised = datasheet_target(archive)
    target = default_target
    if "target" in options:
        target = check_choice(options["target"], archive.arrays, "data.target", archive.name, "array")
    for name in {target, "split"} & set(modalities):
        raise DataError(f"data.modalities: `{name}` of {archive.name} holds targets or splits and cannot be an input.")
    transform = options.get("transform", advised if target == default_target else "none")
    return Selection(
        all_modalities=all_modalities,
        modalities=modalities,
        variants={m: select_variant(options.get(m, "clean"), m, archive) for m in all_modalities},
        protocol=select_protocol(options, archive),
        target=target,
        overrides_target=target != default_target,
        transform=check_choice(transform, ("none", "log1p"), "data.transform", "a target", "transform"),
        standardise=parse_bool(options.get("standardise", True), "data.standardise"),
        deal=parse_integer(options.get("deal", 0), "data.deal", 0),
        groups=select_groups(options, archive),
        linking_modalities=tuple(m for m in all_modalities if m in {*default, *modalities}),
        shots=parse_shots(options.get("shots"), archive),
        missing=parse_missing(options.get("missing", {}), modalities, archive),
    )


def listed_modalities(archive: Archive) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return all modalities of the datasheet, and the default ones: those that it does not mark as optional.

    An entry is a name without spaces, and optionally a remark: `pen (optional third)`.
    """
    entries = archive.description.get("modalities")
    if not isinstance(entries, list) or not entries or not all(isinstance(e, str) and e.strip() for e in entries):
        raise DataError(
            f"data: the datasheet of {archive.path} must list its `modalities`, got {entries!r}; "
            "a file that only complements another file cannot be used alone."
        )
    names = tuple(entry.split()[0] for entry in entries)
    for name, entry in zip(names, entries, strict=True):
        if name not in archive.arrays and entry in archive.arrays:
            raise DataError(
                f"data: the name of a modality ends at the first space, the rest is a remark; got {entry!r} in the "
                f"datasheet of {archive.path}."
            )
        if name.startswith(".") or {"/", "\\"} & set(name):
            raise DataError(f"data: the name of a modality of {archive.path} must not be a path, got {name!r}.")
    default = tuple(entry.split()[0] for entry in entries if "optional" not in entry)
    return names, default or names


def datasheet_target(archive: Archive) -> tuple[str | None, str]:
    """Return the target of the datasheet, and the transform that a remark after its name advises.

    The default is `label` if the file has it, and otherwise None: the labels of the pools.
    """
    words = str(archive.description.get("target", "label" if "label" in archive.arrays else "")).split()
    return (words[0] if words else None), ("log1p" if "log1p" in words else "none")


def select_groups(options: Mapping[str, Any], archive: Archive) -> str | None:
    """Return the array of groups that the study, or else the datasheet, names."""
    name = options.get("groups", archive.description.get("groups"))
    return None if name is None else check_choice(name, archive.arrays, "data.groups", archive.name, "array")


def select_modalities(value: Any, all_modalities: tuple[str, ...], archive: Archive) -> tuple[str, ...]:
    """Return the modalities that the study names."""
    if not isinstance(value, list | tuple) or not value:
        raise DataError(f"data.modalities: must be a list of modalities ({', '.join(all_modalities)}), got {value!r}.")
    modalities = tuple(check_choice(m, all_modalities, "data.modalities", archive.name, "modality") for m in value)
    if len(set(modalities)) < len(modalities):
        raise DataError(f"data.modalities: each modality may be named once, got {', '.join(modalities)}.")
    for modality in modalities:
        if modality not in archive.arrays:
            has_space = any(array.startswith(f"{modality} ") for array in archive.arrays)
            rule = "; a name ends at the first space, the rest is a remark" if has_space else ""
            raise DataError(f"data: {archive.path} holds no array `{modality}`, which its datasheet lists{rule}.")
    return modalities


def select_variant(value: Any, modality: str, archive: Archive) -> str:
    """Return the variant of a modality that the study names."""
    has_pca = modality == "image" and all(array in archive.arrays for array in PCA)
    variants = ("clean", "pca25") if has_pca else ("clean",)
    return check_choice(value, variants, f"data.{modality}", f"{modality} of {archive.name}", "variant")


def select_protocol(options: Mapping[str, Any], archive: Archive) -> str | None:
    """Return the protocol that the study names, or the first one in the file; None in other layouts."""
    if "protocol" in options and "split" in options:
        raise DataError("data: `split` means the same as `protocol`; give one of them.")
    tables = [array.removeprefix("pairs_") for array in archive.arrays if array.startswith("pairs_")]
    protocols = tuple(dict.fromkeys(table.rpartition("_")[0] for table in tables))
    protocol = options.get("protocol", options.get("split"))
    if protocol is None:
        return protocols[0] if protocols else None
    return check_choice(protocol, protocols, "data.protocol", archive.name, "protocol")


def parse_shots(value: Any, archive: Archive) -> int | None:
    """Return the number of training samples to keep of each class; None: all."""
    if value is None:
        return None
    if archive.task != "classification":
        raise DataError(
            f"data.shots: needs classification, as it counts samples per class; {archive.name} is {archive.task}."
        )
    return parse_integer(value, "data.shots", 1)


def parse_missing(value: Any, modalities: tuple[str, ...], archive: Archive) -> dict[str, float]:
    """Return the probability that a sample lacks each modality, from one number for all or a mapping."""
    probabilities = value if isinstance(value, Mapping) else dict.fromkeys(modalities, value)
    for modality, probability in probabilities.items():
        check_choice(modality, modalities, "data.missing", archive.name, "modality")
        if isinstance(probability, bool) or not isinstance(probability, int | float) or not 0 <= probability < 1:
            raise DataError(f"data.missing: must be a probability in [0, 1), got {probability!r}.")
    return {modality: float(probability) for modality, probability in probabilities.items() if probability}


def parse_integer(value: Any, where: str, minimum: int) -> int:
    """Return an integer that is not below the minimum."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise DataError(f"{where}: must be an integer of at least {minimum}, got {value!r}.")
    return value


def parse_bool(value: Any, where: str) -> bool:
    """Return a boolean."""
    if not isinstance(value, bool):
        raise DataError(f"{where}: must be true or false, got {value!r}.")
    return value
