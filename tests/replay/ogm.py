"""OGM and OGM-GE: their authors' training loop."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from tests.replay import networks
from tests.replay.spy import Case, Pairs, Spied, against
from trainables.methods.joint import Joint
from trainables.methods.ogm import OGM, damping_factors, ratios
from trainables.methods.ogm_ge import OGMGE
from trainables.optim import SGD
from trainables.setup import Learner, method_strength

FREE = 0.0, math.inf


class Unbounded(OGM):
    """OGM as released, whose ratios have no limits."""

    @property
    def bounds(self) -> tuple[float, float]:
        return FREE


class Enhanced(OGMGE):
    """OGM-GE as released, the same."""

    @property
    def bounds(self) -> tuple[float, float]:
        return FREE


def official(case: Case) -> Pairs:
    """OGM, OGM-GE and joint training as in the OGM-GE release; its noise is handed to ours as unit noise."""
    hyper, net = case["hyper"], networks.read(case)
    modalities = list(net.model.encoders)
    method: Any = {
        "OGM": Unbounded(hyper["alpha"], "conv4d"),
        "OGM_GE": Enhanced(hyper["alpha"], 1.0, "conv4d"),
        "Normal": Joint(),
    }[hyper["modulation"]]
    learner = Learner(net.params, net.buffers, SGD(momentum=0.0).init(net.params), method.init(net.params))
    span = {"start": hyper["modulation_starts"] + 1, "end": hyper["modulation_ends"] + 1, "warmup": 0}  # epochs from 1
    losses: dict[int, list[list[float]]] = {}
    for number, recorded in enumerate(case["steps"]):
        theirs = recorded["official"]
        yield from net.compare_params(number, learner, recorded["params_before_step"])
        active = method_strength(span, recorded["epoch"] + 1) == 1
        drawn = iter(theirs["normal_calls"])

        def noise(purpose: str, like: Tensor, drawn: Iterator[Case] = drawn) -> Tensor:
            call = next(drawn, None)
            if call is None:
                return torch.zeros_like(like)
            return torch.tensor(call["values"], dtype=torch.float64) / call["std"]

        task = net.task(recorded, active=active, noise=noise)
        spied, inputs = Spied(), net.inputs(recorded)
        unimodal = net.model(learner.params, learner.buffers, inputs, frozenset({"unimodal"}))[0].unimodal
        learner, metrics = spied.step(net.setup(method, SGD(hyper["lr"], 0.0)), learner, inputs, task)
        alone = task.mean(task.loss(unimodal))
        score = torch.exp(-task.loss(unimodal)).sum(-1)
        known = {"out": spied.signals.logits, "loss": metrics["loss"], "normal_calls": theirs["normal_calls"]}
        for i, m in enumerate(modalities):
            known |= {f"out_{m[0]}": unimodal[i], f"loss_{m[0]}": alone[i], f"score_{m[0]}": score[i]}
            known[f"ratio_{m[0]}"] = metrics.get("method.ratio", score / (score.sum() - score))[i]
            known[f"coeff_{m[0]}"] = damping_factors(ratios(score, bounds=FREE), hyper["alpha"])[i]
        yield from against(number, known, theirs, net, spied, skip={"normal_calls"})
        yield f"{number}.noise left over", len(list(drawn)), 0 if active else len(theirs["normal_calls"])
        each = {m[0]: float(alone[i]) for i, m in enumerate(modalities)}
        losses.setdefault(recorded["epoch"], []).append([float(metrics["loss"]), each["a"], each["v"]])
    yield from net.compare_params("final", learner, case["final_params"])
    means = [torch.tensor(rows, dtype=torch.float64).mean(0).tolist() for rows in losses.values()]
    yield "losses of the epochs", means, case.get("returned_epoch_losses", means)


def balance_benchmark(case: Case) -> Pairs:
    """BalanceBenchmark's variants, under the options that name them; where its code stops, there is no step.

    Its noise was not recorded: what the final gradients have beyond the scaled ones is handed to ours.
    """
    hyper, net = case["hyper"], networks.read(case)
    modalities, rule = list(net.model.encoders), SGD(hyper["lr"], 0.0)
    enhanced = any(call is not None for call in left_over(case["steps"][0]["official"]).values())
    ratio = "bb3" if hyper["method"] == "OGM_GE3" else "bb"
    method: Any = (OGMGE if enhanced else OGM)(hyper["alpha"], filter="ndim>1", ratio=ratio)
    learner = Learner(net.params, net.buffers, rule.init(net.params), ())
    for number, recorded in enumerate(case["steps"]):
        theirs = recorded["official"]
        yield from net.compare_params(number, learner, recorded["params_before_step"])
        remainders = left_over(theirs)

        def noise(purpose: str, like: Tensor, remainders: dict[str, Tensor | None] = remainders) -> Tensor:
            added = remainders[purpose.removeprefix("ge.")]
            return torch.zeros_like(like) if added is None else added / (like.std() + 1e-8)

        task, spied = net.task(recorded, active=True, noise=noise), Spied()
        learner, metrics = spied.step(net.setup(method, rule), learner, net.inputs(recorded), task)
        logits = spied.signals.unimodal
        cosines = len(modalities) > 2 and hyper["method"] != "OGM_GE3"
        likelihood = task.likelihood(torch.cos(logits)) * task.score(logits) if cosines else task.likelihood(logits)
        known = {"loss": metrics["loss"]}
        for i, m in enumerate(modalities):
            known |= {f"scores.{m}": likelihood[i].sum(), f"ratios.{m}": metrics["method.ratio"][i]}
            known[f"coeffs.{m}"] = metrics["method.scale"][i]
        if theirs["error"] is not None:
            known = {name: value for name, value in known.items() if name.startswith("scores")}
            yield from against(number, known, {"scores": theirs["scores"]}, net, spied, skip=set())
            return
        yield from against(number, known, theirs, net, spied, skip={"error"})


def left_over(theirs: Case) -> dict[str, Tensor | None]:
    """Return what each final encoder gradient has beyond the scaled one, by this project's name; None: nothing."""
    added: dict[str, Tensor | None] = {}
    for name, raw in (theirs.get("grads_after_backward") or {}).items():
        if name.startswith("modality_encoder."):
            _, modality, kind = name.split(".")
            before, after = (torch.tensor(g, dtype=torch.float64) for g in (raw, theirs["grads_at_step"][name]))
            rest = after - theirs["coeffs"].get(modality, 1.0) * before
            touched = kind == "weight" and float(rest.abs().max()) > 1e-12
            added[f"{modality}.modality_encoder.{modality}.{kind}"] = rest if touched else None
    return added


