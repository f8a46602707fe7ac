"""Nothing computes with tensors of two devices: checked without a second device, on tensors that hold no numbers."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental import _config as tracing
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from tests.trainables.helpers import batch, network, pose, setup, untrained
from tests.trainables.test_methods import Case, published
from tests.trainables.test_packs import tiny
from tests.trainables.test_train import AGM, trial
from trainables.measurements import MEASUREMENTS, concepts
from trainables.measurements.cost import timed
from trainables.signals import EpochMethod
from trainables.step import step
from trainables.train import fit_pack

READ = torch.ops.aten._local_scalar_dense.default
COPY = torch.ops.aten._to_copy.default
MIXED = (torch.ops.aten.copy_.default, torch.ops.aten.index.Tensor)  # indices of the CPU are copied
ASKING = {"agm": [{"samples": 4}]}  # their noise is drawn where the generator is, which has no numbers here
CASES = [
    c for c in published() if c.settings not in ASKING.get(c.name, []) and c.settings.get("estimator") != "laplace"
]


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of two devices, as a GPU would; numbers [] of the CPU may join any.

    What is read of a tensor without numbers is 1 everywhere.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        tensors = [t for t in tree_leaves((args, given)) if isinstance(t, Tensor)]
        devices = {t.device.type for t in tensors if t.ndim > 0 or t.device.type != "cpu"}
        if func == READ and devices == {"meta"}:
            return torch.ones((), dtype=args[0].dtype).item()
        if func == COPY and devices == {"meta"} and str(given.get("device")) == "cpu":
            return torch.ones(args[0].shape, dtype=given.get("dtype") or args[0].dtype)
        if len(devices) > 1 and func not in MIXED:
            raise RuntimeError(f"{func} on {devices}")
        return func(*args, **given)


def elsewhere(tree: Any) -> Any:
    return tree_map(lambda t: t.detach().to("meta") if isinstance(t, Tensor) else t, tree)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.name}{c.settings or ''}")
def test_a_step_stays_on_its_device(case: Case, missing: bool) -> None:
    for modalities, fusion in ((3, "concat"), (1, "sum")):
        made = setup(case.build(), network(modalities, fusion))
        inputs, target = batch(made.model, 0)
        present = torch.ones(modalities, len(target), dtype=torch.bool)
        present[0, :3] = False
        learner = elsewhere(untrained(made)._replace(moments=(), state=()))
        learner = learner._replace(moments=made.optimizer.init(learner.params), state=made.method.init(learner.params))
        made = made._replace(model=made.model._replace(silence=elsewhere(dict(made.model.silence))))
        task = pose(elsewhere(target), 0, present=elsewhere(present) if missing else None)
        task = task._replace(noise=lambda purpose, like: torch.zeros_like(like))
        with OneDevice():
            rates = made.method.rates(learner.state) if isinstance(made.method, EpochMethod) else None
            after, _ = step(made, learner, elsewhere(inputs), task, rates)
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


def test_a_step_is_timed_until_a_gpu_has_made_it(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: done.append(f"waited for {device}"))
    timed(lambda: done.append("stepped"), torch.device("cuda"))
    assert done == ["waited for cuda", "stepped", "waited for cuda"]
    timed(lambda: done.append("stepped"), torch.device("cpu"))
    assert done[3:] == ["stepped"]
