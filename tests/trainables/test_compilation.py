"""Compiled steps: the same numbers, whoever is given them, and none where it cannot be."""

import gc
import math
import weakref
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from tests.trainables.helpers import max_difference
from tests.trainables.test_packs import configurations, dense, relative_differences, tiny
from trainables import compilation
from trainables.compilation import choose_step_mode, clone_contiguous, find_compiler, signature, update_in_place
from trainables.methods import METHODS
from trainables.setup import build_setup, init_learner, replace_trial
from trainables.signals import Params, Pull, Signals, Step, Task
from trainables.train import fit_pack, initial_state, run_epoch


def brief(method: str, batch_size: int = 16) -> list[dict[str, Any]]:
    """Two trials of three epochs, of 52 samples each: the last batch may be short, which is a step of its own kind."""
    chosen = configurations(method, 2, batch_size=batch_size)
    return [one | {"start": 1, "warmup": 0, "train": one["train"] | {"epochs": 3}} for one in chosen]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's compiler about itself
@pytest.mark.skipif(find_compiler() is None, reason="there is no C++ compiler")
@pytest.mark.parametrize(
    ("method", "count"),
    [("ogm-ge", 2), *(pytest.param(method, 1, marks=pytest.mark.nightly) for method in ("ogm-ge", "bogc"))],
)
def test_a_compiled_pack_is_the_same_but_for_rounding(method: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise, seeds and strengths go through the compiled step as arguments.

    Another pack of the shape takes the step that is there, with its own numbers and data.
    """
    monkeypatch.setattr("trainables.compilation.CACHE", steps := {})
    known = []
    same = {"start": 1, "warmup": 0, "end": 13, "measure": {"fidelity": 3, "gradients": 2}}
    chosen = [one | same for one in configurations(method, 5, batch_size=13)]
    for few, dataset in ((chosen[:3:2][:count], tiny()), (chosen[2::2][:count], tiny(shift=1.0))):
        fast = fit_pack(few, dataset, compile_mode="on")
        known.append([*steps])
        for one, other in zip(fast, fit_pack(few, dataset), strict=True):
            assert max(relative_differences(one, other)) < 1e-9
    assert known[0] == known[1]
    assert any(step is not None for step in steps.values())


def test_a_step_that_cannot_be_compiled_is_made_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr("trainables.compilation.CACHE", {})
    monkeypatch.setattr("trainables.compilation.find_compiler", lambda: "c++")
    monkeypatch.setattr(torch, "compile", fails)
    chosen, dataset = brief("joint"), tiny()
    for one, other in zip(fit_pack(chosen, dataset, compile_mode="on"), fit_pack(chosen, dataset), strict=True):
        assert one.rows == other.rows


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's compiler about itself
@pytest.mark.skipif(find_compiler() is None, reason="there is no C++ compiler")
@pytest.mark.parametrize("in_place", [False, True])
def test_what_is_written_over_is_read_first(in_place: bool) -> None:
    """A state that follows another, and metrics that are old ones; a state that is another's old one is not written over."""

    def step(data: Any, differing: Any, learner: dict[str, Tensor]) -> Any:
        now, before = learner["now"], learner["before"]
        after = (now + before) / 2 if in_place else now
        metrics = {"change": before, "first": now[:1]}
        return {"now": now + 1, "before": after, "same": learner["same"]}, metrics

    old = {"now": torch.ones(2), "before": torch.zeros(2), "same": torch.ones(3)}
    wanted, expected = step(None, None, old)
    compiled = compilation.compile_step(step, ((), {}, old), {})
    assert compiled is not None
    given = clone_contiguous(old)
    learner, metrics = compiled((), {}, given)
    assert (learner["now"] is given["now"]) == in_place
    assert {**learner, **metrics}.keys() == {**wanted, **expected}.keys()
    for name, value in {**wanted, **expected}.items():
        assert {**learner, **metrics}[name].tolist() == value.tolist()


def test_a_step_that_cannot_overwrite_its_learner_says_so() -> None:
    old = {"now": torch.ones(2), "before": torch.zeros(2)}
    for new, message in (
        ({"now": torch.ones(1), "before": torch.ones(2)}, "the shape or the type"),
        ({"now": old["before"], "before": old["now"]}, "an old value"),
        ({"now": old["now"].flip(0), "before": old["before"][:1].expand(2)}, "an old value"),
    ):
        with pytest.raises(ValueError, match=message):
            update_in_place(lambda *_, new=new: (new, {}), None, None, old)


def test_only_long_packs_are_compiled_unless_the_study_says_so_and_long_ones_that_are_not_are_traced() -> None:
    best = "plain" if find_compiler() is None else "compiled"
    assert [choose_step_mode(how, 1e12, 20) for how in ("auto", "off", "on")] == ["plain", "plain", best]
    assert [choose_step_mode(how, 1e14, 20) for how in ("auto", "off", "on")] == [best, "plain", best]
    assert [choose_step_mode(how, 1e12, 10**5, is_single=True) for how in ("auto", "off", "on")] == [
        best,
        "plain",
        best,
    ]
    assert choose_step_mode("auto", 1e12, 2000, is_single=True) == "plain"
    assert choose_step_mode("auto", 1e11, 2000) == choose_step_mode("off", 1e14, 2000) == "traced"
    assert choose_step_mode("auto", 1e12, 2000) == ("traced" if find_compiler() is None else "native")


@pytest.mark.parametrize("method", METHODS)
def test_a_traced_pack_has_the_bits_of_a_plain_one(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, dataset, result = brief(method, 16 if method == "agm" else 13), tiny(), []
    for many in (math.inf, 0):
        monkeypatch.setattr("trainables.compilation.MIN_TRACED_STEPS", many)
        monkeypatch.setattr("trainables.compilation.CACHE", made := {})
        result.append(fit_pack(chosen, dataset))
        assert len(made) == (0 if many else 1 + (method == "agm"))
        assert None not in made.values()
    for one, other in zip(*result, strict=True):
        assert one.weights == other.weights
        assert max(relative_differences(one, other)) == 0


def test_positions_without_a_label_are_traced_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A set of the same shapes with a label everywhere has another step."""
    monkeypatch.setattr("trainables.compilation.CACHE", {})
    chosen = brief("agm", 13)
    for dataset in (dense(share=0), dense()):
        monkeypatch.setattr("trainables.compilation.MIN_TRACED_STEPS", math.inf)
        plain = fit_pack(chosen, dataset)
        monkeypatch.setattr("trainables.compilation.MIN_TRACED_STEPS", 0)
        assert [one.weights for one in fit_pack(chosen, dataset)] == [one.weights for one in plain]


def twice(x: Tensor) -> Tensor:
    x.exp()
    return (x + 1).view(x.shape).expand(x.shape) * (x.view(x.shape) + 1)


def written_into(x: Tensor) -> Tensor:
    return (x + 1).mul_(2) * (x.view(x.shape) + 1) * (x.view(x.shape) + 1)


def read_before_and_after(x: Tensor) -> Tensor:
    y = x + 0
    before = y + 1
    y[:1].mul_(2)
    return before * (y + 1)


def turned_in_place(x: Tensor) -> Tensor:
    p = torch.softmax(x, -1)
    q = p.detach().t_()
    return p[:, 0].sum() + q[0].sum() + x.detach().unsqueeze_(0).ndim


def equal_numbers(x: Tensor) -> Tensor:
    i = torch.arange(2)
    return (i * 2).sum() + (i * 2.0).mean() + torch.copysign(x, x * 0.0).sum() + torch.copysign(x, x * -0.0).sum()


def random(x: Tensor) -> Tensor:
    return torch.rand(3) - torch.rand(3)


@pytest.mark.parametrize("step", [written_into, read_before_and_after, turned_in_place, equal_numbers, random, twice])
def test_a_traced_step_does_nothing_idle_twice_or_for_nobody(step: Any) -> None:
    """Equal sums are one, whatever views lie between; but not where one of them is written into, nor what is drawn."""
    x = torch.arange(6.0).view(2, 3)
    fast: Any = compilation.trace_step(step, (x,))
    result = []
    for one in (fast, step):
        torch.manual_seed(0)
        result.append(one(x))
    assert torch.equal(*result)
    assert x.tolist() == [[0, 1, 2], [3, 4, 5]]
    calls = [node.name for node in fast.graph.nodes if node.op == "call_function"]
    assert calls == ["add", "mul"] or step is not twice


@pytest.fixture
def signatures(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What each traced step was given, its learner written over as by a compiled one: all but the compiler's work.

    They are no programs.
    """
    given: list[tuple[Any, ...]] = []

    def traced(step: Any, **_: Any) -> Any:
        def noting(*args: Any) -> Any:
            given.append(signature(args))
            return step(*args)

        return noting

    monkeypatch.setattr("trainables.compilation.CACHE", {})
    monkeypatch.setattr("trainables.compilation.find_compiler", lambda: "c++")
    monkeypatch.setattr("trainables.compilation.load_run_program", lambda: None)
    monkeypatch.setattr(torch, "compile", traced)
    return given


@pytest.mark.parametrize("missing", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_a_trial_that_trains_alone_is_compiled_for_all_of_its_shape(
    method: str, missing: bool, signatures: list[tuple[Any, ...]]
) -> None:
    """Its numbers are arguments, as those of a pack: the next trial takes the step that is there, and keeps its own."""
    dataset = tiny(missing=missing)
    for one in brief(method, 13):
        (fast,), (plain,) = fit_pack([one], dataset, compile_mode="on"), fit_pack([one], dataset)
        assert max(relative_differences(fast, plain)) < 1e-9
    assert [step is not None for step in compilation.CACHE.values()] == [True]
    assert len(set(signatures)) == 1


@pytest.mark.parametrize(("count", "operation"), [(1, "log_floors"), (2, "floored_log")])
def test_the_evidence_of_a_trial_alone_is_taken_apart_for_the_compiler(
    count: int, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    result: list[str] = []

    def noted(step: Any, **_: Any) -> Any:
        result.extend(str(node.target) for node in step.graph.nodes if "ablate" in str(node.target))
        return step

    monkeypatch.setattr("trainables.compilation.CACHE", {})
    monkeypatch.setattr("trainables.compilation.find_compiler", lambda: "c++")
    monkeypatch.setattr(torch, "compile", noted)
    fit_pack(brief("bogc", 16)[:count], tiny(), compile_mode="on")
    assert set(result) == {f"ablate.{operation}.default"}


def test_a_compiled_pack_goes_on_with_the_last_of_its_trials(signatures: list[tuple[Any, ...]]) -> None:
    longer, shorter = brief("agm")
    chosen, dataset = [longer, shorter | {"train": shorter["train"] | {"epochs": 2}}], tiny()
    fast = fit_pack(chosen, dataset, compile_mode="on")
    for one, other in zip(fast, [fit_pack([each], dataset)[0] for each in chosen], strict=True):
        assert max(relative_differences(one, other)) < 1e-9
    assert len(set(signatures)) == 2 * 2  # whole and short batches, of two trials and of one


class Counting(NamedTuple):
    """Joint training that looks a number up, and so cannot be traced; and that counts its steps."""

    floor: float = 0.5

    def init(self, params: Params) -> Tensor:
        return torch.zeros(())

    def step(self, state: Tensor, signals: Signals, task: Task, pull: Pull) -> Step:
        factor = {0.5: 1.0}[self.floor]
        return Step(pull(lambda s: factor * task.objective(s.logits)), state + 1, {"steps": state})


@pytest.mark.usefixtures("signatures")
def test_a_trial_whose_step_cannot_be_traced_trains_as_it_is() -> None:
    one = brief("joint")[0] | {"method": f"{__name__}:Counting", "settings": {"floor": 0.5}}
    (asked,), (plain,) = fit_pack([one], tiny(), compile_mode="on"), fit_pack([one], tiny())
    assert asked.rows == plain.rows
    assert list(compilation.CACHE.values()) == [None, None]


class Growing(NamedTuple):
    """Joint training by a state that keeps all losses; how many there are scales the gradients."""

    factor: float = 1.0

    def init(self, params: Params) -> Tensor:
        return torch.zeros(1)

    def step(self, state: Tensor, signals: Signals, task: Task, pull: Pull) -> Step:
        grads = pull(lambda s: task.objective(s.logits) * self.factor / len(state))
        loss = task.objective(signals.logits.detach()).to(state)
        return Step(grads, torch.cat([state, loss[None]]), {"count": torch.tensor(float(len(state)))})


@pytest.mark.usefixtures("signatures")
@pytest.mark.parametrize("compile_mode", ["off", "on"])
def test_a_learner_that_grows_trains_in_a_pack_as_alone(compile_mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A traced step would give a state of one length, whatever it is given."""
    monkeypatch.setattr("trainables.compilation.MIN_TRACED_STEPS", 1)
    method = {"method": f"{__name__}:Growing", "settings": {"factor": 1.0}}
    chosen, dataset = [one | method for one in brief("joint")], tiny()
    for one, other in zip(fit_pack(chosen, dataset, compile_mode=compile_mode), chosen, strict=True):
        assert max(relative_differences(one, fit_pack([other], dataset)[0])) < 1e-9
    assert set(compilation.CACHE.values()) == {None}


def test_another_deal_of_the_data_takes_the_steps_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.compilation.CACHE", steps := {})
    monkeypatch.setattr("trainables.compilation.MIN_TRACED_STEPS", 1)
    for deal, dataset in enumerate((tiny(), tiny(shift=1.0))):
        chosen = [one | {"data": {"deal": deal}} for one in brief("agm")]
        for one, other in zip(fit_pack(chosen, dataset), chosen, strict=True):
            assert max(relative_differences(one, fit_pack([other], dataset)[0])) < 1e-9
    assert len(steps) == 2  # whole and short batches


def test_an_epoch_leaves_the_learner_that_it_began_with(signatures: list[tuple[Any, ...]]) -> None:
    """Its compiled steps write over one of their own: from where a pack stands it can be trained again."""
    trials, dataset = configurations("agm", 2), tiny()
    first = build_setup(trials[0], dataset)
    setups = [first, *(replace_trial(first, one) for one in trials[1:])]
    state = initial_state(setups, [init_learner(setup) for setup in setups], "on")
    for _ in range(2):
        before = clone_contiguous(state.learner)
        ended, after = run_epoch(state, compile_mode="on")
        assert max_difference(state.learner, before) == 0
        assert {i: epoch.rows for i, epoch in run_epoch(state, compile_mode="on")[0].items()} == {
            i: epoch.rows for i, epoch in ended.items()
        }
        state = after
    assert signatures


def test_a_step_is_compiled_for_one_layout_of_its_learner(signatures: list[tuple[Any, ...]]) -> None:
    """The gradient of AGM's head, and its velocity, come out of a step transposed; it is written over what went in."""
    fit_pack(brief("agm"), tiny(), compile_mode="on")
    assert len(signatures) == 2 + 4 * 3  # two trials, and the batches, of which the last is short
    assert len(set(signatures)) == 2


def test_a_process_keeps_the_steps_that_it_compiled_last(
    signatures: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sizes 1 and 2 are compiled, 1 is there; 3 takes the place of 2, and 1 is there again."""

    def halved(data: Any, differing: Any, learner: dict[str, Tensor]) -> Any:
        return {"weight": learner["weight"] / 2}, {}

    monkeypatch.setattr(compilation, "CACHE_SIZE", 2)
    for size in (1, 2, 1, 3, 1):
        learner = {"weight": torch.ones(size)}
        step = compilation.trace_or_compile(halved, ((), {}, learner), (), "compiled", blocks=None).step
        assert step is not None
        step((), {}, learner)
        assert learner["weight"].tolist() == [0.5] * size
    assert len(compilation.CACHE) == 2
    assert len(signatures) == 5 + 3  # and a trial of each that was compiled


def test_garbage_is_not_looked_for_among_what_a_compiler_leaves(signatures: list[tuple[Any, ...]]) -> None:
    class Ring:
        """An object that only the collector can free."""

        def __init__(self) -> None:
            self.itself = self

    old = weakref.ref(Ring())
    kept = Ring()
    later = weakref.ref(kept)
    try:
        fit_pack(brief("joint"), tiny(), compile_mode="on")
        assert gc.get_freeze_count() > 100_000  # nearly all that exist
        assert len(gc.get_objects()) < gc.get_freeze_count() / 2
        assert old() is None
        del kept
        compilation.exempt_from_collection()
        assert later() is None
    finally:
        gc.unfreeze()
