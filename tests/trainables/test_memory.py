"""The memory that a trial needs, counted tensor by tensor."""

import pytest
import torch

from tests.trainables.test_packs import MODEL, configurations, tiny
from trainables.memory import MemoryTracker, capacity, footprint, max_pack_size, retain_freed_memory
from trainables.train import fit, fit_pack


def test_live_and_peak_memory_are_counted() -> None:
    given = torch.zeros(1000)
    with MemoryTracker() as tracker:
        first = given.view(10, 100)
        assert tracker.current == 0  # it was there before
        second = first + 1
        third = second[:5]
        assert tracker.current == 4000
        del second, third
        assert tracker.current == 0
        fourth = torch.zeros(10, dtype=torch.float64)
    assert (tracker.current, tracker.peak) == (fourth.numel() * 8, 4000)


@pytest.mark.parametrize("method", ["joint", "agm", "bogc"])
def test_a_pack_needs_no_more_than_its_members(method: str) -> None:
    chosen = configurations(method, 4, model=MODEL | {"hidden": 64}, batch_size=52)
    with MemoryTracker() as tracker:
        fit_pack([each | {"train": each["train"] | {"epochs": 2}} for each in chosen], tiny())
    assert tracker.peak < 1.5 * 4 * footprint(chosen[0], tiny())


def test_wider_models_need_more_and_fewer_fit() -> None:
    narrow, wide = (configurations("agm", 1, model=MODEL | {"hidden": hidden})[0] for hidden in (64, 512))
    assert footprint(narrow, tiny()) == footprint(narrow, tiny())
    assert footprint(wide, tiny()) > 30 * footprint(narrow, tiny())
    assert max_pack_size(wide, tiny()) < max_pack_size(narrow, tiny()) / 30
    assert max_pack_size(wide, tiny(), part=1e-12) == 1
    assert capacity() > 2**28


def test_keeping_memory_changes_no_number() -> None:
    one = configurations("agm", 1)[0]
    before = fit(one, tiny())
    retain_freed_memory()
    assert fit(one, tiny()).rows == before.rows
