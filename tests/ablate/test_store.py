"""The store: packs are found, read and checked; what is damaged is passed over, and the rest is used."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ablate import schema, store
from ablate.errors import UserError
from ablate.shards import write_shard
from ablate.trial import Trial
from trainables.evaluation import Prediction, Row
from trainables.train import Outcome


def trial(number: int) -> Trial:
    labels = {"method": "agm", "modality": None, "seed": None, "agm.alpha": number / 2}
    return Trial(f"{number:020x}", {}, labels, number)


def outcome(number: int, status: str = "done") -> Outcome:
    """An outcome in which every number tells the trial it is of."""
    final = {"validation.accuracy": float(number), "test.accuracy": -float(number)} if status == "done" else {}
    rows = [Row(1, 3, "train", None, "loss", number + 0.5), Row(1, 3, "validation", "m0", "scale", float(number))]
    guess = Prediction(split="test", target=np.array([0, 1]), outputs=np.full((2, 3), number, dtype=np.float32))
    return Outcome(status, None if status == "done" else "nan", 1.0, 3, 7, final, rows, [guess] * (status == "done"))


def fill(folder: Path, *packs: list[int]) -> None:
    for numbers in packs:
        store.write_pack(folder, [(trial(n), outcome(n, "diverged" if n == 3 else "done")) for n in numbers])


def test_a_pack_is_a_handful_of_files_and_every_trial_is_found_in_it(tmp_path: Path) -> None:
    fill(tmp_path, [0, 1, 2, 3], [4])
    assert len(list((tmp_path / "trials").rglob("*.*"))) == 2 * 4
    assert store.locate(tmp_path, (trial(n).id for n in range(7))).keys() == {trial(n).id for n in range(5)}
    result, bad = store.load_results(tmp_path, (trial(n).id for n in range(7)), "accuracy")
    assert bad == []
    assert result == {trial(n).id: ("done", float(n)) for n in (0, 1, 2, 4)} | {trial(3).id: ("diverged", None)}
    pack = store.locate(tmp_path, [trial(2).id])[trial(2).id]
    metrics, guesses = (store.read_table(pack, table).filter(trial=trial(2).id) for table in ("metrics", "predictions"))
    assert metrics["value"].to_list() == [2.5, 2.0]
    assert guesses["output"].to_list() == [[2.0] * 3] * 2


def test_a_store_of_the_first_version_is_read_as_it_is(tmp_path: Path) -> None:
    """It had one folder a trial, without an index."""
    fill(tmp_path, [0], [1, 2])
    (tmp_path / "trials" / trial(0).id / "index.json").unlink()
    result, bad = store.load_results(tmp_path, [trial(0).id, trial(1).id], "accuracy")
    assert (result, bad) == ({trial(0).id: ("done", 0.0), trial(1).id: ("done", 1.0)}, [])


def test_the_next_run_gives_a_store_of_the_first_version_its_checksums(tmp_path: Path) -> None:
    """What is damaged in it gets none, and is found to be damaged as before."""
    fill(tmp_path, [0], [1])
    whole, broken = (tmp_path / "trials" / trial(n).id for n in (0, 1))
    written = (whole / "index.json").read_text()
    for folder in (whole, broken):
        (folder / "index.json").unlink()
    (broken / "metrics.parquet").write_bytes(b"PAR1")
    assert schema.schema_version(tmp_path) == 1
    schema.migrate(tmp_path)
    assert schema.schema_version(tmp_path) == schema.SCHEMA
    assert (whole / "index.json").read_text() == written
    assert isinstance(store.find_damage(broken), store.DamagedError)


@pytest.mark.parametrize("text", [str(schema.SCHEMA + 1), "x", ""])
def test_a_store_of_a_later_version_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "schema").write_text(text)
    with pytest.raises(UserError, match="this release reads versions up to 2; install a newer release"):
        schema.migrate(tmp_path)


@pytest.mark.parametrize("name", ["trials.parquet", "metrics.parquet", "predictions.parquet", "index.json"])
@pytest.mark.parametrize("numbers", [[0], [0, 1]])
def test_what_is_cut_short_is_named_and_the_rest_is_used(tmp_path: Path, name: str, numbers: list[int]) -> None:
    fill(tmp_path, numbers, [2, 3])
    folder = store.locate(tmp_path, [trial(0).id])[trial(0).id]
    file = folder / name
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    store.indexed_trial_ids.cache_clear()  # as in another process
    result, bad = store.load_results(tmp_path, (trial(n).id for n in range(4)), "accuracy")
    assert set(result) == {trial(2).id, trial(3).id}
    assert [(problem.folder, name in str(problem)) for problem in bad] == [(folder, True)]
    kept = store.set_aside(folder)
    assert (kept / name).read_bytes() == whole[: len(whole) // 2]
    fill(tmp_path, numbers)  # the trials run again
    result, bad = store.load_results(tmp_path, (trial(n).id for n in range(4)), "accuracy")
    assert (len(result), bad) == (2 + len(numbers), [])
    assert (kept / name).is_file()


@pytest.mark.parametrize("indexed", [True, False])
def test_a_changed_byte_is_noticed_where_it_can_be(tmp_path: Path, indexed: bool) -> None:
    """By the checksum; without one, of the first version, where Parquet itself can tell."""
    fill(tmp_path, [0])
    folder = tmp_path / "trials" / trial(0).id
    if not indexed:
        (folder / "index.json").unlink()
    content = bytearray((folder / "metrics.parquet").read_bytes())
    content[len(content) // 2 if indexed else -6] ^= 255
    (folder / "metrics.parquet").write_bytes(content)
    assert isinstance(store.find_damage(folder), store.DamagedError)


def test_a_whole_folder_is_never_set_aside_or_replaced(tmp_path: Path) -> None:
    fill(tmp_path, [0, 1])
    folder = store.locate(tmp_path, [trial(0).id])[trial(0).id]
    before = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    store.set_aside(folder)
    fill(tmp_path, [0, 1])
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == before
    assert [path.name for path in (tmp_path / "trials").iterdir()] == [folder.name]


@pytest.mark.parametrize(
    "left", ["{", "[" * 100_000, "null", '{"trials": [[1]], "files": {}}', '{"trials": ["a"], "files": null}'],
    ids=["cut", "deep", "null", "trials", "files"],
)  # fmt: skip
def test_a_pack_written_over_a_damaged_one_is_not_lost(left: str, tmp_path: Path) -> None:
    fill(tmp_path, [0, 1])
    folder = store.locate(tmp_path, [trial(0).id])[trial(0).id]
    (folder / "index.json").write_text(left)
    assert "its index.json cannot be read" in str(store.find_damage(folder))
    fill(tmp_path, [0, 1])
    assert store.find_damage(folder) is None
    assert json.loads((folder / "index.json").read_text())["trials"] == [trial(0).id, trial(1).id]


@pytest.mark.parametrize("numbers", [[0], [0, 1]])
def test_a_pack_whose_index_names_other_trials_than_the_folder_is_damaged(numbers: list[int], tmp_path: Path) -> None:
    fill(tmp_path, numbers)
    trials = [trial(n).id for n in numbers]
    folder = tmp_path / "trials" / store.pack_name(trials)
    (folder / "index.json").write_text('{"trials": ["x"], "files": {}}')
    result, bad = store.load_results(tmp_path, trials, "accuracy")
    assert (result, [str(damage) for damage in bad]) == (
        {},
        [f"{folder} is damaged: its index.json names other trials"],
    )
    fill(tmp_path, numbers)
    result, bad = store.load_results(tmp_path, trials, "accuracy")
    assert (set(result), bad) == (set(trials), [])


def test_a_trial_in_two_packs_is_read_from_one_of_them(tmp_path: Path) -> None:
    """Two drivers packed it differently; its rows come once, and all from the same pack."""
    fill(tmp_path, [0, 1], [1, 2], [1])
    plan = [trial(n) for n in (2, 1, 0)]
    write_shard(tmp_path, tmp_path / "study", plan, {}, 0)
    trials = pl.read_parquet(tmp_path / "study/trials/*.parquet")
    assert trials["seed"].to_list() == [2, 1, 0]
    assert pl.read_parquet(tmp_path / "study/metrics/*.parquet")["trial"].to_list() == [
        t.id for t in plan for _ in "ab"
    ]


def test_tables_follow_the_plan_whatever_the_packs(tmp_path: Path) -> None:
    plan = [trial(n) for n in (5, 3, 0, 9, 1, 4, 2)]
    fill(tmp_path / "one", [0], [1], [2], [3], [4], [5])
    fill(tmp_path / "two", [4, 0, 5], [1, 2, 3])
    for name in ("one", "two"):
        write_shard(tmp_path / name, tmp_path / name / "study", plan, {trial(9).id: "broke"}, 0)
    for table in ("trials", "metrics", "predictions"):
        one, two = (pl.read_parquet(tmp_path / name / "study" / table / "*.parquet") for name in ("one", "two"))
        assert one.equals(two)
    trials = pl.read_parquet(tmp_path / "one/study/trials/*.parquet")
    assert trials["status"].to_list() == ["done", "diverged", "done", "failed", "done", "done", "done"]
    assert trials["agm.alpha"].to_list() == [2.5, 1.5, 0, 4.5, 0.5, 2, 1]
    assert trials["error"].to_list() == [None, "nan", None, "broke", None, None, None]


def test_a_run_is_found_in_its_store_at_any_depth(tmp_path: Path) -> None:
    assert schema.find_store(tmp_path / "a/b") == tmp_path / "a"
    schema.write_version(tmp_path)
    assert schema.find_store(tmp_path / "a/b") == tmp_path


def test_folders_that_were_written_half_are_no_trials(tmp_path: Path) -> None:
    fill(tmp_path, [0])
    shutil.copytree(tmp_path / "trials" / trial(0).id, tmp_path / "trials" / f".{trial(1).id}.x" / trial(1).id)
    assert store.locate(tmp_path, [trial(0).id, trial(1).id]).keys() == {trial(0).id}
