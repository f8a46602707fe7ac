"""Features stored as HDF5: AVE, and IEMOCAP with the features of MMIN, which CGGM uses."""

from pathlib import Path
from typing import Any

import numpy as np

from trainables.data.convert.conversion import Arrays, Conversion, concatenate_splits, decode_one_hot, integer_vector
from trainables.data.convert.sources import import_optional, load_npy, require_paths, translate_errors
from trainables.data.dataset import DataError

ORDER_FILES = {"train": "train_order.h5", "val": "val_order.h5", "test": "test_order.h5"}
FEATURE_FILES = {"text": "L/bert_large.h5", "audio": "A/comparE.h5", "vision": "V/denseface.h5"}
AUDIO_STATISTICS = "A/comparE_mean_std.h5"
SPLIT_PREFIXES = {"train": "trn", "val": "val", "test": "tst"}

Sequences = dict[str, list[np.ndarray]]  # split -> sequences [T, D]


def ave(source: Path, *, pool: bool = True) -> Conversion:
    """Read ``visual_feature.h5``, ``audio_feature.h5``, ``right_labels.h5`` and ``{train,val,test}_order.h5``.

    Each second of a video has a label; the last class is background. Pictures are stored as 7 x 7 positions of 512
    features, over which ``pool`` averages.
    """
    image, audio, label = (read_dataset(file, "avadataset") for file in require_paths(
        source, "visual_feature.h5", "audio_feature.h5", "right_labels.h5"
    ))  # fmt: skip
    seconds = label.shape[:2]
    if label.ndim != 3 or image.shape[:2] != seconds or audio.shape[:2] != seconds:
        shapes = f"got {image.shape}, {audio.shape} and {label.shape}"
        raise DataError(
            f"convert: images, sounds and labels of {source} must have the same videos and seconds, {shapes}."
        )
    if pool:
        image = image.reshape(*seconds, -1, image.shape[-1]).mean(axis=2)
    arrays = {
        "audio": audio.reshape(*seconds, -1).astype(np.float32),
        "image": image.reshape(*seconds, -1).astype(np.float32),
        "label": decode_one_hot(label, source),
    }
    splits: dict[str, Arrays] = {}
    for name, file in zip(ORDER_FILES, require_paths(source, *ORDER_FILES.values()), strict=True):
        order = integer_vector(read_dataset(file, "order"), file)
        if order.size and not 0 <= order.min() <= order.max() < len(label):
            raise DataError(f"convert: {file} must hold indices of videos, from 0 to {len(label) - 1}.")
        splits[name] = {key: array[order] for key, array in arrays.items()}
    datasheet = {
        "task": "segmentation",
        "classes": label.shape[-1],
        "modalities": ["audio", "image"],
        "pairing": "natural: the same second",
        "splits": "as published",
    }
    return Conversion(concatenate_splits(splits), datasheet)


def iemocap(source: Path, *, fold: int = 1, longest: int = 350) -> Conversion:
    """Read ``A/comparE.h5``, ``V/denseface.h5``, ``L/bert_large.h5``, one sequence an utterance, and ``target/FOLD``.

    Sequences are padded with zeros at their end to the longest one, after being cut to ``longest`` steps. Sounds are
    standardised before padding, as in both releases.
    """
    files = require_paths(source, *FEATURE_FILES.values())
    splits: dict[str, Arrays] = {}
    ids: dict[str, list[str]] = {}
    for name, prefix in SPLIT_PREFIXES.items():
        label_file, name_file = require_paths(
            source, *(f"target/{fold}/{prefix}_{what}.npy" for what in ("label", "int2name"))
        )
        one_hot, ids[name] = load_npy(label_file), utterance_ids(load_npy(name_file))
        splits[name] = {"label": decode_one_hot(one_hot, label_file)}
    for modality, file in zip(FEATURE_FILES, files, strict=True):
        sequences = {name: read_utterances(file, split_ids, longest) for name, split_ids in ids.items()}
        if modality == "audio":
            sequences = standardise_sequences(sequences, source / AUDIO_STATISTICS, fold)
        length = max(len(sequence) for split_sequences in sequences.values() for sequence in split_sequences)
        for name, split_sequences in sequences.items():
            splits[name][modality] = np.stack([np.pad(s, ((0, length - len(s)), (0, 0))) for s in split_sequences])
    datasheet = {
        "task": "classification",
        "classes": one_hot.shape[-1],
        "modalities": list(FEATURE_FILES),
        "standardise": {"audio": "none"},
        "pairing": "natural",
        "splits": f"fold {fold} as published",
    }
    return Conversion(concatenate_splits(splits), datasheet)


