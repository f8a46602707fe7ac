"""What is said not to act does not act: the same numbers to the last bit; and where it is said to act, it does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ablate.designs import DesignPoint
from ablate.plan import point_trials
from ablate.study import load
from search_spaces.axes import Axis, is_active
from search_spaces.methods import METHODS, TRAINING_CONDITIONS
from tests.ablate.helpers import write
from trainables.data import load as load_data
from trainables.train import Outcome, fit

DATA = {"name": "synthetic", "modalities": 2, "samples": [64, 32, 32]}
CONDITIONAL = [(m, name) for m, axes in METHODS.items() for name, axis in axes.items() if axis.when]
INVALID = {("agm", "score_attr"), ("agm", "filter"), ("agm", "apply")}  # refused where they do not act
REQUIRED_SETTINGS: dict[tuple[str, str], dict[str, Any]] = {  # what a setting needs besides, to be seen
    ("agm", "target"): {"target": {"m0": 1.0, "m1": 3.0}},
    ("agm", "filter"): {"filter": "conv4d"},
    ("agm", "window"): {"window": 1},
    ("agm", "warm"): {"warm": 1.0},
    ("bogc", "draws"): {"where": "repr"},
    ("bogc", "prior"): {"where": "repr"},
    ("bogc", "losses"): {"where": "encoder"},
    ("mses", "first"): {"patience": 0.0},
    ("mslr", "window"): {"window": 1},
    ("cggm", "cls_decay"): {"cls_decay": 0.5},
}
INACTIVE_SETTINGS = {  # where a setting does not act, if the first such place is not allowed
    ("agm", "samples"): {"route": "encoder", "score_attr": "single"},
    ("bogc", "losses"): {"where": "phi"},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """A small trial of every method."""
    file = write(
        tmp_path_factory.mktemp("study"),
        methods=list(METHODS),
        vary=None,
        data=DATA,
        train={"epochs": 4, "batch_size": 32, "lr": 0.1},
    )
    study = load(str(file))
    return {
        method: point_trials(study, method, DesignPoint({}, {}))[0].config for method in METHODS if method != "unimodal"
    }


def train_outcome(config: dict[str, Any], **settings: Any) -> Outcome:
    return fit({**config, "settings": config["settings"] | settings}, load_data(DATA))


def same_outcome(one: Outcome, other: Outcome) -> bool:
    rows = [
        [row._replace(value=repr(row.value)) for row in out.rows if row.metric != "seconds"] for out in (one, other)
    ]
    outputs = zip(one.predictions, other.predictions, strict=True)
    return rows[0] == rows[1] and all(np.array_equal(a.outputs, b.outputs, equal_nan=True) for a, b in outputs)


def other_value(axis: Axis) -> Any:
    """A value that is not the default."""
    if axis.kind == "choice":
        return axis.choices[1]
    return axis.default + 1 if axis.kind == "integer" else 0.7 * axis.default + 0.05


def context(method: str, axis: Axis, *, on: bool) -> dict[str, Any]:
    """Settings beside which the axis acts, or does not."""
    (name, values), *_ = axis.when.items()
    if on:
        return {name: values[0]}
    result = {}
    for name, values in axis.when.items():
        one = METHODS[method][name]
        others = one.choices if one.kind == "choice" else (True, False)
        result[name] = next(value for value in others if value not in values)
    return result


@pytest.mark.parametrize(("method", "name"), CONDITIONAL)
def test_a_setting_acts_where_it_is_said_to_and_nowhere_else(
    method: str, name: str, base: dict[str, dict[str, Any]]
) -> None:
    axis, beside = METHODS[method][name], REQUIRED_SETTINGS.get((method, name), {})
    value = {name: other_value(axis)} | {key: kept for key, kept in beside.items() if key == name}
    more = {key: kept for key, kept in beside.items() if key != name}
    off = INACTIVE_SETTINGS.get((method, name)) or context(method, axis, on=False)
    on = context(method, axis, on=True) | more
    if (method, name) not in INVALID:
        assert same_outcome(train_outcome(base[method], **off), train_outcome(base[method], **off, **value))
    if (method, name) != ("agm", "target"):
        assert not same_outcome(train_outcome(base[method], **on), train_outcome(base[method], **on, **value))


@pytest.mark.parametrize("name", TRAINING_CONDITIONS)
def test_a_setting_of_training_likewise(name: str, base: dict[str, dict[str, Any]]) -> None:
    def trained(optimizer: str, value: float) -> Outcome:
        config = base["joint"]
        return fit({**config, "train": config["train"] | {"optimizer": optimizer, name: value}}, load_data(DATA))

    for optimizer in ("sgd", "adam", "adamw"):
        assert same_outcome(trained(optimizer, 0.1), trained(optimizer, 0.2)) != is_active(
            TRAINING_CONDITIONS[name], {"optimizer": optimizer}
        )


def test_what_decides_is_declared_before_what_depends_on_it() -> None:
    for axes in METHODS.values():
        names = list(axes)
        for place, axis in enumerate(axes.values()):
            assert set(axis.when) <= set(names[:place])


def test_a_trial_has_an_empty_cell_for_what_does_not_act_and_the_id_of_the_default(tmp_path: Path) -> None:
    study = load(str(write(tmp_path, vary={"agm.reference": ["ema", "cumulative"], "agm.beta": [0.5, 0.9]})))
    beside = [
        point_trials(study, "agm", DesignPoint({"agm.reference": r, "agm.beta": b}, {}))[0]
        for r in ("ema", "cumulative")
        for b in (0.5, 0.9)
    ]
    assert [one.labels["agm.beta"] for one in beside] == [0.5, 0.9, None, None]
    assert len({one.id for one in beside}) == 3
    assert beside[2] == point_trials(study, "agm", DesignPoint({"agm.reference": "cumulative"}, {}))[0]
