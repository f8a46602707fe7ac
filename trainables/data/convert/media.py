"""Pictures and sounds as arrays."""

import math
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trainables.data.convert.found import UnreadableError, readable, stored

PICTURES = {".jpg", ".jpeg", ".png"}
SOUNDS = {".wav", ".npy", ".pt"}
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP")  # of what Pillow reads, those that start no other program


class Spectrogram(NamedTuple):
    """How a recording becomes a log-spectrogram."""

    rate: int  # samples a second
    seconds: float  # of the recording, which is repeated if it is shorter
    window: int  # samples
    hop: int  # samples
    middle: bool  # of a longer recording the seconds in its middle are heard, else the first


def picture(file: Path, size: int, mode: str = "RGB") -> np.ndarray:
    """Return a picture of bytes, [C, size, size]."""
    from PIL import Image

    with readable(file, "picture"), Image.open(file, formats=FORMATS) as image:
        array = np.asarray(image.convert(mode).resize((size, size), Image.Resampling.BILINEAR))
    return np.asarray(np.moveaxis(np.atleast_3d(array), -1, 0))


def pictures(files: Sequence[Path], size: int, mode: str = "RGB") -> np.ndarray:
    """Return pictures as channels of one, [C * T, size, size]."""
    return np.concatenate([picture(file, size, mode) for file in files])


def spaced(files: Sequence[Path], count: int) -> list[Path]:
    """Return the middle one of each of ``count`` equal parts of some files; what is left at the end is in none."""
    step = len(files) // count
    return [files[i * step + step // 2] for i in range(count)]


def sound(file: Path, how: Spectrogram) -> np.ndarray:
    """Return a sound [time, frequency]: a spectrogram of a .wav, or what a .npy or a .pt holds of it."""
    if file.suffix.lower() == ".wav":
        return spectrogram(recording(file, how), how)
    held = stored(file) if file.suffix.lower() == ".npy" else tensor(file)
    with readable(file, "sound"), np.errstate(over="ignore"):
        return np.asarray(held, dtype=np.float32)


def tensor(file: Path) -> np.ndarray:
    """Return the only tensor of a .pt, as float32."""
    import torch

    with readable(file, "tensor"):
        try:
            held = torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            raise UnreadableError(
                f"convert: {file} holds more than a tensor, or is damaged; it is not loaded."
            ) from None
        if not isinstance(held, torch.Tensor):
            raise UnreadableError(f"convert: {file} must hold a tensor, got a {type(held).__name__}.")
        return np.asarray(held.detach().float().numpy())


def recording(file: Path, how: Spectrogram) -> np.ndarray:
    """Return a recording of one channel in [-1, 1], at the rate and of the length asked for."""
    from scipy.io import wavfile
    from scipy.signal import resample_poly

    with readable(file, "recording"):
        rate, samples = wavfile.read(file)
        if len(samples) == 0:
            raise UnreadableError(f"convert: {file} is empty.")
        wave = samples.astype(np.float64).reshape(len(samples), -1).mean(axis=1)
        if samples.dtype.kind != "f":
            wave = wave / 2.0 ** (8 * samples.dtype.itemsize - 1) - (samples.dtype.kind == "u")
        shared = math.gcd(rate, how.rate)
        wave = resample_poly(wave, how.rate // shared, rate // shared)
    wanted = round(how.rate * how.seconds)
    if len(wave) < wanted:
        wave = np.tile(wave, -(-wanted // len(wave)))
    elif how.middle:
        wave = wave[(len(wave) - wanted) // 2 :]
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
