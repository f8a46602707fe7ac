"""Films with sound, as lists of clips, recordings and folders of frames: CREMA-D, Kinetics-Sounds, VGGSound, UCF-101.

Recordings and folders of frames are found by the names of their clips, wherever below a folder they lie. A clip that
lacks one of them, or whose cannot be read, is left out and counted. Frames are fixed: the middle one of each part of a
clip.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trainables.data.convert.found import (
    Arrays,
    Found,
    dealt,
    each,
    noted,
    numbered,
    one_of,
    present,
    small,
    table,
    text,
    unread,
    validated,
    visible,
)
from trainables.data.convert.media import PICTURES, SOUNDS, Spectrogram, pictures, sound, spaced
from trainables.data.dataset import DataError

EMOTIONS = ("NEU", "HAP", "SAD", "FEA", "DIS", "ANG")  # the order of OGM-GE, dataset/CramedDataset.py
CREMA_D = Spectrogram(rate=22050, seconds=3, window=512, hop=353, middle=False)  # the same file
VGGSOUND = Spectrogram(rate=16000, seconds=5, window=256, hop=128, middle=True)  # OGM-GE, dataset/VGGSoundDataset.py
CODES = {"train": 0, "val": 1, "validation": 1, "test": 2}

Places = Mapping[str, Sequence[Path]]  # what is called so


class Clip(NamedTuple):
    """A line of a list."""

    name: str
    label: str
    split: int


def crema_d(
    source: Path, *, split: str = "published", frames: int = 1, size: int = 64, audio: str = "", visual: str = ""
) -> Found:
    """Read ``train.csv`` and ``test.csv`` of OGM-GE or BalanceBenchmark, recordings and frames.

    The ``published`` split is random: all 91 actors are in both of its lists. ``actors`` parts them instead, so that
    nobody who is tested was heard or seen in training.
    """
    files = present(source, "train.csv", "test.csv")
    lines = [(line, code) for file, code in zip(files, (0, 2), strict=True) for line in table(file) if len(line) > 1]
    clips = [Clip(line[0], line[1], code) for line, code in lines if line[1] in EMOTIONS]
    apart = one_of(split, ("published", "actors"), "split") == "actors"
    if apart:
        places = dealt([actor(clip) for clip in clips], "actors")
        clips = [clip._replace(split=places[actor(clip)]) for clip in clips]
    found = filmed(
        source, clips, CREMA_D, frames, size, audio, visual, classes=EMOTIONS, group=actor if apart else None
    )
    sheet = {**found.sheet, "splits": "by actor"} if apart else found.sheet
    unknown = noted(len(lines) - len(clips), "lines name no known emotion and are left out")
    return found._replace(sheet=sheet, notes=[*unknown, *found.notes])


def actor(clip: Clip) -> str:
    """Return who is heard and seen in a clip of CREMA-D."""
    return clip.name.partition("_")[0]


def kinetics_sounds(source: Path, *, frames: int = 3, size: int = 64, audio: str = "", visual: str = "") -> Found:
    """Read lists ``*train*.txt`` and ``*test*.txt`` of name and, last in the line, label; recordings and frames.

    They are separated by commas (OGM-GE) or spaces (BalanceBenchmark); recordings are mostly stored as filter banks
    [1024, 128].
    """
    clips = []
    for code, part in ((0, "train"), (2, "test")):
        lines = text(only_list(source, f"*{part}*.txt")).splitlines()
        words = [re.split(r"[,\s]+", line.strip()) for line in lines]
        clips += [Clip(line[0], line[-1], code) for line in words if len(line) > 1]
    return filmed(source, clips, VGGSOUND, frames, size, audio, visual)


def vggsound(source: Path, *, frames: int = 3, size: int = 64, audio: str = "", visual: str = "") -> Found:
    """Read a list ``*.csv`` of id, second, label and split, recordings and frames.

    A clip is called ``id_second``, with or without zeros before the second.
    """
    lines = [line for line in table(only_list(source, "*.csv")) if len(line) > 3]
    kept = [line for line in lines if line[3].strip() in CODES]
    clips = [Clip(f"{line[0]}_{line[1]}", line[2], CODES[line[3].strip()]) for line in kept]
    found = filmed(source, clips, VGGSOUND, frames, size, audio, visual)
    unknown = noted(len(lines) - len(kept), "lines name no known split and are left out")
    return found._replace(notes=[*unknown, *found.notes])


def only_list(source: Path, pattern: str) -> Path:
    """Return the only list of a folder that is called so."""
    lists = visible(source, pattern)
    if len(lists) != 1:
        raise DataError(f"convert: {source} must hold exactly one list {pattern}, found {len(lists)}.")
    return lists[0]


def ucf_101(
    source: Path, *, visual: str = "jpegs_256", u: str = "tvl1_flow/u", v: str = "tvl1_flow/v", fold: int = 1,
    frames: int = 3, size: int = 64,
) -> Found:  # fmt: skip
    """Read ``trainlist0F.txt`` and ``testlist0F.txt`` of a fold, frames, and optical flow along both axes.

    Clips of one film, ``v_CLASS_gXX_cYY`` of all YY, are a group: the lists do not part them, nor does validation.
    """
    folders = dict(zip(("visual", "u", "v"), map(films, present(source, visual, u, v)), strict=True))
    clips = []
    for file, code in zip(present(source, f"trainlist{fold:02d}.txt", f"testlist{fold:02d}.txt"), (0, 2), strict=True):
        for line in text(file).splitlines():
            label, _, name = line.split(" ")[0].strip().partition("/")
            clips += [Clip(name.removesuffix(".avi"), label, code)] if name else []

    def seen(clip: Clip) -> Arrays | None:
        places = {option: only(found, clip, option) for option, found in folders.items()}
        chosen = [spaced(files, frames) for place in places.values() if len(files := listed(place)) >= frames]
        if len(chosen) < len(places):
            return None
        image, *flows = chosen
        return {"image": pictures(image, size), "flow": np.concatenate([pictures(f, size, "L") for f in flows])}

    named = {f"folders of frames in {option}": found for option, found in folders.items()}
    return gathered(clips, seen, source, named, frames, group=film)


def film(clip: Clip) -> str:
    """Return which film a clip of UCF-101 was cut from."""
    return re.sub(r"_c\d+$", "", clip.name)


def filmed(
    source: Path, clips: Sequence[Clip], how: Spectrogram, frames: int, size: int, audio: str, visual: str,
    classes: Sequence[str] = (), group: Callable[[Clip], str] | None = None,
) -> Found:  # fmt: skip
    """Return the sounds, found in the folder ``audio``, and the frames, found in ``visual``, of clips."""
    heard_in, seen_in = present(source, audio, visual)
    sounds, folders = recordings(heard_in), films(seen_in)

    def seen(clip: Clip) -> Arrays | None:
        heard, files = only(sounds, clip, "audio"), listed(only(folders, clip, "visual"))
        if heard is None or len(files) < frames:
            return None
        return {"audio": sound(heard, how), "image": pictures(spaced(files, frames), size)}

    found = gathered(clips, seen, source, {"recordings": sounds, "folders of frames": folders}, frames, classes, group)
    sheet = {**found.sheet, "standardise": {"audio": "all"}}  # frequencies share a unit
    return found._replace(arrays={**found.arrays, "audio": small(found.arrays["audio"])}, sheet=sheet)


def gathered(
    clips: Sequence[Clip], seen: Callable[[Clip], Arrays | None], source: Path, places: Mapping[str, Places],
    frames: int, classes: Sequence[str] = (), group: Callable[[Clip], str] | None = None,
) -> Found:  # fmt: skip
    """Return the data set of those clips of which all is there; those of a ``group`` are not to be parted."""
    if not clips:
        raise DataError(f"convert: the lists of {source} name no clip.")
    made, broken = each(clips, seen)
    samples = [(clip, sample) for clip, sample in made if sample is not None]
    if not samples:
        raise broken[0] if broken else DataError(lacking(clips, source, places, frames))
    kept = [clip for clip, _ in samples]
    label, names = numbered([clip.label for clip in kept])
    if classes:
        label, names = np.array([classes.index(clip.label) for clip in kept]), list(classes)
    arrays: Arrays = {}
    for modality, first in samples[0][1].items():
        for clip, sample in samples:
            if sample[modality].shape != first.shape:
                differ = f"{sample[modality].shape}, and that of {kept[0].name} {first.shape}"
                raise DataError(f"convert: {modality} of {clip.name} is {differ}; all must be alike.")
        arrays[modality] = np.stack([sample[modality] for _, sample in samples])
    groups = numbered([group(clip) for clip in kept])[0] if group else None
    split, dealt_how = validated(np.array([clip.split for clip in kept]), label, groups)
    sheet = {
        "task": "classification",
        "classes": names,
        "modalities": list(arrays),
        "pairing": "natural",
        "splits": dealt_how,
    }
    if groups is not None:
        arrays["group"], sheet["groups"] = groups, "group"
    left = noted(len(made) - len(samples), f"of {len(clips)} listed clips lack a file and are left out")
    return Found({**arrays, "label": label, "split": split}, sheet, [*left, *unread(broken)])


def lacking(clips: Sequence[Clip], source: Path, places: Mapping[str, Places], frames: int) -> str:
    """Return the sentence that no clip has been found, what was looked for, and what there is."""
    there = (
        f"{len(found)} {what}" + f" such as {next(iter(found), '')}" * bool(found) for what, found in places.items()
    )
    looked = f"{clips[0].name}, of {frames} frames or more, was looked for among {' and '.join(there)}"
    return f"convert: {source} holds nothing of its {len(clips)} listed clips: {looked}."


def below(source: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield a folder and those below it, each with its files by name; links are followed, to no place twice."""
    walked: set[Path] = set()
    for place, folders, files in os.walk(source, followlinks=True):
        real = Path(place).resolve()
        folders[:] = sorted(one for one in folders if not one.startswith(".") and real not in walked)
        if real not in walked:
            yield Path(place), sorted(file for file in files if not file.startswith("."))
        walked.add(real)


