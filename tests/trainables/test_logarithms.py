"""Extrema and floors of logarithms by the kernel in C++: the bits of those by numpy."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.trainables.test_evidence import randn
from trainables import logarithms
from trainables.logarithms import extrema_and_floors

pytestmark = pytest.mark.usefixtures("native_kernels")
SIZES = [50_176, 64, 3, 4_096, 1, 2_000, 17]
VALUES: dict[str, Any] = {
    "spread": lambda x: 8 * x,
    "close": lambda x: x / 100,
    "often the same": lambda x: (2 * x).round(),
    "nearly all the same": lambda x: torch.where(x > 2.5, x, 1.0),
    "often zero": lambda x: torch.where(x < 0, -math.inf, 8 * x),
    "mostly zero": lambda x: torch.where(x < 1, -math.inf, 8 * x),
    "sorted": lambda x: 8 * x.sort(-1).values,
    "alike in each row": lambda x: 8 * x[:, :1] + 0 * x,
    "periodic": lambda x: torch.arange(x.shape[1]).float().remainder(392).expand_as(x) - 300,
    "apart in rows": lambda x: x + torch.arange(x.shape[1]) // 500,
    "subnormal": lambda x: x * 1e-42,
    "not finite": lambda x: torch.where(x > 2, math.inf, torch.where(x < -2, math.nan, 8 * x)),
}


def by_numpy(logs: Tensor, sizes: list[int], ratio: float, minimum: float) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logarithms, "load_find_floors", lambda: None)
        return extrema_and_floors(logs, sizes, ratio, minimum)


def check(logs: Tensor, sizes: list[int], ratio: float, minimum: float) -> None:
    results = extrema_and_floors(logs, sizes, ratio, minimum)
    np.testing.assert_array_equal(results, by_numpy(logs, sizes, ratio, minimum))


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("ratio", [1e-6, 0.1, 1.0])
def test_floors_are_those_of_numpy(values: str, rows: int, ratio: float) -> None:
    logs = VALUES[values](randn(rows, rows, sum(SIZES)).float()).contiguous()
    check(logs, SIZES, ratio, 1e-30)
    check(logs, SIZES, ratio, 1.0)


@settings(max_examples=300)
@given(
    st.integers(0, 1000),
    st.integers(1, 4),
    st.lists(st.integers(1, 3000), min_size=1, max_size=4),
    st.sampled_from(sorted(VALUES)),
    st.floats(1e-7, 1.0),
    st.floats(1e-30, 10.0),
)
def test_floors_of_any_tensors_are_those_of_numpy(
    seed: int, rows: int, sizes: list[int], values: str, ratio: float, minimum: float
) -> None:
    check(VALUES[values](randn(seed, rows, sum(sizes)).float()).contiguous(), sizes, ratio, minimum)


def test_the_kernel_is_used_for_contiguous_tensors_of_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, calls = logarithms.load_find_floors(), []

    def counted(*args: Any) -> None:
        assert kernel is not None
        calls.append(args)
        kernel(*args)

    monkeypatch.setattr(logarithms, "load_find_floors", lambda: counted)
    logs = 8 * randn(0, 2, 40)
    for given_logs in (logs, logs.float()[:, ::2], logs.float()):
        check(given_logs, [given_logs.shape[1]], 0.5, 1e-30)
    assert len(calls) == 1
