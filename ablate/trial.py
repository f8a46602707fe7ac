"""A trial: one training run as it was asked for, what its seed is made of, and what it came to."""

import hashlib
import json
import math
from typing import Any, NamedTuple

from ablate.keys import BLOCKS, MOST_SEEDS
from trainables.data import Sheet


class Trial(NamedTuple):
    """One training run, as it was asked for: two points may ask for the same.

    All trials of a point share what is common to its seeds, so that a study of very many takes little memory.
    """

    id: str
    common: dict[str, Any]  # the configuration, but for the seed
    columns: dict[str, Any]  # what tells it from others, but for the seed: method, modality, settings that act, ...
    seed: int
    blocks: tuple[int, ...] = ()  # `seeds` of each of BLOCKS, if the study tells them apart

    @property
    def config(self) -> dict[str, Any]:
        """Return all that can change the result."""
        return seeded(self.common, self.seed, self.blocks)

    @property
    def labels(self) -> dict[str, Any]:
        """Return the columns of its row in a table, with the seed where they have its place."""
        return self.columns | {"seed": self.seed} | blockwise(self.seed, self.blocks)


class Result(NamedTuple):
    """What the engine keeps of a finished trial."""

    status: str  # done | pruned | diverged | failed
    score: float | None  # the study's metric on validation; None unless done


def blockwise(seed: int, blocks: tuple[int, ...]) -> dict[str, int]:
    """Return what a seed is made of: one of each kind, by column; of a kind with a single one, 0.

    They are nested: no two of the first have an `init` in common, and no two of these an `order`. More of one kind
    leave those that there were as they are.
    """
    inner, number, found = math.prod(blocks), 0, {}
    for name, many in zip(BLOCKS, blocks, strict=False):
        inner //= many
        number = MOST_SEEDS * number + seed // inner % many if many > 1 else number
        found[f"seed.{name}"] = number if many > 1 else 0
    return found


def seeded(common: dict[str, Any], seed: int, blocks: tuple[int, ...]) -> dict[str, Any]:
    """Return a configuration with its seed, which decides all that is drawn; or with one for each of some blocks.

    What one seed would decide as well has the configuration that it has there.
    """
    if not blocks:
        return common | {"seed": seed}
    deal, init, order = blockwise(seed, blocks).values()
    config = common | {"seed": order}
    if init != order:
        config["init"] = init
    if deal:
        config["data"] = common["data"] | {"deal": deal}
    return config


def source(data: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """Return the data of a trial, as `trainables.data` takes it, from those of its study."""
    deal = config["data"].get("deal")
    return data if deal is None else data | {"deal": deal}


def content(data: dict[str, Any], sheet: Sheet) -> dict[str, Any]:
    """Return what tells one data set from another: its arrays, how the study reads them, and its datasheet."""
    chosen = {key: value for key, value in data.items() if key not in {"name", "path"}}
    described = {key: value for key, value in sheet.description.items() if key != "measured"}
    text = json.dumps(described, sort_keys=True, default=str)
    return {**chosen, "sha256": sheet.sha256, "sheet": hashlib.sha256(text.encode()).hexdigest()[:16]}
