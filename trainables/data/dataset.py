"""What a data set is to the rest of the product, and the error that a wrong one raises."""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

TASKS = ("classification", "regression", "segmentation")


class DataError(ValueError):
    """One clear sentence: where, the rule, what was found, what was probably meant."""


class Split(NamedTuple):
    """The samples of one split; in `inputs` a modality that a sample lacks is all zeros."""

    inputs: dict[str, np.ndarray]  # modality -> [N, ...] float32, standardised
    target: np.ndarray  # [N] int64 classes; [N, L] int64 dense labels, -1: it has none; [N, 1] float32 regression
    present: Mapping[str, np.ndarray] = MappingProxyType({})  # modality -> [N] bool, of those that samples lack
    units: np.ndarray | None = None  # [N] what each belongs to, by what it shares with others; None: each is its own


class Dataset(NamedTuple):
    """Arrays ready for training."""

    name: str
    task: str  # one of TASKS
    outputs: int  # classes, or 1 for regression
    train: Split
    validation: Split
    test: Split
    truth: dict[str, float] | None = None  # planted contribution of each modality (synthetic only)
    zero: float = 0.0  # where the 0 of a regression's target lies, once that is standardised


class Sheet(NamedTuple):
    """What is known of a data set before its inputs are read into memory."""

    name: str
    task: str  # one of TASKS
    outputs: int  # classes, or 1 for regression
    modalities: tuple[str, ...]  # those the study uses, in its order
    sha256: str  # of the bytes of the .npz, or of the parameters of a synthetic set
    path: Path | None  # the .npz; None for a synthetic set
    description: dict[str, Any]  # the datasheet as read


def choose(value: Any, known: Collection[str], where: str, owner: str, noun: str) -> str:
    """Return `value` if it is one of the `known` names; raise a DataError with the nearest of them if not."""
    if isinstance(value, str) and value in known:
        return value
    close = get_close_matches(str(value), known, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    listed = f"it has: {', '.join(known)}" if known else "it has none"
    raise DataError(f"{where}: {owner} has no {noun} {value!r} ({listed}).{hint}")
