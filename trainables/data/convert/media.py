"""Pictures and sounds as arrays."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trainables.data.dataset import DataError

PICTURES = {".jpg", ".jpeg", ".png"}
SOUNDS = {".wav", ".npy", ".pt"}


class Spectrogram(NamedTuple):
    """How a recording becomes a log-spectrogram."""

    rate: int  # samples a second
    seconds: float  # of the recording, which is repeated if it is shorter; of a longer one, those in its middle
    window: int  # samples
    hop: int  # samples


def picture(file: Path, size: int, mode: str = "RGB") -> np.ndarray:
    """Return a picture of bytes, [C, size, size]; raises DataError where the file is none."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            array = np.asarray(image.convert(mode).resize((size, size), Image.Resampling.BILINEAR))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataError(f"convert: {file} is no picture that can be read: {error}.") from None
    return np.asarray(np.moveaxis(np.atleast_3d(array), -1, 0))


def pictures(files: Sequence[Path], size: int, mode: str = "RGB") -> np.ndarray:
    """Return pictures as channels of one, [C * T, size, size]."""
    return np.concatenate([picture(file, size, mode) for file in files])


def spaced(files: Sequence[Path], count: int) -> list[Path]:
    """Return the middle one of each of ``count`` parts of some files, as BalanceBenchmark takes frames in testing."""
    step = len(files) // count
    return [files[i * step + step // 2] for i in range(count)]


def sound(file: Path, how: Spectrogram) -> np.ndarray:
    """Return a sound [time, frequency]: a spectrogram of a .wav, or what a .npy or a .pt holds of it."""
    if file.suffix == ".wav":
        return spectrogram(recording(file, how), how)
    if file.suffix == ".npy":
        return np.asarray(np.load(file, allow_pickle=False), dtype=np.float32)
    import torch

    return np.asarray(torch.load(file, map_location="cpu", weights_only=True), dtype=np.float32)


def recording(file: Path, how: Spectrogram) -> np.ndarray:
    """Return a recording of one channel in [-1, 1], at the rate and of the length asked for."""
    from scipy.io import wavfile
    from scipy.signal import resample_poly

    try:
        rate, samples = wavfile.read(file)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"convert: {file} is no recording that can be read: {error}.") from None
    wave = samples.astype(np.float64).reshape(len(samples), -1).mean(axis=1)
    if samples.dtype.kind != "f":
        wave = wave / 2.0 ** (8 * samples.dtype.itemsize - 1) - (samples.dtype.kind == "u")
    if len(wave) == 0:
        raise DataError(f"convert: {file} is empty.")
    shared = math.gcd(rate, how.rate)
    wave = resample_poly(wave, how.rate // shared, rate // shared)
    wanted = round(how.rate * how.seconds)
    wave = np.tile(wave, -(-wanted // len(wave))) if len(wave) < wanted else wave[(len(wave) - wanted) // 2 :]
    return np.asarray(np.clip(wave[:wanted], -1, 1))


def spectrogram(wave: np.ndarray, how: Spectrogram) -> np.ndarray:
    """Return the logarithm of the magnitudes under Hann windows centred every hop, [time, frequency] float32.

    As ``np.log(np.abs(librosa.stft(wave, n_fft=window, hop_length=hop)) + 1e-7)``, transposed.
    """
    from scipy.signal import get_window

    padded = np.pad(wave, how.window // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, how.window)[:: how.hop]
    found = np.abs(np.fft.rfft(frames * get_window("hann", how.window)))
    return np.log(found + 1e-7).astype(np.float32)
