"""CGGM: its authors' training loops, and the direction loss as the paper has it."""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tests.replay import networks
from tests.replay.recorder import Case, Pairs, StepRecorder, compare_step
from trainables.differentiation import eager
from trainables.fusions import Features
from trainables.layers import affine
from trainables.methods.cggm import CGGM, SUM_EPS, CGGMState, cosine_alignment
from trainables.optim import SGD, SplitOptimizer
from trainables.setup import Learner
from trainables.signals import Group, Params, Signals, Task
from trainables.tasks import classification

LEAK = "classifier_grads_leaked_from_l_gm_then_zeroed"
METRICS = {"mosi": "sign", "mosei": "sign"}
LOSSES = {"L1Loss": "l1", "MSELoss": "mse", "SmoothL1Loss": "huber", "HuberLoss": "huber"}


class OracleClassifiers(NamedTuple):
    """The oracles' classifiers under their official names: out_layer(tanh(proj1 h))."""

    def __call__(self, params: Group, features: Features) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        named = [f"classifers.{i}" for i in range(len(features))]
        pairs = list(zip(named, features.values(), strict=True))
        seen = {name: torch.tanh(affine(params, f"{name}.proj1", h.detach())) for name, h in pairs}
        predicted = [affine(params, f"{name}.out_layer", h) for name, h in seen.items()]
        weights = [params[f"{name}.out_layer.weight"] for name in named]
        return torch.stack(predicted), (torch.stack(list(seen.values())), torch.stack(weights))


class Scripted(CGGM):
    """CGGM with the accuracies given by the case."""

    script: Iterator[list[float]]

    def measure(self, signals: Signals, task: Task) -> Tensor:
        return torch.tensor(next(self.script), dtype=torch.float64)


class PreviousStep(NamedTuple):
    """What the comparison of a step needs of the previous one."""

    matrices: Tensor  # [1 + M, C, P] weights of the joint head and of the classifiers' output layers
    grads: Params
    weights: Tensor  # [M] b_m / M


def replay_release(case: Case) -> Pairs:
    """CGGM as its authors train it, with the cosines of weights that their loss holds one step later."""
    hyper, net = case["hyper"], networks.build_network(case)
    heads = {name: torch.tensor(v, dtype=torch.float64) for name, v in case["init_classifier_params"].items()}
    names = {name: lambda p, name=name: p.heads["classifiers"][name] for name in heads}
    params = net.params._replace(heads={"classifiers": heads})
    model = net.model._replace(classifier=OracleClassifiers())  # type: ignore[arg-type]
    net = net._replace(params=params, model=model, names=net.names | names)
    method, lam = build_method(case), hyper["lamda"]
    rule = SplitOptimizer(SGD(hyper["lr"], 0.0), SGD(hyper["cls_lr"], 0.0))
    learner = Learner(params, net.buffers, rule.init(params), method.init(params))
    l_gm, previous = 0.0, None
    for number, recorded in enumerate(case["steps"]):
        theirs = recorded["official"]
        yield from net.compare_params(number, learner, recorded["params_before_step"])
        yield from net.compare_params(number, learner, recorded["classifier_params_before_step"])
        task = net.task(recorded, active=True, loss=regression_loss(case))
        before, recorder, inputs = learner, StepRecorder(), net.inputs(recorded)
        learner, metrics = recorder.step(net.setup(method, rule, clip=hyper["clip"]), learner, inputs, task)
        balance, cosine = metrics["method.balance"], metrics["method.cosine"]
        change = learner.state.eps - before.state.eps
        known = {
            "preds": recorder.signals.logits,
            "raw_loss_total": metrics["loss"] + lam * l_gm,
            "l_gm_used": l_gm if number else None,
            "acc_now": metrics["method.eps"],
            "diff": change,
            "diff_sum": change.sum() + SUM_EPS,
            "coeff": balance,
            "cosines_llist": cosine,
            "l_gm_new": metrics["method.direction"],
            "cls_loss": task.objectives(recorder.signals.classified).sum(),
            "cls_res": recorder.signals.classified,
        }
        yield from compare_step(number, known, theirs, net, recorder, skip={LEAK, "classifier_grads"})
        yield from net.compare_grads(number, "classifier_grads", recorder.raw, theirs)
        yield from compare_leaked_gradients(number, previous, lam, theirs[LEAK])
        l_gm = float(metrics["method.direction"])
        matrices = torch.cat([recorder.signals.weight[None], recorder.signals.classifiers[1]])
        previous = PreviousStep(matrices, recorder.raw, balance / len(balance))
    yield from net.compare_params("final", learner, case["final_params"])
    yield from net.compare_params("final", learner, case["final_classifier_params"])


