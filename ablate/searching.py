"""The key `search` of a study file: how values are chosen, by name or as a mapping of the name to its options."""

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field

from ablate.document import Document
from ablate.errors import describe_choices
from ablate.validation import Section, validated

Count = Annotated[int, Field(ge=1, le=10**9)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


def power_of_two(number: int) -> int:
    """Return a power of two; of other sizes Sobol's sequence loses its balance."""
    if number & (number - 1):
        raise ValueError("must be a power of two")
    return number


def even(number: int) -> int:
    """Return an even number; Morris' steps are half of the levels wide."""
    if number % 2:
        raise ValueError("must be even")
    return number


class Listed(Section):
    """A design of the values that the study lists: grid, one-at-a-time, ablate."""


class Random(Section):
    """Points drawn evenly from the ranges."""

    seed: Seed = 0


class Rounds(Section):
    """A search by Optuna: tpe, cma."""

    batch: Count = 8  # proposals a round; a search gives the same trials whatever runs at once
    seed: Seed = 0


class Sobol(Section):
    """Saltelli's design for Sobol indices."""

    samples: Annotated[int, Field(ge=2, le=2**20), AfterValidator(power_of_two)] = 64
    second_order: bool = False
    seed: Seed = 0


class Morris(Section):
    """Morris' screening design."""

    trajectories: Annotated[int, Field(ge=2, le=10**6)] = 10
    levels: Annotated[int, Field(ge=2, le=1000), AfterValidator(even)] = 4
    seed: Seed = 0


Name = Literal["grid", "one-at-a-time", "random", "tpe", "cma", "sobol", "morris", "ablate"]
OPTIONS: dict[str, type[Section]] = {
    "grid": Listed,
    "one-at-a-time": Listed,
    "random": Random,
    "tpe": Rounds,
    "cma": Rounds,
    "sobol": Sobol,
    "morris": Morris,
    "ablate": Listed,
}
NUMBERED = ("random", "tpe", "cma")  # their number of points is the key `trials`


class Search(NamedTuple):
    """How values are chosen."""

    name: str
    options: Any  # of OPTIONS[name]

    @property
    def lists(self) -> bool:
        """Say whether it takes values as they are listed, and not from a range."""
        return isinstance(self.options, Listed)

    @property
    def batch(self) -> int | None:
        """Return how many proposals are asked for at once; None for a design, which is known up front."""
        return self.options.batch if isinstance(self.options, Rounds) else None


def searched(document: Document, given: str | dict[str, Any]) -> Search:
    """Return how a study chooses values.

    Raises:
        UserError: there is no such search, or it has no such options.
    """
    if isinstance(given, dict) and len(given) != 1:
        raise document.error(("search",), "must be a name, or a mapping of one name to its options")
    name, options = (given, {}) if isinstance(given, str) else next(iter(given.items()))
    if name not in OPTIONS:
        raise document.error(("search",), f"there is no search `{name}` {describe_choices(name, OPTIONS)}")
    return Search(name, validated(document, OPTIONS[name], {} if options is None else options, ("search", name)))
