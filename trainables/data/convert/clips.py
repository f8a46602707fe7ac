"""Films with sound, as lists of clips, recordings and folders of frames: CREMA-D, Kinetics-Sounds, VGGSound, UCF-101.

Recordings and folders of frames are found by the names of their clips, wherever below the source they lie. A clip that
lacks one of them is left out, and counted. Frames are fixed: the middle one of each part of a clip.
"""

import csv
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trainables.data.convert.found import Arrays, Found, dealt, numbered, one_of, present, validated
from trainables.data.convert.media import PICTURES, SOUNDS, Spectrogram, pictures, sound, spaced
from trainables.data.dataset import DataError

EMOTIONS = ("NEU", "HAP", "SAD", "FEA", "DIS", "ANG")  # the order of OGM-GE, dataset/CramedDataset.py
CREMA_D = Spectrogram(rate=22050, seconds=3, window=512, hop=353)  # the same file
VGGSOUND = Spectrogram(rate=16000, seconds=5, window=256, hop=128)  # OGM-GE, dataset/VGGSoundDataset.py


class Clip(NamedTuple):
    """A line of a list."""

    name: str
    label: str
    split: int


class Media(NamedTuple):
    """What lies below a folder, by the name of the clip."""

    sounds: dict[str, Path]
    frames: dict[str, Path]


def crema_d(source: Path, *, split: str = "published", frames: int = 1, size: int = 64) -> Found:
    """Read ``train.csv`` and ``test.csv`` of OGM-GE or BalanceBenchmark, recordings and frames.

    The ``published`` split is random: all 91 actors are in both of its lists. ``actors`` parts them instead, so that
    nobody who is tested was heard or seen in training.
    """
    files = present(source, "train.csv", "test.csv")
    lines = [(line, code) for file, code in zip(files, (0, 2), strict=True) for line in table(file) if len(line) > 1]
    clips = [Clip(line[0], line[1], code) for line, code in lines if line[1] in EMOTIONS]
    if one_of(split, ("published", "actors"), "split") == "actors":
        places = dealt([clip.name.partition("_")[0] for clip in clips])
        clips = [clip._replace(split=places[clip.name.partition("_")[0]]) for clip in clips]
    found = filmed(source, clips, CREMA_D, frames, size, classes=EMOTIONS)
    return found._replace(sheet={**found.sheet, "splits": "by actor"}) if split == "actors" else found


def kinetics_sounds(source: Path, *, frames: int = 3, size: int = 64) -> Found:
    """Read lists ``*train*.txt`` and ``*test*.txt`` of name and, last in the line, label; recordings and frames.

    They are separated by commas (OGM-GE) or spaces (BalanceBenchmark); recordings are mostly stored as filter banks
    [1024, 128].
    """
    clips = []
    for code, part in ((0, "train"), (2, "test")):
        lists = sorted(source.glob(f"*{part}*.txt"))
        if len(lists) != 1:
            raise DataError(f"convert: {source} must hold exactly one list *{part}*.txt, found {len(lists)}.")
        words = [re.split(r"[,\s]+", line.strip()) for line in lists[0].read_text(encoding="utf-8-sig").splitlines()]
        clips += [Clip(line[0], line[-1], code) for line in words if len(line) > 1]
    return filmed(source, clips, VGGSOUND, frames, size)


def vggsound(source: Path, *, frames: int = 3, size: int = 64) -> Found:
    """Read a list ``*.csv`` of id, second, label and split (VGGSound, Balanced Audiovisual), recordings and frames.

    A clip is called ``id_second``, with or without zeros before the second.
    """
    lists = sorted(source.glob("*.csv"))
    if len(lists) != 1:
        raise DataError(f"convert: {source} must hold exactly one list *.csv, found {len(lists)}.")
    codes = {"train": 0, "val": 1, "validation": 1, "test": 2}
    lines = [line for line in table(lists[0]) if len(line) > 3 and line[3].strip() in codes]
    media = walked(source)
    clips = [Clip(spelled(line[0], line[1], media), line[2], codes[line[3].strip()]) for line in lines]
    return filmed(source, clips, VGGSOUND, frames, size)


def spelled(name: str, second: str, media: Media) -> str:
    """Return what a clip of VGGSound is called on this disk."""
    short, long = f"{name}_{second}", f"{name}_{second.zfill(6)}"
    return long if long in media.sounds else short


