"""Maps that are cut into tiles: a sample is a tile, and its positions are the tile's pixels in row-major order."""

from typing import NamedTuple

import numpy as np

from trainables.data.dataset import DataError


class Tiles(NamedTuple):
    """The tiles of a map that are in a split."""

    numbers: np.ndarray  # [T] as in the file, ascending
    pixels: np.ndarray  # [T, L] indices into a flattened map
    size: tuple[int, int]  # height and width of the map

    def cut_labels(self, target: np.ndarray, name: str, owner: str) -> np.ndarray:
        """Return a map of labels [H, W] as tiles [T, L]."""
        if target.shape != self.size:
            raise DataError(
                f"data: `{name}` of {owner} must have the shape {list(self.size)} of `tile`, got {target.shape}."
            )
        labels: np.ndarray = target.ravel()[self.pixels]
        return labels

    def cut_channels(self, values: np.ndarray, name: str, owner: str) -> np.ndarray:
        """Return a map of channels [C, H, W] as tiles [T, L, C]."""
        if values.ndim != 3 or values.shape[1:] != self.size:
            height, width = self.size
            raise DataError(
                f"data: {name} of {owner} must have the shape [channels, {height}, {width}], with the size of `tile`, "
                f"got {values.shape}."
            )
        return np.ascontiguousarray(values.reshape(len(values), -1).T[self.pixels])


def make_tiles(tile: np.ndarray, count: int, used: np.ndarray, owner: str) -> Tiles:
    """Return the tiles with the numbers `used`, of the `count` tiles to which `tile` [H, W] assigns pixels."""
    if tile.ndim != 2 or tile.dtype.kind not in "iu":
        raise DataError(f"data: `tile` of {owner} must be integers [height, width], got {tile.dtype} {tile.shape}.")
    if tile.size and not 0 <= tile.min() <= tile.max() < count:
        raise DataError(
            f"data: `tile` of {owner} must lie in [0, {count - 1}], as `tile_split` has {count} entries, "
            f"got {tile.min()} to {tile.max()}."
        )
    counts = np.bincount(tile.ravel().astype(np.int64), minlength=count)
    sizes = counts[used]
    if sizes.size and not 0 < sizes.min() == sizes.max():
        smallest, largest = used[sizes.argmin()], used[sizes.argmax()]
        raise DataError(
            f"data: all tiles of {owner} in a split must have the same number of pixels, but tile {smallest} has "
            f"{sizes.min()} and tile {largest} has {sizes.max()}."
        )
    order, first = np.argsort(tile, axis=None, kind="stable"), np.cumsum(counts) - counts
    pixels = order[first[used][:, None] + np.arange(sizes.max(initial=0))]
    return Tiles(used, pixels, tile.shape)
