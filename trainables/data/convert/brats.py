"""BraTS: four magnetic resonance images of a brain, and the tumour segmentation by experts.

A sample is a slice, and a position of it a block of pixels: its features are these pixels, its label the most
frequent of theirs. CGGM's release draws another slice of each brain every time, in testing too, and one in which the
tumour is visible; here slices are fixed, and chosen without a look at the labels.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from trainables.data.convert.conversion import Conversion, compact_floats, random_splits, unreadable_notes
from trainables.data.convert.sources import (
    UnreadableError,
    import_optional,
    read_each,
    require_finite,
    require_paths,
    translate_errors,
    visible_paths,
)
from trainables.data.dataset import DataError

MODALITIES = ("flair", "t1ce", "t1", "t2")  # the order of CGGM's files, datasets/BratsDataset.py
VOLUME_NAMES = {  # until 2021, since 2023
    "flair": ("flair", "t2f"), "t1ce": ("t1ce", "t1c"), "t1": ("t1", "t1n"), "t2": ("t2", "t2w"),
    "label": ("seg", "segm"),
}  # fmt: skip
FOLDERS = {"train": 0, "valid": 1, "test": 2}
CLASSES = ["background", "necrotic core", "edema", "enhancing tumour"]
LABEL_SETS = ({0, 1, 2, 3}, {0, 1, 2, 4})  # since 2023, until 2021; with both 3 and 4, 4 is a resection cavity


class Case(NamedTuple):
    """The file or folder of a brain, and its split."""

    path: Path
    split: int


class Brain(NamedTuple):
    """The images of a brain and its segmentation."""

    image: np.ndarray  # [4, H, W, D]
    label: np.ndarray  # [H, W, D]


def brats(source: Path, *, slices: int = 1, crop: int = 160, block: int = 4) -> Conversion:
    """Read CGGM's ``{train,valid,test}/*.h5``, or a folder per case with ``*_{flair,t1,t1ce,t2,seg}.nii.gz``.

    ``slices`` are evenly spaced in the middle half of a brain, and cropped to their central ``crop`` pixels. Published
    cases have no split with labels for testing: seven, one and two tenths of them are for training, validation and
    test. Their intensities are standardised within each brain.
    """
    if crop % block:
        raise DataError(f"convert: crop of brats must be a multiple of block, got {crop} and {block}.")
    in_folders = (source / "train").is_dir()
    cases, read = (list_cggm_cases(source), read_hdf5) if in_folders else (list_published_cases(source), read_nifti)
    brains, errors = read_each(
        cases, lambda case: extract_slices(check_brain(read(case.path), case.path), case.path, slices, crop, block)
    )
    if not brains:
        raise errors[0]
    images = compact_floats(np.concatenate([brain.image for _, brain in brains], axis=1))
    arrays = dict(zip(MODALITIES, images, strict=True))
    arrays["label"] = np.concatenate([brain.label for _, brain in brains])
    arrays["split"] = np.repeat([case.split for case, _ in brains], slices)
    arrays["case"] = np.repeat(np.arange(len(brains)), slices)
    datasheet = {
        "task": "segmentation",
        "classes": CLASSES,
        "modalities": list(MODALITIES),
        "groups": "case",
        "pairing": "natural: the same place",
        "splits": "as in the folders" if in_folders else "by case, at random",
    }
    return Conversion(arrays, datasheet, unreadable_notes(errors))


def list_cggm_cases(source: Path) -> list[Case]:
    """Return the cases in CGGM's folders, a file each."""
    folders = zip(require_paths(source, *FOLDERS), FOLDERS.values(), strict=True)
    cases = [Case(file, code) for folder, code in folders for file in visible_paths(folder, "*.h5")]
    if not cases:
        raise DataError(f"convert: {source} holds no *.h5 in {', '.join(FOLDERS)}.")
    return cases


def list_published_cases(source: Path) -> list[Case]:
    """Return the published cases, a folder each, with random splits."""
    folders = sorted(
        {file.parent for file in visible_paths(source, "*/*.nii*") if not file.parent.name.startswith(".")}
    )
    if not folders:
        raise DataError(f"convert: {source} holds neither train/*.h5 nor folders of *.nii.gz.")
    splits = random_splits([folder.name for folder in folders], "cases")
    return [Case(folder, splits[folder.name]) for folder in folders]


