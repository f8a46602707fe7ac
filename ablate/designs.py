"""Designs: the points of a study that are known up front, in a fixed order, for each method.

The designs grid, one-at-a-time and ablate use the listed values. Random, Sobol and Morris choose points of a unit cube,
one dimension per axis, and `VariedAxis.value_at` maps each coordinate to a value. An axis that is inactive given the
other values of a point is left out of that point: in a grid such points coincide, elsewhere they become the same trial.
"""

import random
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Sequence
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Any, NamedTuple

from ablate.methods import method_axes
from ablate.vary import DUMMY_AXIS, VariedAxis

if TYPE_CHECKING:
    from ablate.study import Study

Point = dict[str, Any]  # setting -> value


class DesignPoint(NamedTuple):
    """A point of a design or a search, with the columns that identify it in the tables."""

    point: Point
    labels: dict[str, Any]


class Space(NamedTuple):
    """The search space of one method."""

    axes: list[VariedAxis]  # each axis after those that it depends on
    base: Point  # all settings of method, training and model, at the values they have where they do not vary


def search_space(study: "Study", method: str) -> Space:
    """Return the search space of a method: its own axes, those of training and model, and the dummy axis."""
    axes = {axis.key: axis for axis in study.vary if axis.owner in {method, "train", "model", DUMMY_AXIS}}
    order = TopologicalSorter({key: [other for other in axis.when if other in axes] for key, axis in axes.items()})
    base = {f"{method}.{name}": axis.default for name, axis in method_axes(method, study.methods[method]).items()}
    for owner, section in (("train", study.file.train), ("model", study.file.model)):
        base |= {f"{owner}.{name}": value for name, value in section.model_dump().items()}
    base["train.lr"] = study.file.train.learning_rate
    return Space([axes[key] for key in order.static_order()], base | study.set)


def build_point(space: Space, choose: Callable[[VariedAxis], Any]) -> Point:
    """Return a point built axis by axis with ``choose``; axes that are inactive given earlier choices are left out."""
    point: Point = {}
    for axis in space.axes:
        if axis.is_active(ChainMap(point, space.base)):
            point[axis.key] = choose(axis)
    return point


def design_points(study: "Study", method: str) -> list[DesignPoint]:
    """Return the points of a study's design for a method, numbered in the column `point`."""
    space = search_space(study, method)
    if study.search.name == "ablate":
        points = list(ablation_points(study, method, space))
    elif study.search.name == "one-at-a-time":
        points = [DesignPoint(point, {}) for point in one_at_a_time_points(space)]
    elif study.search.name == "grid" or not space.axes:
        points = [DesignPoint(point, {}) for point in grid_points(space)]
    else:
        points = [DesignPoint(point_from_unit_cube(space, row), {}) for row in unit_cube_points(study, space)]
    return [point._replace(labels={"point": number, **point.labels}) for number, point in enumerate(points)]


def num_points(study: "Study", method: str) -> int:
    """Return the total number of points of a method, in a design or a search."""
    space, options = search_space(study, method), study.search.options
    num_axes = len(space.axes)
    if study.search.name == "ablate":
        return sum(num_grid_points(variant) for _, variant in ablation_variants(study, method, space))
    if study.search.name == "one-at-a-time":
        return sum(1 for _ in one_at_a_time_points(space))
    if study.search.name == "grid" or not num_axes:
        return num_grid_points(space)
    if study.search.name == "sobol":
        return int(options.samples) * (num_axes * (2 if options.second_order else 1) + 2)
    if study.search.name == "morris":
        return int(options.trajectories) * (num_axes + 1)
    return study.file.trials


def trials_per_point(study: "Study", method: str) -> int:
    """Return the number of trials of one point of a method: one per seed, for `unimodal` also per modality."""
    return study.looks[-1] * (len(study.sheet.modalities) if method == "unimodal" else 1)


def grid_points(space: Space) -> Iterator[Point]:
    """Yield every combination of values once, varying the last axis fastest; inactive axes are left out."""
    if not space.axes:
        yield {}
        return
    for first, remaining in branches(space):
        for point in grid_points(remaining):
            yield first | point


def branches(space: Space) -> Iterator[tuple[Point, Space]]:
    """Yield each choice of the first axis, with the remaining search space."""
    first, *remaining = space.axes
    if not first.is_active(space.base):
        yield {}, Space(remaining, space.base)
        return
    for value in first.values:
        yield {first.key: value}, Space(remaining, space.base | {first.key: value})


