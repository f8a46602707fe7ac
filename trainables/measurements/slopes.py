"""Gradients of a run's losses, taken beside it."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from trainables.model import Model
from trainables.signals import Group, Params, each


def afresh(params: Params) -> Params:
    """Return the same numbers as the start of a graph of their own."""
    return each(lambda p: p.detach().requires_grad_(), params)


def gradients(value: Tensor, by: Any) -> Any:
    """Return the gradients of a scalar by a tree of tensors, in its shape; the graph stays."""
    tensors, shape = tree_flatten(by)
    found = torch.autograd.grad(value, tensors, retain_graph=True, allow_unused=True, materialize_grads=True)
    return tree_unflatten(found, shape)


def flat(tree: Any) -> Tensor:
    """Return all numbers of a tree in one row, float64."""
    return torch.cat([tensor.double().flatten() for tensor in tree_leaves(tree)])


def head(model: Model, params: Params, readouts: dict[str, Group], shared: Group) -> Tensor:
    """Return the gradient by the joint head's weight, [C P] float64, of gradients by all that the head is made of.

    A fusion's head is its parameters side by side, so that their gradients side by side are its gradient.
    """
    return flat(model.fusion.head(params._replace(readouts=readouts, shared=shared))[0])
