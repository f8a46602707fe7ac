"""Recipes of the embedded data sets: from the bytes of their sources to arrays, with fixed seeds."""

import gzip
import io

import numpy as np

SEED = 20230807
FRAMES = 24  # of a spoken digit, after resampling
COMPONENTS = 8  # principal components kept in the file
PER_CLASS = {"image": (350, 50, 100), "audio": (210, 30, 60)}  # train, validation, test
# rows of second copies of a digit, identical in all six views; a random split would leak them
DUPLICATES = (774, 1172, 1271, 1272, 1521, 1999)
VIEWS = {"fou": "f4", "fac": "u2", "kar": "f4", "pix": "u1", "zer": "f4", "mor": "f4"}

Arrays = dict[str, np.ndarray]


def av_digits(sources: dict[str, bytes]) -> Arrays:
    """Return images and spoken digits as pools, with index tables that pair them by class."""
    generator = np.random.default_rng(SEED)
    image, image_label = parse_images(sources["image"])
    audio, audio_label = parse_clips(sources["audio"])
    image_split = stratified_split(image_label, PER_CLASS["image"], generator)
    audio_split = stratified_split(audio_label, PER_CLASS["audio"], generator)
    arrays = {
        "image": image,
        "image_label": image_label,
        "image_split": image_split,
        "audio": audio,
        "audio_label": audio_label,
        "audio_split": audio_split,
        **principal_components(image[image_split == 0]),
    }
    for code, name in enumerate(("train", "val", "test")):
        images, clips = np.flatnonzero(image_split == code), np.flatnonzero(audio_split == code)
        arrays[f"pairs_stratified_{name}"] = pair_by_class(images, image_label, clips, audio_label, generator)
    return arrays


def mfeat(sources: dict[str, bytes]) -> Arrays:
    """Return six views of the same 2000 digits."""
    tables = {view: parse_table(sources[view], ",", skip=1) for view in VIEWS}
    label = tables["fou"][:, -1].astype(np.uint8)
    views = {view: table[:, :-1] for view, table in tables.items()}
    stacked = np.hstack(list(views.values()))
    _, first = np.unique(stacked, axis=0, return_index=True)
    if tuple(sorted(set(range(len(stacked))) - set(first.tolist()))) != DUPLICATES:
        raise ValueError("the duplicated digits of mfeat are not at the expected rows")
    split = stratified_split(label, (100, 30, 70), np.random.default_rng(SEED))
    split[list(DUPLICATES)] = -1
    return {**{v: x.astype(VIEWS[v]) for v, x in views.items()}, "label": label, "split": split}


def diabetes(sources: dict[str, bytes]) -> Arrays:
    """Return the examination and the blood sample of 442 patients."""
    measured = parse_table(gzip.decompress(sources["diabetes_data_raw"]), None).astype(np.float32)
    progression = parse_table(gzip.decompress(sources["diabetes_target"]), None).astype(np.float32).ravel()
    split = np.repeat(np.array([0, 1, 2], np.int8), (300, 60, 82))
    return {
        "examination": measured[:, :4],
        "serum": measured[:, 4:],
        "progression": progression,
        "split": np.random.default_rng(SEED).permutation(split),
    }


def stratified_split(label: np.ndarray, counts: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Return the split of each sample, [N] int8, with `counts` samples of every class in split 0, 1, 2."""
    split = np.full(len(label), -1, np.int8)
    for digit in np.unique(label):
        order = generator.permutation(np.flatnonzero(label == digit))
        split[order[: sum(counts)]] = np.repeat(np.arange(len(counts)), counts)
    return split


def pair_by_class(
    images: np.ndarray,
    image_label: np.ndarray,
    clips: np.ndarray,
    audio_label: np.ndarray,
    generator: np.random.Generator,
) -> np.ndarray:
    """Return an index table [N, 2] with every image once, paired with a clip of its class.

    Clips of a class are used in random rounds, so that no two counts differ by more than one.
    """
    tables = []
    for digit in np.unique(image_label[images]):
        class_images = generator.permutation(images[image_label[images] == digit])
        class_clips = clips[audio_label[clips] == digit]
        rounds = [generator.permutation(class_clips) for _ in range(-(-len(class_images) // len(class_clips)))]
        tables.append(np.column_stack([class_images, np.concatenate(rounds)[: len(class_images)]]))
    return generator.permutation(np.concatenate(tables)).astype(np.int16)


def principal_components(images: np.ndarray) -> Arrays:
    """Return mean and leading components of images [N, 28, 28], grey levels as shares of 255.

    `pca_k25` is the number of components whose share of the variance first passes 25 %.
    """
    flat = images.reshape(len(images), -1) / 255.0
    variance, vectors = np.linalg.eigh(np.cov(flat, rowvar=False, bias=True))
    basis = vectors[:, ::-1].T[:COMPONENTS]  # [K, pixels], the largest first
    peak = np.take_along_axis(basis, np.abs(basis).argmax(axis=1, keepdims=True), axis=1)
    share = np.cumsum(variance[::-1][:COMPONENTS]) / variance.sum()
    return {
        "pca_mean": flat.mean(axis=0).astype(np.float32),
        "pca_basis": (basis * np.sign(peak)).astype(np.float16),
        "pca_share": np.diff(share, prepend=0).astype(np.float32),
        "pca_k25": np.array(1 + int(np.searchsorted(share, 0.25, side="right")), np.int32),
    }


def resample_frames(clip: np.ndarray, frames: int) -> np.ndarray:
    """Return a clip [T, F] of any length as [frames, F], interpolated linearly between its frames."""
    at = np.linspace(0, len(clip) - 1, frames)
    return np.column_stack([np.interp(at, np.arange(len(clip)), feature) for feature in clip.T])


def parse_images(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return images [N, 28, 28] and their labels [N]."""
    table = parse_table(gzip.decompress(content), ",").astype(np.uint8)
    return table[:, :-1].reshape(-1, 28, 28), table[:, -1]


def parse_clips(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return clips [N, FRAMES, F] and their labels [N]."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        frames, label, lengths = file["X"], file["y"], file["lengths"]
    clips = np.split(frames, np.cumsum(lengths)[:-1])
    audio = np.stack([resample_frames(clip, FRAMES) for clip in clips])
    return audio.astype(np.float16), label.astype(np.uint8)


def parse_table(content: bytes, delimiter: str | None, skip: int = 0) -> np.ndarray:
    """Return a table of numbers."""
    return np.loadtxt(io.BytesIO(content), delimiter=delimiter, skiprows=skip)
