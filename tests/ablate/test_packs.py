"""Which trials train together, and what becomes of those whose process dies."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ablate.packs import make_packing, pack_trials
from ablate.search import rounds
from ablate.study import load
from ablate.trial import Result, Trial
from ablate.trial_queue import MAX_ATTEMPTS, TrialQueue, concurrent_packs, open_queue
from tests.ablate.helpers import write
from trainables.shape import pack_shape

DONE = Result("done", 1.0)


def proposed(folder: Path, **over: Any) -> list[Trial]:
    """The trials of the small study with changes."""
    return next(rounds(load(str(write(folder, **{"vary": None} | over)))))


def test_a_pack_is_of_one_shape_and_loses_nobody(tmp_path: Path) -> None:
    vary = {"agm.alpha": [0.5, 1], "agm.score_attr": ["shapley", "loo"]}
    trials = proposed(tmp_path, vary=vary, set={"agm.route": "encoder"}, seeds=3)
    packs = pack_trials(trials, 64, 1)
    assert [{pack_shape(t.config) for t in pack} for pack in packs] == [{pack_shape(pack[0].config)} for pack in packs]
    assert sorted(t.id for pack in packs for t in pack) == sorted(t.id for t in trials)
    assert [len(pack) for pack in packs] == [3, 6, 6]  # joint, and each way to attribute with both strengths


def test_what_changes_the_computation_is_another_shape(tmp_path: Path) -> None:
    def shapes(**over: Any) -> int:
        return len({pack_shape(t.config) for t in proposed(tmp_path, seeds=1, **{"methods": ["agm"]} | over)})

    fixed, window = ({"agm.reference": name} for name in ("fixed", "window"))
    numbers = {"train.lr": [0.1, 0.2], "agm.warm": [1, 5], "agm.start": [1, 2], "train.epochs": [1, 2]}
    assert shapes(vary=numbers, set=fixed) == 1
    assert shapes(vary={"agm.cap": [1.0, "inf"]}) == 2
    assert shapes(vary={"train.weight_decay": [0, 0.1]}) == 2
    assert shapes(vary={"train.batch_size": [32, 64]}) == 2
    assert shapes(vary={"agm.window": [10, 100]}, set=window) == 2
    assert shapes(vary={"model.dropout": [0.1, 0.2]}) == 1


@given(count=st.integers(1, 60), most=st.integers(1, 20), workers=st.integers(1, 9))
def test_packs_are_of_like_size_and_keep_every_worker_busy(count: int, most: int, workers: int) -> None:
    trials = [Trial(str(i), CONFIG, {}, 0) for i in range(count)]
    packs = pack_trials(trials, most, workers)
    sizes = [len(pack) for pack in packs]
    assert [t.id for pack in packs for t in pack] == [t.id for t in trials]
    assert max(sizes) <= most
    assert max(sizes) - min(sizes) <= 1
    assert len(packs) == count or len(packs) % workers == 0


def test_packs_of_a_gpu_are_large_and_as_many_as_there_are_gpus(tmp_path: Path) -> None:
    over = {"methods": ["joint"], "seeds": 3000, "train": {"epochs": 1}, "resources": {"gpu": 1}}
    study = load(str(write(tmp_path, **{"vary": None} | over)))
    assert [len(pack) for pack in open_queue(study, 16, gpus=1).pending_packs] == [1000] * 3
    assert [len(pack) for pack in open_queue(study, 16, gpus=2).pending_packs] == [750] * 4
    assert len(open_queue(study, 2, gpus=8).pending_packs) == 4  # each needs a CPU, too
    assert [concurrent_packs(study, 16, cards) for cards in (1, 2, 32)] == [1, 2, 16]


NUMBERS = ("lr", "momentum", "weight_decay", "clip", "clip_before")
CONFIG = {"settings": {}, "train": {"order": "shuffled"} | dict.fromkeys(NUMBERS, 0.0),
          "model": {"dropout": 0.0}}  # fmt: skip


def test_a_study_that_was_interrupted_goes_on_with_the_packs_that_it_had(tmp_path: Path) -> None:
    trials = proposed(tmp_path, methods=["joint"], seeds=12)
    whole = pack_trials(trials, 4, 1)
    stored = {t.id for t in whole[1]}
    queue = TrialQueue(
        rounds_of(trials), lambda asked: {t.id: DONE for t in asked if t.id in stored}, make_packing(4, 1)
    )
    assert queue.pending_packs == [whole[0], whole[2]]


def rounds_of(trials: list[Trial]) -> Generator[list[Trial], dict[str, Result], None]:
    yield trials


def test_a_pack_whose_process_dies_runs_again_in_halves_and_its_culprit_fails_alone(tmp_path: Path) -> None:
    trials = proposed(tmp_path, methods=["joint"], seeds=8)
    culprit, runs = trials[5].id, 0
    queue = TrialQueue(rounds_of(trials), lambda asked: {}, make_packing(8, 1))
    while not queue.is_finished:
        pack = queue.next_pack()
        assert pack is not None
        runs += 1
        if culprit not in {t.id for t in pack}:
            for trial in pack:
                queue.complete(trial, DONE)
        elif not queue.requeue(pack):
            queue.complete(pack[0], Result("failed", None))
    assert [t for t, result in queue.results.items() if result.status == "failed"] == [culprit]
    assert runs == 3 + 3 + MAX_ATTEMPTS  # 8, 4, 2 with it; their other halves; and it alone


def test_a_pack_with_a_checkpoint_goes_on_whole_and_in_halves_if_that_does_not_help(tmp_path: Path) -> None:
    trials = proposed(tmp_path, methods=["joint"], seeds=4)
    queue = TrialQueue(rounds_of(trials), lambda asked: {}, make_packing(4, 1))
    for _ in range(MAX_ATTEMPTS - 1):
        assert (queue.requeue(queue.next_pack() or [], has_checkpoint=True), queue.pending_packs) == (True, [trials])
    assert (queue.requeue(queue.next_pack() or [], has_checkpoint=True), queue.pending_packs) == (
        True,
        [trials[:2], trials[2:]],
    )
