"""The batched product of small matrices: torch's numbers for every shape and layout, and who uses it."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch._inductor.utils import fresh_cache, run_and_get_code
from torch.fx.experimental.proxy_tensor import make_fx

from tests.trainables.test_checkpoints import check_resumes
from tests.trainables.test_packs import configurations, relative_differences, tiny
from trainables import native, products
from trainables.native import Kernel, is_used
from trainables.products import NativeProducts, is_small, replace_products
from trainables.train import fit_pack

needs_kernel = pytest.mark.usefixtures("native_kernels")
small_bmm = torch.ops.ablate.small_bmm.default
SIZES = st.one_of(st.integers(0, 20), st.sampled_from([31, 47, 63, 64, 65, 80, 130]))


@pytest.fixture
def kernel(native_kernels: None, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """The kernel of products, in a process that has not enabled any."""
    monkeypatch.setitem(native._state, "enabled", True)
    kernel = products.load_multiply_batch()
    assert kernel is not None
    native.set_enabled(False)
    return kernel


def matrices(items: int, rows: int, columns: int, layout: str) -> Tensor:
    """Random matrices whose columns lie side by side, or their rows, or neither; or the same one for all items."""
    if layout == "rows":
        return torch.randn(items, columns, rows).mT
    if layout == "apart":
        return torch.randn(items, rows, 2 * columns)[..., ::2]
    if layout == "part":
        return torch.randn(items, rows + 3, columns + 5)[:, 2:-1, 5:]
    if layout == "shared":
        return torch.randn(1, rows, columns).expand(items, -1, -1)
    return torch.randn(items, rows, columns)


LAYOUTS = st.sampled_from(["columns", "rows", "apart", "part", "shared"])


@needs_kernel
@given(st.integers(0, 3), SIZES, SIZES, SIZES, LAYOUTS, LAYOUTS)
def test_products_are_those_of_torch(items: int, rows: int, depth: int, columns: int, one: str, two: str) -> None:
    a, b = matrices(items, rows, depth, one), matrices(items, depth, columns, two)
    product = small_bmm(a, b)
    assert product.is_contiguous()
    bound = 1e-6 * max(depth, 1) * torch.bmm(a.double().abs(), b.double().abs()) + 1e-30
    assert bool(((product - torch.bmm(a.double(), b.double())).abs() <= bound).all())


@needs_kernel
@pytest.mark.parametrize("layout", ["columns", "rows"])
def test_an_element_is_one_sum_whatever_is_computed_with_it(layout: str) -> None:
    """Each item, row and column alone has the bits that it has among others, and an exact sum is exact."""
    a, b = matrices(3, 67, 90, "columns"), matrices(3, 90, 85, layout)
    product = small_bmm(a, b)
    for i, row, column in ((0, 0, 0), (1, 66, 84), (2, 33, 63), (2, 59, 64)):
        alone = small_bmm(a[i : i + 1, row : row + 1], b[i : i + 1, :, column : column + 1])
        assert alone.item() == product[i, row, column].item()
    whole = [torch.randint(-9, 9, x.shape).float() for x in (a, b)]
    assert torch.equal(small_bmm(*whole), torch.bmm(*whole))


@needs_kernel
@pytest.mark.parametrize("layout", ["columns", "rows"])
def test_what_is_not_finite_stays_in_its_row_and_column(layout: str) -> None:
    a, b = torch.ones(1, 20, 30), matrices(1, 30, 70, layout).abs().clone(memory_format=torch.preserve_format)
    a[0, 3, 4], b[0, 5, 66] = math.nan, math.inf
    product = small_bmm(a, b)
    assert product[0, 3].isnan().all()
    assert product[0, [0, 1, 2, *range(4, 20)], 66].isinf().all()
    assert product[0, 4:, :66].isfinite().all()


def test_it_takes_small_matrices_of_single_precision_and_many_of_them() -> None:
    a, b = torch.ones(64, 64, 64), torch.ones(64, 64, 64)
    assert is_small(a, b)
    assert not is_small(a.double(), b.double())
    assert not is_small(a.to("meta"), b.to("meta"))
    assert not is_small(a[:1, :32], b[:1])
    assert not is_small(torch.ones(1, 1, 2000), torch.ones(1, 2000, 1000))
    assert is_small(torch.ones(1, 2000, 1000), torch.ones(1, 1000, 10))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (torch.ones(256, 64, 64), torch.ones(1, 64, 64)),
        (torch.ones(64, 64, 64), torch.ones(64, 32, 64)),
        (torch.ones(64, 64, 64), torch.ones(64, 64, 64, dtype=torch.float64)),
        (torch.ones(64, 64, 64), torch.ones(64, 64)),
    ],
)
@needs_kernel
def test_factors_that_do_not_fit_are_rejected_by_torch(a: Tensor, b: Tensor) -> None:
    with pytest.raises(RuntimeError), NativeProducts():
        torch.bmm(a, b)


@needs_kernel
def test_products_of_a_graph_are_replaced() -> None:
    a, b = torch.randn(64, 64, 64), torch.randn(64, 64, 64)
    graph = replace_products(make_fx(lambda x, y: (torch.bmm(x, y), torch.bmm(x[:1], y[:1, :, :9])))(a, b))
    targets = [node.target for node in graph.graph.nodes if node.op == "call_function"]
    assert targets.count(small_bmm) == targets.count(torch.ops.aten.bmm.default) == 1
    for one, other in zip(graph(a, b), (small_bmm(a, b), torch.bmm(a[:1], b[:1, :, :9])), strict=True):
        assert torch.equal(one, other)


@needs_kernel
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's compiler about itself
def test_a_factor_of_two_products_is_stored_once(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(native._state, "enabled", True)
    inputs = torch.randn(90, 77), torch.randint(90, (64, 20)), torch.randn(64, 77, 65)

    def single(data: Tensor, indices: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        batch = data[indices].relu()
        product = batch @ weights
        return product, product.relu().mT @ batch

    both = torch.vmap(single, in_dims=(None, 0, 0))
    with fresh_cache():
        compiled = torch.compile(replace_products(make_fx(both)(*inputs)), dynamic=False)
        results, (code,) = run_and_get_code(compiled, *inputs)
    assert code.count("= empty_strided_cpu((64, 20, 77)") == 1
    for one, other in zip(results, both(*inputs), strict=True):
        torch.testing.assert_close(one, other)


@pytest.fixture
def rows(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of the products by the kernel: every product of a pack, whose steps are all worth it."""
    made: list[int] = []

    def counted(*args: Any) -> None:
        made.append(args[10])
        kernel(*args)

    load = products.load_multiply_batch
    monkeypatch.setattr(products, "load_multiply_batch", lambda: load() and counted)
    monkeypatch.setattr(products, "MIN_MULTIPLICATIONS", 0)
    monkeypatch.setattr("trainables.compilation.MIN_TRACED_STEPS", 0)
    monkeypatch.setattr("trainables.compilation.MIN_NATIVE_OPERATIONS", 0)
    monkeypatch.setattr("trainables.compilation.CACHE", {})
    return made


