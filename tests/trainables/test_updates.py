"""Updates of weights by products: the numbers of torch, in place, and only where nothing else needs what they skip."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from tests.trainables.test_packs import relative_differences, tiny
from tests.trainables.test_products import LAYOUTS, SIZES, matrices, single_precision
from trainables import native, products, updates
from trainables.compilation import clone_contiguous, compile_step
from trainables.products import replace_products
from trainables.train import fit_pack
from trainables.updates import fuse_updates

needs_kernel = pytest.mark.usefixtures("native_kernels")
descend = torch.ops.ablate.descend_.default
RATE = torch.tensor([-0.1, -0.2, -0.3]).view(3, 1, 1)
MOMENTUM = torch.tensor([0.9, 0.5, 0.0]).view(3, 1, 1)
SCALE = torch.tensor([1.5, 0.0, -2.0]).view(3, 1, 1)
DECAY = torch.tensor([0.01, 0.0, 0.3]).view(3, 1, 1)
ROWS, DEPTH, COLUMNS = 48, 64, 64


def expected(
    weights: Tensor,
    velocities: Tensor,
    a: Tensor,
    b: Tensor,
    *,
    scale: Tensor | None = None,
    decay: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Weights and velocities after an update, in double precision."""
    gradients = torch.bmm(a.double(), b.double()) * (1 if scale is None else scale)
    gradients = gradients + (0 if decay is None else decay * weights)
    new = MOMENTUM * velocities.double() + gradients
    return weights + RATE * new, new


@needs_kernel
@given(SIZES, SIZES, SIZES, LAYOUTS, LAYOUTS, st.sampled_from([None, SCALE]), st.sampled_from([None, DECAY]))
def test_an_update_has_the_numbers_of_torch(
    rows: int, depth: int, columns: int, one: str, two: str, scale: Tensor | None, decay: Tensor | None
) -> None:
    a, b = matrices(3, rows, depth, one), matrices(3, depth, columns, two)
    weights, velocities = torch.randn(3, rows, columns), torch.randn(3, rows, columns)
    wanted = expected(weights, velocities, a, b, scale=scale, decay=decay)
    descend(weights, velocities, a, b, MOMENTUM, RATE, scale, decay)
    for result, true in zip((weights, velocities), wanted, strict=True):
        torch.testing.assert_close(result.double(), true, rtol=1e-5, atol=1e-5 * (1 + depth**0.5))


