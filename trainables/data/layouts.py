"""The three layouts of a data file: which rows of which arrays are the samples of each split, and their labels.

*rows*: one array per modality with the sample as first axis, a label array, and `split` (0 train, 1
validation, 2 test, any other value unused). *pairs*: one pool per modality with its `<modality>_label`, and
index tables `pairs_<protocol>_<train|val|test>` whose columns point into the pools in the order of the
datasheet's modalities. *maps*: one array per modality [C, H, W], labels [H, W], the tile of each pixel, `tile` [H, W],
and `tile_split`, which is to tiles what `split` is to samples.
"""

from typing import NamedTuple

import numpy as np

from trainables.data.archive import Archive
from trainables.data.dataset import DataError
from trainables.data.resplit import connected_groups, resplit
from trainables.data.selection import Selection
from trainables.data.tiles import Tiles, make_tiles

SPLITS = ("train", "val", "test")


class Layout(NamedTuple):
    """Rows and labels of the samples of each split, known before the inputs are read."""

    rows: tuple[dict[str, np.ndarray], ...]  # train, val, test: modality -> [N] rows of its array
    targets: tuple[np.ndarray, ...]  # train, val, test: [N] or [N, L], as stored
    sizes: dict[str, int]  # modality -> rows that its array must have
    train_positions: np.ndarray | None = None  # [N] of the training samples among all of the file; None: all of them
    tiles: Tiles | None = None  # of maps: the tiles, one per row

    def row_name(self, row: int) -> str:
        """Return the name of a row in messages."""
        return f"row {row}" if self.tiles is None else f"tile {self.tiles.numbers[row]}"


def find_layout(archive: Archive, selection: Selection) -> Layout:
    """Return the layout of a file; raises DataError if it has none of the three, or if a split is empty."""
    if selection.protocol is not None:
        layout = pairs_layout(archive, selection, selection.protocol)
    elif "split" in archive.arrays:
        layout = rows_layout(archive, selection)
    elif {"tile", "tile_split"} <= set(archive.arrays):
        layout = maps_layout(archive, selection)
    else:
        raise DataError(
            f"data: {archive.path} has no known layout: it holds no `split` array with one value per sample (rows), no "
            "`pairs_<protocol>_<split>` tables (pairs) and no `tile` with a `tile_split` (maps)."
        )
    for name, target in zip(SPLITS, layout.targets, strict=True):
        if len(target) == 0:
            raise DataError(f"data: {archive.name} has no sample in its {name} split.")
    if selection.shots is not None:
        layout = limit_shots(layout, selection.shots)
    if archive.ignore_index is not None:
        check_labelled(layout, archive, archive.ignore_index)
    return layout


def check_labelled(layout: Layout, archive: Archive, ignore_index: int) -> None:
    """Raise a DataError at a sample without any labelled position."""
    for rows, target in zip(layout.rows, layout.targets, strict=True):
        unlabelled = np.flatnonzero((target == ignore_index).reshape(len(target), -1).all(axis=1))
        if unlabelled.size:
            modality, modality_rows = next(iter(rows.items()))
            name = layout.row_name(modality_rows[unlabelled[0]])
            raise DataError(
                f"data: {name} of {modality} in {archive.path} has no labelled position, all have the label "
                f"{ignore_index}; exclude it with another split, such as -1."
            )


def limit_shots(layout: Layout, shots: int) -> Layout:
    """Return a layout with at most the first `shots` training samples of each class."""
    target = layout.targets[0]
    positions = np.sort(np.concatenate([np.flatnonzero(target == label)[:shots] for label in np.unique(target)]))
    training = {modality: rows[positions] for modality, rows in layout.rows[0].items()}
    rows, targets = (training, *layout.rows[1:]), (target[positions], *layout.targets[1:])
    return layout._replace(rows=rows, targets=targets, train_positions=positions)


