"""AV-MNIST in the layout of MultiBench and of AGM's release: images of digits and spectrograms of spoken ones."""

from pathlib import Path

import numpy as np

from trainables.data.convert.conversion import Conversion, concatenate_splits, integer_vector
from trainables.data.convert.sources import load_npy, require_paths
from trainables.data.dataset import DataError

SIDES = {"image": 28, "audio": 112}


def av_mnist(source: Path) -> Conversion:
    """Read ``{image,audio}/{train,test}_data.npy`` and ``{train,test}_labels.npy``.

    The last twelfth of training, in the order of the files, is validation: 55,000 / 5,000 / 10,000, as in
    MultiBench (datasets/avmnist/get_data.py). AGM's release validates on test samples instead.
    """
    splits = {name: load_split(source, name) for name in ("train", "test")}
    cut = len(splits["train"]["label"]) - len(splits["train"]["label"]) // 12
    training, validation = ({k: a[part] for k, a in splits["train"].items()} for part in (slice(cut), slice(cut, None)))
    datasheet = {
        "task": "classification",
        "classes": 10,
        "modalities": list(SIDES),
        "standardise": dict.fromkeys(SIDES, "all"),
        "pairing": "by class",
        "splits": "test as published; the last twelfth of training is validation, as in MultiBench",
    }
    return Conversion(concatenate_splits({"train": training, "val": validation, "test": splits["test"]}), datasheet)


def load_split(source: Path, name: str) -> dict[str, np.ndarray]:
    """Return the images [N, 28, 28], the spectrograms [N, 112, 112] and the labels [N] of a split."""
    *files, label_file = require_paths(source, *(f"{m}/{name}_data.npy" for m in SIDES), f"{name}_labels.npy")
    label = integer_vector(load_npy(label_file), label_file)
    arrays = {m: load_pictures(file, side, len(label)) for (m, side), file in zip(SIDES.items(), files, strict=True)}
    return {**arrays, "label": label}


def load_pictures(file: Path, side: int, count: int) -> np.ndarray:
    """Return pictures [N, side, side] as uint8, or as float32 if not all numbers are integers from 0 to 255.

    Published images are rebuilt from principal components, without their mean, so that many numbers are negative.
    """
    array = load_npy(file)
    if array.dtype.kind not in "buif" or array.ndim < 2 or array.shape[0] != count or array[:1].size != side * side:
        rule = f"{count} images of {side} x {side} numbers, got {array.dtype} {array.shape}"
        raise DataError(f"convert: {file} must hold {rule}.")
    bytes_only = array.dtype == np.uint8 or (
        array.min() >= 0 and array.max() <= 255 and (array == np.rint(array)).all()
    )
    return np.asarray(array.reshape(count, side, side).astype(np.uint8 if bytes_only else np.float32))