def ucf_101(
    source: Path, *, visual: str = "jpegs_256", u: str = "tvl1_flow/u", v: str = "tvl1_flow/v", fold: int = 1,
    frames: int = 3, size: int = 64,
) -> Found:  # fmt: skip
    """Read ``trainlist0F.txt`` and ``testlist0F.txt`` of a fold, frames, and optical flow along both axes."""
    folders = [walked(folder).frames for folder in present(source, visual, u, v)]
    clips = []
    for file, code in zip(present(source, f"trainlist{fold:02d}.txt", f"testlist{fold:02d}.txt"), (0, 2), strict=True):
        for line in file.read_text(encoding="utf-8").split("\n"):
            label, _, name = line.split(" ")[0].strip().partition("/")
            clips += [Clip(name.removesuffix(".avi"), label, code)] if name else []

    def seen(clip: Clip) -> Arrays | None:
        places = [found.get(clip.name) for found in folders]
        if not all(place and enough(place, frames) for place in places):
            return None
        image, *flows = [spaced(listed(place), frames) for place in places if place]
        return {"image": pictures(image, size), "flow": np.concatenate([pictures(f, size, "L") for f in flows])}

    return gathered(clips, seen, source)


def filmed(
    source: Path, clips: Sequence[Clip], how: Spectrogram, frames: int, size: int, classes: Sequence[str] = ()
) -> Found:
    """Return the sounds and the frames of clips."""
    media = walked(source)

    def seen(clip: Clip) -> Arrays | None:
        heard, place = media.sounds.get(clip.name), media.frames.get(clip.name)
        if heard is None or place is None or not enough(place, frames):
            return None
        return {"audio": sound(heard, how).astype(np.float16), "image": pictures(spaced(listed(place), frames), size)}

    return gathered(clips, seen, source, classes)


def gathered(
    clips: Sequence[Clip], seen: Callable[[Clip], Arrays | None], source: Path, classes: Sequence[str] = ()
) -> Found:
    """Return the data set of those clips of which all is there."""
    samples = [(clip, sample) for clip in clips if (sample := seen(clip)) is not None]
    left = len(clips) - len(samples)
    if not samples:
        raise DataError(f"convert: {source} holds nothing of its {len(clips)} listed clips.")
    kept = [clip for clip, _ in samples]
    label, names = numbered([clip.label for clip in kept])
    if classes:
        label, names = np.array([classes.index(clip.label) for clip in kept]), list(classes)
    arrays: Arrays = {}
    for modality, first in samples[0][1].items():
        for clip, sample in samples:
            if sample[modality].shape != first.shape:
                told = f"{sample[modality].shape}, and that of {kept[0].name} {first.shape}"
                raise DataError(f"convert: {modality} of {clip.name} is {told}; all must be alike.")
        arrays[modality] = np.stack([sample[modality] for _, sample in samples])
    split, told = validated(np.array([clip.split for clip in kept]), label)
    sheet = {
        "task": "classification",
        "classes": names,
        "modalities": list(arrays),
        "pairing": "natural",
        "splits": told,
    }
    return Found(
        {**arrays, "label": label, "split": split},
        sheet,
        [f"{left} of {len(clips)} listed clips lack a file and are left out"] if left else [],
    )


def table(file: Path) -> list[list[str]]:
    """Return the lines of a table of commas."""
    with file.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.reader(stream))


def walked(source: Path) -> Media:
    """Return recordings and folders of pictures below a folder, by name; OGM-GE calls some folders as the film."""
    sounds: dict[str, Path] = {}
    frames: dict[str, Path] = {}
    for place, _, files in os.walk(source):
        folder = Path(place)
        if any(Path(file).suffix.lower() in PICTURES for file in files):
            frames[folder.name.removesuffix(".mp4")] = folder
        sounds |= {Path(file).stem: folder / file for file in files if Path(file).suffix in SOUNDS}
    return Media(sounds, frames)


def listed(folder: Path) -> list[Path]:
    """Return the pictures of a folder in the order of their names."""
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in PICTURES)


def enough(folder: Path, count: int) -> bool:
    """Say whether a folder has so many pictures."""
    return len(listed(folder)) >= count