def agm_repository(case: Case) -> Pairs:
    """OGM-GE in the AGM repository: every tensor of a branch, or, where its names never match, joint training."""
    hyper, net = case["hyper"], networks.read(case)
    modalities, rule = list(net.model.encoders), SGD(hyper["lr"], 0.0)
    inert = not any(recorded["official"].get("normal_calls") for recorded in case["steps"])
    method: Any = Joint() if inert else Enhanced(hyper["alpha"], 1.0, "all")
    learner = Learner(net.params, net.buffers, rule.init(net.params), ())
    for number, recorded in enumerate(case["steps"]):
        theirs = recorded["official"]
        yield from net.compare_params(number, learner, recorded["params_before_step"])
        calls = list(theirs["normal_calls"])
        task, spied, inputs = net.task(recorded, active=True, noise=handed(calls)), Spied(), net.inputs(recorded)
        unimodal = net.model(learner.params, learner.buffers, inputs, frozenset({"unimodal"}))[0].unimodal
        learner, metrics = spied.step(net.setup(method, rule), learner, inputs, task)
        score = task.likelihood(unimodal).sum(-1)
        known = {"loss": metrics["loss"]}
        for i, m in enumerate(modalities):
            known |= {f"out_{m[0]}": unimodal[i], f"OGM_score_{m[0]}": score[i]}
            known[f"OGM_ratio_{m[0]}"] = ratios(score, bounds=FREE)[i]
            known[f"OGM_coeff_{m[0]}"] = damping_factors(ratios(score, bounds=FREE), hyper["alpha"])[i]
        yield from against(number, known, theirs, net, spied, skip={"normal_calls"})
        yield f"{number}.noise left over", len(calls), 0
    yield from net.compare_params("final", learner, case["final_params"])


def handed(calls: list[Case]) -> Callable[[str, Tensor], Tensor]:
    """Return noise that hands out the recorded draws, each to the gradient of its shape and deviation."""

    def noise(purpose: str, like: Tensor) -> Tensor:
        deviation = float(like.std() + 1e-8)
        fits = [
            c for c in calls if abs(c["std"] / deviation - 1) < 1e-9 and torch.tensor(c["values"]).shape == like.shape
        ]
        calls.remove(fits[0])
        return torch.tensor(fits[0]["values"], dtype=torch.float64) / fits[0]["std"]

    return noise


def replayer(case: Case) -> Callable[[Case], Pairs] | None:
    """Return what replays a case, if it is one of OGM's."""
    if "modulation" in case.get("hyper", {}):
        return official
    step = case["steps"][0].get("official", {}) if case.get("steps") else {}
    if "OGM_score_a" in step:
        return agm_repository
    return balance_benchmark if "ratios" in step else None
