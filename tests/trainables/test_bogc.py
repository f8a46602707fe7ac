"""BOGC: values by hand, BayesAgg's own aggregate, and what each setting turns off."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import vmap
from torch.utils._pytree import tree_leaves, tree_map

from tests.trainables.helpers import (
    TASKS,
    batch,
    make_learner,
    make_setup,
    make_task,
    max_difference,
    network,
    pure_step,
    stack,
    train,
    without_heads,
)
from trainables import laplace
from trainables.differentiation import eager, functional
from trainables.evidence import aggregate, combine
from trainables.methods.bogc import BOGC, ENCODERS, JOINT, BOGCState, nonzero_sources, posterior
from trainables.methods.joint import Joint
from trainables.methods.joint_uni import JointUni
from trainables.model import Model
from trainables.moments import init_moments, update
from trainables.setup import Learner, Setup
from trainables.signals import Params, Pull, Signals, Task, each, leaves
from trainables.step import step

LOSSES = ("head", "split", "single")
PLACES = [
    (where, losses)
    for where in ("encoder+joint", "encoder", "joint")
    for losses in LOSSES
    if (where, losses) != ("joint", "head")  # which is refused: nothing reaches it
]
REPR: dict[str, Any] = {"where": "repr", "estimator": "laplace"}


def first_gradients(
    method: Any, model: Model, learner: Learner | None = None, **how: Any
) -> tuple[Params, dict[str, Tensor]]:
    """Return the gradients of a first step, from the change of the parameters at learning rate 1, and its metrics."""
    setup = make_setup(method, model, lr=1.0)
    learner = learner or make_learner(setup)
    inputs, target = batch(model, 0)
    after, metrics = step(setup, learner, inputs, make_task(target, 0, **how))
    return tree_map(torch.sub, learner.params, after.params), metrics


@pytest.mark.parametrize("estimator", ["ema", "sample"])
@pytest.mark.parametrize(("where", "losses"), PLACES)
@pytest.mark.parametrize("fusion", ["concat", "sum", "early"])
def test_without_variance_it_is_joint_training_with_unimodal_losses(
    fusion: str, where: str, losses: str, estimator: str
) -> None:
    model = network(2, fusion)
    steps = 50 if estimator == "ema" else 10
    ours = train(BOGC(kappa=0.0, where=where, losses=losses, estimator=estimator), model, steps)
    assert max_difference(ours.params, train(JointUni(source=losses), model, steps).params) < 1e-12


@pytest.mark.parametrize("estimator", ["ema", "sample"])
@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_without_variance_the_shares_are_joint_training(modalities: int, estimator: str) -> None:
    model = network(modalities, "early")
    ours = train(BOGC(kappa=0.0, where="phi", estimator=estimator), model, 50)
    assert max_difference(ours.params, train(Joint(), model, 50).params) < 1e-12


def test_one_modality_split_by_shares_is_joint_training_whatever_kappa() -> None:
    assert (
        max_difference(train(BOGC(where="phi"), network(1), 20).params, train(Joint(), network(1), 20).params) < 1e-12
    )


@pytest.mark.parametrize("losses", LOSSES)
def test_a_first_step_knows_no_variance(losses: str) -> None:
    model = network(3)
    assert (
        max_difference(
            first_gradients(BOGC(losses=losses), model)[0], first_gradients(JointUni(source=losses), model)[0]
        )
        < 1e-12
    )


def test_the_aggregate_of_an_encoder_by_hand() -> None:
    """Two steps: the running variance of two gradients, the evidence of each tensor, and the weights, written out."""
    model, kappa, beta = network(2), 0.7, 0.9
    setup = make_setup(BOGC(kappa=kappa, beta=beta), model, lr=1.0)
    learners, sources = [make_learner(setup)], []
    for number in range(2):
        inputs, target = batch(model, number)
        learner, task = learners[-1], make_task(target, number)
        params = tree_map(lambda p: p.detach().requires_grad_(), learner.params)
        signals, _ = model(params, {m: {} for m in model.encoders}, inputs, frozenset({"heads"}))
        inner = list(params.encoders["m0"].values())
        losses = (task.objective(signals.logits), task.objective(signals.heads[0]))
        sources.append([torch.autograd.grad(loss, inner, retain_graph=True) for loss in losses])
        learners.append(step(setup, learner, inputs, task)[0])
    for i, name in enumerate(make_learner(setup).params.encoders["m0"]):
        first, second = (torch.stack([source[i] for source in each]) for each in sources)
        mean = (beta * first + second) / (1 + beta)
        variance = (beta * first.square() + second.square()) / (1 + beta) - mean.square()
        logs = -torch.maximum(variance, 1e-6 * variance.median()).log()
        e = (kappa * (logs - logs.mean())).exp()
        weights, uncertainty = e / (2 + e.sum(0)), 2 / (2 + e.sum(0))
        by_hand = 2 * ((weights * second).sum(0) + uncertainty * second.mean(0))
        start, middle, end = (learner.params.encoders["m0"][name] for learner in learners)
        assert torch.allclose(0.9 * (middle - start) - (end - middle), by_hand, rtol=1e-9, atol=1e-12)  # momentum 0.9


def mean_projections(method: BOGC, steps: int, noise: tuple[float, float]) -> Tensor:
    """Return the mean projections of an encoder's update on the mean gradients of two sources with given noise."""
    means = torch.eye(2, dtype=torch.float64).repeat_interleave(30, 1)  # [2, 60], disjoint
    generator, size = torch.Generator().manual_seed(0), 12
    empty: Params = Params({"m0": {"weight": means[0]}}, {"m0": {}}, {"head": means[0, :1]}, {"m0": {}})
    state, received = method.init(empty), torch.zeros(60, dtype=torch.float64)
    logits = torch.zeros(size, 3, dtype=torch.float64)
    task = make_task(torch.zeros(size, dtype=torch.int64), 0)
    for _ in range(steps):
        normal = torch.randn(2, size, 60, generator=generator, dtype=torch.float64)
        rows = means[:, None] + normal * torch.tensor(noise, dtype=torch.float64)[:, None, None]
        calls = iter([rows[0].mean(0), rows[1].mean(0), rows.flatten(0, 1)])

        def pull(f: Callable[[Signals], Tensor], calls: Any = calls) -> Params:
            gradient = next(calls)
            return empty._replace(encoders={"m0": {"weight": gradient}}, shared={"head": gradient[..., :1]})

        result = method.step(state, Signals(logits, heads=logits[None]), task, pull)
        state, received = result.state, received + result.grads.encoders["m0"]["weight"] / steps
    return means @ received / 30


