"""Points become trials: one a seed, of one modality where the method is alone, resolved."""

from pathlib import Path
from typing import Any

from ablate.search import rounds
from ablate.study import Study, load
from tests.ablate.helpers import here, write


def load_study(tmp_path: Path, **changes: Any) -> Study:
    return load(str(write(tmp_path, **changes)), str(tmp_path / "store"))


def test_unimodal_is_one_trial_of_joint_a_modality_and_seed(tmp_path: Path) -> None:
    study = load_study(tmp_path, methods=["unimodal"], vary=None)
    (proposed,) = list(rounds(study))
    assert [(t.labels["modality"], t.labels["seed"]) for t in proposed] == [("m0", 0), ("m0", 1), ("m1", 0), ("m1", 1)]
    assert {t.config["method"] for t in proposed} == {"trainables.methods.joint:Joint"}


def test_the_learning_rate_follows_the_optimiser_unless_given(tmp_path: Path) -> None:
    (proposed,) = list(rounds(load_study(tmp_path, methods=["joint"], vary={"train.optimizer": ["sgd", "adam"]})))
    assert [t.labels["train.lr"] for t in proposed] == [0.02, 0.02, 0.001, 0.001]


def test_workers_do_not_share_a_batch_that_a_module_of_ones_own_normalises_by(tmp_path: Path) -> None:
    own = {"encoder": "tests.trainables.test_modules:Net"}
    asked = {"vary": None, "methods": ["joint"], "model": own}
    assert here("plan", write(tmp_path, **asked), "--store", tmp_path / "s").returncode == 0
    ended = here("plan", write(tmp_path, **asked, resources={"workers": 2}), "--store", tmp_path / "s")
    assert ended.returncode == 2
    assert "resources.workers: must be 1 if a user-defined module normalises by the batch" in ended.stderr


def test_a_batch_that_a_module_of_ones_own_normalises_by_is_not_passed_in_parts(tmp_path: Path) -> None:
    for kind, code in (("Net", 2), ("Still", 0)):
        own = {"encoder": f"tests.trainables.test_modules:{kind}"}
        file = write(tmp_path, vary={"train.accumulate": [1, 2]}, methods=["joint"], model=own)
        ended = here("plan", file, "--store", tmp_path / "s")
        assert ended.returncode == code
        said = "train.accumulate: must be 1 if a user-defined module normalises by the batch"
        assert (said in ended.stderr) == (code == 2)
