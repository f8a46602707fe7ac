"""Sets whose features are stored as HDF5: AVE, and IEMOCAP with the features of MMIN, which CGGM uses."""

from pathlib import Path
from typing import Any

import numpy as np

from trainables.data.convert.found import Arrays, Found, hot, integers, optional, present, readable, rows, stored
from trainables.data.dataset import DataError

ORDERS = {"train": "train_order.h5", "val": "val_order.h5", "test": "test_order.h5"}
UTTERANCES = {"text": "L/bert_large.h5", "audio": "A/comparE.h5", "vision": "V/denseface.h5"}
MEANS = "A/comparE_mean_std.h5"
SETS = {"train": "trn", "val": "val", "test": "tst"}

Sequences = dict[str, list[np.ndarray]]  # of each split, each [T, D]


def ave(source: Path, *, pool: bool = True) -> Found:
    """Read ``visual_feature.h5``, ``audio_feature.h5``, ``right_labels.h5`` and ``{train,val,test}_order.h5``.

    Each second of a film has a label, the last of them background. Pictures are stored as 7 x 7 places of 512 features:
    ``pool`` averages over the places.
    """
    image, audio, label = (dataset(file, "avadataset") for file in present(
        source, "visual_feature.h5", "audio_feature.h5", "right_labels.h5"
    ))  # fmt: skip
    seconds = label.shape[:2]
    if label.ndim != 3 or image.shape[:2] != seconds or audio.shape[:2] != seconds:
        told = f"got {image.shape}, {audio.shape} and {label.shape}"
        raise DataError(
            f"convert: images, sounds and labels of {source} must be of the same films and seconds, {told}."
        )
    if pool:
        image = image.reshape(*seconds, -1, image.shape[-1]).mean(axis=2)
    arrays = {
        "audio": audio.reshape(*seconds, -1).astype(np.float32),
        "image": image.reshape(*seconds, -1).astype(np.float32),
        "label": hot(label, source),
    }
    parts: dict[str, Arrays] = {}
    for name, file in zip(ORDERS, present(source, *ORDERS.values()), strict=True):
        order = integers(dataset(file, "order"), file)
        if order.size and not 0 <= order.min() <= order.max() < len(label):
            raise DataError(f"convert: {file} names films beyond the {len(label)} that there are.")
        parts[name] = {key: array[order] for key, array in arrays.items()}
    sheet = {
        "task": "segmentation",
        "classes": label.shape[-1],
        "modalities": ["audio", "image"],
        "pairing": "natural: the same second",
        "splits": "as published",
    }
    return Found(rows(parts), sheet)


def iemocap(source: Path, *, fold: int = 1, longest: int = 350) -> Found:
    """Read ``A/comparE.h5``, ``V/denseface.h5``, ``L/bert_large.h5``, one sequence an utterance, and ``target/FOLD``.

    Sequences end in zeros up to the longest one; what is beyond ``longest`` steps is cut. Sounds are standardised
    before that, as in both releases.
    """
    files = present(source, *UTTERANCES.values())
    made: dict[str, Arrays] = {}
    ids: dict[str, list[str]] = {}
    for name, theirs in SETS.items():
        label, names = present(source, *(f"target/{fold}/{theirs}_{what}.npy" for what in ("label", "int2name")))
        hots, ids[name] = stored(label), named(stored(names))
        made[name] = {"label": hot(hots, label)}
    for modality, file in zip(UTTERANCES, files, strict=True):
        sequences = {name: utterances(file, own, longest) for name, own in ids.items()}
        if modality == "audio":
            sequences = scaled(sequences, source / MEANS, fold)
        length = max(len(one) for found in sequences.values() for one in found)
        for name, found in sequences.items():
            made[name][modality] = np.stack([np.pad(one, ((0, length - len(one)), (0, 0))) for one in found])
    sheet = {
        "task": "classification",
        "classes": hots.shape[-1],
        "modalities": list(UTTERANCES),
        "standardise": {"audio": "none"},
        "pairing": "natural",
        "splits": f"fold {fold} as published",
    }
    return Found(rows(made), sheet)


def named(names: np.ndarray) -> list[str]:
    """Return the names of utterances, of [N] or the first column of [N, ...]."""
    first = names if names.ndim == 1 else names[:, 0]
    return [one.decode() if isinstance(one, bytes) else str(one) for one in first]


def scaled(sequences: Sequences, file: Path, fold: int) -> Sequences:
    """Return sequences in units of the mean and the deviation that a file has of a fold, or of the training steps."""
    steps = np.concatenate(sequences["train"])
    mean, std = steps.mean(axis=0, dtype=np.float64), steps.std(axis=0, dtype=np.float64)
    if file.exists():
        mean, std = (dataset(file, f"{fold}/{what}").reshape(-1) for what in ("mean", "std"))
    if not mean.shape == std.shape == steps.shape[1:]:
        raise DataError(
            f"convert: {file} must hold {steps.shape[1]} means and deviations, got {len(mean)}, {len(std)}."
        )
    std = np.where(std > 0, std, 1)
    return {name: [((one - mean) / std).astype(np.float32) for one in found] for name, found in sequences.items()}


def dataset(file: Path, key: str) -> np.ndarray:
    """Return an array of numbers of a file."""
    h5py = optional("h5py")
    with readable(file, "HDF5"), h5py.File(file, "r") as held:
        return numbers(held, key, file)


def utterances(file: Path, ids: list[str], longest: int) -> list[np.ndarray]:
    """Return the sequences of utterances, each [T, D] float32."""
    h5py = optional("h5py")
    with readable(file, "HDF5"), h5py.File(file, "r") as held:
        absent = [one for one in ids if one not in held]
        if absent:
            raise DataError(f"convert: {file} has no utterance `{absent[0]}`, and {len(absent)} are absent in all.")
        found = [np.atleast_2d(numbers(held, one, file)).astype(np.float32)[:longest] for one in ids]
    for name, one in zip(ids, found, strict=True):
        if one.ndim != 2 or one.shape[1] != found[0].shape[1]:
            told = f"{one.shape}, and `{ids[0]}` {found[0].shape}; all must have as many features"
            raise DataError(f"convert: `{name}` of {file} is {told}.")
    return found


def numbers(file: Any, key: str, path: Path) -> np.ndarray:
    """Return an array of an open file, which must lie in it, and nowhere else on the disk."""
    h5py = optional("h5py")
    held = file
    for name in key.split("/"):
        link = held.get(name, getlink=True) if isinstance(held, h5py.Group) else None
        if link is None:
            raise DataError(f"convert: {path} has no `{key}` (it has: {', '.join(list(file)[:9])}).")
        if not isinstance(link, h5py.HardLink):
            raise DataError(f"convert: `{key}` of {path} is a link to elsewhere, which is not followed.")
        held = held[name]
    if not isinstance(held, h5py.Dataset) or held.dtype.kind not in "biuf":
        raise DataError(f"convert: `{key}` of {path} must be an array of numbers.")
    if held.external or held.is_virtual:
        raise DataError(f"convert: `{key}` of {path} lies in other files, which are not read.")
    return np.asarray(held)
