"""Sets whose features are stored as HDF5: AVE, and IEMOCAP with the features of MMIN, which CGGM uses."""

from pathlib import Path

import numpy as np

from trainables.data.convert.found import Arrays, Found, optional, present, rows
from trainables.data.dataset import DataError

ORDERS = {"train": "train_order.h5", "val": "val_order.h5", "test": "test_order.h5"}
UTTERANCES = {"text": "L/bert_large.h5", "audio": "A/comparE.h5", "vision": "V/denseface.h5"}
SETS = {"train": "trn", "val": "val", "test": "tst"}


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
        "label": label.argmax(axis=-1),
    }
    parts: dict[str, Arrays] = {}
    for name, file in zip(ORDERS, present(source, *ORDERS.values()), strict=True):
        order = dataset(file, "order").astype(np.int64)
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

    Sequences end in zeros up to the longest one; what is beyond ``longest`` steps is cut.
    """
    files = present(source, *UTTERANCES.values())
    parts = {}
    for name, theirs in SETS.items():
        labels, names = present(source, *(f"target/{fold}/{theirs}_{what}.npy" for what in ("label", "int2name")))
        ids = [
            one.decode() if isinstance(one, bytes) else str(one) for one in np.load(names, allow_pickle=False).ravel()
        ]
        parts[name] = (ids, np.load(labels, allow_pickle=False))
    made: dict[str, Arrays] = {name: {"label": label.argmax(axis=1)} for name, (_, label) in parts.items()}
    for modality, file in zip(UTTERANCES, files, strict=True):
        sequences = {name: utterances(file, ids, longest) for name, (ids, _) in parts.items()}
        length = max(len(one) for found in sequences.values() for one in found)
        for name, found in sequences.items():
            made[name][modality] = np.stack([np.pad(one, ((0, length - len(one)), (0, 0))) for one in found])
    sheet = {
        "task": "classification",
        "classes": parts["train"][1].shape[1],
        "modalities": list(UTTERANCES),
        "pairing": "natural",
        "splits": f"fold {fold} as published",
    }
    return Found(rows(made), sheet)


def dataset(file: Path, key: str) -> np.ndarray:
    """Return an array of a file."""
    h5py = optional("h5py")
    try:
        with h5py.File(file, "r") as held:
            if key not in held:
                raise DataError(f"convert: {file} has no `{key}` (it has: {', '.join(held)}).")
            return np.asarray(held[key])
    except OSError as error:
        raise DataError(f"convert: {file} cannot be read as HDF5: {error}.") from None


def utterances(file: Path, ids: list[str], longest: int) -> list[np.ndarray]:
    """Return the sequences of utterances, each [T, D] float32."""
    h5py = optional("h5py")
    try:
        with h5py.File(file, "r") as held:
            absent = [one for one in ids if one not in held]
            if absent:
                raise DataError(f"convert: {file} has no utterance `{absent[0]}`, and {len(absent)} are absent in all.")
            return [np.atleast_2d(np.asarray(held[one], dtype=np.float32))[:longest] for one in ids]
    except OSError as error:
        raise DataError(f"convert: {file} cannot be read as HDF5: {error}.") from None
