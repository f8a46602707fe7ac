"""Tests compute as a trial does: with one thread."""

from collections.abc import Iterator

import pytest
import torch

from trainables import native

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def native_kernels() -> Iterator[None]:
    """Let the tests of a module use the kernels in C++; skip them where there are none."""
    if (missing := native.explain_missing()) is not None:
        pytest.skip(missing)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(native._state, "enabled", True)
        yield
