"""The types that describe a data set to the rest of the package, and the error that an invalid one raises."""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

TASKS = ("classification", "regression", "segmentation")


class DataError(ValueError):
    """Invalid data or options; the message is one sentence: place, rule, what was found, and a suggestion."""


class Split(NamedTuple):
    """The samples of one split; in `inputs` a modality that a sample lacks is all zeros."""

    inputs: dict[str, np.ndarray]  # modality -> [N, ...] float32, standardised
    target: np.ndarray  # [N] int64 classes; [N, L] int64 dense labels, -1: unlabelled; [N, 1] float32 regression
    present: Mapping[str, np.ndarray] = MappingProxyType({})  # modality -> [N] bool, of those that some samples lack
    links: tuple[np.ndarray, ...] = ()  # [N] each: samples with an equal entry in one of them depend on each other


class Dataset(NamedTuple):
    """Arrays ready for training."""

    name: str
    task: str  # one of TASKS
    outputs: int  # classes, or 1 for regression
    train: Split
    validation: Split
    test: Split
    truth: dict[str, float] | None = None  # planted contribution of each modality (synthetic only)
    target_zero: float = 0.0  # value of a raw regression target of 0 after standardisation


class Sheet(NamedTuple):
    """The metadata of a data set, known before its inputs are read into memory."""

    name: str
    task: str  # one of TASKS
    outputs: int  # classes, or 1 for regression
    modalities: tuple[str, ...]  # those that the study uses, in its order
    sha256: str  # of the bytes of the .npz, or of the parameters of a synthetic set
    path: Path | None  # the .npz; None for a synthetic set
    description: dict[str, Any]  # the datasheet as read


def check_choice(value: Any, choices: Collection[str], where: str, owner: str, noun: str) -> str:
    """Return `value` if it is one of the `choices`; raise a DataError that suggests the nearest of them otherwise."""
    if isinstance(value, str) and value in choices:
        return value
    close = get_close_matches(str(value), choices, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    listing = f"it has: {', '.join(choices)}" if choices else "it has none"
    raise DataError(f"{where}: {owner} has no {noun} {value!r} ({listing}).{hint}")
