"""Standardisation with the mean and the standard deviation of the training samples."""

from typing import Any, NamedTuple

import numpy as np

from trainables.data.dataset import DataError, check_choice

# The axes of [N, ...] over which one mean and one standard deviation are taken.
KINDS = ("feature", "channel_first", "channel_last", "all", "none")


class Scale(NamedTuple):
    """The affine map that standardises a modality; both arrays broadcast against [N, ...]."""

    mean: np.ndarray
    std: np.ndarray


def standardised_modalities(description: dict[str, Any]) -> dict[str, Any]:
    """Return the entry `standardise` of a datasheet, modality -> kind."""
    stated = description.get("standardise", {})
    if not isinstance(stated, dict):
        raise DataError(f"data: `standardise` of a datasheet must map modalities to kinds, got {stated!r}.")
    return stated


def standardisation_kind(modality: str, raw: np.ndarray, description: dict[str, Any], *, tiled: bool = False) -> str:
    """Return which of KINDS applies to the array `raw` [N, ...] of a modality.

    The datasheet decides by `standardise: {modality: kind}` or `channels: first`. Otherwise samples of one
    axis are standardised by feature, float samples of two axes (time, channel) by channel, and images, whose
    pixels share a unit, as a whole. Of maps (``tiled``) the channels come first, and in their tiles last.
    """
    stated = standardised_modalities(description)
    if modality in stated:
        kind = check_choice(stated[modality], KINDS, f"data.standardise.{modality}", "standardisation", "kind")
        return "channel_last" if tiled and kind == "channel_first" else kind
    if tiled:
        return "channel_last"
    channels = description.get("channels")
    if "first" in (channels, channels.get(modality) if isinstance(channels, dict) else None):
        return "channel_first"
    if raw.ndim <= 2:
        return "feature"
    return "channel_last" if raw.ndim == 3 and raw.dtype != np.uint8 else "all"


def fit_scale(samples: np.ndarray, present: np.ndarray, kind: str) -> Scale:
    """Return the scale of the training `samples` [N, ...] for which `present` [N] is true.

    A constant feature gets standard deviation 1, so that it becomes zero instead of noise.
    """
    values = samples[present]
    if kind == "none" or len(values) == 0:
        return Scale(np.zeros(()), np.ones(()))
    axes = {
        "feature": (0,),
        "channel_first": (0, *range(2, values.ndim)),
        "channel_last": tuple(range(values.ndim - 1)),
        "all": tuple(range(values.ndim)),
    }[kind]
    mean = values.mean(axes, dtype=np.float64, keepdims=True)
    std = values.std(axes, dtype=np.float64, keepdims=True)
    # Decided by the values: rounding of the mean gives a constant feature a tiny standard deviation.
    constant = np.ptp(values, axis=axes, keepdims=True) == 0
    return Scale(mean.astype(np.float32), np.where(constant, 1, std).astype(np.float32))


def apply_scale(samples: np.ndarray, present: np.ndarray, scale: Scale) -> np.ndarray:
    """Return `samples` [N, ...] standardised as float32, zero where `present` [N] is false."""
    scaled = np.asarray((samples - scale.mean) / scale.std, dtype=np.float32)
    scaled[~present] = 0
    return scaled
