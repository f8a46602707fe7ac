"""Batches that pass through the model in parts: no method can tell."""

from typing import Any

import pytest

from tests.trainables.test_packs import MODEL, configurations, dataset_of_kind, relative_differences, tiny
from tests.trainables.test_parallel import variants
from trainables.methods import METHODS
from trainables.shape import replace_values
from trainables.step import microbatch_slices
from trainables.train import fit, fit_pack

PARTS = 3  # of batches of 16, and the last of 4
QUICK = ("agm", "bogc", "cggm", "ogm-ge")


def with_accumulation(trial: dict[str, Any]) -> dict[str, Any]:
    return replace_values(trial, {("train", "accumulate"): PARTS})


@pytest.mark.parametrize("method", [m if m in QUICK else pytest.param(m, marks=pytest.mark.nightly) for m in METHODS])
def test_every_method_does_with_the_parts_of_a_batch_what_it_does_with_the_whole(method: str) -> None:
    tame = {"clip_b": 2.0} if method == "cggm" else {"patience": 2.0} if method == "mses" else {}
    chosen = configurations(method, 2, settings=tame, model=MODEL | {"dropout": 0.3})
    chosen = [replace_values(each, {("train", "epochs"): 4}) for each in chosen]
    whole = [fit(each, tiny()) for each in chosen]
    alone, packed = (
        [fit(with_accumulation(each), tiny()) for each in chosen],
        fit_pack(list(map(with_accumulation, chosen)), tiny()),
    )
    for one, other, together in zip(whole, alone, packed, strict=True):
        assert max(relative_differences(one, other)) < 1e-9
        assert max(relative_differences(one, together)) < 1e-9


@pytest.mark.nightly
def test_every_option_does_with_the_parts_of_a_batch_what_it_does_with_the_whole() -> None:
    for name, trial in variants(True).items():
        assert max(relative_differences(fit(trial, tiny()), fit(with_accumulation(trial), tiny()))) < 1e-8, name


@pytest.mark.parametrize("method", ["agm", "cggm", "bogc"])
@pytest.mark.parametrize("kind", ["missing", "regression", "gaps"])
def test_targets_and_missing_modalities_are_those_of_the_part(kind: str, method: str) -> None:
    dataset = dataset_of_kind(kind)
    settings = {"estimator": "sample"} if method == "bogc" else {"clip_b": 2.0} if method == "cggm" else {}
    for trial in configurations(method, 2, settings=settings):
        trial = replace_values(trial, {("train", "epochs"): 3})
        assert max(relative_differences(fit(trial, dataset), fit(with_accumulation(trial), dataset))) < 1e-9


def test_parts_are_of_like_size_and_none_is_empty() -> None:
    for count in (1, 2, 7, 64):
        for parts in (1, 2, 3, 64, 100):
            result = microbatch_slices(count, parts)
            assert [row for part in result for row in range(count)[part]] == list(range(count))
            sizes = [part.stop - part.start for part in result]
            assert min(sizes) >= 1
            assert max(sizes) - min(sizes) <= 1
