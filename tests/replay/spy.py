"""The project's own training step, with what passes through it written down, and its numbers beside the official."""

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


class Spied:
    """The project's own training step, with what passes through it written down."""

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
        made = self.step(net.setup(method, rule, clip=limit, trigger=trigger), learner, inputs, task)
        self.clipped = any(not a.equal(b) for a, b in zip(leaves(self.raw), leaves(self.final), strict=True))
        return made

    def step(
        self, setup: Setup, learner: Learner, inputs: dict[str, Tensor], task: Task, rates: Tensor | None = None
    ) -> tuple[Learner, Case]:
        spy = self

        class Watched:
            needs = setup.needs
            init = setup.method.init

            def step(self, state: Any, signals: Any, task: Task, pull: Any) -> Any:
                spy.signals = tree_map(torch.detach, signals)

                def watched(f: Any) -> Any:
                    spy.raw = pull(f)
                    return spy.raw

                made = setup.method.step(state, signals, task, watched)
                spy.made = made.grads
                return made

        class Attributing(Watched):
            def coalitions(self, modalities: int, task: Task) -> Tensor:
                return setup.method.coalitions(modalities, task)  # type: ignore[attr-defined]

        class Applied:
            init, lrs = setup.optimizer.init, setup.optimizer.lrs

            def update(self, grads: Any, state: Any, params: Any) -> Any:
                spy.final = grads
                return setup.optimizer.update(grads, state, params)

        watched: Any = Attributing() if hasattr(setup.method, "coalitions") else Watched()
        if isinstance(setup.method, Guided):
            watched.classifier, watched.trainer = setup.method.classifier, setup.method.trainer
        after, metrics = step(setup._replace(method=watched, optimizer=Applied()), learner, inputs, task, rates)
        self.buffers = after.buffers
        return after, metrics


def against(number: int, known: Case, theirs: Case, net: networks.Net, spied: Spied, skip: set[str]) -> Pairs:
    """Compare every official number of a step; one that nothing here answers to counts as unread."""
    for key, value in theirs.items():
        if key in skip:
            continue
        if key.startswith("grads_"):
            known_grads = {"grads_after_backward": spied.raw, "grads_scaled_before_clip": spied.made}
            grads = known_grads.get(key, spied.final)
            yield from net.compare_grads(number, key, grads, theirs)
        elif isinstance(value, dict) and any(name.rpartition(".")[2] in networks.STATISTICS for name in value):
            for name, recorded in value.items():
                yield from net.compare(f"{number}.{key}.{name}", name, spied.final, spied.buffers, recorded)
        elif isinstance(value, dict):
            for name, recorded in value.items():
                yield f"{number}.{key}.{name}", known.get(f"{key}.{name}"), recorded
        else:
            yield f"{number}.{key}", known.get(key), value
