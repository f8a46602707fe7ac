"""Designs: the points of a study that are known up front, in a fixed order, for each of its methods.

Grid, one-at-a-time and ablate take the values that are listed. Random, Sobol and Morris choose points of a unit cube,
one side an axis, and `Varied.at` says which value lies where. Where an axis does not act beside the other values of a
point, the point goes without it: in a grid such points are one, elsewhere they turn out to be the same trial.
"""

import random
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Sequence
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Any, NamedTuple

from ablate.methods import axes_of
from ablate.vary import DUMMY, Varied

if TYPE_CHECKING:
    from ablate.study import Study

Point = dict[str, Any]  # setting -> value


class Row(NamedTuple):
    """One point of a design or a search, and the columns that tell it from others."""

    point: Point
    labels: dict[str, Any]


class Space(NamedTuple):
    """What varies for one method."""

    axes: list[Varied]  # an axis behind those that it depends on
    base: Point  # all settings of method, training and model where nothing varies


def space(study: "Study", method: str) -> Space:
    """Return what varies for a method: its own axes, those of training and the model, and the dummy."""
    axes = {one.key: one for one in study.vary if one.owner in {method, "train", "model", DUMMY}}
    order = TopologicalSorter({key: [other for other in one.when if other in axes] for key, one in axes.items()})
    base = {f"{method}.{name}": one.default for name, one in axes_of(method, study.methods[method]).items()}
    for owner, section in (("train", study.file.train), ("model", study.file.model)):
        base |= {f"{owner}.{name}": value for name, value in section.model_dump().items()}
    base["train.lr"] = study.file.train.rate
    return Space([axes[key] for key in order.static_order()], base | study.set)


def walk(among: Space, choose: Callable[[Varied], Any]) -> Point:
    """Return the point that is chosen axis by axis, of those that act beside what was chosen before."""
    point: Point = {}
    for axis in among.axes:
        if axis.acts(ChainMap(point, among.base)):
            point[axis.key] = choose(axis)
    return point


def rows(study: "Study", method: str) -> list[Row]:
    """Return the points of a method in a study's design, numbered by the column `point`."""
    among = space(study, method)
    if study.search.name == "ablate":
        chosen = list(ablation(study, method, among))
    elif study.search.name == "one-at-a-time":
        chosen = [Row(point, {}) for point in one_at_a_time(among)]
    elif study.search.name == "grid" or not among.axes:
        chosen = [Row(point, {}) for point in cells(among)]
    else:
        chosen = [Row(placed(among, shares), {}) for shares in cube(study, among)]
    return [row._replace(labels={"point": number, **row.labels}) for number, row in enumerate(chosen)]


def count(study: "Study", method: str) -> int:
    """Return how many points a method has in the end, in a design or a search."""
    among, options = space(study, method), study.search.options
    sides = len(among.axes)
    if study.search.name == "ablate":
        return sum(cell_count(one) for _, one in variants(study, method, among))
    if study.search.name == "one-at-a-time":
        return sum(1 for _ in one_at_a_time(among))
    if study.search.name == "grid" or not sides:
        return cell_count(among)
    if study.search.name == "sobol":
        return int(options.samples) * (sides * (2 if options.second_order else 1) + 2)
    if study.search.name == "morris":
        return int(options.trajectories) * (sides + 1)
    return study.file.trials


def width(study: "Study", method: str) -> int:
    """Return how many trials one point of a method takes."""
    return study.looks[-1] * (len(study.sheet.modalities) if method == "unimodal" else 1)


def cells(among: Space) -> Iterator[Point]:
    """Yield every combination of values once, the last axis first; an axis that does not act has none."""
    if not among.axes:
        yield {}
        return
    for first, rest in branches(among):
        for point in cells(rest):
            yield first | point


def branches(among: Space) -> Iterator[tuple[Point, Space]]:
    """Yield the choices of the first axis, and what is left to choose beside each."""
    first, *rest = among.axes
    if not first.acts(among.base):
        yield {}, Space(rest, among.base)
        return
    for value in first.values:
        yield {first.key: value}, Space(rest, among.base | {first.key: value})


