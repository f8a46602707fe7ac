"""Deals: training and validation share their samples out otherwise, and what belongs together stays on one side."""

import numpy as np

from trainables.data.dataset import DataError

FEW = 64  # units, up to which no two deals are the same
TRIES = 100  # of a deal that is to be another than those before it


def dealt(splits: list[np.ndarray], classes: np.ndarray, units: np.ndarray, deal: int, owner: str) -> list[np.ndarray]:
    """Return the samples of train, val and test after units of one class have changed places among the first two.

    Test stays as it is, and so does how many units of a class each split has; where units are not of one size,
    validation is half as large as before at least, and twice at most.

    Args:
        splits: samples of each split.
        classes: that of every sample, [N].
        units: what every sample belongs to, [N]; the samples of a unit are of one split.
        deal: which of all deals, from 1.
        owner: whose samples they are, for what is said.

    Raises:
        DataError: a unit is in both splits, there are not so many deals, or units are so large that training and
            validation would change places as a whole.
    """
    both, side = np.concatenate(splits[:2]), np.repeat([0, 1], [len(rows) for rows in splits[:2]])
    _, first, unit, size = np.unique(units[both], return_index=True, return_inverse=True, return_counts=True)
    place, kind = side[first], np.unique(classes[both], return_inverse=True)[1]
    if (place[unit] != side).any():
        raise DataError(f"data.deal: samples of {owner} that belong together are in training and in validation.")
    kinds = kind[first]
    kinds[unit[kind != kinds[unit]]] = -1  # units of several classes change places with each other
    if 2 * sum(stuck(place[kinds == one], size[kinds == one]) for one in np.unique(kinds)) > len(both):
        raise DataError(
            f"data.deal: the samples of {owner} hang together by what they share, and none can change places."
        )
    place = placed(place, kinds, size, deal, owner)
    return [both[place[unit] == 0], both[place[unit] == 1], *splits[2:]]


def stuck(place: np.ndarray, size: np.ndarray) -> int:
    """Return how many samples of a class are in a unit that is more than half of it, if units could change places."""
    return int(size[(size > 1) & (2 * size > size.sum())].sum()) if np.ptp(place) else 0


def placed(place: np.ndarray, kinds: np.ndarray, size: np.ndarray, deal: int, owner: str) -> np.ndarray:
    """Return on which side each unit is in a deal, of [U] sides as in the file, classes and sizes."""
    held, seen, few = size[place == 1].sum(), {place.tobytes()}, len(place) <= FEW
    wanted = deal if few else 1
    start = 1 if few else deal * TRIES
    for attempt in range(start, start + TRIES * wanted):
        random, made = np.random.default_rng(attempt), place.copy()
        for one in np.unique(kinds):
            made[kinds == one] = random.permutation(place[kinds == one])
        if held <= 2 * size[made == 1].sum() <= 4 * held:
            seen.add(made.tobytes())
        if len(seen) > wanted:
            return made
    raise DataError(
        f"data.deal: the samples of {owner} have {len(seen) - 1} deals beside the file's split, got {deal}."
    )


def connected(links: list[np.ndarray]) -> np.ndarray:
    """Return which samples hang together, by having a link of any kind in common, [N] of each kind -> [N]."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count, ends, nodes = len(links[0]), [], len(links[0])
    for link in links:
        values, place = np.unique(link, return_inverse=True)
        ends.append(nodes + place)
        nodes += len(values)
    samples = np.tile(np.arange(count), len(links))
    graph = coo_array((np.ones(len(samples), bool), (samples, np.concatenate(ends))), shape=(nodes, nodes))
    return np.asarray(connected_components(graph, directed=False)[1][:count])
