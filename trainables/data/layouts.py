"""The three layouts of a file: which rows of which array are the samples of each split, and their labels.

*rows*: one array a modality with the sample as first axis, a label array, and `split` (0 train, 1
validation, 2 test, any other value unused). *pairs*: one pool a modality with its `<modality>_label`, and
index tables `pairs_<protocol>_<train|val|test>` whose columns point into the pools in the order of the
datasheet's modalities. *maps*: one array a modality [C, H, W], labels [H, W], the tile of each pixel, `tile` [H, W],
and `tile_split`, which is to tiles what `split` is to samples.
"""

from typing import NamedTuple

import numpy as np

from trainables.data.archive import Archive
from trainables.data.dataset import DataError
from trainables.data.deals import connected, dealt
from trainables.data.selection import Selection
from trainables.data.tiles import Tiles, tiling

SPLITS = ("train", "val", "test")


class Layout(NamedTuple):
    """Who is in which split, and with which label: all that is known without the inputs."""

    members: tuple[dict[str, np.ndarray], ...]  # train, val, test: modality -> [N] rows of its array
    targets: tuple[np.ndarray, ...]  # train, val, test: [N] or [N, L], as stored
    sizes: dict[str, int]  # modality -> rows that its array must have
    chosen: np.ndarray | None = None  # [N] the places of the training samples among all of the file's; None: all
    tiles: Tiles | None = None  # what the maps are cut into, a row each

    def name(self, row: int) -> str:
        """Return what the file has at a row."""
        return f"row {row}" if self.tiles is None else f"tile {self.tiles.numbers[row]}"


def layout(archive: Archive, selection: Selection) -> Layout:
    """Return the layout of a file; raises DataError where it has none, or where a split is empty."""
    if selection.protocol is not None:
        found = _pairs(archive, selection, selection.protocol)
    elif "split" in archive.arrays:
        found = _rows(archive, selection)
    elif {"tile", "tile_split"} <= set(archive.arrays):
        found = _maps(archive, selection)
    else:
        raise DataError(
            f"data: {archive.path} is in no layout: it holds no `split` array with one value a sample (rows), no "
            "`pairs_<protocol>_<split>` tables (pairs) and no `tile` with a `tile_split` (maps)."
        )
    if selection.shots is not None:
        found = few(found, selection.shots)
    for name, target in zip(SPLITS, found.targets, strict=True):
        if len(target) == 0:
            raise DataError(f"data: {archive.name} has no sample in its {name} split.")
    if archive.ignored is not None:
        _check_labelled(found, archive, archive.ignored)
    return found


def _check_labelled(found: Layout, archive: Archive, ignored: int) -> None:
    """Raise a DataError at a sample none of whose positions has a label."""
    for members, target in zip(found.members, found.targets, strict=True):
        bare = np.flatnonzero((target == ignored).reshape(len(target), -1).all(axis=1))
        if bare.size:
            modality, rows = next(iter(members.items()))
            raise DataError(
                f"data: {found.name(rows[bare[0]])} of {modality} in {archive.path} has no labelled position, all are "
                f"{ignored}; give it another split, such as -1, which is not used."
            )


def few(found: Layout, shots: int) -> Layout:
    """Return a layout with the first training samples of each class alone, all of a class that has fewer."""
    target = found.targets[0]
    kept = np.sort(np.concatenate([np.flatnonzero(target == one)[:shots] for one in np.unique(target)]))
    training = {modality: rows[kept] for modality, rows in found.members[0].items()}
    members, targets = (training, *found.members[1:]), (target[kept], *found.targets[1:])
    return found._replace(members=members, targets=targets, chosen=kept)


def _rows(archive: Archive, selection: Selection) -> Layout:
    name = selection.target or "label"
    split, target = archive.read("split"), archive.read(name)
    if split.ndim != 1 or target.shape[:1] != split.shape:
        raise DataError(
            f"data: `split` and `{name}` of {archive.name} must have one entry a sample, "
            f"got {split.shape} and {target.shape}."
        )
    rows = _parted(split, f"`split` of {archive.name}", "sample")
    if selection.deal:
        classes = target if archive.task == "classification" else np.zeros(len(split))
        rows = dealt(rows, classes, _groups(archive, selection, len(split)), selection.deal, archive.name)
    return Layout(
        members=tuple(dict.fromkeys(selection.columns, r) for r in rows),
        targets=tuple(target[r] for r in rows),
        sizes=dict.fromkeys(selection.columns, len(split)),
    )


def _parted(split: np.ndarray, name: str, noun: str) -> list[np.ndarray]:
    """Return the rows of train, val and test."""
    if split.dtype.kind not in "biuf":
        wanted = "0 (training), 1 (validation) or 2 (test)"
        raise DataError(f"data: {name} must be {wanted} for each {noun}, got {split.dtype}.")
    return [np.flatnonzero(split == code) for code in range(len(SPLITS))]