def single_precision(method: str, count: int) -> list[dict[str, Any]]:
    """Trials whose batches have 13 samples, other than their validation."""
    chosen = configurations(method, count, batch_size=13)
    return [one | {"train": one["train"] | {"dtype": "float32"}} for one in chosen]


@pytest.mark.parametrize("method", ["joint", "agm", "cggm", "bogc"])
def test_a_pack_trains_and_is_evaluated_by_them(method: str, rows: list[int]) -> None:
    chosen, dataset = single_precision(method, 2), tiny()
    fast = fit_pack(chosen, dataset, compile_mode="auto")
    assert len(dataset.validation.target) in rows
    assert {13, 14} & set(rows)  # AGM adds the mean of each modality to the batch
    assert is_used()
    rows.clear()
    for one, other in zip(fast, fit_pack(chosen, dataset), strict=True):
        assert 0 < max(relative_differences(one, other)) < 1e-3
    assert not rows
    assert not is_used()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's compiler about itself
def test_a_compiled_pack_too(rows: list[int]) -> None:
    same = {"start": 1, "warmup": 0, "end": 13}
    chosen, dataset = [one | same for one in single_precision("joint", 3)[::2]], tiny()
    fit_pack(chosen, dataset, compile_mode="on")
    assert {13, len(dataset.validation.target)} <= set(rows)


def test_a_pack_that_cannot_be_compiled_is_traced_with_them(rows: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.compile", lambda *_, **__: None)
    fit_pack(single_precision("joint", 2), tiny(), compile_mode="on")
    assert 13 in rows


def test_a_pack_goes_on_with_them(rows: list[int]) -> None:
    check_resumes(single_precision("agm", 3), 5, compile_mode="auto")
    assert rows


def test_doubles_and_single_trials_are_multiplied_by_torch(rows: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    doubles = configurations("joint", 2, batch_size=13)
    assert doubles[0]["train"]["dtype"] == "float64"
    fast = fit_pack(doubles, tiny(), compile_mode="auto")
    assert [one.weights for one in fast] == [one.weights for one in fit_pack(doubles, tiny())]
    monkeypatch.setattr("trainables.compilation.compile_step", lambda step, *_: step)
    for mode in ("auto", "on"):
        fit_pack(single_precision("joint", 1), tiny(), compile_mode=mode)
    assert not rows


def test_without_a_kernel_products_are_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "load_multiply_batch", lambda: None)
    a, b = torch.randn(64, 64, 64), torch.randn(64, 64, 64)
    assert torch.equal(small_bmm(a, b), torch.bmm(a, b))
    with NativeProducts():
        assert torch.equal(torch.bmm(a, b), small_bmm(a, b))
