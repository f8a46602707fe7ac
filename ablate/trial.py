"""A trial: the configuration of one training run, its seeds, and its result."""

import hashlib
import json
import math
from typing import Any, NamedTuple

from ablate.keys import BLOCKS, MAX_SEEDS
from trainables.data import Sheet


class Trial(NamedTuple):
    """One training run of a point; trials of points that coincide have the same id.

    The trials of a point share its configuration and labels, which keeps large studies small in memory.
    """

    id: str
    point_config: dict[str, Any]  # the configuration without the seed
    point_labels: dict[str, Any]  # its columns in the tables without the seed: method, modality, active settings, ...
    seed: int
    blocks: tuple[int, ...] = ()  # number of seeds of each of BLOCKS, if the study separates them

    @property
    def config(self) -> dict[str, Any]:
        """Return the full configuration: everything that can change the result."""
        return with_seed(self.point_config, self.seed, self.blocks)

    @property
    def labels(self) -> dict[str, Any]:
        """Return the columns that identify the trial in the tables, seed included."""
        return self.point_labels | {"seed": self.seed} | block_seeds(self.seed, self.blocks)


class Result(NamedTuple):
    """Status and score of a finished trial."""

    status: str  # done | pruned | diverged | failed
    score: float | None  # the study's metric on validation; None unless done


def block_seeds(seed: int, blocks: tuple[int, ...]) -> dict[str, int]:
    """Return the seed of each block (split, init, order) for the overall seed, by column; 0 for a block of size 1.

    The seeds are nested: those of `init` differ between splits, those of `order` between inits. Enlarging a block
    keeps the seeds that it had.
    """
    remaining, index, indices = math.prod(blocks), 0, {}
    for name, size in zip(BLOCKS, blocks, strict=False):
        remaining //= size
        index = MAX_SEEDS * index + seed // remaining % size if size > 1 else index
        indices[f"seed.{name}"] = index if size > 1 else 0
    return indices


def with_seed(point_config: dict[str, Any], seed: int, blocks: tuple[int, ...]) -> dict[str, Any]:
    """Return a configuration with its seed, or with one seed per block.

    Where a single seed gives the same draws, the configuration is that of the single seed, so that trials are shared.
    """
    if not blocks:
        return point_config | {"seed": seed}
    deal, init, order = block_seeds(seed, blocks).values()
    config = point_config | {"seed": order}
    if init != order:
        config["init"] = init
    if deal:
        config["data"] = point_config["data"] | {"deal": deal}
    return config


def trial_data(data: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """Return the data key of a trial, as `trainables.data` takes it, given that of its study."""
    deal = config["data"].get("deal")
    return data if deal is None else data | {"deal": deal}


def data_identity(data: dict[str, Any], sheet: Sheet) -> dict[str, Any]:
    """Return what identifies a data set: its reading options, and hashes of its arrays and its datasheet."""
    options = {key: value for key, value in data.items() if key not in {"name", "path"}}
    description = {key: value for key, value in sheet.description.items() if key != "measured"}
    text = json.dumps(description, sort_keys=True, default=str)
    return {**options, "sha256": sheet.sha256, "sheet": hashlib.sha256(text.encode()).hexdigest()[:16]}
