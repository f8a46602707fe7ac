"""Compiled steps: the same numbers, whoever is given them, and none where it cannot be."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainables.test_packs import configurations, differences, tiny
from trainables.compilation import compiler, worthwhile, written_over
from trainables.train import fit_pack


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's compiler about itself
@pytest.mark.skipif(compiler() is None, reason="there is no C++ compiler")
def test_a_compiled_pack_is_the_same_but_for_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise, seeds and strengths go through the compiled step as arguments; the short last batch goes beside it.

    Another pack of the shape takes the step that is there, with its own numbers and data.
    """
    monkeypatch.setattr("trainables.compilation.CACHE", steps := {})
    same = {"start": 1, "warmup": 0, "end": 13, "measure": {"fidelity": 3, "gradients": 2}}
    chosen = [one | same for one in configurations("ogm-ge", 5)]
    for few, dataset in ((chosen[:3:2], tiny()), (chosen[1::3], tiny(shift=1.0))):
        fast = fit_pack(few, dataset, compiling="on")
        assert [step is not None for step in steps.values()] == [True]
        for one, other in zip(fast, fit_pack(few, dataset), strict=True):
            assert max(differences(one, other)) < 1e-9


def test_a_step_that_cannot_be_compiled_is_made_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr("trainables.compilation.CACHE", {})
    monkeypatch.setattr("trainables.compilation.compiler", lambda: "c++")
    monkeypatch.setattr(torch, "compile", fails)
    chosen, dataset = configurations("joint", 2), tiny()
    for one, other in zip(fit_pack(chosen, dataset, compiling="on"), fit_pack(chosen, dataset), strict=True):
        assert one.rows == other.rows


def test_what_is_written_over_is_read_first() -> None:
    """A state that remembers the one before, and a metric that is the old one."""
    old = {"now": torch.ones(2), "before": torch.zeros(2)}

    def step(data: Any, differing: Any, learner: dict[str, Tensor]) -> Any:
        return {"now": learner["now"] + 1, "before": learner["now"]}, {"change": learner["before"]}

    learner, metrics = written_over(step, None, None, old)
    assert learner is old
    assert [each.tolist() for each in (*learner.values(), *metrics.values())] == [[2, 2], [1, 1], [0, 0]]
    with pytest.raises(ValueError, match="the shape or the type"):
        written_over(lambda *_: ({"now": torch.ones(1), "before": torch.ones(2)}, {}), None, None, old)


def test_only_long_packs_are_compiled_unless_the_study_says_so() -> None:
    assert [worthwhile(how, 1e12) for how in ("auto", "off", "on")] == [False, False, compiler() is not None]
    assert worthwhile("auto", 1e14) == (compiler() is not None)
