"""Our optimisers against torch.optim, and clipping against torch.nn.utils."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from trainables.optim import apply_update, build_optimizer, clip_norm
from trainables.signals import Params, each, leaves

Make = Callable[[list[Tensor]], torch.optim.Optimizer]


def params() -> Params:
    draw = torch.Generator().manual_seed(0)
    tensors = [torch.randn(s, generator=draw, dtype=torch.float64) for s in ((4, 3), (4,), (2, 4), (2,))]
    return Params(
        {"a": {"w": tensors[0], "b": tensors[1]}}, {}, {"head.weight": tensors[2], "head.bias": tensors[3]}, {}
    )


def gradient(p: Tensor, number: int) -> Tensor:
    return torch.tanh(p) * (1 + number % 3) + 0.1


@pytest.mark.parametrize(
    ("name", "settings", "theirs"),
    [
        ("sgd", (0.1, 0.0, 0.0), lambda ps: torch.optim.SGD(ps, 0.1)),
        ("sgd", (0.1, 0.9, 0.01), lambda ps: torch.optim.SGD(ps, 0.1, momentum=0.9, weight_decay=0.01)),
        ("adam", (0.01, 0.0, 0.0), lambda ps: torch.optim.Adam(ps, 0.01)),
        ("adam", (0.01, 0.0, 0.1), lambda ps: torch.optim.Adam(ps, 0.01, weight_decay=0.1)),
        ("adamw", (0.01, 0.0, 0.1), lambda ps: torch.optim.AdamW(ps, 0.01, weight_decay=0.1)),
    ],
)
def test_it_is_the_optimiser_of_torch(name: str, settings: tuple[float, float, float], theirs: Make) -> None:
    ours, rule = params(), build_optimizer(name, *settings)
    state: Any = rule.init(ours)
    copies = [p.clone().requires_grad_() for p in leaves(ours)]
    reference = theirs(copies)
    for number in range(50):
        direction, state = rule.update(each(lambda p, n=number: gradient(p, n), ours), state, ours)
        ours = apply_update(ours, direction, rule.lrs)
        for p in copies:
            p.grad = gradient(p.detach(), number)
        reference.step()
    for mine, other in zip(leaves(ours), copies, strict=True):
        assert torch.allclose(mine, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("limit", [0.5, 100.0])
def test_clipping_is_that_of_torch(limit: float) -> None:
    ours = clip_norm(params(), limit)
    copies = [torch.nn.Parameter(p.clone()) for p in leaves(params())]
    for p in copies:
        p.grad = p.detach().clone()
    torch.nn.utils.clip_grad_norm_(copies, limit)
    for mine, other in zip(leaves(ours), copies, strict=True):
        assert other.grad is not None
        assert torch.allclose(mine, other.grad, rtol=1e-12)


def test_the_trigger_is_on_the_weights_of_the_head() -> None:
    peak = float(params().shared["head.weight"].abs().max())
    assert clip_norm(params(), 0.5, trigger=peak * 1.01).shared["head.bias"].equal(params().shared["head.bias"])
    assert not clip_norm(params(), 0.5, trigger=peak * 0.99).shared["head.bias"].equal(params().shared["head.bias"])
