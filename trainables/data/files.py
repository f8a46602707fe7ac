"""Sheets and data sets from files in the package's own format."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from trainables.data.archive import Archive
from trainables.data.dataset import DataError, Dataset, Sheet, Split
from trainables.data.layouts import Layout, find_layout, sample_links
from trainables.data.selection import Selection, select
from trainables.data.standardise import apply_scale, fit_scale, standardisation_kind
from trainables.data.targets import TOO_LARGE, Targets, class_labels, count_classes, regression_targets


def load_sheet(archive: Archive, options: Mapping[str, Any]) -> Sheet:
    """Return the sheet of a file; reads its labels and its splits, but not its inputs."""
    selection = select(options, archive)
    layout = find_layout(archive, selection)
    outputs = count_outputs(archive, selection, layout)
    if selection.groups is not None:
        sample_links(layout.rows[1], archive, selection, layout)  # raises if groups do not fit the samples
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
    """Raise a DataError unless a file has `count` deals of its samples, its own split included."""
    selection = select(options, archive)
    for deal in range(1, count):
        find_layout(archive, selection._replace(deal=deal))


def load(archive: Archive, options: Mapping[str, Any]) -> Dataset:
    """Return the data set of a file, inputs standardised with the statistics of its training samples.

    A regression target is standardised as well, so that losses have unit scale, unless the study sets
    `standardise: false`. Raises DataError where the file breaks the rules of its layout.
    """
    selection = select(options, archive)
    layout = find_layout(archive, selection)
    outputs = count_outputs(archive, selection, layout)
    inputs = {m: load_inputs(archive, m, selection, layout) for m in selection.modalities}
    targets, target_zero = load_targets(archive, selection, layout)
    train, validation, test = (
        Split(
            {m: splits[i][0] for m, splits in inputs.items()},
            target,
            {m: splits[i][1] for m, splits in inputs.items() if not splits[i][1].all()},
            sample_links(layout.rows[i], archive, selection, layout),
        )
        for i, target in enumerate(targets)
    )
    return Dataset(archive.name, archive.task, outputs, train, validation, test, target_zero=target_zero)


def count_outputs(archive: Archive, selection: Selection, layout: Layout) -> int:
    """Return the number of classes, or 1 for regression."""
    if archive.task == "regression":
        return 1
    # the classes of the datasheet are those of its own target
    stated = None if selection.overrides_target else archive.description.get("classes")
    return count_classes(layout.targets, stated, archive.task, archive.name, archive.ignore_index)


def load_targets(archive: Archive, selection: Selection, layout: Layout) -> tuple[Targets, float]:
    """Return the targets of the three splits, and the value of a raw regression target of 0."""
    if archive.task == "regression":
        # all deals are standardised by the training samples of the file
        reference = find_layout(archive, selection._replace(deal=0)) if selection.deal else layout
        return regression_targets(
            layout.targets, reference.targets[0], selection.transform, selection.standardise, archive.name
        )
    return tuple(class_labels(target, archive.ignore_index) for target in layout.targets), 0.0


def load_inputs(
    archive: Archive, modality: str, selection: Selection, layout: Layout
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return a modality of the three splits: inputs [N, ...] float32 and presence [N] bool of each."""
    raw = archive.read(modality)
    if layout.tiles is not None:
        raw = layout.tiles.cut_channels(raw, modality, archive.name)
    size = layout.sizes[modality]
    if raw.dtype.kind not in "biuf" or raw.shape[:1] != (size,):
        raise DataError(
            f"data: {modality} of {archive.name} must be numbers with one row for each of {size} samples, "
            f"got {raw.dtype} {raw.shape}."
        )
    if raw.size == 0:
        raise DataError(f"data: {modality} of {archive.name} holds no number for any sample, got {raw.shape}.")
    raw = raw.reshape(size, -1) if raw.ndim == 1 else raw
    tiled = layout.tiles is not None
    kind = standardisation_kind(modality, raw, archive.description, tiled=tiled) if selection.standardise else "none"
    pool, present = to_float32(raw, modality, archive.name, layout)
    if selection.variants[modality] == "pca25":
        pool = reconstruct_pca(pool, *(archive.read(array) for array in ("pca_mean", "pca_basis", "pca_k25")))
    rows = [split_rows[modality] for split_rows in layout.rows]
    if not present[rows[0]].any():
        raise DataError(f"data: {modality} of {archive.name} is missing in every training sample.")
    scale = fit_scale(pool[rows[0]], present[rows[0]], kind)
    positions = [np.arange(len(r)) for r in rows]
    if layout.train_positions is not None:
        positions[0] = layout.train_positions
    masks = [present[r] & draw_presence(modality, selection, i, positions[i]) for i, r in enumerate(rows)]
    return [(apply_scale(pool[r], mask, scale), mask) for r, mask in zip(rows, masks, strict=True)]


def draw_presence(modality: str, selection: Selection, split: int, positions: np.ndarray) -> np.ndarray:
    """Return which samples of a split, given by their positions in it, keep a modality under `missing`, [N] bool.

    The draw of a sample does not depend on other options, except on a deal, which gives it another position.
    """
    share = selection.missing.get(modality, 0.0)
    source = selection.all_modalities.index(modality)
    draws = np.random.default_rng([split, source]).random(positions.max() + 1)
    return np.asarray(draws[positions] >= share)


def to_float32(raw: np.ndarray, modality: str, owner: str, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Return an array [N, ...] as float32, bytes as shares of 255, and which samples are present [N]."""
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused below
        pool = raw.astype(np.float32)
    if raw.dtype == np.uint8:
        pool /= 255
    flat = pool.reshape(len(pool), -1)
    present = np.asarray(~np.isnan(flat).all(axis=1))
    invalid = np.flatnonzero(~np.isfinite(flat).all(axis=1) & present)
    if invalid.size:
        name = layout.row_name(invalid[0])
        if np.isfinite(raw[invalid[0]]).all():
            raise DataError(f"data: {modality} of {owner}: {name} holds numbers {TOO_LARGE}.")
        raise DataError(
            f"data: {modality} of {owner}: {name} is partly NaN or infinite; "
            "a sample is either complete or, all of it NaN, missing."
        )
    return pool, present


def reconstruct_pca(pool: np.ndarray, mean: np.ndarray, basis: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return images rebuilt from the first components, with a quarter of the variance, as in AV-MNIST."""
    components = basis[: int(count)].astype(np.float32)  # [k, pixels]
    flat = pool.reshape(len(pool), -1)
    if not components.shape[1:] == mean.shape == flat.shape[1:]:
        raise DataError(f"data.image: pca_mean {mean.shape} and pca_basis {basis.shape} do not fit the images.")
    rebuilt: np.ndarray = mean + (flat - mean) @ components.T @ components
    return rebuilt.reshape(pool.shape).astype(np.float32)
