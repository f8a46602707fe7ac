"""Gradient descent with momentum by products of small matrices, in one pass over the memory.

The gradient of a layer's weights is a product. To store it and read it again beside weights and velocities takes a
third of the memory traffic of a compiled step; here each tile of the product updates them while it is in registers.
This is for steps that overwrite their learner, by SGD; not where gradients are clipped, accumulated or noisy.
"""

from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import GraphModule, Node

from trainables.native import INDEX, POINTER, load_kernel
from trainables.products import MATRICES, by_rows_or_columns

aten = torch.ops.aten
OPERATOR = "ablate::descend_"
VIEWS = (  # those between a product and the gradient of weights
    aten.view.default, aten._unsafe_view.default, aten.expand.default, aten.transpose.int, aten.detach.default,
)  # fmt: skip
PRODUCTS = aten.bmm.default, torch.ops.ablate.small_bmm.default
NUMBERS = POINTER, INDEX  # with the stride of items
SIGNATURE = *MATRICES, *MATRICES, POINTER, POINTER, *NUMBERS * 4, INDEX, INDEX, INDEX, INDEX
load_update_batch = partial(load_kernel, "products", "update_batch", SIGNATURE)


def descend_kernel(
    weights: Tensor,
    velocities: Tensor,
    a: Tensor,
    b: Tensor,
    momentum: Tensor,
    rate: Tensor,
    scale: Tensor | None,
    decay: Tensor | None,
) -> None:
    """Update weights and velocities [B, N, M], contiguous, by the gradients ``scale * (a @ b) + decay * weights``.

    ``a`` [B, N, D] and ``b`` [B, D, M] are as in `small_bmm_kernel`; the factors [B, 1, 1] are those of each item, and
    ``rate`` is negative: velocities = momentum * velocities + gradients, weights += rate * velocities.
    """
    kernel = load_update_batch()
    if kernel is None or not (weights.is_contiguous() and velocities.is_contiguous()):
        gradients = torch.bmm(a, b) if scale is None else scale * torch.bmm(a, b)
        gradients = gradients if decay is None else torch.addcmul(gradients, weights, decay)
        velocities.copy_(torch.addcmul(gradients, velocities, momentum))
        weights.addcmul_(velocities, rate)
        return
    b = by_rows_or_columns(b)
    factors = [(None, 0) if x is None else (x.data_ptr(), x.stride(0)) for x in (momentum, rate, scale, decay)]
    kernel(
        a.data_ptr(), *a.stride(), b.data_ptr(), *b.stride(), weights.data_ptr(), velocities.data_ptr(),
        *chain(*factors), *a.shape, b.shape[2],
    )  # fmt: skip


torch.library.define(
    OPERATOR,
    "(Tensor(a!) weights, Tensor(b!) velocities, Tensor a, Tensor b, Tensor momentum, Tensor rate, Tensor? scale,"
    " Tensor? decay) -> ()",
    tags=(torch.Tag.flexible_layout,),
)
torch.library.impl(OPERATOR, "CPU", descend_kernel)
torch.library.impl(OPERATOR, "Meta", lambda *_: None)


class Gradient(NamedTuple):
    """The nodes of a graph that compute a gradient as ``scale * product + decay * weights``, seen through views."""

    product: Node
    seen: Node  # the product through views
    scale: Node | None
    decay: Node | None
    nodes: list[Node]  # from the result to the product


class Update(NamedTuple):
    """The nodes of a graph that update weights by a product."""

    inputs: tuple[Any, ...]  # of the operator
    nodes: list[Node]  # that it replaces, each before those that it uses, first those that overwrite two inputs


def fuse_updates(graph: GraphModule) -> GraphModule:
    """Replace updates in a traced step that overwrites its learner by this operator, in place, if it is available.

    Each is made as soon as its gradient can be and no product reads the weights any more. If any other operation reads
    them, it stays as it is: torch's compiler could make that operation later, with the new weights.
    """
    if load_update_batch() is None:
        return graph
    copies = {
        node.args[0]: node
        for node in graph.graph.nodes
        if node.target is aten.copy_.default and all(user.op == "output" for user in node.users)
    }  # input -> the node that overwrites it at the end
    for weights in list(copies):
        if (update := find_update(weights, copies)) is not None:
            order = list(graph.graph.nodes)
            needed = {*(x for x in update.inputs if x), *readers(*update.inputs[:2])}
            with graph.graph.inserting_after(max(needed - {*update.nodes}, key=order.index)):
                graph.graph.call_function(torch.ops.ablate.descend_.default, update.inputs)
            for written, copy in zip(update.inputs, update.nodes[:2], strict=False):
                copy.replace_all_uses_with(written)
            for node in update.nodes:
                graph.graph.erase_node(node)
    graph.recompile()
    return graph


