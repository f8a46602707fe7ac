"""Layers: the same numbers as torch and the papers."""

import pytest
import torch

from trainables.layers import affine, init_linear, self_attention, sinusoidal_positions
from trainables.randomness import normal, uniform


@pytest.mark.parametrize("heads", [1, 2, 3, 4])
def test_attention_is_the_attention_of_torch(heads: int) -> None:
    """Heads are the largest divisor of the width up to four."""
    width = {1: 5, 2: 10, 3: 9, 4: 12}[heads]
    params = init_linear(
        lambda name, shape, bound: uniform(0, name, shape, bound).double(), "in_proj", width, 3 * width
    )
    params |= init_linear(lambda name, shape, bound: uniform(0, name, shape, bound).double(), "out_proj", width, width)
    theirs = torch.nn.MultiheadAttention(width, heads, batch_first=True, dtype=torch.float64)
    theirs.load_state_dict({name.replace("in_proj.", "in_proj_"): weight for name, weight in params.items()})
    x = normal((7, 6, width), 0, "input").double()
    ours = affine(params, "out_proj", self_attention(affine(params, "in_proj", x)))
    assert torch.allclose(ours, theirs(x, x, x, need_weights=False)[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("width", [1, 4, 5])
def test_positions_are_those_of_the_paper(width: int) -> None:
    table = sinusoidal_positions(50, width)
    for column in range(width):
        angle = torch.arange(50) / 10_000 ** (2 * (column // 2) / width)
        assert torch.allclose(table[:, column], (angle.cos() if column % 2 else angle.sin()).double(), atol=1e-5)
