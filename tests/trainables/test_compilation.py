"""Compiled steps: the same numbers, whoever is given them, and none where it cannot be."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from tests.trainables.helpers import apart
from tests.trainables.test_packs import configurations, differences, tiny
from trainables import compilation
from trainables.compilation import cloned, compiler, lean, signature, way, written_over
from trainables.methods import METHODS
from trainables.setup import alike, prepare, start
from trainables.train import fit_pack, outset, proceed


def brief(method: str, batch_size: int = 16) -> list[dict[str, Any]]:
    """Two trials of three epochs, of 52 samples each: the last batch may be short, which is a step of its own kind."""
    chosen = configurations(method, 2, batch_size=batch_size)
    return [one | {"start": 1, "warmup": 0, "train": one["train"] | {"epochs": 3}} for one in chosen]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's compiler about itself
@pytest.mark.skipif(compiler() is None, reason="there is no C++ compiler")
@pytest.mark.parametrize("count", [2, pytest.param(1, marks=pytest.mark.nightly)])
def test_a_compiled_pack_is_the_same_but_for_rounding(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise, seeds and strengths go through the compiled step as arguments.

    Another pack of the shape takes the step that is there, with its own numbers and data.
    """
    monkeypatch.setattr("trainables.compilation.CACHE", steps := {})
    same = {"start": 1, "warmup": 0, "end": 13, "measure": {"fidelity": 3, "gradients": 2}}
    chosen = [one | same for one in configurations("ogm-ge", 5, batch_size=13)]
    for few, dataset in ((chosen[:3:2][:count], tiny()), (chosen[2::2][:count], tiny(shift=1.0))):
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
    chosen, dataset = brief("joint"), tiny()
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


def test_only_long_packs_are_compiled_unless_the_study_says_so_and_long_ones_that_are_not_are_traced() -> None:
    best = "plain" if compiler() is None else "compiled"
    assert [way(how, 1e12, 20) for how in ("auto", "off", "on")] == ["plain", "plain", best]
    assert [way(how, 1e14, 20) for how in ("auto", "off", "on")] == [best, "plain", best]
    assert way("auto", 1e12, 2000) == way("off", 1e14, 2000) == "traced"


@pytest.mark.parametrize("method", METHODS)
def test_a_traced_pack_has_the_bits_of_a_plain_one(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, dataset, found = brief(method, 16 if method == "agm" else 13), tiny(), []
    for many in (math.inf, 0):
        monkeypatch.setattr("trainables.compilation.MANY", many)
        monkeypatch.setattr("trainables.compilation.CACHE", made := {})
        found.append(fit_pack(chosen, dataset))
        assert len(made) == (0 if many else 1 + (method == "agm"))
        assert None not in made.values()
    for one, other in zip(*found, strict=True):
        assert one.weights == other.weights
        assert max(differences(one, other)) == 0


def test_a_traced_step_does_nothing_idle_twice_or_for_nobody() -> None:
    """Two equal sums are one, whatever views lie between; where one of them is written into, there are two."""

    def step(x: Tensor) -> Tensor:
        x.exp()
        return (x + 1).view(x.shape).expand(x.shape) * (x.view(x.shape) + 1)

    def writing(x: Tensor) -> Tensor:
        return (x + 1).mul_(2) * (x.view(x.shape) + 1)

    x = torch.arange(6.0).view(2, 3)
    for one, calls in ((step, ["add", "mul"]), (writing, ["add", "mul_", "add", "mul"])):
        graph = lean(make_fx(one)(x))
        assert torch.equal(graph(x), one(x))
        assert [node.target.__name__.split(".")[0] for node in graph.graph.nodes if node.op == "call_function"] == calls


@pytest.fixture
def signatures(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What each traced step was given, its learner written over as by a compiled one: all but the compiler's work."""
    given: list[tuple[Any, ...]] = []

    def traced(step: Any, **_: Any) -> Any:
        def noting(*args: Any) -> Any:
            given.append(signature(args))
            return step(*args)

        return noting

    monkeypatch.setattr("trainables.compilation.CACHE", {})
    monkeypatch.setattr("trainables.compilation.compiler", lambda: "c++")
    monkeypatch.setattr(torch, "compile", traced)
    return given


@pytest.mark.parametrize("method", METHODS)
def test_a_trial_that_trains_alone_is_compiled_for_all_of_its_shape(
    method: str, signatures: list[tuple[Any, ...]]
) -> None:
    """Its numbers are arguments, as those of a pack: the next trial takes the step that is there, and keeps its own."""
    dataset = tiny(missing=True)
    for one in brief(method, 13):
        (fast,), (plain,) = fit_pack([one], dataset, compiling="on"), fit_pack([one], dataset)
        assert max(differences(fast, plain)) < 1e-9
    assert [step is not None for step in compilation.CACHE.values()] == [True]
    assert len(set(signatures)) == 1


def test_an_epoch_leaves_the_learner_that_it_began_with(signatures: list[tuple[Any, ...]]) -> None:
    """Its compiled steps write over one of their own: from where a pack stands it can be trained again."""
    trials, dataset = configurations("agm", 2), tiny()
    first = prepare(trials[0], dataset)
    setups = [first, *(alike(first, one) for one in trials[1:])]
    standing = outset(setups, [start(setup) for setup in setups], "on")
    for _ in range(2):
        before = cloned(standing.learner)
        ended, after = proceed(standing, compiling="on")
        assert apart(standing.learner, before) == 0
        assert {i: epoch.rows for i, epoch in proceed(standing, compiling="on")[0].items()} == {
            i: epoch.rows for i, epoch in ended.items()
        }
        standing = after
    assert signatures


def test_a_step_is_compiled_for_one_layout_of_its_learner(signatures: list[tuple[Any, ...]]) -> None:
    """The gradient of AGM's head, and its velocity, come out of a step transposed; it is written over what went in."""
    fit_pack(brief("agm"), tiny(), compiling="on")
    assert len(signatures) == 2 + 4 * 3  # two trials, and the batches, of which the last is short
    assert len(set(signatures)) == 2


def test_a_process_keeps_the_steps_that_it_compiled_last(
    signatures: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sizes 1 and 2 are compiled, 1 is there; 3 takes the place of 1, and 1 that of 2."""

    def halved(data: Any, differing: Any, learner: dict[str, Tensor]) -> Any:
        return {"weight": learner["weight"] / 2}, {}

    monkeypatch.setattr(compilation, "MOST", 2)
    for size in (1, 2, 1, 3, 1):
        learner = {"weight": torch.ones(size)}
        compilation.traced(halved, ((), {}, learner), (), compiles=True).step((), {}, learner)
        assert learner["weight"].tolist() == [0.5] * size
    assert len(compilation.CACHE) == 2
    assert len(signatures) == 5 + 4  # and a trial of each that was compiled