@pytest.mark.parametrize("estimator", ["ema", "sample"])
@pytest.mark.parametrize("k", [0.0, 1.0])
def test_a_noisy_source_is_trusted_less(estimator: str, k: float) -> None:
    method = BOGC(kappa=0.5, k=k, estimator=estimator, where="encoder")
    clean, shaken = mean_projections(method, 60, (0.3, 6.0)).tolist()
    assert clean > 1.2 > 0.8 > shaken
    assert mean_projections(method, 60, (6.0, 0.3)).tolist() == pytest.approx([shaken, clean], abs=0.2)
    assert mean_projections(method._replace(kappa=0.0), 60, (0.3, 6.0)).tolist() == pytest.approx([1, 1], abs=0.3)


def signals_and_heads(setup: Setup, learner: Learner, inputs: dict[str, Tensor]) -> tuple[Signals, dict[str, Tensor]]:
    """Return signals that require gradients, and the heads with the bias last."""
    params = tree_map(lambda p: p.detach().requires_grad_(), learner.params)
    signals, _ = setup.model(params, learner.buffers, inputs, setup.needs)
    own = {m: torch.cat([p["head.weight"], p["head.bias"][:, None]], -1) for m, p in params.heads.items()}
    joint = torch.cat([params.shared["head.weight"], params.shared["head.bias"][:, None]], -1)
    return signals._replace(readers=params.encoders), {m: h.detach() for m, h in (own | {JOINT: joint}).items()}


