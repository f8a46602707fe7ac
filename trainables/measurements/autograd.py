"""Gradients of losses by autograd, for measurements on training batches."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from trainables.model import Model
from trainables.signals import Group, Params, each


def detach_params(params: Params) -> Params:
    """Return the parameters detached, as leaves of a new graph that require gradients."""
    return each(lambda p: p.detach().requires_grad_(), params)


def gradients(value: Tensor, by: Any) -> Any:
    """Return the gradients of a scalar by a tree of tensors, as such a tree; the graph is retained."""
    tensors, shape = tree_flatten(by)
    grads = torch.autograd.grad(value, tensors, retain_graph=True, allow_unused=True, materialize_grads=True)
    return tree_unflatten(grads, shape)


def flatten(tree: Any) -> Tensor:
    """Return all tensors of a tree in one vector, float64."""
    return torch.cat([tensor.double().flatten() for tensor in tree_leaves(tree)])


def head_gradient(model: Model, params: Params, readouts: dict[str, Group], shared: Group) -> Tensor:
    """Return the gradient by the joint head's weight, [C P] float64, from those by readouts and shared parameters.

    The head of a fusion is a concatenation of parameters, so that its gradient is the concatenation of their gradients.
    """
    return flatten(model.fusion.head(params._replace(readouts=readouts, shared=shared))[0])