def _maps(archive: Archive, selection: Selection) -> Layout:
    name = selection.target or "label"
    if archive.task != "segmentation":
        raise DataError(f"data: {archive.path} holds maps, whose task is segmentation, got {archive.task}.")
    tile, split, target = (archive.read(array) for array in ("tile", "tile_split", name))
    if split.ndim != 1:
        raise DataError(f"data: `tile_split` of {archive.name} must have one entry a tile, got {split.shape}.")
    parts = _parted(split, f"`tile_split` of {archive.name}", "tile")
    tiles = tiling(tile, len(split), np.sort(np.concatenate(parts)), archive.name)
    rows = [np.searchsorted(tiles.numbers, part) for part in parts]
    if selection.deal:
        units = _groups(archive, selection, len(split))[tiles.numbers]
        rows = dealt(rows, np.zeros(len(units)), units, selection.deal, archive.name)
    labels = tiles.labels(target, name, archive.name)
    return Layout(
        members=tuple(dict.fromkeys(selection.columns, r) for r in rows),
        targets=tuple(labels[r] for r in rows),
        sizes=dict.fromkeys(selection.columns, len(tiles.numbers)),
        tiles=tiles,
    )


def _pairs(archive: Archive, selection: Selection, protocol: str) -> Layout:
    labels = {m: archive.read(f"{m}_label") for m in selection.columns}
    owner = _owner(selection)
    target = archive.read(selection.target) if selection.target else labels[owner]
    if target.shape[:1] != labels[owner].shape:
        raise DataError(f"data.target: {selection.target} must have one entry a sample of {owner}.")
    tables = [archive.read(f"pairs_{protocol}_{split}") for split in SPLITS]
    members = tuple(_columns(table, labels, archive.name) for table in tables)
    if selection.deal:
        members = _dealt_pairs(members, labels, archive, selection)
    return Layout(
        members=members,
        targets=tuple(target[member[owner]] for member in members),
        sizes={m: len(pool) for m, pool in labels.items()},
    )


def _dealt_pairs(
    members: tuple[dict[str, np.ndarray], ...], labels: dict[str, np.ndarray], archive: Archive, selection: Selection
) -> tuple[dict[str, np.ndarray], ...]:
    """Return the pairs of each split after a deal: those that share a row of a pool, or a group, stay together."""
    pairs = {m: np.concatenate([member[m] for member in members]) for m in selection.columns}
    ends = np.cumsum([len(member[selection.columns[0]]) for member in members])
    classes = labels[selection.columns[0]][pairs[selection.columns[0]]]
    tied = _tied(pairs, archive, selection, {m: len(pool) for m, pool in labels.items()})
    rows = dealt(np.split(np.arange(ends[-1]), ends[:-1]), classes, tied, selection.deal, archive.name)
    return tuple({m: pool[part] for m, pool in pairs.items()} for part in rows)


def _tied(pairs: dict[str, np.ndarray], archive: Archive, selection: Selection, sizes: dict[str, int]) -> np.ndarray:
    """Return what each pair belongs to, [N]: those that share a row of a pool, or a group, hang together."""
    links = [pairs[m] for m in selection.linked]
    if selection.groups is not None:
        owner = _prefix(selection.groups, selection, "data.groups")
        links.append(_groups(archive, selection, sizes[owner])[pairs[owner]])
    return connected(links)


def units(members: dict[str, np.ndarray], archive: Archive, selection: Selection, found: Layout) -> np.ndarray | None:
    """Return what each sample of a split belongs to, [N], by what it shares with others; None: each is its own."""
    if selection.protocol is not None:
        return _tied(members, archive, selection, found.sizes)
    if selection.groups is None:
        return None
    rows, count = next(iter(members.values())), next(iter(found.sizes.values()))
    if found.tiles is not None:
        rows, count = found.tiles.numbers[rows], len(archive.read("tile_split"))
    belongs: np.ndarray = _groups(archive, selection, count)[rows]
    return belongs


def _groups(archive: Archive, selection: Selection, count: int) -> np.ndarray:
    """Return what each of ``count`` samples belongs to; by itself each is its own."""
    if selection.groups is None:
        return np.arange(count)
    groups = archive.read(selection.groups)
    if groups.shape != (count,):
        raise DataError(f"data.groups: {selection.groups} of {archive.name} must be [{count}], got {groups.shape}.")
    if groups.dtype.kind == "f" and not np.isfinite(groups).all():
        raise DataError(
            f"data.groups: {selection.groups} of {archive.name} must say it of every sample, and holds NaN."
        )
    return groups


def _owner(selection: Selection) -> str:
    """Return the modality whose pool the target is indexed by: the one that begins its name."""
    return selection.columns[0] if selection.target is None else _prefix(selection.target, selection, "data.target")


def _prefix(name: str, selection: Selection, where: str) -> str:
    """Return the modality that begins the name of an array about its pool."""
    for modality in selection.columns:
        if name.startswith(f"{modality}_"):
            return modality
    raise DataError(
        f"{where}: with pools it must begin with a modality ({', '.join(selection.columns)}), "
        f"as in `{selection.columns[0]}_label`, got {name!r}."
    )


def _columns(table: np.ndarray, labels: dict[str, np.ndarray], owner: str) -> dict[str, np.ndarray]:
    """Return the columns of an index table by modality; all entries of a row must be of one class."""
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
