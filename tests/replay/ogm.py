"""OGM and OGM-GE: their authors' training loop."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from tests.replay import networks
from tests.replay.recorder import Case, Pairs, StepRecorder, compare_step
from trainables.methods.joint import Joint
from trainables.methods.ogm import OGM, damping_factors, ratios
from trainables.methods.ogm_ge import OGMGE
from trainables.optim import SGD
from trainables.setup import Learner, method_strength

UNBOUNDED = 0.0, math.inf


class Unbounded(OGM):
    """OGM as released, without bounds on its ratios."""

    @property
    def bounds(self) -> tuple[float, float]:
        return UNBOUNDED


class UnboundedGE(OGMGE):
    """OGM-GE as released, without bounds on its ratios."""

    @property
    def bounds(self) -> tuple[float, float]:
        return UNBOUNDED


def replay_release(case: Case) -> Pairs:
    """OGM, OGM-GE and joint training as in the OGM-GE release; its noise is passed to ours as unit noise."""
    hyper, net = case["hyper"], networks.build_network(case)
    modalities = list(net.model.encoders)
    method: Any = {
        "OGM": Unbounded(hyper["alpha"], "conv4d"),
        "OGM_GE": UnboundedGE(hyper["alpha"], 1.0, "conv4d"),
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
        recorder, inputs = StepRecorder(), net.inputs(recorded)
        unimodal = net.model(learner.params, learner.buffers, inputs, frozenset({"unimodal"}))[0].unimodal
        learner, metrics = recorder.step(net.setup(method, SGD(hyper["lr"], 0.0)), learner, inputs, task)
        unimodal_loss = task.mean(task.loss(unimodal))
        score = torch.exp(-task.loss(unimodal)).sum(-1)
        known = {"out": recorder.signals.logits, "loss": metrics["loss"], "normal_calls": theirs["normal_calls"]}
        for i, m in enumerate(modalities):
            known |= {f"out_{m[0]}": unimodal[i], f"loss_{m[0]}": unimodal_loss[i], f"score_{m[0]}": score[i]}
            known[f"ratio_{m[0]}"] = metrics.get("method.ratio", score / (score.sum() - score))[i]
            known[f"coeff_{m[0]}"] = damping_factors(ratios(score, bounds=UNBOUNDED), hyper["alpha"])[i]
        yield from compare_step(number, known, theirs, net, recorder, skip={"normal_calls"})
        yield f"{number}.noise left over", len(list(drawn)), 0 if active else len(theirs["normal_calls"])
        each = {m[0]: float(unimodal_loss[i]) for i, m in enumerate(modalities)}
        losses.setdefault(recorded["epoch"], []).append([float(metrics["loss"]), each["a"], each["v"]])
    yield from net.compare_params("final", learner, case["final_params"])
    means = [torch.tensor(rows, dtype=torch.float64).mean(0).tolist() for rows in losses.values()]
    yield "losses of the epochs", means, case.get("returned_epoch_losses", means)


def replay_balance_benchmark(case: Case) -> Pairs:
    """BalanceBenchmark's variants, under the options that name them; where its code stops, there is no step.

    Its noise was not recorded: the difference between final and scaled gradients is passed to ours.
    """
    hyper, net = case["hyper"], networks.build_network(case)
    modalities, rule = list(net.model.encoders), SGD(hyper["lr"], 0.0)
    enhanced = any(call is not None for call in noise_remainders(case["steps"][0]["official"]).values())
    ratio = "bb3" if hyper["method"] == "OGM_GE3" else "bb"
    method: Any = (OGMGE if enhanced else OGM)(hyper["alpha"], filter="ndim>1", ratio=ratio)
    learner = Learner(net.params, net.buffers, rule.init(net.params), ())
    for number, recorded in enumerate(case["steps"]):
        theirs = recorded["official"]
        yield from net.compare_params(number, learner, recorded["params_before_step"])
        remainders = noise_remainders(theirs)

        def noise(purpose: str, like: Tensor, remainders: dict[str, Tensor | None] = remainders) -> Tensor:
            added = remainders[purpose.removeprefix("ge.")]
            return torch.zeros_like(like) if added is None else added / (like.std() + 1e-8)

        task, recorder = net.task(recorded, active=True, noise=noise), StepRecorder()
        learner, metrics = recorder.step(net.setup(method, rule), learner, net.inputs(recorded), task)
        logits = recorder.signals.unimodal
        cosines = len(modalities) > 2 and hyper["method"] != "OGM_GE3"
        likelihood = task.likelihood(torch.cos(logits)) * task.score(logits) if cosines else task.likelihood(logits)
        known = {"loss": metrics["loss"]}
        for i, m in enumerate(modalities):
            known |= {f"scores.{m}": likelihood[i].sum(), f"ratios.{m}": metrics["method.ratio"][i]}
            known[f"coeffs.{m}"] = metrics["method.scale"][i]
        if theirs["error"] is not None:
            known = {name: value for name, value in known.items() if name.startswith("scores")}
            yield from compare_step(number, known, {"scores": theirs["scores"]}, net, recorder, skip=set())
            return
        yield from compare_step(number, known, theirs, net, recorder, skip={"error"})


def noise_remainders(theirs: Case) -> dict[str, Tensor | None]:
    """Return the final minus the scaled gradient of each encoder parameter, by its name here; None where they are equal."""
    added: dict[str, Tensor | None] = {}
    for name, raw in (theirs.get("grads_after_backward") or {}).items():
        if name.startswith("modality_encoder."):
            _, modality, kind = name.split(".")
            before, after = (torch.tensor(g, dtype=torch.float64) for g in (raw, theirs["grads_at_step"][name]))
            rest = after - theirs["coeffs"].get(modality, 1.0) * before
            touched = kind == "weight" and float(rest.abs().max()) > 1e-12
            added[f"{modality}.modality_encoder.{modality}.{kind}"] = rest if touched else None
    return added


def replay_agm_repository(case: Case) -> Pairs:
    """OGM-GE in the AGM repository: every tensor of a branch, or, where its names never match, joint training."""
    hyper, net = case["hyper"], networks.build_network(case)
    modalities, rule = list(net.model.encoders), SGD(hyper["lr"], 0.0)
    inert = not any(recorded["official"].get("normal_calls") for recorded in case["steps"])
    method: Any = Joint() if inert else UnboundedGE(hyper["alpha"], 1.0, "all")
    learner = Learner(net.params, net.buffers, rule.init(net.params), ())
    for number, recorded in enumerate(case["steps"]):
        theirs = recorded["official"]
        yield from net.compare_params(number, learner, recorded["params_before_step"])
        calls = list(theirs["normal_calls"])
        task = net.task(recorded, active=True, noise=recorded_noise(calls))
        recorder, inputs = StepRecorder(), net.inputs(recorded)
        unimodal = net.model(learner.params, learner.buffers, inputs, frozenset({"unimodal"}))[0].unimodal
        learner, metrics = recorder.step(net.setup(method, rule), learner, inputs, task)
        score = task.likelihood(unimodal).sum(-1)
        known = {"loss": metrics["loss"]}
        for i, m in enumerate(modalities):
            known |= {f"out_{m[0]}": unimodal[i], f"OGM_score_{m[0]}": score[i]}
            known[f"OGM_ratio_{m[0]}"] = ratios(score, bounds=UNBOUNDED)[i]
            known[f"OGM_coeff_{m[0]}"] = damping_factors(ratios(score, bounds=UNBOUNDED), hyper["alpha"])[i]
        yield from compare_step(number, known, theirs, net, recorder, skip={"normal_calls"})
        yield f"{number}.noise left over", len(calls), 0
    yield from net.compare_params("final", learner, case["final_params"])


def recorded_noise(calls: list[Case]) -> Callable[[str, Tensor], Tensor]:
    """Return a noise function that returns the recorded draws, matched to gradients by shape and deviation."""

    def noise(purpose: str, like: Tensor) -> Tensor:
        deviation = float(like.std() + 1e-8)
        fits = [
            c for c in calls if abs(c["std"] / deviation - 1) < 1e-9 and torch.tensor(c["values"]).shape == like.shape
        ]
        calls.remove(fits[0])
        return torch.tensor(fits[0]["values"], dtype=torch.float64) / fits[0]["std"]

    return noise


def select_replay(case: Case) -> Callable[[Case], Pairs] | None:
    """Return the function that replays a case of OGM; None for other cases."""
    if "modulation" in case.get("hyper", {}):
        return replay_release
    step = case["steps"][0].get("official", {}) if case.get("steps") else {}
    if "OGM_score_a" in step:
        return replay_agm_repository
    return replay_balance_benchmark if "ratios" in step else None
