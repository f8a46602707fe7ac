"""One training step of one trial: its batch, its task, its gradients, and what method and optimiser make of them."""

from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.differentiation import Differentiate, eager, in_parts
from trainables.model import Buffers
from trainables.optim import apply_update, clip_norm, split_heads
from trainables.precision import autocast_forward
from trainables.randomness import copy_to_device, noise, normal, permutation
from trainables.setup import Learner, Setup, strength
from trainables.signals import Guided, Params, Pull, Signals, Task, attributes


def batches(setup: Setup, epoch: int) -> tuple[Tensor, ...]:
    """Return the indices of each batch of an epoch, [B], in the order of the trial's seed; the last may be short.

    Of a stream, the epochs share the samples out among them, in their order. A last batch of one sample has no
    variance: with batch normalisation it is left out.
    """
    return parted(setup, order(setup, epoch).to(setup.device))


def order(setup: Setup, epoch: int) -> Tensor:
    """Return the indices of the samples of an epoch, in their order, on the host."""
    settings, count = setup.trial["train"], len(setup.target["train"])
    if settings["order"] != "stream":
        return permutation(count, setup.trial["seed"], "order", epoch)
    low, high = (round(part * count / settings["epochs"]) for part in (epoch - 1, epoch))
    return torch.arange(low, high)


def parted(setup: Setup, samples: Tensor) -> tuple[Tensor, ...]:
    """Return the batches of an epoch from its samples, [..., N] -> [..., B]; compiled steps want one layout."""
    chosen = tuple(part.contiguous() for part in torch.split(samples, setup.trial["train"]["batch_size"], -1))
    return chosen[:-1] if setup.model.has_batch_norm and len(chosen) > 1 and chosen[-1].shape[-1] == 1 else chosen


def drawn(setup: Setup, indices: Tensor) -> dict[str, Tensor]:
    """Return the inputs of one batch of the training split, [B] indices.

    As an embedding, which copies whole samples for a pack, too; a stacked `index_select` gathers number by number.
    """
    return {
        m: F.embedding(indices, x.flatten(1)).view(len(indices), *x.shape[1:]) for m, x in setup.inputs["train"].items()
    }


def pose(setup: Setup, indices: Tensor, epoch: int, number: int) -> Task:
    """Return the task of one batch of the training split, [B] indices, at one moment of training."""
    share = strength(setup.trial, epoch)
    now = torch.full((), share, dtype=torch.float64, device=setup.device)
    return posed(setup, indices, now, number, full=share == 1)


def posed(setup: Setup, indices: Tensor, share: Tensor, number: int | Tensor, *, full: bool) -> Task:
    """Return the task of one batch at step ``number``, where the method has the strength ``share`` []."""
    trial, present, seed = setup.trial, setup.present["train"], setup.trial["seed"]
    crew, samples, rows = setup.crew, len(indices), setup.crew.rows(len(indices))
    indices = indices if rows is None else indices[rows]
    held = setup.against(setup.target["train"][indices])

    def random(purpose: str, like: Tensor) -> Tensor:
        shape = tuple(like.shape)
        if isinstance(number, Tensor):
            return noise(seed, number, purpose, shape, like.device).to(like)
        return copy_to_device(normal(shape, seed, purpose, number), like.device).to(like)

    heard = None if present is None else present[:, indices]
    reduction = trial["train"]["reduction"]
    told = share, samples, heard, reduction
    return Task(*held, random, *told, full=full, total=crew.total, rows=rows, zero=setup.zero)


def taught(
    setup: Setup, learner: Learner, indices: Tensor, share: Tensor, rates: Tensor | None, paced: Tensor | None,
    number: int | Tensor, *, full: bool, differentiate: Differentiate,
) -> tuple[Learner, dict[str, Tensor]]:  # fmt: skip
    """Train on the samples at ``indices`` [B] of the training split, as `step`."""
    task = posed(setup, indices, share, number, full=full)
    return step(setup, learner, drawn(setup, task.own(indices)), task, rates, paced, differentiate)