def num_grid_points(space: Space) -> int:
    """Return the number of `grid_points`; only axes that others depend on are enumerated."""
    if not space.axes:
        return 1
    first = space.axes[0]
    if any(first.key in other.when for other in space.axes):
        return sum(num_grid_points(branch) for _, branch in branches(space))
    num_values = len(first.values) if first.is_active(space.base) else 1
    return num_values * num_grid_points(space._replace(axes=space.axes[1:]))


def one_at_a_time_points(space: Space) -> Iterator[Point]:
    """Yield the base point, then each other value of each axis with all other settings at the base point."""
    yield {}
    for axis in space.axes:
        if axis.is_active(space.base):
            yield from ({axis.key: value} for value in axis.values if value != space.base.get(axis.key))


def unit_cube_points(study: "Study", space: Space) -> list[list[float]]:
    """Return the points of a random, Sobol or Morris design in the unit cube, one dimension per axis.

    A random design draws each axis from its own stream, so that methods share the values of their common axes.
    """
    options = study.search.options
    if study.search.name == "random":
        streams = [random.Random(f"{options.seed}/{axis.key}") for axis in space.axes]  # noqa: S311
        return [[stream.random() for stream in streams] for _ in range(study.file.trials)]
    names = [axis.key for axis in space.axes]
    problem = {"num_vars": len(names), "names": names, "bounds": [[0, 1]] * len(names)}
    if study.search.name == "sobol":
        from SALib.sample import sobol

        points = sobol.sample(problem, options.samples, calc_second_order=options.second_order, seed=options.seed)
    else:
        from SALib.sample import morris

        points = morris.sample(problem, options.trajectories, num_levels=options.levels, seed=options.seed)
    return [[float(coordinate) for coordinate in point] for point in points]


def point_from_unit_cube(space: Space, coordinates: Sequence[float]) -> Point:
    """Return the point of the search space at the given coordinates of the unit cube."""
    by_axis = dict(zip((axis.key for axis in space.axes), coordinates, strict=True))
    return build_point(space, lambda axis: axis.value_at(by_axis[axis.key]))


def active_components(study: "Study", method: str) -> Point:
    """Return the components of a method that can be switched off and are on: setting -> neutral value."""
    base = search_space(study, method).base
    neutral_values = {
        f"{method}.{name}": axis.neutral for name, axis in method_axes(method, study.methods[method]).items()
    }
    return {
        key: neutral_value
        for key, neutral_value in neutral_values.items()
        if neutral_value is not None and base[key] != neutral_value
    }


def component_axes(study: "Study") -> dict[str, Any]:
    """Return the components that an `ablate` study switches off, as axes with two values: on and off."""
    axes: dict[str, Any] = {}
    for method in study.methods if study.search.name == "ablate" else ():
        for key, neutral_value in active_components(study, method).items():
            axes[key] = {
                "values": [search_space(study, method).base[key], neutral_value],
                "scale": "choice",
                "low": None,
                "high": None,
            }
    return axes


def ablation_variants(study: "Study", method: str, space: Space) -> list[tuple[dict[str, Any], Space]]:
    """Return the variants of a method as labels and search space: full, without one component, only one, none."""
    components = active_components(study, method)
    if not components:
        return [({}, space)]
    specs: list[tuple[str, str | None, Iterable[str]]] = [("full", None, ())]
    specs += [("without", component, [component]) for component in components]
    specs += [("only", component, [other for other in components if other != component]) for component in components]
    specs += [("none", None, components)]
    return [
        (
            {"ablation": kind, "component": component and component.partition(".")[2]},
            space._replace(base=space.base | {key: components[key] for key in switched_off}),
        )
        for kind, component, switched_off in specs
    ]


def ablation_points(study: "Study", method: str, space: Space) -> Iterator[DesignPoint]:
    """Yield every variant of a method at every point of the grid."""
    components = active_components(study, method)
    for labels, variant in ablation_variants(study, method, space):
        component_values = {key: variant.base[key] for key in components}
        yield from (DesignPoint(component_values | point, labels) for point in grid_points(variant))


def axis_description(study: "Study") -> dict[str, Any]:
    """Return what the analysis of a Sobol, Morris or random design needs, by method.

    Names, scales and bounds are those of the axes, in order; `points`, of Morris, are coordinates in the unit cube.
    """
    description = {}
    for method in study.methods:
        space = search_space(study, method)
        if study.search.uses_listed_values or study.search.batch or not space.axes:
            continue
        description[method] = {
            "names": [axis.key for axis in space.axes],
            "scales": [axis.scale for axis in space.axes],
            "bounds": [[axis.value_at(0.0), axis.value_at(1.0)] for axis in space.axes],
            **({"points": unit_cube_points(study, space)} if study.search.name == "morris" else {}),
        }
    return description