def rows_layout(archive: Archive, selection: Selection) -> Layout:
    """Return the layout of a file with one array for each modality."""
    name = selection.target or "label"
    split, target = archive.read("split"), archive.read(name)
    if split.ndim != 1 or target.shape[:1] != split.shape:
        raise DataError(
            f"data: `split` and `{name}` of {archive.name} must have one entry per sample, "
            f"got {split.shape} and {target.shape}."
        )
    rows = rows_by_split(split, f"`split` of {archive.name}", "sample")
    if selection.deal:
        classes = target if archive.task == "classification" else np.zeros(len(split))
        rows = resplit(rows, classes, read_groups(archive, selection, len(split)), selection.deal, archive.name)
    return Layout(
        rows=tuple(dict.fromkeys(selection.all_modalities, r) for r in rows),
        targets=tuple(target[r] for r in rows),
        sizes=dict.fromkeys(selection.all_modalities, len(split)),
    )


def rows_by_split(split: np.ndarray, name: str, noun: str) -> list[np.ndarray]:
    """Return the rows of train, val and test."""
    if split.dtype.kind not in "biuf":
        rule = "0 (training), 1 (validation) or 2 (test)"
        raise DataError(f"data: {name} must be {rule} for each {noun}, got {split.dtype}.")
    return [np.flatnonzero(split == code) for code in range(len(SPLITS))]


def maps_layout(archive: Archive, selection: Selection) -> Layout:
    """Return the layout of a file of maps."""
    name = selection.target or "label"
    if archive.task != "segmentation":
        raise DataError(f"data: {archive.path} holds maps, so its task must be segmentation, got {archive.task}.")
    tile, split, target = (archive.read(array) for array in ("tile", "tile_split", name))
    if split.ndim != 1:
        raise DataError(f"data: `tile_split` of {archive.name} must have one entry per tile, got {split.shape}.")
    numbers = rows_by_split(split, f"`tile_split` of {archive.name}", "tile")
    tiles = make_tiles(tile, len(split), np.sort(np.concatenate(numbers)), archive.name)
    rows = [np.searchsorted(tiles.numbers, split_numbers) for split_numbers in numbers]
    if selection.deal:
        groups = read_groups(archive, selection, len(split))[tiles.numbers]
        rows = resplit(rows, np.zeros(len(groups)), groups, selection.deal, archive.name)
    labels = tiles.cut_labels(target, name, archive.name)
    return Layout(
        rows=tuple(dict.fromkeys(selection.all_modalities, r) for r in rows),
        targets=tuple(labels[r] for r in rows),
        sizes=dict.fromkeys(selection.all_modalities, len(tiles.numbers)),
        tiles=tiles,
    )


def pairs_layout(archive: Archive, selection: Selection, protocol: str) -> Layout:
    """Return the layout of a file of pools, given the protocol of its index tables."""
    labels = {m: archive.read(f"{m}_label") for m in selection.all_modalities}
    owner = target_modality(selection)
    target = archive.read(selection.target) if selection.target else labels[owner]
    if target.shape[:1] != labels[owner].shape:
        raise DataError(f"data.target: {selection.target} must have one entry per sample of {owner}.")
    tables = [archive.read(f"pairs_{protocol}_{split}") for split in SPLITS]
    rows = tuple(parse_index_table(table, labels, archive.name) for table in tables)
    if selection.deal:
        rows = resplit_pairs(rows, labels, archive, selection)
    return Layout(
        rows=rows,
        targets=tuple(target[split_rows[owner]] for split_rows in rows),
        sizes={m: len(pool) for m, pool in labels.items()},
    )


def resplit_pairs(
    rows: tuple[dict[str, np.ndarray], ...], labels: dict[str, np.ndarray], archive: Archive, selection: Selection
) -> tuple[dict[str, np.ndarray], ...]:
    """Return the pairs of each split after a deal: those that share a row of a pool, or a group, stay together."""
    first = selection.all_modalities[0]
    pairs = {m: np.concatenate([split_rows[m] for split_rows in rows]) for m in selection.all_modalities}
    ends = np.cumsum([len(split_rows[first]) for split_rows in rows])
    classes = labels[first][pairs[first]]
    links = pair_links(pairs, archive, selection, {m: len(pool) for m, pool in labels.items()})
    groups = connected_groups(links)
    splits = resplit(np.split(np.arange(ends[-1]), ends[:-1]), classes, groups, selection.deal, archive.name)
    return tuple({m: pool[samples] for m, pool in pairs.items()} for samples in splits)