def find_update(weights: Node, copies: dict[Any, Node]) -> Update | None:
    """Return the update of an input by a product, from the nodes that overwrite inputs; None: it is of another kind.

    It is what `optim.SGD` and `optim.apply_update` do: velocities times momentum are added to the gradient, and the sum
    times a rate to the weights.
    """
    descent: Any = copies[weights].args[1]
    if not is_call(descent, aten.addcmul.default) or descent.args[0] is not weights:
        return None
    _, direction, rate = descent.args
    if not is_call(direction, aten.addcmul.default):
        return None
    start, velocities, momentum = direction.args
    if velocities not in copies or copies[velocities].args[1] is not direction:
        return None
    gradient = find_gradient(start, weights)
    nodes = [copies[weights], copies[velocities], descent, direction, *gradient.nodes]
    inputs = weights, velocities, *gradient.product.args, momentum, rate, gradient.scale, gradient.decay
    fits = (
        {user for node in nodes[2:] for user in node.users} <= {*nodes}
        and views(*copies).isdisjoint(inputs[2:])  # which other updates may overwrite before
        and all(is_call(reader, *PRODUCTS) for reader in readers(weights, velocities) - {*nodes})
        and can_fuse(gradient, inputs)
    )
    return Update(inputs, nodes) if fits else None


def find_gradient(node: Any, weights: Node) -> Gradient:
    """Return what a gradient is made of; any node is a product with neither scale nor decay."""
    nodes: list[Node] = [node]
    scale = decay = None
    if is_call(node, aten.addcmul.default) and node.args[1] is weights:
        node, _, decay = node.args
        nodes.append(node)
    if is_call(node, aten.mul.Tensor) and isinstance(node.args[1], Node):
        scale, node = node.args
        nodes.append(node)
    seen = node
    while is_call(node, *VIEWS):
        node = node.args[0]
        nodes.append(node)
    return Gradient(node, seen, scale, decay, nodes)


def can_fuse(gradient: Gradient, inputs: tuple[Any, ...]) -> bool:
    """Return whether a gradient is a small product that is seen as it is stored, and the operator takes the inputs."""
    if not is_call(gradient.product, torch.ops.ablate.small_bmm.default):
        return False
    weights, velocities, _, _, *factors = inputs
    product: Tensor = gradient.product.meta["val"]
    matrices = [node.meta["val"] for node in (gradient.seen, weights, velocities)]
    numbers = [node.meta["val"] for node in factors if node is not None]
    return all(
        (x.shape, x.stride(), x.dtype) == (product.shape, product.stride(), product.dtype) for x in matrices
    ) and all((x.shape, x.dtype) == ((len(product), 1, 1), product.dtype) for x in numbers)


def is_call(node: Any, *operations: OpOverload) -> bool:
    """Return whether a node calls one of these operations, with no keyword arguments."""
    return isinstance(node, Node) and node.target in operations and not node.kwargs


def readers(*nodes: Node) -> set[Node]:
    """Return the operations that read the memory of nodes, directly or through views."""
    seen = views(*nodes)
    return {user for node in seen for user in node.users if user.op != "output"} - seen


def views(*nodes: Node) -> set[Node]:
    """Return nodes and all their views."""
    found = {user for node in nodes for user in node.users if is_view(user)}
    return {*nodes, *(views(*found) if found else ())}


def is_view(node: Node) -> bool:
    """Return whether a node may return memory of its arguments, and writes into none."""
    if not isinstance(node.target, OpOverload) or node.target in VIEWS:
        return node.op == "call_function"
    schema = node.target._schema
    return not schema.is_mutable and any(result.alias_info is not None for result in schema.returns)
