"""Methods of one's own: what their hyperparameters may be, and what a study may set of them."""

from pathlib import Path
from typing import Any, Literal, Optional

import pytest

from ablate.methods import infer_axis
from ablate.search import rounds
from ablate.study import load
from search_spaces.axes import Axis
from search_spaces.methods import ACTIVE_EPOCHS
from tests.ablate.helpers import ROOT, here, table, train, write

FIELDS = "k: Literal[1, 2] = 1\n    limit: float | None = None\n    factor: float = 0.5"
USED = "self.k * (self.factor if self.limit is None else self.limit)"


@pytest.fixture
def user_method(tmp_path: Path) -> Path:
    """A folder with a method that has a hyperparameter of each kind, `mine:Half`."""
    method = (ROOT / "ablate/templates/method.py").read_text()
    for old, new in (("factor: float = 0.5", FIELDS), ("self.factor", USED), ("import Named", "import Literal, Named")):
        assert old in method
        method = method.replace(old, new)
    (tmp_path / "mine.py").write_text(method)
    return tmp_path


@pytest.mark.parametrize("name", ACTIVE_EPOCHS)
def test_a_setting_of_ones_own_does_not_have_the_name_of_an_epoch_in_which_methods_act(
    name: str, user_method: Path
) -> None:
    (user_method / "mine.py").write_text(
        (user_method / "mine.py").read_text().replace("    k: ", f"    {name}: int = 3\n    k: ")
    )
    ended = here("plan", write(user_method, methods=["mine:Half"], vary=None), "--store", user_method / "s")
    assert (ended.returncode, ended.stdout) == (2, "")
    said = f"methods[0]: `mine:Half` has a setting `{name}` of its own; start, warmup, end are settings of every method"
    assert said in ended.stderr


@pytest.mark.parametrize(
    ("default", "hint", "axis"),
    [
        (0.5, float, Axis(0.5, "number")),
        (1, float, Axis(1, "number")),
        (1, int, Axis(1, "integer")),
        (1, None, Axis(1, "integer")),
        (True, bool, Axis(True, "flag")),
        (None, float | None, Axis(None, "number", nullable=True)),
        (2, Optional[int], Axis(2, "integer", nullable=True)),  # noqa: UP045  (as it is in older code)
        (None, bool | None, Axis(None, "choice", choices=(True, False, None))),
        ("a", str, Axis("a", "choice", choices=("a",))),
        ("a", str | None, Axis("a", "choice", choices=("a", None))),
        (None, None, Axis(None, "choice", choices=(None,))),
        ("a", Literal["a", "b"], Axis("a", "choice", choices=("a", "b"))),
        (1, Literal[1, 2, True], Axis(1, "choice", choices=(1, 2, True))),
        (None, Literal["a", None], Axis(None, "choice", choices=("a", None))),
        (None, Literal["a"] | None, Axis(None, "choice", choices=("a", None))),
        (0.5, float | Literal["a"], Axis(0.5, "number")),
    ],
)
def test_a_hyperparameter_is_set_as_it_is_annotated(default: Any, hint: Any, axis: Axis) -> None:
    assert infer_axis(default, hint) == axis
    assert axis.check(default) == default


def test_a_number_or_none_and_a_choice_of_integers_are_set_and_varied(user_method: Path) -> None:
    vary = {"Half.limit": [None, 0.25, 1], "Half.k": [1, 2]}
    file = write(user_method, methods=["mine:Half"], vary=vary, seeds=1, train={"epochs": 1})
    (proposed,) = list(rounds(load(str(file), str(user_method / "s"))))
    given = [(trial.config["settings"]["limit"], trial.config["settings"]["k"]) for trial in proposed]
    assert given == [(limit, k) for k in (1, 2) for limit in (None, 0.25, 1.0)]
    assert len(train(file, user_method / "s")) == 6
    assert here("run", file, "--store", user_method / "s").returncode == 0
    trials = table(user_method / "s", "small", "trials")
    assert trials["status"].to_list() == ["done"] * 6
    assert trials["Half.limit"].to_list() == [None, 0.25, 1.0] * 2
    assert trials["test.loss"].n_unique() == 4  # products: a quarter, a half, 1 and 2
    fixed = write(
        user_method,
        methods=["mine:Half"],
        vary=None,
        seeds=1,
        set={"Half.limit": None, "Half.k": 1},
        train={"epochs": 1},
    )
    assert here("plan", fixed, "--store", user_method / "s").stdout.startswith(
        "small on synthetic: 1 trial, 1 in the store,"
    )


@pytest.mark.parametrize(
    ("setting", "value", "rule"),
    [
        ("limit", "much", "must be a number or null, got 'much'"),
        ("k", 3, "must be one of 1, 2, got 3"),
        ("k", True, "must be one of 1, 2, got true"),
        ("k", None, "must be one of 1, 2, got nothing"),
    ],
)
def test_a_value_that_it_cannot_have_is_refused(setting: str, value: Any, rule: str, user_method: Path) -> None:
    file = write(user_method, methods=["mine:Half"], vary=None, set={f"Half.{setting}": value})
    ended = here("plan", file, "--store", user_method / "s")
    assert ended.returncode == 2
    assert ended.stderr.endswith(f"set.Half.{setting}: {rule}\n")