def read_hdf5(file: Path) -> Brain:
    """Return the brain in a file of CGGM's."""
    from trainables.data.convert.hdf5 import read_dataset

    return Brain(read_dataset(file, "image"), read_dataset(file, "label"))


def read_nifti(folder: Path) -> Brain:
    """Return the brain in the folder of a published case, with standardised images."""
    *images, label = (read_volume(folder, names) for names in VOLUME_NAMES.values())
    if any(image.shape != label.shape for image in images):
        raise UnreadableError(f"convert: the volumes of {folder} differ in shape.")
    return Brain(np.stack([standardise_volume(image) for image in images]), label)


def read_volume(folder: Path, names: tuple[str, ...]) -> np.ndarray:
    """Return the volume of a case whose file name ends in one of `names`."""
    nibabel = import_optional("nibabel")
    files = {
        file.name.partition(".nii")[0].replace("-", "_").rpartition("_")[2].lower(): file
        for file in visible_paths(folder, "*.nii*")
    }
    for name in names:
        if name in files:
            with translate_errors(files[name], "volume"):
                return np.asarray(nibabel.load(files[name]).dataobj)
    raise UnreadableError(f"convert: {folder} has no volume *_{names[0]}.nii.gz.")


def check_brain(brain: Brain, path: Path) -> Brain:
    """Return a brain; raises UnreadableError if images and label differ in shape, or a label is unknown."""
    if brain.image.shape != (len(MODALITIES), *brain.label.shape) or brain.label.ndim != 3 or not brain.label.size:
        shapes = f"got {brain.image.shape} and {brain.label.shape}"
        raise UnreadableError(f"convert: {path} must hold images [4, H, W, D] and a label [H, W, D], {shapes}.")
    labels = set(np.unique(brain.label).tolist())
    if not any(labels <= label_set for label_set in LABEL_SETS):
        raise UnreadableError(
            f"convert: the labels of {path} must be 0, 1, 2 and either 3 or 4, got {sorted(labels)[:9]}."
        )
    require_finite(brain.image, str(path))
    return brain


def extract_slices(brain: Brain, path: Path, slices: int, crop: int, block: int) -> Brain:
    """Return the blocks of evenly spaced slices of a brain, [4, S, L, pixels], and their labels [S, L]."""
    depth = brain.label.shape[-1]
    indices = np.unique(np.rint(depth * np.linspace(0.25, 0.75, slices + 2)[1:-1]).astype(int))
    if len(indices) < slices:
        raise DataError(f"convert: {path} has {depth} slices, too few to take {slices} from its middle half.")
    image = np.stack([[split_into_blocks(volume[..., i], crop, block) for i in indices] for volume in brain.image])
    label = np.where(brain.label == 4, 3, brain.label)
    return Brain(image, np.stack([majority_labels(split_into_blocks(label[..., i], crop, block)) for i in indices]))


def standardise_volume(image: np.ndarray) -> np.ndarray:
    """Return a volume with mean 0 and standard deviation 1 within the brain; the outside, 0, stays 0."""
    inside = image != 0
    values = image[inside].astype(np.float64)
    if values.size == 0 or values.std() == 0:
        return np.zeros(image.shape, dtype=np.float32)
    return np.where(inside, (image - values.mean()) / values.std(), 0).astype(np.float32)


def split_into_blocks(image: np.ndarray, crop: int, block: int) -> np.ndarray:
    """Return the blocks of the central crop of a slice, [H, W] -> [positions, pixels]; small slices are padded."""
    padding = [max(0, crop - side) for side in image.shape]
    padded = np.pad(image, [(pad // 2, pad - pad // 2) for pad in padding])
    top, left = ((side - crop) // 2 for side in padded.shape)
    centre = padded[top : top + crop, left : left + crop]
    count = crop // block
    blocks = centre.reshape(count, block, count, block).swapaxes(1, 2)
    return np.asarray(blocks.reshape(count * count, block * block))


def majority_labels(labels: np.ndarray) -> np.ndarray:
    """Return the most frequent label of each block, the lowest of equally frequent ones, [L, pixels] -> [L]."""
    counts = np.stack([(labels == label).sum(axis=1) for label in range(len(CLASSES))])
    return np.asarray(counts.argmax(axis=0))
