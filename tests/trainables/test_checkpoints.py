"""A pack that resumes from a checkpoint ends with the bits of one that was not interrupted."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from search_spaces.methods import METHODS as AXES
from tests.trainables.test_packs import MODEL, NETWORKS, configurations, tiny
from tests.trainables.test_train import AGM, trial
from tests.trainables.workers import run_workers
from trainables.compilation import CACHE, find_compiler
from trainables.methods import METHODS
from trainables.parallel import current_workers
from trainables.shape import replace_values
from trainables.train import Outcome, PruneCallback, fit_pack


class StoredCheckpoints:
    """Every checkpoint that was written, as the bytes of its file; the last is read."""

    def __init__(self, *files: bytes) -> None:
        self.files = list(files)

    def is_due(self) -> bool:
        return True

    def write(self, state: dict[str, Any]) -> None:
        file = io.BytesIO()
        torch.save(state, file)
        self.files.append(file.getvalue())

    def read(self) -> dict[str, Any]:
        state: dict[str, Any] = torch.load(io.BytesIO(self.files[-1]), weights_only=True)
        return state


def is_equal(one: Outcome, other: Outcome) -> bool:
    """Return whether two outcomes are equal, bit for bit, apart from the seconds."""
    arrays = [[[p.outputs, p.target] for p in outcome.predictions] for outcome in (one, other)]
    equal = all(np.array_equal(*pair) for a, b in zip(*arrays, strict=True) for pair in zip(a, b, strict=True))
    rest = [repr(outcome._replace(seconds=0.0, predictions=[])) for outcome in (one, other)]  # nan is nan
    return equal and rest[0] == rest[1]


def check_resumes(
    trials: list[dict[str, Any]], *after: int, prune: PruneCallback | None = None, **options: Any
) -> None:
    """Interrupt trials after some epochs and compare their outcomes with uninterrupted training."""
    dataset, stored = options.pop("dataset", None) or tiny(), StoredCheckpoints()
    whole = fit_pack(trials, dataset, prune, checkpoints=stored, **options)
    assert all(map(is_equal, whole, fit_pack(trials, dataset, prune, **options)))
    for epoch in after:
        again = StoredCheckpoints(stored.files[epoch - 1])
        CACHE.clear()  # as in a new process
        resumed = fit_pack(trials, dataset, prune, checkpoints=again, **options)
        assert all(map(is_equal, resumed, whole))
        assert len(again.files) == 1 + len(stored.files) - epoch  # it did what was missing and nothing else
        assert all(outcome.seconds > 0 for outcome in resumed)


@pytest.mark.parametrize("method", list(METHODS))
def test_every_method_goes_on_from_where_it_was(method: str) -> None:
    """With its averages and the moments of Adam; after epoch 12 two of four members have ended."""
    tame = {"clip_b": 2.0} if method == "cggm" else {"patience": 2.0} if method == "mses" else {}
    check_resumes(configurations(method, settings=tame, optimizer="adam", dtype="float32"), 5, 12)


OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("agm", {"reference": "ema"}), ("agm", {"reference": "window"}), ("mses", {"patience": 1.0, "rollback": "branch"}),
    ("cggm", {"direction": "grad_prev", "cls_heads": 2, "clip_b": 2.0}), ("bogc", {"scale": "ema"}),
    ("bogc", {"where": "repr", "estimator": "laplace"}), ("mslr", {"window": 2}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "settings"), OPTIONS, ids=[f"{m}-{'-'.join(map(str, s.values()))}" for m, s in OPTIONS]
)
def test_every_kind_of_state_is_kept(method: str, settings: dict[str, Any]) -> None:
    assert settings.keys() <= AXES[method].keys()
    check_resumes(configurations(method, 2, settings=settings, schedule="cosine"), 6)


@pytest.mark.parametrize("network", ["dropout", "batch", "gru"])
def test_running_statistics_and_noise_go_on(network: str) -> None:
    samples, changes = NETWORKS[network]
    check_resumes(configurations("agm", 3, model=MODEL | changes), 7, dataset=tiny(samples=samples))


def test_a_trial_alone_goes_on() -> None:
    check_resumes(configurations("mses", 1, settings={"patience": 2.0}, weight_decay=0.01), 3)


def test_measurements_go_on() -> None:
    measure = {"competition": 0, "contribution": 2, "fidelity": 3, "gradients": 2, "probe": 0, "separate": 3}
    check_resumes([each | {"measure": measure} for each in configurations("agm", 2)], 4)


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's compiler about itself
@pytest.mark.skipif(find_compiler() is None, reason="there is no C++ compiler")
def test_a_compiled_pack_goes_on_compiled() -> None:
    check_resumes(
        [one | {"start": 1, "warmup": 0, "end": 13} for one in configurations("joint", 3)[::2]], 5, compile_mode="on"
    )


def test_what_has_ended_stays_ended_and_a_judge_hears_of_it_again() -> None:
    """The second diverges in epoch 1, the third is ended after epoch 3; the first had 13 epochs, the last 12."""
    trials = configurations("joint", 4)
    trials[1] = replace_values(trials[1], {("train", "lr"): 1e200})
    heard: dict[tuple[int, int], dict[str, float]] = {}
    told: list[tuple[int, int]] = []

    def prune(epoch: int, scores: dict[int, dict[str, float]]) -> set[int]:
        told.extend((epoch, i) for i in scores)
        for i, one in scores.items():
            assert heard.setdefault((epoch, i), one) == one
        return {2} if epoch == 3 else set()

    check_resumes(trials, 5, 12, prune=prune)
    assert sorted(told) == sorted(4 * [(e, i) for i, last in ((0, 12), (2, 3), (3, 11)) for e in range(1, last + 1)])


@pytest.mark.parametrize("spoil", ["truncated", "empty", "of another version", "of another pack"])
def test_what_cannot_be_read_is_passed_over(spoil: str) -> None:
    trials, stored = configurations("agm", 2), StoredCheckpoints()
    whole = fit_pack(trials, tiny(), checkpoints=stored)
    file, other = stored.files[4], StoredCheckpoints()
    other.write({"epochs": 5})
    fit_pack(configurations("bogc", 2), tiny(), checkpoints=(strange := StoredCheckpoints()))
    spoilt = {"truncated": file[: len(file) // 2], "empty": b"", "of another version": other.files[0],
              "of another pack": strange.files[4]}  # fmt: skip
    again = StoredCheckpoints(spoilt[spoil])
    assert all(map(is_equal, fit_pack(trials, tiny(), checkpoints=again), whole))
    assert len(again.files) == 1 + len(stored.files)  # it began anew


def train_on_worker() -> list[tuple[list[Outcome], list[bytes]]]:
    """Train a pack of two as one worker: from the start, where both can resume, and where only this one can."""
    trials = [trial(AGM, seed=seed, epochs=3, batch_size=16, model=MODEL, measure={"gradients": 2}) for seed in (0, 1)]
    workers = current_workers()

    def done(*files: bytes) -> tuple[list[Outcome], list[bytes]]:
        stored = StoredCheckpoints(*files)
        return fit_pack(trials, tiny(), workers=workers, checkpoints=stored), stored.files

    whole = done()
    written = [whole[1]] * workers.size
    dist.all_gather_object(written, whole[1])
    return [whole, done(written[0][0]), done(written[0][0] if workers.rank else b"half")]


def test_two_workers_go_on_from_what_the_first_has_written_if_both_can_read_it(tmp_path: Path) -> None:
    first, second = run_workers(tmp_path, 2, train_on_worker)
    (whole, stored), (resumed, after), (anew, again) = first
    assert [len(files) for _, files in second] == [0, 1, 1]  # it writes nothing
    assert all(map(is_equal, resumed, whole))
    assert all(map(is_equal, anew, whole))
    # epoch 1 was repeated where one worker could not read its checkpoint
    assert (len(stored), len(after), len(again)) == (2, 1 + 1, 1 + 2)
