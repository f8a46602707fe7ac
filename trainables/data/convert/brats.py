"""BraTS: four magnetic resonance images of a brain, and the tumour that experts drew in them.

Here a sample is a slice, and a position of it a block of pixels: its features are these pixels, its label the most
frequent of theirs. CGGM's release draws another slice of each brain every time, in testing too, and one in which the
tumour is visible; here slices are fixed, and chosen without a look at the labels.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trainables.data.convert.found import Found, dealt, optional, present
from trainables.data.dataset import DataError

MODALITIES = ("flair", "t1ce", "t1", "t2")  # the order of CGGM's files, datasets/BratsDataset.py
NAMES = {"flair": ("flair", "t2f"), "t1ce": ("t1ce", "t1c"), "t1": ("t1", "t1n"), "t2": ("t2", "t2w")}  # to 2021, since
FOLDERS = {"train": 0, "valid": 1, "test": 2}
CLASSES = ["background", "necrotic core", "edema", "enhancing tumour"]


class Brain(NamedTuple):
    """A case."""

    image: np.ndarray  # [4, H, W, D]
    label: np.ndarray  # [H, W, D]
    split: int


def brats(source: Path, *, slices: int = 1, crop: int = 160, block: int = 4) -> Found:
    """Read CGGM's ``{train,valid,test}/*.h5``, or a folder a case with ``*_{flair,t1,t1ce,t2,seg}.nii.gz``.

    ``slices`` lie evenly in the middle half of a brain, and are cut to their central ``crop`` pixels. Published cases
    have no split that can be scored: seven, one and two tenths of them are for training, validation and test. Their
    intensities are standardised within each brain.
    """
    if crop % block:
        raise DataError(f"convert: crop of brats must be a multiple of block, got {crop} and {block}.")
    stored = (source / "train").is_dir()
    samples: list[tuple[int, np.ndarray, np.ndarray]] = []
    for brain in of_hdf5(source) if stored else of_nifti(source):
        depth, labels = brain.label.shape[-1], np.where(brain.label == 4, 3, brain.label)
        for place in np.rint(depth * np.linspace(0.25, 0.75, slices + 2)[1:-1]).astype(int):
            image = np.stack([blocks(one, crop, block) for one in brain.image[..., place]])
            label = frequent(blocks(labels[..., place], crop, block))
            samples.append((brain.split, image.astype(np.float16), label))
    arrays = {m: np.stack([image[i] for _, image, _ in samples]) for i, m in enumerate(MODALITIES)}
    arrays |= {"label": np.stack([label for *_, label in samples]), "split": np.array([code for code, *_ in samples])}
    sheet = {
        "task": "segmentation",
        "classes": CLASSES,
        "modalities": list(MODALITIES),
        "pairing": "natural: the same place",
        "splits": "as in the folders" if stored else "by case, at random",
    }
    return Found(arrays, sheet)


def of_hdf5(source: Path) -> Iterator[Brain]:
    """Yield the brains of CGGM's files."""
    from trainables.data.convert.hdf5 import dataset

    for folder, code in zip(present(source, *FOLDERS), FOLDERS.values(), strict=True):
        for file in sorted(folder.glob("*.h5")):
            yield checked(Brain(dataset(file, "image"), dataset(file, "label"), code), file)


def of_nifti(source: Path) -> Iterator[Brain]:
    """Yield the brains of the published folders."""
    nibabel = optional("nibabel")
    cases = sorted(file.parent for file in source.glob("*/*seg.nii*"))
    if not cases:
        raise DataError(f"convert: {source} holds neither train/*.h5 nor cases with a *seg.nii.gz each.")
    splits = dealt([case.name for case in cases])
    for case in cases:
        volumes = [standardised(np.asarray(nibabel.load(volume(case, NAMES[m])).dataobj)) for m in MODALITIES]
        label = np.asarray(nibabel.load(volume(case, ("seg",))).dataobj)
        yield checked(Brain(np.stack(volumes), label, splits[case.name]), case)


def volume(case: Path, names: tuple[str, ...]) -> Path:
    """Return the volume of a case that ends in one of some names."""
    for name in names:
        for file in sorted(case.glob("*.nii*")):
            if file.name.partition(".nii")[0].replace("-", "_").rpartition("_")[2] == name:
                return file
    raise DataError(f"convert: {case} has no volume *_{names[0]}.nii.gz.")


def checked(brain: Brain, source: Path) -> Brain:
    """Return a brain whose images and label are of the same places."""
    if brain.image.shape != (len(MODALITIES), *brain.label.shape) or brain.label.ndim != 3:
        told = f"got {brain.image.shape} and {brain.label.shape}"
        raise DataError(f"convert: {source} must hold images [4, H, W, D] and a label [H, W, D], {told}.")
    return brain


def standardised(image: np.ndarray) -> np.ndarray:
    """Return a volume in units of its own spread within the brain; what is outside, 0, stays."""
    inside = image != 0
    values = image[inside].astype(np.float64)
    if values.size == 0 or values.std() == 0:
        return np.zeros(image.shape, dtype=np.float32)
    return np.where(inside, (image - values.mean()) / values.std(), 0).astype(np.float32)


def blocks(image: np.ndarray, crop: int, block: int) -> np.ndarray:
    """Return the blocks of the centre of a slice, [H, W] -> [positions, pixels]; what is beyond it counts as 0."""
    short = [max(0, crop - side) for side in image.shape]
    padded = np.pad(image, [(lack // 2, lack - lack // 2) for lack in short])
    top, left = ((side - crop) // 2 for side in padded.shape)
    centre = padded[top : top + crop, left : left + crop]
    count = crop // block
    cut = centre.reshape(count, block, count, block).swapaxes(1, 2)
    return np.asarray(cut.reshape(count * count, block * block))


def frequent(labels: np.ndarray) -> np.ndarray:
    """Return the most frequent of the labels of each block, the lowest of several, [L, pixels] -> [L]."""
    counts = np.stack([(labels == one).sum(axis=1) for one in range(len(CLASSES))])
    return np.asarray(counts.argmax(axis=0))