def recordings(source: Path) -> dict[str, list[Path]]:
    """Return the recordings below a folder, by the names of their clips."""
    found: dict[str, list[Path]] = {}
    for folder, files in below(source):
        for file in map(folder.joinpath, files):
            if file.suffix.lower() in SOUNDS:
                found.setdefault(called(file.stem), []).append(file)
    return found


def films(source: Path) -> dict[str, list[Path]]:
    """Return the folders of pictures below a folder, by the names of their clips."""
    found: dict[str, list[Path]] = {}
    for folder, files in below(source):
        if any(Path(file).suffix.lower() in PICTURES for file in files):
            found.setdefault(called(folder.name), []).append(folder)
    return found


def called(name: str) -> str:
    """Return the name of a clip without what some leave out: ``.mp4``, and zeros before a number at its end."""
    return re.sub(r"_0+(?=\d+$)", "_", name.removesuffix(".mp4"))


def only(places: Places, clip: Clip, option: str) -> Path | None:
    """Return where a clip lies; raises DataError where it lies in two places."""
    found = places.get(called(clip.name), [])
    if len(found) > 1:
        choice = f"remove one, or name the folder that counts by {option}=FOLDER"
        raise DataError(f"convert: {clip.name} is both {found[0]} and {found[1]}; {choice}.")
    return found[0] if found else None


def listed(folder: Path | None) -> list[Path]:
    """Return the pictures of a folder in the order of their names, none of no folder."""
    return [file for file in visible(folder, "*") if file.suffix.lower() in PICTURES] if folder else []
