"""Pictures and sounds as arrays."""

import math
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trainables.data.convert.sources import UnreadableError, load_npy, translate_errors

PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png"}
SOUND_SUFFIXES = {".wav", ".npy", ".pt"}
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP")  # of Pillow's, those that start no other program


class SpectrogramSettings(NamedTuple):
    """The settings by which a recording becomes a log-spectrogram."""

    rate: int  # samples a second
    seconds: float  # of the recording; a shorter one is repeated
    window: int  # samples
    hop: int  # samples
    middle: bool  # crop a longer recording to its middle; otherwise to its beginning


def load_picture(file: Path, size: int, mode: str = "RGB") -> np.ndarray:
    """Return a picture as bytes, [C, size, size]."""
    from PIL import Image

    with translate_errors(file, "picture"), Image.open(file, formats=FORMATS) as image:
        array = np.asarray(image.convert(mode).resize((size, size), Image.Resampling.BILINEAR))
    return np.asarray(np.moveaxis(np.atleast_3d(array), -1, 0))


def load_pictures(files: Sequence[Path], size: int, mode: str = "RGB") -> np.ndarray:
    """Return T pictures, concatenated along their channels, [T * C, size, size]."""
    return np.concatenate([load_picture(file, size, mode) for file in files])


def evenly_spaced(files: Sequence[Path], count: int) -> list[Path]:
    """Return the middle file of each of ``count`` equal parts; a remainder at the end is in none."""
    step = len(files) // count
    return [files[i * step + step // 2] for i in range(count)]


def load_sound(file: Path, settings: SpectrogramSettings) -> np.ndarray:
    """Return a sound [time, frequency]: the spectrogram of a .wav, or the features stored in a .npy or .pt."""
    if file.suffix.lower() == ".wav":
        return log_spectrogram(load_recording(file, settings), settings)
    features = load_npy(file) if file.suffix.lower() == ".npy" else load_tensor(file)
    with translate_errors(file, "sound"), np.errstate(over="ignore"):
        return np.asarray(features, dtype=np.float32)


def load_tensor(file: Path) -> np.ndarray:
    """Return the only tensor of a .pt, as float32."""
    import torch

    with translate_errors(file, "tensor"):
        try:
            tensor = torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            raise UnreadableError(
                f"convert: {file} holds more than a tensor, or is damaged; it is not loaded."
            ) from None
        if not isinstance(tensor, torch.Tensor):
            raise UnreadableError(f"convert: {file} must hold a tensor, got a {type(tensor).__name__}.")
        return np.asarray(tensor.detach().float().numpy())


def load_recording(file: Path, settings: SpectrogramSettings) -> np.ndarray:
    """Return a recording as one channel in [-1, 1], at the rate and of the length of the settings."""
    from scipy.io import wavfile
    from scipy.signal import resample_poly

    with translate_errors(file, "recording"):
        rate, samples = wavfile.read(file)
        if len(samples) == 0:
            raise UnreadableError(f"convert: {file} is empty.")
        wave = samples.astype(np.float64).reshape(len(samples), -1).mean(axis=1)
        if samples.dtype.kind != "f":
            wave = wave / 2.0 ** (8 * samples.dtype.itemsize - 1) - (samples.dtype.kind == "u")
        divisor = math.gcd(rate, settings.rate)
        wave = resample_poly(wave, settings.rate // divisor, rate // divisor)
    length = round(settings.rate * settings.seconds)
    if len(wave) < length:
        wave = np.tile(wave, -(-length // len(wave)))
    elif settings.middle:
        wave = wave[(len(wave) - length) // 2 :]
    return np.asarray(np.clip(wave[:length], -1, 1))


def log_spectrogram(wave: np.ndarray, settings: SpectrogramSettings) -> np.ndarray:
    """Return the logarithm of the magnitudes under Hann windows centred every hop, [time, frequency] float32.

    As ``np.log(np.abs(librosa.stft(wave, n_fft=window, hop_length=hop)) + 1e-7)``, transposed.
    """
    from scipy.signal import get_window

    padded = np.pad(wave, settings.window // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, settings.window)[:: settings.hop]
    magnitudes = np.abs(np.fft.rfft(frames * get_window("hann", settings.window)))
    return np.log(magnitudes + 1e-7).astype(np.float32)
