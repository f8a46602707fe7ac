"""Nothing computes with tensors of two devices: checked without a second device, on tensors that hold no numbers."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental import _config as tracing
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from tests.trainables.helpers import batch, make_learner, make_setup, make_task, network
from tests.trainables.test_methods import Case, published_cases
from tests.trainables.test_packs import tiny
from tests.trainables.test_train import AGM, BASE, trial
from trainables import compilation, train
from trainables.measurements import MEASUREMENTS, concepts
from trainables.measurements.cost import seconds_of
from trainables.methods import METHODS
from trainables.signals import EpochMethod
from trainables.step import step
from trainables.train import fit_pack, step_pack

ITEM = torch.ops.aten._local_scalar_dense.default
COPY = torch.ops.aten._to_copy.default
CONSTRUCTORS = (torch.tensor, torch.as_tensor)
MIXED = (torch.ops.aten.copy_.default, torch.ops.aten.index.Tensor)  # indices of the CPU are copied


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of two devices, as a GPU would; numbers [] of the CPU may join any.

    What is read of a tensor without numbers is 1 everywhere.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        tensors = [t for t in tree_leaves((args, given)) if isinstance(t, Tensor)]
        devices = {t.device.type for t in tensors if t.ndim > 0 or t.device.type != "cpu"}
        if func == ITEM and devices == {"meta"}:
            return torch.ones((), dtype=args[0].dtype).item()
        if func == COPY and devices == {"meta"} and str(given.get("device")) == "cpu":
            return torch.ones(args[0].shape, dtype=given.get("dtype") or args[0].dtype)
        if len(devices) > 1 and func not in MIXED:
            raise RuntimeError(f"{func} on {devices}")
        return func(*args, **given)


class NoWaiting(OneDevice):
    """Also refuses what makes the host wait for a GPU: reading a number, and blocking copies."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        devices = {t.device.type for t in tree_leaves((args, given)) if isinstance(t, Tensor)}
        moves = func == COPY and {str(given.get("device") or "meta"), *devices} == {"cpu", "meta"}
        if (func == ITEM and "meta" in devices) or (moves and not given.get("non_blocking")):
            raise RuntimeError(f"{func} waits")
        return super().__torch_dispatch__(func, types, args, given)


class NoHostTensors(TorchFunctionMode):
    """Refuses tensors that are made of numbers on another device, for which the host would wait, too."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if func in CONSTRUCTORS and str(given.get("device")) == "meta" and not isinstance(args[0], Tensor):
            raise RuntimeError(f"{func} waits")
        return func(*args, **given)


def to_meta(tree: Any) -> Any:
    return tree_map(lambda t: t.detach().to("meta") if isinstance(t, Tensor) else t, tree)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("case", published_cases(), ids=lambda c: f"{c.name}{c.settings or ''}")
def test_a_step_stays_on_its_device_and_the_next_does_not_wait_for_it(case: Case, missing: bool) -> None:
    for modalities, fusion in ((3, "concat"), (1, "sum")):
        setup = make_setup(case.build(), network(modalities, fusion))
        inputs, target = batch(setup.model, 0)
        present = torch.ones(modalities, len(target), dtype=torch.bool)
        present[0, :3] = False
        learner = to_meta(make_learner(setup)._replace(moments=(), state=()))
        learner = learner._replace(
            moments=setup.optimizer.init(learner.params), state=setup.method.init(learner.params)
        )
        setup = setup._replace(model=setup.model._replace(mute_inputs=to_meta(dict(setup.model.mute_inputs))))
        task = make_task(to_meta(target), 0, present=to_meta(present) if missing else None)
        task = task._replace(noise=lambda purpose, like: torch.zeros_like(like))
        there = to_meta(inputs)
        with OneDevice():
            rates = setup.method.rates(learner.state) if isinstance(setup.method, EpochMethod) else None
            after, _ = step(setup, learner, there, task, rates)
        with NoWaiting(), NoHostTensors():
            after, _ = step(setup, after, there, task, rates)
        assert {t.device.type for t in tree_leaves((after.params, after.state)) if t.ndim} == {"meta"}


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("name", list(MEASUREMENTS))
def test_a_trial_is_trained_and_measured_on_its_device(
    name: str, missing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concepts, "SEEDS", 1)
    dataset = tiny(missing=missing)._replace(truth={"a": 0.5, "b": 0.5})
    with OneDevice(), tracing.patch(meta_nonzero_assume_all_nonzero=True):
        (outcome,) = fit_pack([trial(AGM, measure={name: 1}, epochs=1, batch_size=16)], dataset, device="meta")
    assert outcome.status == "done"


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("method", ["agm", "ogm-ge"])
@pytest.mark.parametrize("many", [10**9, 1], ids=["plain", "traced"])
def test_the_steps_of_an_epoch_do_not_wait_for_their_device(
    many: int, method: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {"optimizer": "adam", "schedule": "cosine", "batch_size": 16, "epochs": 2}
    model = BASE["model"] | {"hidden": 6, "dropout": 0.3}
    trials = [trial(METHODS[method], {}, model=model, seed=i, **changes) for i in range(count)]

    def watched(*given: Any, **kwargs: Any) -> Any:
        if given[3] % 4 == 2:
            with NoWaiting(), NoHostTensors():
                return step_pack(*given, **kwargs)
        return step_pack(*given, **kwargs)

    monkeypatch.setattr(train, "step_pack", watched)
    monkeypatch.setattr(compilation, "MIN_TRACED_STEPS", many)
    with OneDevice():
        outcomes = fit_pack(trials, tiny(), compile_mode="auto", device="meta")
    assert {outcome.status for outcome in outcomes} == {"done"}


class CpuCheckpoints:
    """Stores each checkpoint of a pack on the CPU, as a file would."""

    def __init__(self) -> None:
        self.states: list[dict[str, Any]] = []

    def is_due(self) -> bool:
        return True

    def write(self, state: dict[str, Any]) -> None:
        self.states.append(tree_map(lambda t: t.cpu() if isinstance(t, Tensor) else t, state))

    def read(self) -> dict[str, Any]:
        return self.states[0]


def test_a_pack_that_goes_on_is_on_its_device() -> None:
    trials = [trial(METHODS["cggm"], {}, seed=i, measure={"fidelity": 2}, epochs=3, optimizer="adam") for i in range(2)]
    checkpoints = CpuCheckpoints()
    with OneDevice():
        fit_pack(trials, tiny(), device="meta", checkpoints=checkpoints)
        fit_pack(trials, tiny(), device="meta", checkpoints=checkpoints)
    assert [state["number"] for state in checkpoints.states] == [1, 2, 2]


def test_a_step_is_timed_until_a_gpu_has_made_it(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: done.append(f"waited for {device}"))
    seconds_of(lambda: done.append("stepped"), torch.device("cuda"))
    assert done == ["waited for cuda", "stepped", "waited for cuda"]
    seconds_of(lambda: done.append("stepped"), torch.device("cpu"))
    assert done[3:] == ["stepped"]