def test_at_the_features_it_is_bayesagg() -> None:
    """Posterior from the prior over the batch, drawn heads, moments, and the aggregate with variances to the power."""
    power, gamma, draws = 0.3, 0.05, 16
    method = BOGC(kappa=power, k=0.0, scale="none", gain="none", prior=gamma, draws=draws, **REPR)
    setup = make_setup(method, network(2), lr=1.0)
    learner = make_learner(setup)
    inputs, target = batch(setup.model, 0)
    task = make_task(target, 0)
    signals, heads = signals_and_heads(setup, learner, inputs)
    result = {}
    for place, head in heads.items():
        h = (signals.fused if place == JOINT else signals.features[place]).detach()
        after = posterior(head, h, None, task, laplace.prior(head.flatten(), gamma))
        normal = task.noise(f"bogc.{place}", head.new_zeros(draws, head.numel()))
        result[place] = laplace.sampled_moments(laplace.sample_heads(after, normal, len(head)), h, task.slope)
    sent = []
    for i, m in enumerate(signals.features):
        own, joint = result[m], result[JOINT]
        means = torch.stack([joint.mean[:, 6 * i : 6 * i + 6], own.mean])
        variances = torch.stack([joint.variance[:, 6 * i : 6 * i + 6], own.variance])
        weights = combine(variances**-power, 0.0).weights
        sent.append((weights * means).sum(0) / len(target))
    inner = leaves(Params(signals.readers, {}, {}, {}))
    theirs = torch.autograd.grad(list(signals.features.values()), inner, sent)
    ours, _ = first_gradients(method, setup.model, learner)
    for a, b in zip(leaves(Params(ours.encoders, {}, {}, {})), theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-12)
    rest = first_gradients(JointUni(), setup.model)[0]
    assert max_difference((ours.shared, ours.heads), (rest.shared, rest.heads)) < 1e-12


def test_an_uncertain_head_is_trusted_less() -> None:
    """The head whose posterior is sharp decides what the encoder receives."""
    method = BOGC(kappa=1.0, k=0.0, gain="none", **REPR)
    setup = make_setup(method, network(1), lr=1.0)
    learner = make_learner(setup)
    inputs, target = batch(setup.model, 0)
    signals, heads = signals_and_heads(setup, learner, inputs)
    inner = leaves(Params(signals.readers, {}, {}, {}))
    task = make_task(target, 0)
    alone = {
        JOINT: torch.autograd.grad(task.objective(signals.logits), inner, retain_graph=True),
        "m0": torch.autograd.grad(task.objective(signals.heads[0]), inner),
    }
    for sure, other in ((JOINT, "m0"), ("m0", JOINT)):
        known = {p: laplace.Normal(h.flatten(), torch.eye(h.numel()).double() * 1e9) for p, h in heads.items()}
        known[other] = known[other]._replace(precision=known[other].precision / 1e9)
        state = BOGCState({}, {}, known)
        ours, _ = first_gradients(method, setup.model, learner._replace(state=state))
        row = torch.cat([g.flatten() for g in leaves(Params(ours.encoders, {}, {}, {}))])
        sure_row, other_row = (torch.cat([g.flatten() for g in alone[which]]) for which in (sure, other))
        assert (row - sure_row).norm() < 0.2 * (row - other_row).norm()


def test_a_posterior_fades_to_its_prior() -> None:
    normal = laplace.Normal(torch.ones(3).double(), torch.full((3, 3), 5.0).double())
    eye = torch.eye(3).double()
    assert torch.allclose(
        laplace.decay_posterior(normal, 0.75, 0.5).precision, 0.75 * normal.precision + 0.25 * 2 * eye
    )


