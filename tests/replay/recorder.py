"""The project's own training step with its intermediate values recorded, and their comparison with official ones."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from tests.replay import networks
from trainables.optim import SGD
from trainables.setup import Learner, Setup
from trainables.signals import Guided, Task, leaves
from trainables.step import step

Case = dict[str, Any]
Pairs = Iterator[tuple[str, Any, Any]]  # (what, ours, theirs)


class StepRecorder:
    """The project's own training step; records signals, raw, modulated and final gradients, and buffers."""

    def clipped_step(
        self, net: networks.Net, method: Any, rule: SGD, family: str, learner: Learner, recorded: Case, task: Task
    ) -> tuple[Learner, Case]:
        """Step with the conditional clipping of each script (METHODS.md 6.2, 7)."""
        limit = {"urfunny": 5.0, "ave": None}.get(family, 1.0)
        trigger = limit
        inputs = net.inputs(recorded)
        if family == "mosei":  # its condition has a sign: max > 1 and min < 1
            self.step(net.setup(method, rule), learner, inputs, task)
            head = self.raw.shared["head.weight"]
            limit, trigger = (1.0 if head.max() > 1 and head.min() < 1 else None), None
        result = self.step(net.setup(method, rule, clip=limit, trigger=trigger), learner, inputs, task)
        self.clipped = any(not a.equal(b) for a, b in zip(leaves(self.raw), leaves(self.final), strict=True))
        return result

    def step(
        self, setup: Setup, learner: Learner, inputs: dict[str, Tensor], task: Task, rates: Tensor | None = None
    ) -> tuple[Learner, Case]:
        recorder = self

        class RecordedMethod:
            needs = setup.needs
            init = setup.method.init

            def step(self, state: Any, signals: Any, task: Task, pull: Any) -> Any:
                recorder.signals = tree_map(torch.detach, signals)

                def recorded_pull(f: Any) -> Any:
                    recorder.raw = pull(f)
                    return recorder.raw

                result = setup.method.step(state, signals, task, recorded_pull)
                recorder.modulated = result.grads
                return result

        class RecordedAttributing(RecordedMethod):
            def coalitions(self, modalities: int, task: Task) -> Tensor:
                return setup.method.coalitions(modalities, task)  # type: ignore[attr-defined]

        class RecordedOptimizer:
            init, lrs = setup.optimizer.init, setup.optimizer.lrs

            def update(self, grads: Any, state: Any, params: Any) -> Any:
                recorder.final = grads
                return setup.optimizer.update(grads, state, params)

        method: Any = RecordedAttributing() if hasattr(setup.method, "coalitions") else RecordedMethod()
        if isinstance(setup.method, Guided):
            method.classifier, method.trainer = setup.method.classifier, setup.method.trainer
        after, metrics = step(
            setup._replace(method=method, optimizer=RecordedOptimizer()), learner, inputs, task, rates
        )
        self.buffers = after.buffers
        return after, metrics


def compare_step(
    number: int, known: Case, theirs: Case, net: networks.Net, recorder: StepRecorder, skip: set[str]
) -> Pairs:
    """Compare every official number of a step; one without a counterpart here is reported as not read."""
    for key, value in theirs.items():
        if key in skip:
            continue
        if key.startswith("grads_"):
            known_grads = {"grads_after_backward": recorder.raw, "grads_scaled_before_clip": recorder.modulated}
            grads = known_grads.get(key, recorder.final)
            yield from net.compare_grads(number, key, grads, theirs)
        elif isinstance(value, dict) and any(name.rpartition(".")[2] in networks.STATISTICS for name in value):
            for name, recorded in value.items():
                yield from net.compare(f"{number}.{key}.{name}", name, recorder.final, recorder.buffers, recorded)
        elif isinstance(value, dict):
            for name, recorded in value.items():
                yield f"{number}.{key}.{name}", known.get(f"{key}.{name}"), recorded
        else:
            yield f"{number}.{key}", known.get(key), value
