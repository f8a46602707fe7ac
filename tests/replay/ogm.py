"""OGM and OGM-GE: their authors' training loop."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from tests.replay import networks
from tests.replay.spy import Case, Pairs, Spied, against
from trainables.methods.joint import Joint
from trainables.methods.ogm import OGM, damping, ratios
from trainables.methods.ogm_ge import OGMGE
from trainables.optim import SGD
from trainables.setup import Learner


def official(case: Case) -> Pairs:
    """OGM, OGM-GE and joint training as in the OGM-GE release; its noise is handed to ours as unit noise."""
    hyper, net = case["hyper"], networks.read(case)
    modalities = list(net.model.encoders)
    method: Any = {
        "OGM": OGM(hyper["alpha"], "conv4d"),
        "OGM_GE": OGMGE(hyper["alpha"], 1.0, "conv4d"),
        "Normal": Joint(),
    }[hyper["modulation"]]
    learner = Learner(net.params, net.buffers, SGD(momentum=0.0).init(net.params), method.init(net.params))
    losses: dict[int, list[list[float]]] = {}
    for number, recorded in enumerate(case["steps"]):
        theirs = recorded["official"]
        yield from net.compare_params(number, learner, recorded["params_before_step"])
        active = hyper["modulation_starts"] <= recorded["epoch"] <= hyper["modulation_ends"]
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
            known[f"coeff_{m[0]}"] = damping(ratios(score), hyper["alpha"])[i]
        yield from against(number, known, theirs, net, spied, skip={"normal_calls"})
        yield f"{number}.noise left over", len(list(drawn)), 0 if active else len(theirs["normal_calls"])
        each = {m[0]: float(alone[i]) for i, m in enumerate(modalities)}
        losses.setdefault(recorded["epoch"], []).append([float(metrics["loss"]), each["a"], each["v"]])
    yield from net.compare_params("final", learner, case["final_params"])
    means = [torch.tensor(rows, dtype=torch.float64).mean(0).tolist() for rows in losses.values()]
    yield "losses of the epochs", means, case.get("returned_epoch_losses", means)


def replayer(case: Case) -> Callable[[Case], Pairs] | None:
    """Return what replays a case, if it is one of OGM's."""
    return official if "modulation" in case.get("hyper", {}) else None
