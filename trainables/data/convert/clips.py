"""Video clips with sound or optical flow: CREMA-D, Kinetics-Sounds, VGGSound, UCF-101.

A release is lists of clips, recordings and folders of frames. Recordings and folders of frames are found by the names
of their clips, at any depth below a folder. A clip that lacks one of them, or whose files cannot be read, is left out
and counted. Frames are fixed: the middle one of each of equal parts of a clip.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trainables.data.convert.conversion import (
    Arrays,
    Conversion,
    add_validation,
    check_option,
    compact_floats,
    count_notes,
    encode_labels,
    random_splits,
    unreadable_notes,
)
from trainables.data.convert.media import (
    PICTURE_SUFFIXES,
    SOUND_SUFFIXES,
    SpectrogramSettings,
    evenly_spaced,
    load_pictures,
    load_sound,
)
from trainables.data.convert.sources import (
    read_csv,
    read_each,
    read_text,
    require_finite,
    require_paths,
    visible_paths,
)
from trainables.data.dataset import DataError

EMOTIONS = ("NEU", "HAP", "SAD", "FEA", "DIS", "ANG")  # the order of OGM-GE, dataset/CramedDataset.py
CREMA_D = SpectrogramSettings(rate=22050, seconds=3, window=512, hop=353, middle=False)  # the same file
VGGSOUND = SpectrogramSettings(  # OGM-GE, dataset/VGGSoundDataset.py
    rate=16000, seconds=5, window=256, hop=128, middle=True
)
SPLIT_CODES = {"train": 0, "val": 1, "validation": 1, "test": 2}

PathsByClip = Mapping[str, Sequence[Path]]  # normalised name of a clip -> files or folders of that name


class Clip(NamedTuple):
    """An entry of a list of clips."""

    name: str
    label: str
    split: int


def crema_d(
    source: Path, *, split: str = "published", frames: int = 1, size: int = 64, audio: str = "", visual: str = ""
) -> Conversion:
    """Read ``train.csv`` and ``test.csv`` of OGM-GE or BalanceBenchmark, recordings and frames.

    The ``published`` split is random: all 91 actors are in both of its lists. ``actors`` splits by actor instead, so
    that no actor of the test split is in training.
    """
    files = require_paths(source, "train.csv", "test.csv")
    lines = [(line, code) for file, code in zip(files, (0, 2), strict=True) for line in read_csv(file) if len(line) > 1]
    clips = [Clip(line[0], line[1], code) for line, code in lines if line[1] in EMOTIONS]
    by_actor = check_option(split, ("published", "actors"), "split") == "actors"
    if by_actor:
        splits = random_splits([clip_actor(clip) for clip in clips], "actors")
        clips = [clip._replace(split=splits[clip_actor(clip)]) for clip in clips]
    conversion = convert_audiovisual(
        source, clips, CREMA_D, frames, size, audio, visual, classes=EMOTIONS, group=clip_actor if by_actor else None
    )
    datasheet = {**conversion.datasheet, "splits": "by actor"} if by_actor else conversion.datasheet
    notes = count_notes(len(lines) - len(clips), "lines with an unknown emotion are left out")
    return conversion._replace(datasheet=datasheet, notes=[*notes, *conversion.notes])


def clip_actor(clip: Clip) -> str:
    """Return the actor in a clip of CREMA-D."""
    return clip.name.partition("_")[0]


def kinetics_sounds(source: Path, *, frames: int = 3, size: int = 64, audio: str = "", visual: str = "") -> Conversion:
    """Read lists ``*train*.txt`` and ``*test*.txt`` of name and, last in the line, label; recordings and frames.

    They are separated by commas (OGM-GE) or spaces (BalanceBenchmark); recordings are mostly stored as filter banks
    [1024, 128].
    """
    clips = []
    for code, name in ((0, "train"), (2, "test")):
        lines = read_text(find_list(source, f"*{name}*.txt")).splitlines()
        entries = [re.split(r"[,\s]+", line.strip()) for line in lines]
        clips += [Clip(entry[0], entry[-1], code) for entry in entries if len(entry) > 1]
    return convert_audiovisual(source, clips, VGGSOUND, frames, size, audio, visual)


def vggsound(source: Path, *, frames: int = 3, size: int = 64, audio: str = "", visual: str = "") -> Conversion:
    """Read a list ``*.csv`` of id, second, label and split, recordings and frames.

    The name of a clip is ``id_second``, with or without zeros before the second.
    """
    lines = [line for line in read_csv(find_list(source, "*.csv")) if len(line) > 3]
    known = [line for line in lines if line[3].strip() in SPLIT_CODES]
    clips = [Clip(f"{line[0]}_{line[1]}", line[2], SPLIT_CODES[line[3].strip()]) for line in known]
    conversion = convert_audiovisual(source, clips, VGGSOUND, frames, size, audio, visual)
    notes = count_notes(len(lines) - len(known), "lines with an unknown split are left out")
    return conversion._replace(notes=[*notes, *conversion.notes])


def find_list(source: Path, pattern: str) -> Path:
    """Return the only file of a folder that matches a pattern."""
    lists = visible_paths(source, pattern)
    if len(lists) != 1:
        raise DataError(f"convert: {source} must hold exactly one list {pattern}, found {len(lists)}.")
    return lists[0]


def ucf_101(
    source: Path, *, visual: str = "jpegs_256", u: str = "tvl1_flow/u", v: str = "tvl1_flow/v", fold: int = 1,
    frames: int = 3, size: int = 64,
) -> Conversion:  # fmt: skip
    """Read ``trainlist0F.txt`` and ``testlist0F.txt`` of a fold, frames, and optical flow along both axes.

    Clips of one video, ``v_CLASS_gXX_cYY`` of all YY, are a group: neither the lists nor validation separate them.
    """
    folders = dict(zip(("visual", "u", "v"), map(find_frame_folders, require_paths(source, visual, u, v)), strict=True))
    clips = []
    lists = require_paths(source, f"trainlist{fold:02d}.txt", f"testlist{fold:02d}.txt")
    for file, code in zip(lists, (0, 2), strict=True):
        for line in read_text(file).splitlines():
            label, _, name = line.split(" ")[0].strip().partition("/")
            clips += [Clip(name.removesuffix(".avi"), label, code)] if name else []

    def read_clip(clip: Clip) -> Arrays | None:
        paths = [unique_path(paths_by_clip, clip, option) for option, paths_by_clip in folders.items()]
        streams = [evenly_spaced(files, frames) for path in paths if len(files := list_pictures(path)) >= frames]
        if len(streams) < len(paths):
            return None
        frame_files, *flow_files = streams
        image = load_pictures(frame_files, size)
        return {"image": image, "flow": np.concatenate([load_pictures(files, size, "L") for files in flow_files])}

    searched = {f"folders of frames in {option}": paths_by_clip for option, paths_by_clip in folders.items()}
    return convert_clips(clips, read_clip, source, searched, frames, group=clip_video)


def clip_video(clip: Clip) -> str:
    """Return the name of the video that a clip of UCF-101 was cut from."""
    return re.sub(r"_c\d+$", "", clip.name)


def convert_audiovisual(
    source: Path, clips: Sequence[Clip], settings: SpectrogramSettings, frames: int, size: int, audio: str, visual: str,
    classes: Sequence[str] = (), group: Callable[[Clip], str] | None = None,
) -> Conversion:  # fmt: skip
    """Return the data set of clips with recordings, searched below ``audio``, and frames, searched below ``visual``."""
    audio_folder, visual_folder = require_paths(source, audio, visual)
    recordings, frame_folders = find_recordings(audio_folder), find_frame_folders(visual_folder)

    def read_clip(clip: Clip) -> Arrays | None:
        recording = unique_path(recordings, clip, "audio")
        files = list_pictures(unique_path(frame_folders, clip, "visual"))
        if recording is None or len(files) < frames:
            return None
        sound = load_sound(recording, settings)
        return {"audio": sound, "image": load_pictures(evenly_spaced(files, frames), size)}

    searched = {"recordings": recordings, "folders of frames": frame_folders}
    conversion = convert_clips(clips, read_clip, source, searched, frames, classes, group)
    datasheet = {**conversion.datasheet, "standardise": {"audio": "all"}}  # frequencies share a unit
    arrays = {**conversion.arrays, "audio": compact_floats(conversion.arrays["audio"])}
    return conversion._replace(arrays=arrays, datasheet=datasheet)


def convert_clips(
    clips: Sequence[Clip], read_clip: Callable[[Clip], Arrays | None], source: Path,
    searched: Mapping[str, PathsByClip], frames: int, classes: Sequence[str] = (),
    group: Callable[[Clip], str] | None = None,
) -> Conversion:  # fmt: skip
    """Return the data set of the complete clips; validation does not separate clips of one ``group``.

    ``read_clip`` returns None for a clip that lacks a file, and ``searched`` is where files were searched.
    """
    if not clips:
        raise DataError(f"convert: the lists of {source} contain no clip.")

    def read_finite(clip: Clip) -> Arrays | None:
        sample = read_clip(clip)
        return sample and {m: require_finite(array, f"{m} of {clip.name}") for m, array in sample.items()}

    results, errors = read_each(clips, read_finite)
    samples = [(clip, sample) for clip, sample in results if sample is not None]
    if not samples:
        raise errors[0] if errors else DataError(no_clip_message(clips, source, searched, frames))
    complete = [clip for clip, _ in samples]
    label, names = encode_labels([clip.label for clip in complete])
    if classes:
        label, names = np.array([classes.index(clip.label) for clip in complete]), list(classes)
    arrays: Arrays = {}
    for modality, first in samples[0][1].items():
        for clip, sample in samples:
            if sample[modality].shape != first.shape:
                shapes = f"{sample[modality].shape}, and that of {complete[0].name} {first.shape}"
                raise DataError(f"convert: {modality} of {clip.name} has the shape {shapes}; all shapes must be equal.")
        arrays[modality] = np.stack([sample[modality] for _, sample in samples])
    groups = encode_labels([group(clip) for clip in complete])[0] if group else None
    split, origin = add_validation(np.array([clip.split for clip in complete]), label, groups)
    datasheet = {
        "task": "classification",
        "classes": names,
        "modalities": list(arrays),
        "pairing": "natural",
        "splits": origin,
    }
    if groups is not None:
        arrays["group"], datasheet["groups"] = groups, "group"
    notes = count_notes(len(results) - len(samples), f"of {len(clips)} listed clips lack a file and are left out")
    return Conversion({**arrays, "label": label, "split": split}, datasheet, [*notes, *unreadable_notes(errors)])


def no_clip_message(clips: Sequence[Clip], source: Path, searched: Mapping[str, PathsByClip], frames: int) -> str:
    """Return the message that none of the clips was found, with an example of a name and of what there is."""
    existing = (
        f"{len(paths)} {what}" + f" such as {next(iter(paths), '')}" * bool(paths) for what, paths in searched.items()
    )
    example = f"{clips[0].name} with at least {frames} frames is not among {' and '.join(existing)}"
    return f"convert: {source} holds none of its {len(clips)} listed clips: {example}."


def walk_folders(source: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield a folder and those below it, each with the names of its files; links are followed, to no folder twice."""
    visited: set[Path] = set()
    for path, folders, files in os.walk(source, followlinks=True):
        real = Path(path).resolve()
        folders[:] = sorted(name for name in folders if not name.startswith(".") and real not in visited)
        if real not in visited:
            yield Path(path), sorted(file for file in files if not file.startswith("."))
        visited.add(real)


