"""Nothing computes with tensors of two devices: checked without a second device, on tensors that hold no numbers."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from tests.trainables.helpers import batch, network, pose, setup, untrained
from tests.trainables.test_methods import Case, published
from trainables.signals import EpochMethod
from trainables.step import step

MOVES = ("_to_copy", "copy_", "aten.to", "aten._local_scalar_dense")
ASKING = {"agm": [{"samples": 4}]}  # their noise is drawn where the generator is, which has no numbers here
CASES = [
    c for c in published() if c.settings not in ASKING.get(c.name, []) and c.settings.get("estimator") != "laplace"
]


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of two devices, as a GPU would; numbers [] of the CPU may join any."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        devices = {t.device.type for t in tensors if t.ndim > 0 or t.device.type != "cpu"}
        if len(devices) > 1 and not any(name in str(func) for name in MOVES):
            raise RuntimeError(f"{func} on {devices}")
        return func(*args, **(kwargs or {}))


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
