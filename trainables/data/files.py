"""A file in the product's own format becomes a sheet, or the splits of a data set."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from trainables.data.archive import Archive
from trainables.data.dataset import DataError, Dataset, Sheet, Split
from trainables.data.layouts import Layout, layout, units
from trainables.data.selection import Selection, select
from trainables.data.standardise import apply, fit, kind_of
from trainables.data.targets import Targets, check_classes, classes, regression


def describe(archive: Archive, options: Mapping[str, Any]) -> Sheet:
    """Return the sheet of a file; reads its labels and its splits, not its inputs."""
    selection = select(options, archive)
    found = layout(archive, selection)
    outputs = _outputs(archive, selection, found)
    if selection.groups is not None:
        units(found.members[1], archive, selection, found)  # raises where they are not of these samples
    return Sheet(
        name=archive.name,
        task=archive.task,
        outputs=outputs,
        modalities=selection.modalities,
        sha256=archive.sha256,
        path=archive.path,
        description=archive.description,
    )


def check_deals(archive: Archive, options: Mapping[str, Any], count: int) -> None:
    """Raise a DataError unless there are so many deals of a file's samples, its own split the first of them."""
    selection = select(options, archive)
    for deal in range(1, count):
        layout(archive, selection._replace(deal=deal))


def load(archive: Archive, options: Mapping[str, Any]) -> Dataset:
    """Return the data set of a file, inputs standardised with the statistics of its training samples.

    A regression target is standardised as well, so that losses have unit scale, unless the study says
    `standardise: false`. Raises DataError where the file breaks the rules of its layout.
    """
    selection = select(options, archive)
    found = layout(archive, selection)
    outputs = _outputs(archive, selection, found)
    inputs = {m: _inputs(archive, m, selection, found) for m in selection.modalities}
    targets, zero = _targets(archive, selection, found)
    train, validation, test = (
        Split(
            {m: splits[i][0] for m, splits in inputs.items()},
            target,
            {m: splits[i][1] for m, splits in inputs.items() if not splits[i][1].all()},
            units(found.members[i], archive, selection, found),
        )
        for i, target in enumerate(targets)
    )
    return Dataset(archive.name, archive.task, outputs, train, validation, test, zero=zero)


def _outputs(archive: Archive, selection: Selection, found: Layout) -> int:
    if archive.task == "regression":
        return 1
    # the classes of the datasheet are those of its own target
    stated = None if selection.retargeted else archive.description.get("classes")
    return check_classes(found.targets, stated, archive.task, archive.name, archive.ignored)


def _targets(archive: Archive, selection: Selection, found: Layout) -> tuple[Targets, float]:
    """Return the targets of the three splits, and where the 0 of a regression's lies."""
    if archive.task == "regression":
        filed = layout(archive, selection._replace(deal=0)) if selection.deal else found  # all deals have one unit
        return regression(found.targets, filed.targets[0], selection.transform, selection.standardise, archive.name)
    return tuple(classes(target, archive.ignored) for target in found.targets), 0.0


def _inputs(
    archive: Archive, modality: str, selection: Selection, found: Layout
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return a modality of the three splits, each [N, ...] float32 and who has it [N]; indexed once a split."""
    raw = archive.read(modality)
    if found.tiles is not None:
        raw = found.tiles.layers(raw, modality, archive.name)
    size = found.sizes[modality]
    if raw.dtype.kind not in "biuf" or raw.shape[:1] != (size,):
        raise DataError(
            f"data: {modality} of {archive.name} must be numbers with one row for each of {size} samples, "
            f"got {raw.dtype} {raw.shape}."
        )
    if raw.size == 0:
        raise DataError(f"data: {modality} of {archive.name} holds no number for any sample, got {raw.shape}.")
    raw = raw.reshape(size, -1) if raw.ndim == 1 else raw
    tiled = found.tiles is not None
    kind = kind_of(modality, raw, archive.description, tiled=tiled) if selection.standardise else "none"
    pool, present = _floats(raw, modality, archive.name, found)
    if selection.variants[modality] == "pca25":
        pool = _degraded(pool, *(archive.read(array) for array in ("pca_mean", "pca_basis", "pca_k25")))
    rows = [members[modality] for members in found.members]
    if not present[rows[0]].any():
        raise DataError(f"data: {modality} of {archive.name} is missing in every training sample.")
    scale = fit(pool[rows[0]], present[rows[0]], kind)
    places = [np.arange(len(r)) if split or found.chosen is None else found.chosen for split, r in enumerate(rows)]
    left = [present[r] & heard(modality, selection, split, places[split]) for split, r in enumerate(rows)]
    return [(apply(pool[r], here, scale), here) for r, here in zip(rows, left, strict=True)]


def heard(modality: str, selection: Selection, split: int, places: np.ndarray) -> np.ndarray:
    """Return which samples of a split, by their places in it, are not to lack a modality, [N] bool.

    It is the same for a sample whatever else is chosen but a deal, which gives it another place.
    """
    share = selection.missing.get(modality, 0.0)
    source = selection.columns.index(modality)
    drawn = np.random.default_rng([split, source]).random(places.max() + 1)
    return np.asarray(drawn[places] >= share)


def _floats(raw: np.ndarray, modality: str, owner: str, found: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Return an array [N, ...] as float32, bytes as shares of 255, and which samples are present [N]."""
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused below
        pool = raw.astype(np.float32)
    if raw.dtype == np.uint8:
        pool /= 255
    flat = pool.reshape(len(pool), -1)
    present = np.asarray(~np.isnan(flat).all(axis=1))
    broken = np.flatnonzero(~np.isfinite(flat).all(axis=1) & present)
    if broken.size:
        raise DataError(
            f"data: {modality} of {owner}: {found.name(broken[0])} is partly NaN or infinite; "
            "a sample is either complete or, all of it NaN, missing."
        )
    return pool, present


def _degraded(pool: np.ndarray, mean: np.ndarray, basis: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return images rebuilt from the first components that keep a quarter of the variance, as in AV-MNIST."""
    kept = basis[: int(count)].astype(np.float32)  # [k, pixels]
    flat = pool.reshape(len(pool), -1)
    if not kept.shape[1:] == mean.shape == flat.shape[1:]:
        raise DataError(f"data.image: pca_mean {mean.shape} and pca_basis {basis.shape} do not fit the images.")
    rebuilt: np.ndarray = mean + (flat - mean) @ kept.T @ kept
    return rebuilt.reshape(pool.shape).astype(np.float32)