def find_recordings(source: Path) -> dict[str, list[Path]]:
    """Return the recordings below a folder by the normalised names of their clips."""
    recordings: dict[str, list[Path]] = {}
    for folder, files in walk_folders(source):
        for file in map(folder.joinpath, files):
            if file.suffix.lower() in SOUND_SUFFIXES:
                recordings.setdefault(normalise_name(file.stem), []).append(file)
    return recordings


def find_frame_folders(source: Path) -> dict[str, list[Path]]:
    """Return the folders of pictures below a folder by the normalised names of their clips."""
    frame_folders: dict[str, list[Path]] = {}
    for folder, files in walk_folders(source):
        if any(Path(file).suffix.lower() in PICTURE_SUFFIXES for file in files):
            frame_folders.setdefault(normalise_name(folder.name), []).append(folder)
    return frame_folders


def normalise_name(name: str) -> str:
    """Return the name of a clip without what some releases omit: ``.mp4``, and zeros before a number at its end."""
    return re.sub(r"_0+(?=\d+$)", "_", name.removesuffix(".mp4"))


def unique_path(paths: PathsByClip, clip: Clip, option: str) -> Path | None:
    """Return the path of a clip, None if there is none; raises DataError if there are several."""
    candidates = paths.get(normalise_name(clip.name), [])
    if len(candidates) > 1:
        remedy = f"remove one, or choose a folder with {option}=FOLDER"
        raise DataError(f"convert: {clip.name} was found twice, {candidates[0]} and {candidates[1]}; {remedy}.")
    return candidates[0] if candidates else None


def list_pictures(folder: Path | None) -> list[Path]:
    """Return the pictures in a folder in the order of their names; none if the folder is None."""
    return [file for file in visible_paths(folder, "*") if file.suffix.lower() in PICTURE_SUFFIXES] if folder else []