def build_method(case: Case) -> CGGM:
    """Return the method with the settings of a case."""
    hyper = case["hyper"]
    metric = METRICS.get(hyper.get("dataset_branch", ""), "accuracy")
    kind = Scripted if "scripted_cal_coeff" in case else CGGM
    method = kind(rho=hyper["rou"], lam=hyper["lamda"], direction="param_released", eps_metric=metric)
    if isinstance(method, Scripted):
        method.script = iter(case["scripted_cal_coeff"])
    return method


def regression_loss(case: Case) -> str | None:
    """Return the regression loss that a case names; None: cross-entropy."""
    return next((loss for name, loss in LOSSES.items() if re.search(rf"\b{name}\b", case["arch"])), None)


def compare_leaked_gradients(number: int, previous: PreviousStep | None, lam: float, theirs: Case) -> Pairs:
    """Compare the classifiers' gradients left by the previous step and this step's loss, which the release then zeroes."""
    for name, recorded in theirs.items():
        if previous is None or recorded is None:
            yield f"{number}.{LEAK}.{name}", float(recorded is not None), float(previous is not None)
            continue
        ours = previous.grads.heads["classifiers"][name]
        if name.endswith("out_layer.weight"):
            m = int(name.split(".")[1])
            ours = ours + lam * cosine_alignment(previous.matrices[[m + 1, 0]], previous.weights[m : m + 1])[1]
        yield f"{number}.{LEAK}.{name}", ours, recorded


def replay_direction(case: Case) -> Pairs:
    """The paper's loss with given b and q as those of the previous step; the given fused features are leaves."""
    z, weight, bias, q, b = (
        torch.tensor(case[key], dtype=torch.float64) for key in ("z", "W", "b", "classifier_head_gradients", "coeff")
    )
    leaves = Params({}, {}, {"z": z, "head.weight": weight, "head.bias": bias}, {})
    forward_signals: list[Signals] = []

    def forward(params: Params) -> tuple[Signals, Any]:
        fused, *head = params.shared.values()
        logits, none = torch.nn.functional.linear(fused, *head), z.new_zeros(len(b), *z.shape[:1], len(bias))
        forward_signals.append(Signals(logits, fused, classified=none, classifiers=(fused.expand(len(b), *z.shape), q)))
        return forward_signals[0], {}

    signals, _, pull = eager(forward, leaves)
    task = Task(*classification(torch.tensor(case["y"])), lambda _, like: like, torch.ones(()).double(), len(z))
    method = CGGM(lam=case["lambda"], magnitude=False, direction="grad_prev")
    state = CGGMState(torch.zeros_like(b), torch.zeros_like(b), (b / len(b), q))
    step = method.step(state, signals, task, pull)
    plain = pull(lambda s: task.objective(s.logits)).shared["head.weight"]
    yield "L_task", task.objective(signals.logits).detach(), case["L_task"]
    yield "g_Omega", plain, case["g_Omega"]
    yield "cos", step.metrics["cosine"], case["cos"]
    yield "L_gm", step.metrics["direction"], case["L_gm"]
    for key, name in {"d_total_dz": "z", "d_total_dW": "head.weight", "d_total_db": "head.bias"}.items():
        yield key, step.grads.shared[name], case[key]


def tolerance(case: Case) -> float | None:
    """Return the tolerance of a case with sums near zero, whose division amplifies rounding; None: the default."""
    steps = [step["official"] for step in case.get("steps", []) if "coeff" in step.get("official", {})]
    return 1e-6 if any(abs(b) > 1e5 for step in steps for b in step["coeff"]) else None


def select_replay(case: Case) -> Callable[[Case], Pairs] | None:
    """Return the function that replays a case of CGGM; None for other cases."""
    if {"rou", "lamda"} <= case.get("hyper", {}).keys():
        return replay_release
    return replay_direction if {"classifier_head_gradients", "coeff"} <= case.keys() else None
