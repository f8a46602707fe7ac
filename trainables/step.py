"""One training step of one trial: its batch, its task, its gradients, the method and the optimiser."""

from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.differentiation import Differentiate, eager, in_microbatches
from trainables.model import Buffers
from trainables.optim import apply_update, clip_norm, split_heads
from trainables.precision import autocast_forward
from trainables.randomness import copy_to_device, noise, normal, permutation
from trainables.setup import Learner, Setup, method_strength
from trainables.signals import Guided, Params, Pull, Signals, Task, attributes


def batches(setup: Setup, epoch: int) -> tuple[Tensor, ...]:
    """Return the sample indices of each batch of an epoch, [B], shuffled by the trial's seed; the last may be short.

    With the order `stream` the samples are passed once, in their order, spread over all epochs. A last batch of one
    sample has no variance: with batch normalisation it is left out.
    """
    return split_batches(setup, sample_order(setup, epoch).to(setup.device))


def sample_order(setup: Setup, epoch: int) -> Tensor:
    """Return the indices of the samples of an epoch, in their order, on the host."""
    settings, count = setup.trial["train"], len(setup.target["train"])
    if settings["order"] != "stream":
        return permutation(count, setup.trial["seed"], "order", epoch)
    low, high = (round(part * count / settings["epochs"]) for part in (epoch - 1, epoch))
    return torch.arange(low, high)


def split_batches(setup: Setup, samples: Tensor) -> tuple[Tensor, ...]:
    """Return the batches of an epoch from its samples, [..., N] -> [..., B], contiguous as compiled steps expect."""
    parts = tuple(part.contiguous() for part in torch.split(samples, setup.trial["train"]["batch_size"], -1))
    return parts[:-1] if setup.model.has_batch_norm and len(parts) > 1 and parts[-1].shape[-1] == 1 else parts


def batch_inputs(setup: Setup, indices: Tensor) -> dict[str, Tensor]:
    """Return the inputs of one batch of the training split, [B] indices.

    Gathered as an embedding, which copies whole samples under `vmap`, too, where `index_select` copies single numbers.
    """
    return {
        m: F.embedding(indices, x.flatten(1)).view(len(indices), *x.shape[1:]) for m, x in setup.inputs["train"].items()
    }


def batch_task(setup: Setup, indices: Tensor, epoch: int, number: int) -> Task:
    """Return the task of one batch of the training split, [B] indices, at step ``number`` in an epoch."""
    strength = method_strength(setup.trial, epoch)
    strength_tensor = torch.full((), strength, dtype=torch.float64, device=setup.device)
    return build_task(setup, indices, strength_tensor, number, full=strength == 1)


def build_task(setup: Setup, indices: Tensor, strength: Tensor, number: int | Tensor, *, full: bool) -> Task:
    """Return the task of one batch at step ``number``, with the method at ``strength`` [], which is 1 if ``full``."""
    trial, present, seed = setup.trial, setup.present["train"], setup.trial["seed"]
    workers, samples, rows = setup.workers, len(indices), setup.workers.local_slice(len(indices))
    indices = indices if rows is None else indices[rows]
    criteria = setup.criteria(setup.target["train"][indices])

    def random(purpose: str, like: Tensor) -> Tensor:
        shape = tuple(like.shape)
        if isinstance(number, Tensor):
            return noise(seed, number, purpose, shape, like.device).to(like)
        return copy_to_device(normal(shape, seed, purpose, number), like.device).to(like)

    batch_present = None if present is None else present[:, indices]
    reduction = trial["train"]["reduction"]
    batch = strength, samples, batch_present, reduction
    return Task(*criteria, random, *batch, full=full, total=workers.total, rows=rows, zero=setup.target_zero)


def train_on_indices(
    setup: Setup, learner: Learner, indices: Tensor, strength: Tensor, rates: Tensor | None, lr_factor: Tensor | None,
    number: int | Tensor, *, full: bool, differentiate: Differentiate,
) -> tuple[Learner, dict[str, Tensor]]:  # fmt: skip
    """Run `step` on the samples at ``indices`` [B] of the training split, with the task of `build_task`."""
    task = build_task(setup, indices, strength, number, full=full)
    return step(setup, learner, batch_inputs(setup, task.own(indices)), task, rates, lr_factor, differentiate)