@pytest.mark.parametrize("scale", [None, SCALE])
@pytest.mark.parametrize("decay", [None, DECAY])
def test_without_a_kernel_updates_are_torchs(
    scale: Tensor | None, decay: Tensor | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(updates, "load_update_batch", lambda: None)
    a, b, weights, velocities = (torch.randn(3, 8, 8) for _ in range(4))
    wanted = expected(weights, velocities, a, b, scale=scale, decay=decay)
    descend(weights, velocities, a, b, MOMENTUM, RATE, scale, decay)
    for result, true in zip((weights, velocities), wanted, strict=True):
        torch.testing.assert_close(result.double(), true, rtol=1e-5, atol=1e-5)


class Learner:
    """A layer with its input and the slope of its output, of which a step makes a gradient."""

    def __init__(self) -> None:
        self.weights = torch.randn(3, ROWS, COLUMNS)
        self.velocities = torch.randn(3, ROWS, COLUMNS)
        self.inputs = torch.randn(3, DEPTH, COLUMNS)
        self.slope = torch.randn(3, DEPTH, ROWS)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All, as arguments of a step."""
        return self.weights, self.velocities, self.inputs, self.slope, MOMENTUM, RATE, SCALE, DECAY


Tensors = tuple[Tensor, ...]
StepOf = Callable[..., Tensors]


def stepping(
    gradient: Callable[..., Tensor], more: Callable[..., Tensors] = lambda *_: (), *, remembers: bool = True
) -> StepOf:
    """A step by a gradient, that overwrites its weights and velocities; it also returns more, of all that it knows."""

    def step(weights: Tensor, velocities: Tensor, inputs: Tensor, slope: Tensor, *numbers: Tensor) -> Tensors:
        momentum, rate, scale, decay = numbers
        direction = torch.addcmul(gradient(weights, inputs, slope, scale, decay), velocities, momentum)
        after = torch.addcmul(weights, direction, rate)
        results = more(weights, velocities, inputs, slope, direction, after)
        weights.copy_(after)
        velocities.copy_(direction if remembers else velocities / 2)
        return weights, velocities, *results

    return step


def plain(weights: Tensor, inputs: Tensor, slope: Tensor, scale: Tensor, decay: Tensor) -> Tensor:
    return torch.bmm(slope.mT, inputs)


def scaled(weights: Tensor, inputs: Tensor, slope: Tensor, scale: Tensor, decay: Tensor) -> Tensor:
    return scale * torch.bmm(slope.mT, inputs).mT.mT


def decayed(weights: Tensor, inputs: Tensor, slope: Tensor, scale: Tensor, decay: Tensor) -> Tensor:
    return torch.addcmul(scale * torch.bmm(slope.mT, inputs), weights, decay)


def of_the_weights(weights: Tensor, inputs: Tensor, slope: Tensor, scale: Tensor, decay: Tensor) -> Tensor:
    """The gradient of a penalty: the product reads what it would overwrite."""
    return torch.bmm(slope.mT[:, :, :ROWS], weights)


def turned(weights: Tensor, inputs: Tensor, slope: Tensor, scale: Tensor, decay: Tensor) -> Tensor:
    """A square product, seen otherwise than it is stored."""
    return torch.bmm(slope.mT, inputs[:, :, :ROWS]).mT


def by_a_weight(weights: Tensor, inputs: Tensor, slope: Tensor, scale: Tensor, decay: Tensor) -> Tensor:
    return weights[:, 1:2, 1:2] * torch.bmm(slope.mT, inputs)


def twice(weights: Tensor, inputs: Tensor, slope: Tensor, scale: Tensor, decay: Tensor) -> Tensor:
    return torch.addcmul(torch.bmm(slope.mT, inputs), weights, decay, value=2)


def decayed_to_another(weights: Tensor, inputs: Tensor, slope: Tensor, scale: Tensor, decay: Tensor) -> Tensor:
    return torch.addcmul(torch.bmm(slope.mT, inputs), slope.mT, decay)


def clipped(weights: Tensor, inputs: Tensor, slope: Tensor, scale: Tensor, decay: Tensor) -> Tensor:
    gradients = torch.bmm(slope.mT, inputs)
    return gradients.square().sum((1, 2), keepdim=True).rsqrt() * gradients


def by_element(weights: Tensor, inputs: Tensor, slope: Tensor, scale: Tensor, decay: Tensor) -> Tensor:
    return weights * torch.bmm(slope.mT, inputs)


def fused(step: StepOf, learner: Learner) -> tuple[GraphModule, int]:
    """A traced step with updates of this kind, and their number."""
    graph = fuse_updates(replace_products(make_fx(step)(*(x.clone() for x in learner.tensors))))
    return graph, sum(node.target is descend for node in graph.graph.nodes)


def check_step(step: StepOf, count: int, learner: Learner | None = None, run: Any = None) -> None:
    """Check how many updates of a step are of this kind, and that it has the same results and effects."""
    learner = learner or Learner()
    graph, number = fused(step, learner)
    assert number == count
    one, other = ([x.clone() for x in learner.tensors] for _ in range(2))
    for result, true in zip((run or (lambda x: x))(graph)(*one), step(*other), strict=True):
        torch.testing.assert_close(result, true, rtol=1e-5, atol=1e-4)
    for result, true in zip(one, other, strict=True):
        torch.testing.assert_close(result, true, rtol=1e-5, atol=1e-4)


def square(learner: Learner) -> Learner:
    """A learner whose weights are square."""
    learner.weights, learner.velocities = torch.randn(3, ROWS, ROWS), torch.randn(3, ROWS, ROWS)
    return learner


@pytest.fixture(autouse=True)
def enabled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels, where there are any."""
    monkeypatch.setitem(native._state, "enabled", True)


@needs_kernel
@pytest.mark.parametrize("gradient", [plain, scaled, decayed])
def test_updates_by_a_product_are_fused(gradient: Callable[..., Tensor]) -> None:
    check_step(stepping(gradient), 1)


@needs_kernel
@pytest.mark.parametrize("gradient", [of_the_weights, by_a_weight, by_element, twice, decayed_to_another, clipped])
def test_no_others_are(gradient: Callable[..., Tensor]) -> None:
    check_step(stepping(gradient), 0)


@needs_kernel
def test_nor_is_one_of_a_product_that_is_stored_otherwise() -> None:
    check_step(stepping(turned), 0, square(Learner()))


@needs_kernel
def test_nor_is_one_whose_velocities_become_something_else() -> None:
    check_step(stepping(plain, remembers=False), 0)


@needs_kernel
@pytest.mark.parametrize(
    "more",
    [
        lambda weights, velocities, inputs, slope, direction, after: (direction.norm(),),
        lambda weights, velocities, inputs, slope, direction, after: (after + 1,),
        lambda weights, velocities, inputs, slope, direction, after: (direction,),
    ],
)
def test_nor_one_whose_parts_are_used(more: Callable[..., Tensors]) -> None:
    check_step(stepping(plain, more), 0)


@needs_kernel
@pytest.mark.parametrize("order", [1, -1])
def test_layers_that_read_the_weights_of_each_other_read_the_old_ones(order: int) -> None:
    """A gradient by a product of another layer's weights is no such update, whichever is overwritten first."""

    def step(*tensors: Tensor) -> Tensors:
        one, two, one_velocities, two_velocities, inputs, slope = tensors
        gradients = torch.bmm(inputs, two.mT), torch.bmm(slope, one)
        directions = [
            torch.addcmul(gradient, velocities, MOMENTUM)
            for gradient, velocities in zip(gradients, (one_velocities, two_velocities), strict=True)
        ]
        after = torch.addcmul(one, directions[0], RATE), torch.addcmul(two, directions[1], RATE)
        pairs = list(zip((one, two, one_velocities, two_velocities), (*after, *directions), strict=True))
        for old, new in pairs[::order]:
            old.copy_(new)
        return one, two

    tensors = [torch.randn(3, 64, 64) for _ in range(6)]
    graph = fuse_updates(replace_products(make_fx(step)(*(x.clone() for x in tensors))))
    assert not any(node.target is descend for node in graph.graph.nodes)
    one, other = ([x.clone() for x in tensors] for _ in range(2))
    for result, true in zip(graph(*one), step(*other), strict=True):
        torch.testing.assert_close(result, true, rtol=1e-5, atol=1e-4)


def in_products(weights: Tensor, velocities: Tensor, inputs: Tensor, slope: Tensor, *_: Tensor) -> Tensors:
    """Reads of the weights by products, through views and views of views."""
    return torch.bmm(slope, weights), torch.bmm(slope[:, :, 3:], weights.mT[:, :, 3:].mT), torch.bmm(inputs, weights.mT)


def elsewhere(weights: Tensor, velocities: Tensor, inputs: Tensor, slope: Tensor, *_: Tensor) -> Tensors:
    """Reads of the weights by other operations."""
    return weights.mT[:, 3:].mT.sum((1, 2)), torch.lerp(slope.mT, weights, 0.1)


def of_velocities(weights: Tensor, velocities: Tensor, inputs: Tensor, slope: Tensor, *_: Tensor) -> Tensors:
    """A read of velocities through a view."""
    return (velocities.view(3, -1).unbind()[1].exp(),)


@needs_kernel
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's compiler about itself
@pytest.mark.parametrize("run", [None, lambda graph: torch.compile(graph, dynamic=False)])
@pytest.mark.parametrize(("more", "count"), [(in_products, 1), (elsewhere, 0), (of_velocities, 0)])
def test_what_reads_the_old_weights_gets_them(more: Callable[..., Tensors], count: int, run: Any) -> None:
    """Products do so before the update; other operations, which a compiler moves, prevent it."""
    check_step(stepping(plain, more), count, run=run)


@needs_kernel
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's compiler about itself
def test_a_state_that_follows_the_weights_follows_the_old_ones() -> None:
    def step(data: Any, numbers: Any, learner: dict[str, Tensor]) -> Any:
        weights, velocities, mean = learner.values()
        direction = torch.addcmul(torch.bmm(data[1].mT, data[0]), velocities, MOMENTUM)
        mean = torch.lerp(mean, weights, 0.1)
        return {"weights": torch.addcmul(weights, direction, RATE), "velocities": direction, "mean": mean}, {}

    weights, velocities, inputs, slope, *_ = Learner().tensors
    learner = {"weights": weights, "velocities": velocities, "mean": torch.zeros_like(weights)}
    compiled = compile_step(step, ((inputs, slope), (), learner), {})
    assert compiled is not None
    result, _ = compiled((inputs, slope), (), clone_contiguous(learner))
    for name, true in step((inputs, slope), (), learner)[0].items():
        torch.testing.assert_close(result[name], true, rtol=1e-5, atol=1e-4)


@needs_kernel
def test_factors_may_be_stored_in_any_way_and_so_may_weights() -> None:
    a, b = matrices(3, 20, 30, "columns"), matrices(3, 30, 20, "columns")
    for shape in (lambda x: x, lambda x: x.mT):
        weights, velocities = shape(torch.randn(3, 20, 20)), shape(torch.randn(3, 20, 20))
        for factor in (torch.full((1, 1, 1), 0.5).expand(3, 1, 1), torch.rand(3, 2, 2)[:, :1, :1]):
            gradients = torch.bmm(a, b) * factor + factor * weights
            new = factor * velocities + gradients
            after = weights + factor * new
            descend(weights, velocities, a, b, factor, factor, factor, factor)
            torch.testing.assert_close(velocities, new, rtol=1e-5, atol=1e-4)
            torch.testing.assert_close(weights, after, rtol=1e-5, atol=1e-4)


@needs_kernel
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's compiler about itself
@pytest.mark.parametrize("method", ["joint", "mses", "agm"])
def test_a_compiled_pack_trains_by_them(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    load = updates.load_update_batch

    def counted(*args: Any) -> None:
        calls.append(args[-3])
        kernel = load()
        assert kernel is not None
        kernel(*args)

    monkeypatch.setattr(updates, "load_update_batch", lambda: load() and counted)
    monkeypatch.setattr(products, "MIN_MULTIPLICATIONS", 0)
    monkeypatch.setattr("trainables.compilation.CACHE", {})
    same = {"start": 1, "warmup": 0, "end": 13}
    chosen = [one | same for one in single_precision(method, 3)[::2]]
    for one, decay in zip(chosen, (0.01, 0.1), strict=True):
        one["train"] |= {"optimizer": "sgd", "momentum": 0.5 + decay, "weight_decay": decay}
    fast = fit_pack(chosen, tiny(), compile_mode="on")
    assert len(calls) >= 3 * 4  # when its program is compiled, recorded and compared
    for one, other in zip(fast, fit_pack(chosen, tiny()), strict=True):
        assert 0 < max(relative_differences(one, other)) < 1e-3
