"""Deals: random reassignments of samples between training and validation that keep groups of samples together."""

from collections.abc import Sequence

import numpy as np

from trainables.data.dataset import DataError

EXHAUSTIVE_LIMIT = 64  # groups, up to which all deals are different
ATTEMPTS_PER_DEAL = 100  # to draw one that differs from those before it


def resplit(
    splits: list[np.ndarray], classes: np.ndarray, groups: np.ndarray, deal: int, owner: str
) -> list[np.ndarray]:
    """Return the samples of train, val and test after groups of one class have been swapped between train and val.

    Test stays as it is, and so does the number of groups of each class in each split. Where groups differ in size,
    validation keeps between half and twice its number of samples.

    Args:
        splits: indices of the samples of each split.
        classes: class of every sample, [N].
        groups: group of every sample, [N]; the samples of a group are of one split.
        deal: which of all deals, from 1.
        owner: name of the data set, for messages.

    Raises:
        DataError: a group is in both splits, there are fewer deals, or groups are so large that training and
            validation could only be swapped as a whole.
    """
    samples, side = np.concatenate(splits[:2]), np.repeat([0, 1], [len(rows) for rows in splits[:2]])
    _, first, group, size = np.unique(groups[samples], return_index=True, return_inverse=True, return_counts=True)
    group_side, sample_class = side[first], np.unique(classes[samples], return_inverse=True)[1]
    if (group_side[group] != side).any():
        raise DataError(f"data.deal: a group of {owner} has samples in both training and validation.")
    group_class = sample_class[first]
    group_class[group[sample_class != group_class[group]]] = -1  # groups of several classes are swapped with each other
    strata = [group_class == label for label in np.unique(group_class)]
    if 2 * sum(num_immovable(group_side[stratum], size[stratum]) for stratum in strata) > len(samples):
        raise DataError(f"data.deal: most samples of {owner} are in groups too large to be reassigned.")
    group_side = permute_sides(group_side, group_class, size, deal, owner)
    return [samples[group_side[group] == 0], samples[group_side[group] == 1], *splits[2:]]


def num_immovable(side: np.ndarray, size: np.ndarray) -> int:
    """Return how many samples of a class are in a group that holds more than half of them; 0 if all are on one side."""
    return int(size[(size > 1) & (2 * size > size.sum())].sum()) if np.ptp(side) else 0


def permute_sides(side: np.ndarray, classes: np.ndarray, size: np.ndarray, deal: int, owner: str) -> np.ndarray:
    """Return the side of each group (0 train, 1 val) in a deal, from sides in the file, classes and sizes, [G] each."""
    held_out, seen, exhaustive = size[side == 1].sum(), {side.tobytes()}, len(side) <= EXHAUSTIVE_LIMIT
    required = deal if exhaustive else 1
    start = 1 if exhaustive else deal * ATTEMPTS_PER_DEAL
    for seed in range(start, start + ATTEMPTS_PER_DEAL * required):
        random, permuted = np.random.default_rng(seed), side.copy()
        for label in np.unique(classes):
            permuted[classes == label] = random.permutation(side[classes == label])
        if held_out <= 2 * size[permuted == 1].sum() <= 4 * held_out:
            seen.add(permuted.tobytes())
        if len(seen) > required:
            return permuted
    raise DataError(f"data.deal: {owner} has only {len(seen) - 1} deals other than the split of the file, got {deal}.")


def connected_groups(links: Sequence[np.ndarray]) -> np.ndarray:
    """Return the group of each sample, [N], by links of [N] each: samples with an equal entry in one are connected."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count, nodes, num_nodes = len(links[0]), [], len(links[0])
    for link in links:
        values, position = np.unique(link, return_inverse=True)
        nodes.append(num_nodes + position)
        num_nodes += len(values)
    samples = np.tile(np.arange(count), len(links))
    graph = coo_array((np.ones(len(samples), bool), (samples, np.concatenate(nodes))), shape=(num_nodes, num_nodes))
    return np.asarray(connected_components(graph, directed=False)[1][:count])
