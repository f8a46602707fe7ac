"""The parameters of a synthetic data set, with their defaults and ranges."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from trainables.data.dataset import TASKS, DataError, check_choice

LATENTS = 3  # blocks of latents that a modality observes: unique, redundant, joint


class Drift(NamedTuple):
    """A change of one modality's strength between two training samples."""

    at: float  # share of the training samples, by index, that come before the change
    modality: int
    snr: float  # dB, after the change


class Parameters(NamedTuple):
    """All parameters of a synthetic data set; M modalities."""

    task: str
    modalities: int
    classes: int
    samples: tuple[int, ...]  # train, validation, test
    features: int  # of each modality, and of each position in segmentation
    positions: int  # of a segmentation sample
    snr: tuple[float, ...]  # [M] dB, of each latent that a modality observes
    information: tuple[float, ...]  # [M] shares of the label's unique and joint parts; they sum to 1
    redundancy: float
    synergy: float
    missing: tuple[float, ...]  # [M] probability that a sample lacks the modality
    drift: Drift | None
    seed: int
    deal: int  # number of the draw of training and validation samples

    @property
    def names(self) -> tuple[str, ...]:
        """Return the modalities: m0, m1, ..."""
        return tuple(f"m{m}" for m in range(self.modalities))

    @property
    def outputs(self) -> int:
        """Return the number of classes, or 1 for regression: also the entries of the label's score."""
        return 1 if self.task == "regression" else self.classes

    def snr_after_drift(self) -> tuple[float, ...]:
        """Return the signal-to-noise ratios after the drift, which validation and test have too, [M] dB."""
        if self.drift is None:
            return self.snr
        return tuple(self.drift.snr if m == self.drift.modality else snr for m, snr in enumerate(self.snr))


DEFAULTS: dict[str, Any] = {
    "task": "classification",
    "modalities": 3,
    "classes": 4,
    "samples": [2000, 500, 1000],
    "features": None,  # 16, or as many as the outputs need
    "positions": 16,
    "snr": 6.0,
    "information": 1.0,
    "redundancy": 0.0,
    "synergy": 0.0,
    "missing": 0.0,
    "drift": None,
    "seed": 0,
    "deal": 0,
}


def parse_parameters(options: Mapping[str, Any]) -> Parameters:
    """Return the parameters of a `{name: synthetic, ...}` entry; raises DataError at an invalid one."""
    for key in options:
        check_choice(key, ("name", *DEFAULTS), "data", "synthetic", "parameter")
    values = {**DEFAULTS, **options}
    task = check_choice(values["task"], TASKS, "data.task", "synthetic", "task")
    classes = parse_integer("classes", values["classes"], 2, 1000)
    count = parse_integer("modalities", values["modalities"], 1, 20)
    parameters = Parameters(
        task=task,
        modalities=count,
        classes=classes,
        samples=parse_samples(values["samples"]),
        features=parse_features(values["features"], 1 if task == "regression" else classes),
        positions=parse_integer("positions", values["positions"], 1, 100_000),
        snr=parse_per_modality("snr", values["snr"], count, -60, 60),
        information=normalise_weights(parse_per_modality("information", values["information"], count, 0, 1e6)),
        redundancy=parse_number("redundancy", values["redundancy"], 0, 1),
        synergy=parse_number("synergy", values["synergy"], 0, 1),
        missing=parse_per_modality("missing", values["missing"], count, 0, 1),
        drift=parse_drift(values["drift"], count),
        seed=parse_integer("seed", values["seed"], 0, 2**63 - 1),
        deal=parse_integer("deal", values["deal"], 0, 2**63 - 1),
    )
    if parameters.synergy > 0 and sum(share > 0 for share in parameters.information) < 2:
        raise DataError("data.synergy: needs at least two modalities with information above 0.")
    return parameters


def parse_features(value: Any, outputs: int) -> int:
    """Return the number of features of a modality, at least that of its latents."""
    minimum = LATENTS * outputs
    return max(16, minimum) if value is None else parse_integer("features", value, minimum, 100_000)


def parse_number(key: str, value: Any, low: float, high: float) -> float:
    """Return a number within limits."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"data.{key}: must be a number in [{low:g}, {high:g}], got {value!r}.")
    if not low <= value <= high:
        raise DataError(f"data.{key}: must lie in [{low:g}, {high:g}], got {value!r}.")
    return float(value)


def parse_integer(key: str, value: Any, low: int, high: int) -> int:
    """Return an integer within limits."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise DataError(f"data.{key}: must be an integer, got {value!r}.")
    if not low <= value <= high:
        raise DataError(f"data.{key}: must lie in [{low}, {high}], got {value}.")
    return value


def parse_per_modality(key: str, value: Any, count: int, low: float, high: float) -> tuple[float, ...]:
    """Return one number per modality, from a list of them or from one number for all."""
    values = value if isinstance(value, list | tuple) else [value] * count
    if len(values) != count:
        raise DataError(f"data.{key}: must be one number, or one for each of {count} modalities, got {value!r}.")
    return tuple(parse_number(key, v, low, high) for v in values)


def parse_samples(value: Any) -> tuple[int, ...]:
    """Return the number of samples of each split."""
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise DataError(f"data.samples: must be three counts (train, validation, test), got {value!r}.")
    return tuple(parse_integer("samples", count, 1, 10_000_000) for count in value)


def normalise_weights(weights: tuple[float, ...]) -> tuple[float, ...]:
    """Return weights scaled to a sum of 1."""
    total = sum(weights)
    if total == 0:
        raise DataError("data.information: at least one modality must have more than 0, got only zeros.")
    return tuple(weight / total for weight in weights)


def parse_drift(value: Any, count: int) -> Drift | None:
    """Return the drift; None: there is none."""
    if value is None:
        return None
    if not isinstance(value, Mapping) or set(value) != set(Drift._fields):
        raise DataError(f"data.drift: must be null or a mapping of {', '.join(Drift._fields)}, got {value!r}.")
    known = [f"m{m}" for m in range(count)]
    return Drift(
        at=parse_number("drift.at", value["at"], 0, 1),
        modality=known.index(check_choice(value["modality"], known, "data.drift.modality", "synthetic", "modality")),
        snr=parse_number("drift.snr", value["snr"], -60, 60),
    )