def step(
    setup: Setup,
    learner: Learner,
    inputs: dict[str, Tensor],
    task: Task,
    rates: Tensor | None = None,
    paced: Tensor | None = None,
    differentiate: Differentiate = eager,
) -> tuple[Learner, dict[str, Tensor]]:
    """Train on one batch; return the new learner and the method's metrics, with the joint `loss` and who `attended`.

    ``rates`` [M] are the factors of an `EpochMethod` on each branch's update, None all 1; outside its epochs they
    are 1. ``paced`` [] is the share of the learning rate by its schedule, None all of it.
    """
    method, model = setup.method, setup.model
    coalitions = method.coalitions(len(inputs), task) if attributes(method) else None
    rates = None if rates is None else task.faded(rates)
    alike = rates is None or not model.depends_on_mode(learner.buffers)
    training = True if alike else rates != 0  # a branch that was stopped is in evaluation mode

    def forward(params: Params, part: slice | None = None) -> tuple[Signals, Buffers]:
        heard = task.present if part is None or task.present is None else task.present[:, part]
        return model(
            params, learner.buffers, inputs if part is None else {m: x[part] for m, x in inputs.items()}, setup.needs,
            coalitions=coalitions, training=training, noise=partial(task.noise_of_samples, part=part), present=heard,
            sum_workers=setup.crew.statistic,
        )  # fmt: skip

    forward = autocast_forward(forward, setup.dtype)
    parts = portions(len(next(iter(inputs.values()))), setup.trial["train"]["accumulate"])
    if len(parts) <= 1:
        signals, buffers, pull = differentiate(forward, learner.params)
    else:
        signals, buffers, pull = in_parts(forward, parts, learner.params, differentiate)
    pull = setup.crew.summing(pull)
    made = method.step(learner.state, signals, task, limited(setup, pull, "clip_before"))
    with torch.no_grad():
        grads = limit(setup, made.grads, "clip")
        direction, moments = setup.optimizer.update(grads, learner.moments, learner.params)
        direction = made.rescale(direction) if made.rescale else direction
        params = apply_update(learner.params, direction, setup.optimizer.lrs, paced, product(made.rates, rates))
        learner = Learner(params, buffers, moments, made.state)
        loss = task.mean(task.loss(signals.logits.detach()))
    return learner, {
        "loss": loss,
        **{f"method.{name}": value for name, value in made.metrics.items()},
        **attended(task),
    }


def attended(task: Task) -> dict[str, Tensor]:
    """Return which modalities have a sample in the batch, [M] bool, under that name, if one may have none."""
    heard = task.attending()
    return {} if heard is None else {"attended": heard}


def portions(count: int, parts: int) -> list[slice]:
    """Return so many samples in parts of like size, one after another; of few samples there are fewer parts."""
    edges = [count * i // parts for i in range(parts + 1)]
    return [slice(low, high) for low, high in pairwise(edges) if low < high]


def product(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    """Return the product of two factors, of which None is 1."""
    if one is None or other is None:
        return other if one is None else one
    return one * other


def limited(setup: Setup, pull: Pull, key: str) -> Pull:
    """Return ``pull`` with its gradients clipped, if the study says so."""
    return pull if setup.trial["train"][key] is None else lambda f: limit(setup, pull(f), key)


def limit(setup: Setup, grads: Params, key: str) -> Params:
    """Return gradients clipped to the norm under ``key``; heads with a rule of their own are left out."""
    settings = setup.trial["train"]
    if settings[key] is None:
        return grads
    apart = isinstance(setup.method, Guided)
    clipped = clip_norm(split_heads(grads)[0] if apart else grads, settings[key], trigger=settings["clip_trigger"])
    return clipped._replace(heads=grads.heads) if apart else clipped
