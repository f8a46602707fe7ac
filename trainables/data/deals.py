"""Deals: training and validation share their samples out otherwise, and what belongs together stays on one side."""

import numpy as np

from trainables.data.dataset import DataError


def dealt(splits: list[np.ndarray], classes: np.ndarray, units: np.ndarray, deal: int, owner: str) -> list[np.ndarray]:
    """Return the samples of train, val and test after units of one class have changed places among the first two.

    Test stays as it is, and so does how many units of a class each split has.

    Args:
        splits: samples of each split.
        classes: that of every sample, [N].
        units: what every sample belongs to, [N]; the samples of a unit are of one split.
        deal: which of all deals, from 1.
        owner: whose samples they are, for what is said.

    Raises:
        DataError: a unit is in both splits, or so large that training and validation would change places as a whole.
    """
    both, side = np.concatenate(splits[:2]), np.repeat([0, 1], [len(rows) for rows in splits[:2]])
    _, first, unit, size = np.unique(units[both], return_index=True, return_inverse=True, return_counts=True)
    place, kind = side[first], np.unique(classes[both], return_inverse=True)[1]
    if (place[unit] != side).any():
        raise DataError(f"data.deal: samples of {owner} that belong together are in training and in validation.")
    kinds = kind[first]
    kinds[unit[kind != kinds[unit]]] = -1  # units of several classes change places with each other
    random, whole = np.random.default_rng(deal), 0
    for one in np.unique(kinds):
        own = np.flatnonzero(kinds == one)
        if np.ptp(place[own]):
            whole += size[own[(size[own] > 1) & (2 * size[own] > size[own].sum())]].sum()
        place[own] = random.permutation(place[own])
    if 2 * whole > len(both):
        raise DataError(
            f"data.deal: the samples of {owner} hang together by what they share, and none can change places."
        )
    return [both[place[unit] == 0], both[place[unit] == 1], *splits[2:]]


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