@pytest.mark.parametrize("task", TASKS)
def test_samples_without_a_modality_do_not_change_the_posterior_of_its_head(task: str) -> None:
    model = network(1, task=task)
    inputs, target = batch(model, 0, task=task)
    head = torch.randn(model.outputs, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    h = next(iter(inputs.values()))[..., :1].expand(*next(iter(inputs.values())).shape[:-1], 6)
    before = laplace.prior(head.flatten(), 0.1)
    some = torch.arange(len(target)) < 5
    masked = posterior(head, h, some, make_task(target, 0, task=task), laplace.Normal(*before[:2]))
    few = posterior(head, h[:5], None, make_task(target[:5], 0, task=task), laplace.Normal(*before[:2]))
    assert max_difference(masked, few) < 1e-10


def test_positions_without_a_label_do_not_change_a_posterior() -> None:
    """The others count one by one, however many of them a sample has."""
    generator = torch.Generator().manual_seed(0)
    h, head = (torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in ((3, 4, 6), (3, 7)))
    target = torch.tensor([[0, -1, 2, 1], [-1, -1, 1, -1], [2, 2, 0, 1]])
    before = laplace.prior(head.flatten(), 0.1)
    task = make_task(target, 0, task="segmentation", gaps=True)
    ours = posterior(head, h, None, task, laplace.Normal(*before[:2]))
    known = target >= 0
    each = make_task(target[known], 0)
    assert max_difference(ours, posterior(head, h[known], None, each, before)) < 1e-10


def test_the_posterior_of_a_regression_is_exact() -> None:
    """Of the squared error, a mean over two outputs, as log-likelihood: ridge regression."""
    model = network(1, task="regression")
    _, target = batch(model, 0, task="regression")
    target = torch.cat([target, -target.square()], -1)
    generator = torch.Generator().manual_seed(0)
    h, head = (torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in ((12, 4), (2, 5)))
    before = laplace.prior(head.flatten(), 0.5)
    after = posterior(head, h, None, make_task(target, 0, task="regression"), laplace.Normal(*before[:2]))
    x = laplace.append_bias_input(h)
    ridge = torch.linalg.solve(x.mT @ x + 2 * torch.eye(5).double(), x.mT @ target).mT
    assert torch.allclose(after.mean.view(2, 5), ridge, rtol=1e-10)


def test_the_shares_split_the_joint_gradient() -> None:
    setup = make_setup(BOGC(where="phi"), network(3, "early"))
    inputs, target = batch(setup.model, 0)
    signals, task, pull = method_inputs(setup, make_learner(setup), inputs, make_task(target, 0))
    sources = BOGC(where="phi").source_gradients(signals, task, pull)
    assert len(sources) == 3
    assert max_difference(tree_map(lambda *g: sum(g), *sources), pull(lambda s: task.objective(s.logits))) < 1e-12


@pytest.mark.parametrize(
    ("method", "absent"),
    [(BOGC(where="phi", estimator="sample"), 5), (BOGC(where="joint", losses="split", estimator="sample"), 0)],
)
def test_a_loss_that_is_summed_is_that_of_the_mean_so_many_times(method: BOGC, absent: int) -> None:
    """Evidence knows no unit: that m1 is heard in few samples, or in none, changes nothing of this."""
    model = network(3)
    setup = make_setup(method, model, lr=1.0)
    learner, (inputs, target) = make_learner(setup), batch(model, 0)
    present = torch.ones(3, len(target), dtype=torch.bool)
    present[1, absent:] = False
    task = make_task(target, 0, present=present)
    mean, total = (step(setup, learner, inputs, task._replace(reduction=r))[0].params for r in ("mean", "sum"))
    ours, theirs = (tree_map(torch.sub, learner.params, after) for after in (mean, total))
    assert max_difference(tree_map(lambda g: len(target) * g, ours), theirs) < 1e-7


def test_an_absent_source_does_not_affect_which_other_sources_are_nonzero() -> None:
    """Its variance is 1, which says nothing, and the others' are small."""
    gradients, variance = torch.tensor([[3e-6], [2e-6], [0.0]]), torch.tensor([[1e-12], [1e-12], [1.0]])
    there = torch.tensor([[True], [True], [False]])
    assert nonzero_sources(gradients, variance, there).flatten().tolist() == [True, True, False]


MODES: list[dict[str, Any]] = [
    {},
    {"losses": "split"},
    {"losses": "single", "where": "joint"},
    {"where": "encoder", "estimator": "sample"},
    {"losses": "split", "estimator": "sample"},
    {"where": "phi"},
    {"where": "phi", "estimator": "sample", "scale": "ema"},
    REPR,
    {**REPR, "scale": "ema", "snr": True},
    {"scale": "ema", "snr": True, "fallback": "fusion"},
    {"scale": "dim", "gain": "match_norm", "fallback": "zero"},
    {"scale": "none", "gain": "none"},
    {"frame": "reliability"},
    {"frame": "dims"},
]
every_mode = pytest.mark.parametrize("mode", MODES, ids=str)


@every_mode
def test_eight_configurations_in_a_pack_equal_eight_single_ones(mode: dict[str, Any]) -> None:
    model, seeds = network(2), range(8)
    values = [{"kappa": 0.1 * i, "k": 0.3 * i, "beta": 0.8 + 0.02 * i, "prior": 0.01 * (i + 1)} for i in seeds]
    setups = [make_setup(BOGC(**mode, **each), model) for each in values]
    start = [make_learner(setup, seed) for setup, seed in zip(setups, seeds, strict=True)]
    packed = stack(start)
    hyper = {name: torch.tensor([each[name] for each in values], dtype=torch.float64) for name in values[0]}

    def one(numbers: dict[str, Tensor], learner: Learner, number: int) -> Learner:
        return pure_step(make_setup(BOGC(**mode, **numbers), model), learner, number)

    for number in range(6):
        packed = vmap(lambda h, k, n=number: one(h, k, n), randomness="same")(hyper, packed)
    for i in (0, 3, 7):
        learner = start[i]
        for number in range(6):
            inputs, target = batch(model, number)
            learner, _ = step(setups[i], learner, inputs, make_task(target, number))
        assert max_difference(tree_map(lambda t, i=i: t[i], packed), learner) < 1e-9


@every_mode
@pytest.mark.parametrize("hardship", ["one sample", "constant", "silent", "huge"])
@pytest.mark.parametrize("modalities", [1, 3])
def test_hard_batches_give_finite_numbers(mode: dict[str, Any], hardship: str, modalities: int) -> None:
    setup = make_setup(BOGC(**mode), network(modalities))
    learner = make_learner(setup)
    for _ in range(4):
        inputs, target = batch(setup.model, 0, size=1 if hardship == "one sample" else 12)
        if hardship == "silent":
            inputs = {m: torch.zeros_like(x) for m, x in inputs.items()}
        elif hardship == "huge":
            inputs = {m: 1e3 * x for m, x in inputs.items()}
        elif hardship == "constant":
            learner = learner._replace(params=make_learner(setup).params)
        learner, metrics = step(setup, learner, inputs, make_task(target, 0))
        assert all(torch.isfinite(t).all() for t in [*tree_leaves(learner), *metrics.values()])


@every_mode
def test_a_batch_without_a_modality(mode: dict[str, Any]) -> None:
    """Finite; its moments are kept; where all are present a mask changes nothing."""
    setup = make_setup(BOGC(**mode), network(3))
    one = other = make_learner(setup)
    for number in range(3):
        inputs, target = batch(setup.model, number)
        everyone = torch.ones(3, len(target), dtype=torch.bool)
        one, _ = step(setup, one, inputs, make_task(target, number))
        other, _ = step(setup, other, inputs, make_task(target, number, present=everyone))
    assert max_difference(one, other) < 1e-10
    inputs, target = batch(setup.model, 3)
    present = torch.ones(3, len(target), dtype=torch.bool)
    present[1], present[:, -1] = False, False
    inputs["m1"] = torch.zeros_like(inputs["m1"])
    after, metrics = step(setup, one, inputs, make_task(target, 3, present=present))
    assert all(torch.isfinite(t).all() for t in [*tree_leaves(after), *metrics.values()])
    if ENCODERS in one.state.moments:
        sizes = [[p.numel() for p in group.values()] for group in one.params.encoders.values()]
        for old, new in zip(one.state.moments[ENCODERS], after.state.moments[ENCODERS], strict=True):
            tensors = old.shape[-1] == sum(map(len, sizes))
            spans = [len(own) if tensors else sum(own) for own in sizes]
            kept = [torch.equal(a[1], b[1]) for a, b in zip(old.split(spans, -1), new.split(spans, -1), strict=True)]
            assert kept == [mode.get("where") == "phi", True, mode.get("where") == "phi"]
            assert not torch.equal(old[0], new[0])


@pytest.mark.parametrize("mode", [{}, {"losses": "split"}, {"scale": "ema"}], ids=str)
@pytest.mark.parametrize("rare", ["m0", "m1"])
@pytest.mark.parametrize("heard", [0, 1])
def test_opinions_of_a_rare_modality_are_those_of_the_last_step(mode: dict[str, Any], rare: str, heard: int) -> None:
    """Never heard, it has no weight; heard in the last batch alone, it and the fusion loss weigh alike (8.4).

    A unit that was silent in that batch has no gradient of its loss, which is therefore no source there.
    """
    setup = make_setup(BOGC(**mode), network(3))
    learner, place = make_learner(setup), int(rare[1])
    for number in range(6):
        inputs, target = batch(setup.model, number)
        present = torch.ones(3, len(target), dtype=torch.bool)
        present[place] = number == 5 and bool(heard)
        inputs[rare] = inputs[rare] * present[place, :, None]
        learner, metrics = step(setup, learner, inputs, make_task(target, number, present=present))
    opinions = setup.method.opinions(learner.state, learner.params)
    widths = [sum(p.numel() for p in group.values()) for group in learner.params.encoders.values()]
    weights, doubt = (x.split(widths, -1) for x in opinions[ENCODERS])
    assert torch.allclose(torch.stack([part.mean() for part in doubt]), metrics["method.uncertainty"])
    own = [part[1][part[1] > 0] for part in weights]
    assert [len(part.unique()) > 1 for part in own] == [m != rare for m in setup.model.encoders]
    assert own[place].unique().tolist() == [heard / 4] * heard
    if JOINT in opinions:
        assert opinions[JOINT].weights[place + 1].any() == heard


@pytest.mark.parametrize(("where", "losses"), PLACES)
@pytest.mark.parametrize("fusion", ["concat", "early"])
def test_without_variance_missing_modalities_change_nothing(where: str, losses: str, fusion: str) -> None:
    model = network(3, fusion)
    present = torch.ones(3, 12, dtype=torch.bool)
    present[1], present[0, :5] = False, False
    ours = first_gradients(BOGC(kappa=0.0, losses=losses, where=where), model, present=present)[0]
    assert max_difference(ours, first_gradients(JointUni(source=losses), model, present=present)[0]) < 1e-12


@every_mode
def test_half_way_through_its_warm_up_it_does_half(mode: dict[str, Any]) -> None:
    model = network(2)
    learner = pretrained_learner(mode, model)
    none, half, full = (first_gradients(BOGC(**mode), model, learner, strength=s)[0] for s in (0.0, 0.5, 1.0))
    assert max_difference(half, tree_map(lambda a, b: (a + b) / 2, none, full)) < 1e-12
    base = Joint() if mode.get("where") == "phi" else JointUni(source=mode.get("losses", "head"))
    plain, _ = first_gradients(base, model, learner._replace(state=()))
    assert max_difference(without_heads(none), without_heads(plain)) < 1e-12


def pretrained_learner(mode: dict[str, Any], model: Model) -> Learner:
    """Return a learner after three steps, without momentum."""
    setup = make_setup(BOGC(**mode), model)
    learner = make_learner(setup)
    fresh = learner.moments
    for number in range(1, 4):
        inputs, target = batch(model, number)
        learner, _ = step(setup, learner, inputs, make_task(target, number))
    return learner._replace(moments=fresh)


@every_mode
def test_relabelling_the_modalities_relabels_the_result(mode: dict[str, Any]) -> None:
    if mode.get("where") == "repr":
        pytest.skip("the joint heads that are drawn are others")
    model = network(3, "sum")
    turned = model._replace(encoders=dict(reversed(model.encoders.items())))
    one, other = (train(BOGC(**mode), m, 5) for m in (model, turned))
    for modality in model.encoders:
        assert max_difference(one.params.encoders[modality], other.params.encoders[modality]) < 1e-10
        assert max_difference(one.params.readouts[modality], other.params.readouts[modality]) < 1e-10


def method_inputs(setup: Setup, learner: Learner, inputs: dict[str, Tensor], task: Task) -> tuple[Signals, Task, Pull]:
    """Return the arguments of a method's step on a batch."""
    coalitions = setup.method.coalitions(len(inputs), task)  # type: ignore[attr-defined]
    signals, _, pull = eager(
        lambda params: setup.model(params, learner.buffers, inputs, setup.needs, coalitions=coalitions), learner.params
    )
    return signals, task, pull


def separate_losses(task: Task) -> list[Callable[[Signals], Tensor]]:
    return [lambda s: task.objective(s.logits), *(lambda s, i=i: task.objective(s.muted[i]) for i in range(2))]


def flatten(group: dict[str, Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in group.values()])


def test_the_joint_head_weighs_each_loss() -> None:
    """Two steps of the shared head with masked predictions, by `aggregate` itself, of the sources that reach it."""
    model = network(2)
    method = BOGC(where="joint", losses="single", kappa=0.8)
    setup = make_setup(method, model)
    learner = make_learner(setup)
    past, state = init_moments(torch.zeros(3, 39, dtype=torch.float64)), learner.state
    for number in range(2):
        inputs, target = batch(model, number)
        signals, task, pull = method_inputs(setup, learner, inputs, make_task(target, number))
        rows = torch.stack([flatten(pull(f).shared) for f in separate_losses(task)])
        past = update(past, rows, method.beta)
        result = method.step(state, signals, task, pull)
        state, shared = result.state, result.grads.shared
    pieces = zip(rows.split([36, 3], -1), past.variance.split([36, 3], -1), shared.values(), strict=True)
    for means, variance, ours in pieces:
        there = nonzero_sources(means, variance)
        expected = aggregate(means, variance, 0.8, there.sum(0).double(), present=there)
        assert torch.allclose(expected, ours.flatten(), rtol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_source_is_zero_where_its_gradient_may_be_rounding(dtype: torch.dtype) -> None:
    eps = torch.finfo(dtype).eps
    means = torch.tensor([[1.0, 1.0, 1.0], [eps**0.7, eps**0.8, 0.0]], dtype=dtype)
    assert nonzero_sources(means, torch.zeros_like(means)).tolist() == [[True, True, True], [True, False, False]]


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("fusion", ["concat", "sum"])
@pytest.mark.parametrize("settings", [{"where": "phi"}, {"losses": "split"}])
def test_sources_that_never_reach_a_parameter_do_not_hold_it(
    settings: dict[str, Any], fusion: str, modalities: int
) -> None:
    """An encoder's first layer has its own modality's share alone: it moves by that, as the columns of a head do."""
    setup = make_setup(BOGC(**settings), network(modalities, fusion))
    learner = make_learner(setup)
    for number in range(4):
        inputs, target = batch(setup.model, number)
        signals, task, pull = method_inputs(setup, learner, inputs, make_task(target, number))
        plain = pull(lambda s, task=task: task.objective(s.logits))
        if "losses" in settings:
            own = pull(lambda s, task=task: task.objectives(s.unimodal).sum(0))
            plain = each(torch.add, plain, own)
        result = setup.method.step(learner.state, signals, task, pull)
        learner = learner._replace(state=result.state)
    heads = result.grads.readouts if fusion == "sum" else {"": result.grads.shared}
    theirs = plain.readouts if fusion == "sum" else {"": plain.shared}
    parts = [(result.grads.encoders[m]["0.weight"], plain.encoders[m]["0.weight"]) for m in plain.encoders]
    parts += [(heads[m][name], theirs[m][name]) for m in heads for name in heads[m] if name.endswith("weight")]
    ratios = [float(ours.norm() / whole.norm()) for ours, whole in parts]
    assert all(0.5 < ratio < 2 for ratio in ratios), ratios


@pytest.mark.parametrize("settings", [{}, {"gain": "match_norm"}, {"snr": True}], ids=str)
@pytest.mark.parametrize(("fusion", "losses"), [("concat", "single"), ("early", "single"), ("early", "split")])
def test_rounding_before_batch_normalisation_is_no_source(fusion: str, losses: str, settings: dict[str, Any]) -> None:
    """The fusion loss does not depend on a bias before it, the muted predictions do: packed equals single, float32."""
    setup = make_setup(BOGC(losses=losses, **settings), network(3, fusion, "batch"))
    params, buffers = (tree_map(Tensor.float, tree) for tree in make_learner(setup)[:2])
    single = Learner(params, buffers, setup.optimizer.init(params), setup.method.init(params))
    packed = stack([single, single])
    for number in range(3):
        inputs, target = batch(setup.model, number)
        inputs, task = {m: x.float() for m, x in inputs.items()}, make_task(target, number)

        def train_member(learner: Learner, inputs: dict[str, Tensor] = inputs, task: Task = task) -> Learner:
            return step(setup, learner, inputs, task, differentiate=functional)[0]

        single, packed = step(setup, single, inputs, task)[0], vmap(train_member)(packed)
    assert max_difference(stack([single.params]), tree_map(lambda p: p[:1], packed.params)) < 1e-6


def test_matching_the_norm_of_the_plain_sum_does_not_amplify_rounding() -> None:
    """Two sources, one ten thousand times as sure: in single precision the weak one's direction comes out, too."""
    random = torch.Generator().manual_seed(0)
    means = torch.randn(2, 50, generator=random, dtype=torch.float64) * torch.tensor([[1.0], [1e-4]])
    variance = torch.rand(2, 50, generator=random, dtype=torch.float64) * torch.tensor([[1.0], [1e-8]])
    exact = aggregate(means, variance, 1.0, 0.0, gain="match_norm")
    result = aggregate(means.float(), variance.float(), 1.0, 0.0, gain="match_norm")
    assert float((result - exact).norm() / exact.norm()) < 1e-5


def test_incompatible_settings_are_refused_before_training() -> None:
    for settings in ({"where": "repr"}, {"estimator": "laplace"}, {**REPR, "losses": "split"}):
        with pytest.raises(ValueError, match="where: repr and estimator: laplace require each other and losses: head"):
            make_setup(BOGC(**settings), network(2))
    with pytest.raises(ValueError, match="where: phi compares all 128 coalitions; it supports at most 6 modalities"):
        train(BOGC(where="phi"), network(7), 1)
    with pytest.raises(ValueError, match="an additive fusion: concat or sum"):
        make_learner(make_setup(BOGC(**REPR), network(2, "early")))
    wide = network(2)._replace(outputs=200)
    with pytest.raises(ValueError, match="laplace: a head of 2600 parameters needs a 2600 x 2600 posterior"):
        make_learner(make_setup(BOGC(**REPR), wide))


def test_the_default_metrics_are_the_scale_and_uncertainty_of_each_encoder() -> None:
    learner = pretrained_learner({}, network(2))
    _, metrics = first_gradients(BOGC(), network(2), learner)
    assert metrics["method.scale"].shape == metrics["method.uncertainty"].shape == (2,)
    _, plain = first_gradients(BOGC(kappa=0.0), network(2), learner)
    assert plain["method.scale"].tolist() == [1, 1]
    assert plain["method.uncertainty"].tolist() == pytest.approx([0.5, 0.5])  # K = S, evidence 1
