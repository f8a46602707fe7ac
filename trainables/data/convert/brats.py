"""BraTS: four magnetic resonance images of a brain, and the tumour that experts drew in them.

Here a sample is a slice, and a position of it a block of pixels: its features are these pixels, its label the most
frequent of theirs. CGGM's release draws another slice of each brain every time, in testing too, and one in which the
tumour is visible; here slices are fixed, and chosen without a look at the labels.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from trainables.data.convert.found import (
    Found,
    UnreadableError,
    dealt,
    each,
    optional,
    present,
    readable,
    small,
    unread,
    visible,
)
from trainables.data.dataset import DataError

MODALITIES = ("flair", "t1ce", "t1", "t2")  # the order of CGGM's files, datasets/BratsDataset.py
NAMES = {  # to 2021, since
    "flair": ("flair", "t2f"), "t1ce": ("t1ce", "t1c"), "t1": ("t1", "t1n"), "t2": ("t2", "t2w"),
    "label": ("seg", "segm"),
}  # fmt: skip
FOLDERS = {"train": 0, "valid": 1, "test": 2}
CLASSES = ["background", "necrotic core", "edema", "enhancing tumour"]
LABELS = ({0, 1, 2, 3}, {0, 1, 2, 4})  # since 2023, to 2021; where both are, 4 is the cavity of a resection


class Case(NamedTuple):
    """Where a brain is stored."""

    place: Path
    split: int


class Brain(NamedTuple):
    """A brain and its tumour."""

    image: np.ndarray  # [4, H, W, D]
    label: np.ndarray  # [H, W, D]


def brats(source: Path, *, slices: int = 1, crop: int = 160, block: int = 4) -> Found:
    """Read CGGM's ``{train,valid,test}/*.h5``, or a folder a case with ``*_{flair,t1,t1ce,t2,seg}.nii.gz``.

    ``slices`` lie evenly in the middle half of a brain, and are cut to their central ``crop`` pixels. Published cases
    have no split that can be scored: seven, one and two tenths of them are for training, validation and test. Their
    intensities are standardised within each brain.
    """
    if crop % block:
        raise DataError(f"convert: crop of brats must be a multiple of block, got {crop} and {block}.")
    in_folders = (source / "train").is_dir()
    cases, read = (of_folders(source), hdf5) if in_folders else (published(source), nifti)
    made, broken = each(cases, lambda case: cut(checked(read(case.place), case.place), case.place, slices, crop, block))
    if not made:
        raise broken[0]
    images = small(np.concatenate([brain.image for _, brain in made], axis=1))
    arrays = dict(zip(MODALITIES, images, strict=True))
    arrays["label"] = np.concatenate([brain.label for _, brain in made])
    arrays["split"] = np.repeat([case.split for case, _ in made], slices)
    arrays["case"] = np.repeat(np.arange(len(made)), slices)
    sheet = {
        "task": "segmentation",
        "classes": CLASSES,
        "modalities": list(MODALITIES),
        "groups": "case",
        "pairing": "natural: the same place",
        "splits": "as in the folders" if in_folders else "by case, at random",
    }
    return Found(arrays, sheet, unread(broken))


def of_folders(source: Path) -> list[Case]:
    """Return the files of CGGM's folders."""
    folders = zip(present(source, *FOLDERS), FOLDERS.values(), strict=True)
    cases = [Case(file, code) for folder, code in folders for file in visible(folder, "*.h5")]
    if not cases:
        raise DataError(f"convert: {source} holds no *.h5 in {', '.join(FOLDERS)}.")
    return cases


def published(source: Path) -> list[Case]:
    """Return the folders of published cases."""
    places = sorted({file.parent for file in visible(source, "*/*.nii*") if not file.parent.name.startswith(".")})
    if not places:
        raise DataError(f"convert: {source} holds neither train/*.h5 nor folders of *.nii.gz.")
    splits = dealt([place.name for place in places], "cases")
    return [Case(place, splits[place.name]) for place in places]


def hdf5(file: Path) -> Brain:
    """Return the brain of a file of CGGM's."""
    from trainables.data.convert.hdf5 import dataset

    return Brain(dataset(file, "image"), dataset(file, "label"))


def nifti(case: Path) -> Brain:
    """Return the brain of a published folder."""
    *images, label = (volume(case, names) for names in NAMES.values())
    if any(image.shape != label.shape for image in images):
        raise UnreadableError(f"convert: the volumes of {case} are not of one shape.")
    return Brain(np.stack([standardised(image) for image in images]), label)


def volume(case: Path, names: tuple[str, ...]) -> np.ndarray:
    """Return the volume of a case that ends in one of some names."""
    nibabel = optional("nibabel")
    ends = {
        file.name.partition(".nii")[0].replace("-", "_").rpartition("_")[2].lower(): file
        for file in visible(case, "*.nii*")
    }
    for name in names:
        if name in ends:
            with readable(ends[name], "volume"):
                return np.asarray(nibabel.load(ends[name]).dataobj)
    raise UnreadableError(f"convert: {case} has no volume *_{names[0]}.nii.gz.")


def checked(brain: Brain, place: Path) -> Brain:
    """Return a brain whose images and label are of the same places, and whose labels are known."""
    if brain.image.shape != (len(MODALITIES), *brain.label.shape) or brain.label.ndim != 3 or not brain.label.size:
        told = f"got {brain.image.shape} and {brain.label.shape}"
        raise UnreadableError(f"convert: {place} must hold images [4, H, W, D] and a label [H, W, D], {told}.")
    labels = set(np.unique(brain.label).tolist())
    if not any(labels <= known for known in LABELS):
        raise UnreadableError(
            f"convert: the labels of {place} must be 0, 1, 2 and either 3 or 4, got {sorted(labels)[:9]}."
        )
    return brain


def cut(brain: Brain, place: Path, slices: int, crop: int, block: int) -> Brain:
    """Return the blocks of some slices of a brain, [4, S, L, pixels], and their labels [S, L]."""
    depth = brain.label.shape[-1]
    places = np.unique(np.rint(depth * np.linspace(0.25, 0.75, slices + 2)[1:-1]).astype(int))
    if len(places) < slices:
        raise DataError(f"convert: {place} has too few slices, {depth}, for {slices} in its middle half.")
    image = np.stack([[blocks(one[..., i], crop, block) for i in places] for one in brain.image])
    label = np.where(brain.label == 4, 3, brain.label)
    return Brain(image, np.stack([frequent(blocks(label[..., i], crop, block)) for i in places]))


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