def cell_count(among: Space) -> int:
    """Return the number of `cells`, without going through those that differ in axes on which nothing depends."""
    if not among.axes:
        return 1
    first = among.axes[0]
    if any(first.key in other.when for other in among.axes):
        return sum(cell_count(rest) for _, rest in branches(among))
    here = len(first.values) if first.acts(among.base) else 1
    return here * cell_count(among._replace(axes=among.axes[1:]))


def one_at_a_time(among: Space) -> Iterator[Point]:
    """Yield the point at which nothing varies, and each further value of each axis, the others left as they are."""
    yield {}
    for axis in among.axes:
        if axis.acts(among.base):
            yield from ({axis.key: value} for value in axis.values if value != among.base.get(axis.key))


def cube(study: "Study", among: Space) -> list[list[float]]:
    """Return the points of a random, Sobol or Morris design in the unit cube, one side an axis.

    Random points draw every side from a stream of its own, so that methods share what they have in common.
    """
    options = study.search.options
    if study.search.name == "random":
        draws = [random.Random(f"{options.seed}/{axis.key}") for axis in among.axes]  # noqa: S311
        return [[draw.random() for draw in draws] for _ in range(study.file.trials)]
    names = [axis.key for axis in among.axes]
    problem = {"num_vars": len(names), "names": names, "bounds": [[0, 1]] * len(names)}
    if study.search.name == "sobol":
        from SALib.sample import sobol

        points = sobol.sample(problem, options.samples, calc_second_order=options.second_order, seed=options.seed)
    else:
        from SALib.sample import morris

        points = morris.sample(problem, options.trajectories, num_levels=options.levels, seed=options.seed)
    return [[float(share) for share in point] for point in points]


def placed(among: Space, shares: Sequence[float]) -> Point:
    """Return the point of a study at a point of the unit cube."""
    at = dict(zip((axis.key for axis in among.axes), shares, strict=True))
    return walk(among, lambda axis: axis.at(at[axis.key]))


def components(study: "Study", method: str) -> Point:
    """Return the parts of a method that can be switched off and are not: setting -> the value at which it is off."""
    base = space(study, method).base
    neutral = {f"{method}.{name}": one.neutral for name, one in axes_of(method, study.methods[method]).items()}
    return {key: off for key, off in neutral.items() if off is not None and base[key] != off}


def switched(study: "Study") -> dict[str, Any]:
    """Return the parts that a study switches off as axes of two values, on and off, by their names."""
    axes: dict[str, Any] = {}
    for method in study.methods if study.search.name == "ablate" else ():
        for key, off in components(study, method).items():
            axes[key] = {"values": [space(study, method).base[key], off], "scale": "choice", "low": None, "high": None}
    return axes


def variants(study: "Study", method: str, among: Space) -> list[tuple[dict[str, Any], Space]]:
    """Return a method whole, without each part, with only that part, and with none, as labels and what varies there."""
    parts = components(study, method)
    if not parts:
        return [({}, among)]
    off: list[tuple[str, str | None, Iterable[str]]] = [("full", None, ())]
    off += [("without", part, [part]) for part in parts]
    off += [("only", part, [other for other in parts if other != part]) for part in parts]
    off += [("none", None, parts)]
    return [
        (
            {"ablation": kind, "component": part and part.partition(".")[2]},
            among._replace(base=among.base | {key: parts[key] for key in keys}),
        )
        for kind, part, keys in off
    ]


def ablation(study: "Study", method: str, among: Space) -> Iterator[Row]:
    """Yield the variants of a method at every cell of the grid."""
    parts = components(study, method)
    for labels, variant in variants(study, method, among):
        switched = {key: variant.base[key] for key in parts}
        yield from (Row(switched | point, labels) for point in cells(variant))


def facts(study: "Study") -> dict[str, Any]:
    """Return what an analysis of a Sobol, Morris or random design needs to know, by method.

    Names, scales and bounds are those of its axes in order; what lies where in `points` is in shares of an axis.
    """
    about = {}
    for method in study.methods:
        among = space(study, method)
        if study.search.lists or study.search.batch or not among.axes:
            continue
        about[method] = {
            "names": [axis.key for axis in among.axes],
            "scales": [axis.scale for axis in among.axes],
            "bounds": [[axis.at(0.0), axis.at(1.0)] for axis in among.axes],
            **({"points": cube(study, among)} if study.search.name == "morris" else {}),
        }
    return about