def pair_links(
    pairs: dict[str, np.ndarray], archive: Archive, selection: Selection, sizes: dict[str, int]
) -> tuple[np.ndarray, ...]:
    """Return the links of pairs, [N] each: their rows of the pools, and their entry of `groups`."""
    links = [pairs[m] for m in selection.linking_modalities]
    if selection.groups is not None:
        owner = prefix_modality(selection.groups, selection, "data.groups")
        links.append(read_groups(archive, selection, sizes[owner])[pairs[owner]])
    return tuple(links)


def sample_links(
    rows: dict[str, np.ndarray], archive: Archive, selection: Selection, layout: Layout
) -> tuple[np.ndarray, ...]:
    """Return the links of the samples of a split, [N] each; none if all samples are independent."""
    if selection.protocol is not None:
        return pair_links(rows, archive, selection, layout.sizes)
    if selection.groups is None:
        return ()
    numbers, count = next(iter(rows.values())), next(iter(layout.sizes.values()))
    if layout.tiles is not None:
        numbers, count = layout.tiles.numbers[numbers], len(archive.read("tile_split"))
    return (read_groups(archive, selection, count)[numbers],)


def read_groups(archive: Archive, selection: Selection, count: int) -> np.ndarray:
    """Return the group of each of `count` samples; each is its own where no array of groups is selected."""
    if selection.groups is None:
        return np.arange(count)
    groups = archive.read(selection.groups)
    if groups.shape != (count,):
        raise DataError(f"data.groups: {selection.groups} of {archive.name} must be [{count}], got {groups.shape}.")
    if groups.dtype.kind == "f" and not np.isfinite(groups).all():
        raise DataError(
            f"data.groups: {selection.groups} of {archive.name} must hold the group of every sample, but holds NaN."
        )
    return groups


def target_modality(selection: Selection) -> str:
    """Return the modality whose pool the target is indexed by: the one that its name begins with."""
    if selection.target is None:
        return selection.all_modalities[0]
    return prefix_modality(selection.target, selection, "data.target")


def prefix_modality(name: str, selection: Selection, where: str) -> str:
    """Return the modality that the name of an array about a pool begins with."""
    for modality in selection.all_modalities:
        if name.startswith(f"{modality}_"):
            return modality
    raise DataError(
        f"{where}: in the pairs layout it must begin with a modality ({', '.join(selection.all_modalities)}), "
        f"as in `{selection.all_modalities[0]}_label`, got {name!r}."
    )


def parse_index_table(table: np.ndarray, labels: dict[str, np.ndarray], owner: str) -> dict[str, np.ndarray]:
    """Return the columns of an index table by modality; raises DataError if a row pairs different classes."""
    if table.ndim != 2 or table.shape[1] != len(labels) or table.dtype.kind not in "iu":
        raise DataError(f"data: an index table of {owner} must be integers [N, {len(labels)}], got {table.shape}.")
    columns = {m: column.astype(np.int64) for m, column in zip(labels, table.T, strict=True)}
    for modality, rows in columns.items():
        if rows.size and not 0 <= rows.min() <= rows.max() < len(labels[modality]):
            raise DataError(f"data: an index table of {owner} points outside the pool of {modality}.")
    classes = np.stack([labels[m][rows] for m, rows in columns.items()])  # [M, N]
    mixed = np.flatnonzero((classes != classes[0]).any(axis=0))
    if mixed.size:
        raise DataError(f"data: row {mixed[0]} of an index table of {owner} pairs samples of different classes.")
    return columns