def utterance_ids(names: np.ndarray) -> list[str]:
    """Return the ids of utterances, from [N] or from the first column of [N, ...]."""
    ids = names if names.ndim == 1 else names[:, 0]
    return [name.decode() if isinstance(name, bytes) else str(name) for name in ids]


def standardise_sequences(sequences: Sequences, file: Path, fold: int) -> Sequences:
    """Return standardised sequences, with the mean and deviation of a fold in a file, or else of the training steps."""
    steps = np.concatenate(sequences["train"])
    mean, std = steps.mean(axis=0, dtype=np.float64), steps.std(axis=0, dtype=np.float64)
    if file.exists():
        mean, std = (read_dataset(file, f"{fold}/{what}").reshape(-1) for what in ("mean", "std"))
    if not mean.shape == std.shape == steps.shape[1:]:
        raise DataError(
            f"convert: {file} must hold {steps.shape[1]} means and standard deviations, got {len(mean)}, {len(std)}."
        )
    std = np.where(std > 0, std, 1)
    return {
        name: [((sequence - mean) / std).astype(np.float32) for sequence in split_sequences]
        for name, split_sequences in sequences.items()
    }


def read_dataset(file: Path, key: str) -> np.ndarray:
    """Return a numeric array of an HDF5 file."""
    h5py = import_optional("h5py")
    with translate_errors(file, "HDF5"), h5py.File(file, "r") as root:
        return read_numbers(root, key, file)


def read_utterances(file: Path, ids: list[str], longest: int) -> list[np.ndarray]:
    """Return the sequences of utterances, each [T, D] float32."""
    h5py = import_optional("h5py")
    with translate_errors(file, "HDF5"), h5py.File(file, "r") as root:
        missing = [name for name in ids if name not in root]
        if missing:
            raise DataError(f"convert: {file} has no utterance `{missing[0]}`; {len(missing)} are missing in total.")
        sequences = [np.atleast_2d(read_numbers(root, name, file)).astype(np.float32)[:longest] for name in ids]
    for name, sequence in zip(ids, sequences, strict=True):
        if sequence.ndim != 2 or sequence.shape[1] != sequences[0].shape[1]:
            shapes = f"{sequence.shape}, and `{ids[0]}` {sequences[0].shape}; all must have equally many features"
            raise DataError(f"convert: `{name}` of {file} has the shape {shapes}.")
    return sequences


def read_numbers(root: Any, key: str, file: Path) -> np.ndarray:
    """Return a numeric array of an open file; raises DataError if it is stored elsewhere on the disk."""
    h5py = import_optional("h5py")
    node = root
    for name in key.split("/"):
        link = node.get(name, getlink=True) if isinstance(node, h5py.Group) else None
        if link is None:
            raise DataError(f"convert: {file} has no `{key}` (it has: {', '.join(list(root)[:9])}).")
        if not isinstance(link, h5py.HardLink):
            raise DataError(f"convert: `{key}` of {file} is a soft or external link; such links are not followed.")
        node = node[name]
    if not isinstance(node, h5py.Dataset) or node.dtype.kind not in "biuf":
        raise DataError(f"convert: `{key}` of {file} must be an array of numbers.")
    if node.external or node.is_virtual:
        raise DataError(f"convert: `{key}` of {file} is stored in other files, which are not read.")
    return np.asarray(node)