def step(
    setup: Setup,
    learner: Learner,
    inputs: dict[str, Tensor],
    task: Task,
    rates: Tensor | None = None,
    lr_factor: Tensor | None = None,
    differentiate: Differentiate = eager,
) -> tuple[Learner, dict[str, Tensor]]:
    """Train on one batch; return the new learner, and the joint `loss`, the method's metrics and `attendance`.

    ``rates`` [M] are the factors of an `EpochMethod` on each branch's update, None for all 1; outside the epochs in
    which the method acts they are 1. ``lr_factor`` [] is that of the learning rate's schedule, None for 1.
    """
    method, model = setup.method, setup.model
    coalitions = method.coalitions(len(inputs), task) if attributes(method) else None
    rates = None if rates is None else task.faded(rates)
    is_uniform = rates is None or not model.depends_on_mode(learner.buffers)
    training = True if is_uniform else rates != 0  # a branch that was stopped is in evaluation mode

    def forward(params: Params, part: slice | None = None) -> tuple[Signals, Buffers]:
        present = task.present if part is None or task.present is None else task.present[:, part]
        return model(
            params, learner.buffers, inputs if part is None else {m: x[part] for m, x in inputs.items()}, setup.needs,
            coalitions=coalitions, training=training, noise=partial(task.noise_of_samples, part=part), present=present,
            sum_workers=setup.workers.statistic,
        )  # fmt: skip

    forward = autocast_forward(forward, setup.dtype)
    parts = microbatch_slices(len(next(iter(inputs.values()))), setup.trial["train"]["accumulate"])
    if len(parts) <= 1:
        signals, buffers, pull = differentiate(forward, learner.params)
    else:
        signals, buffers, pull = in_microbatches(forward, parts, learner.params, differentiate)
    pull = setup.workers.summed_pull(pull)
    result = method.step(learner.state, signals, task, clipped_pull(setup, pull, "clip_before"))
    with torch.no_grad():
        grads = clip_gradients(setup, result.grads, "clip")
        update, moments = setup.optimizer.update(grads, learner.moments, learner.params)
        update = result.rescale(update) if result.rescale else update
        params = apply_update(learner.params, update, setup.optimizer.lrs, lr_factor, product(result.rates, rates))
        learner = Learner(params, buffers, moments, result.state)
        loss = task.mean(task.loss(signals.logits.detach()))
    return learner, {
        "loss": loss,
        **{f"method.{name}": value for name, value in result.metrics.items()},
        **attendance(task),
    }


def attendance(task: Task) -> dict[str, Tensor]:
    """Return which modalities have a sample in the batch, {"attended": [M] bool}; empty where all samples have all."""
    attending = task.attending()
    return {} if attending is None else {"attended": attending}


def microbatch_slices(count: int, parts: int) -> list[slice]:
    """Return slices that split ``count`` samples into parts of nearly equal size, fewer parts if there are few."""
    edges = [count * i // parts for i in range(parts + 1)]
    return [slice(low, high) for low, high in pairwise(edges) if low < high]


def product(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """Return the product of two factors, where None stands for 1."""
    if a is None or b is None:
        return b if a is None else a
    return a * b


def clipped_pull(setup: Setup, pull: Pull, key: str) -> Pull:
    """Return ``pull`` with its gradients clipped to the norm in the setting ``key``, if there is one."""
    return pull if setup.trial["train"][key] is None else lambda f: clip_gradients(setup, pull(f), key)


def clip_gradients(setup: Setup, grads: Params, key: str) -> Params:
    """Return gradients clipped to the norm in the setting ``key``; classifiers with their own optimiser are exempt."""
    settings = setup.trial["train"]
    if settings[key] is None:
        return grads
    is_guided = isinstance(setup.method, Guided)
    clipped = clip_norm(split_heads(grads)[0] if is_guided else grads, settings[key], trigger=settings["clip_trigger"])
    return clipped._replace(heads=grads.heads) if is_guided else clipped
