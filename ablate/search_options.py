"""The key `search` of a study file: the name of a design or search, or a mapping of the name to its options."""

from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, Field

from ablate.document import Document
from ablate.errors import describe_choices
from ablate.validation import Section, validate_section

Count = Annotated[int, Field(ge=1, le=10**9)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


def check_power_of_two(number: int) -> int:
    """Return the number; raise a ValueError unless it is a power of two, without which Sobol points are unbalanced."""
    if number & (number - 1):
        raise ValueError("must be a power of two")
    return number


def check_even(number: int) -> int:
    """Return the number; raise a ValueError unless it is even: Morris' steps span half of the levels."""
    if number % 2:
        raise ValueError("must be even")
    return number


class ListedDesign(Section):
    """A design over listed values, without options: grid, one-at-a-time, ablate."""


class RandomDesign(Section):
    """Points drawn uniformly from the ranges."""

    seed: Seed = 0


class OptunaSearch(Section):
    """A search by Optuna: tpe, cma."""

    batch: Count = 8  # proposals per round: the same trials follow, however many run in parallel
    seed: Seed = 0


class SobolDesign(Section):
    """Saltelli's design for Sobol indices."""

    samples: Annotated[int, Field(ge=2, le=2**20), AfterValidator(check_power_of_two)] = 64
    second_order: bool = False
    seed: Seed = 0


class MorrisDesign(Section):
    """Morris' screening design."""

    trajectories: Annotated[int, Field(ge=2, le=10**6)] = 10
    levels: Annotated[int, Field(ge=2, le=1000), AfterValidator(check_even)] = 4
    seed: Seed = 0


OPTIONS: dict[str, type[Section]] = {
    "grid": ListedDesign,
    "one-at-a-time": ListedDesign,
    "random": RandomDesign,
    "tpe": OptunaSearch,
    "cma": OptunaSearch,
    "sobol": SobolDesign,
    "morris": MorrisDesign,
    "ablate": ListedDesign,
}
SIZED_SEARCHES = ("random", "tpe", "cma")  # those whose number of points is the key `trials`


class Search(NamedTuple):
    """A design or search, and its options."""

    name: str
    options: Any  # an OPTIONS[name]

    @property
    def uses_listed_values(self) -> bool:
        """Return whether every axis needs listed values; else a range will do."""
        return isinstance(self.options, ListedDesign)

    @property
    def batch(self) -> int | None:
        """Return the number of proposals per round; None for a design, which is known up front."""
        return self.options.batch if isinstance(self.options, OptunaSearch) else None


def parse_search(document: Document, search: str | dict[str, Any]) -> Search:
    """Return the design or search of a study.

    Raises:
        UserError: there is no such search, or its options are invalid.
    """
    if isinstance(search, dict) and len(search) != 1:
        raise document.error(("search",), "must be a name, or a mapping of one name to its options")
    name, options = (search, {}) if isinstance(search, str) else next(iter(search.items()))
    if name not in OPTIONS:
        raise document.error(("search",), f"there is no search `{name}` {describe_choices(name, OPTIONS)}")
    return Search(name, validate_section(document, OPTIONS[name], {} if options is None else options, ("search", name)))
