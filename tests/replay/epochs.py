"""MSLR and MSES: their training loop in the AGM release, with validation numbers that a script gives."""

import math
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests.replay import networks
from tests.replay.recorder import Case, Pairs, StepRecorder, compare_step
from trainables.methods.mses import INITIAL_BEST, MSES, MSESState
from trainables.methods.mslr import MSLR, MSLRState
from trainables.optim import SGD
from trainables.setup import Learner
from trainables.signals import Validation
from trainables.snapshots import apply_control

ENDS = re.compile(r"exit\(\)|ran all \d+ epochs")  # any other end is a crash


class Unbounded(MSLR):
    """MSLR as released, whose ratios have no limits."""

    @property
    def bounds(self) -> tuple[float, float]:
        return 0.0, math.inf


def replay_release(case: Case) -> Pairs:
    """Both methods as in the AGM release, up to the last epoch, its exit or its crash."""
    hyper, steps, ended = case["hyper"], case["steps"], case["ended"]
    names = [name.removeprefix("loss_") for name in case["scripted_validation"][0] if name.startswith("loss_")]
    data = {"inputs": {name: case[name] for name in [*names, "label"]}}  # one batch, in every step
    net = networks.build_network({**case, "steps": [data]})
    modalities = list(net.model.encoders)
    method: Any = {
        "MSLR": Unbounded(factor=hyper.get("init_coeff", 1.0), form="grad_scale"),
        "MSES": MSES(hyper["patience"], stop="grad_zero", first="none"),
    }[hyper["method"]]
    setup = net.setup(method, SGD(hyper["lr"], hyper.get("momentum", 0.0), hyper.get("weight_decay", 0.0)))
    learner = Learner(net.params, net.buffers, setup.optimizer.init(net.params), method.init(net.params))
    snapshots, smoothed = [learner] * len(modalities), torch.zeros(len(modalities))
    for number, recorded in enumerate(steps):
        yield from net.compare_params(number, learner, recorded["params_before_step"])
        task, recorder, before = net.task(data, active=True), StepRecorder(), learner.state
        learner, metrics = recorder.step(setup, learner, net.inputs(data), task, method.rates(before))
        known: Case = {}
        for i, m in enumerate(modalities):
            known |= release_variables(m, i, before, smoothed)
            known[f"{hyper['method'].lower()}_{m}_coeff"] = metrics["method.scale"][i]
        yield from compare_step(number, known, recorded["official"], net, recorder, skip=set())
        last = number + 1 == len(steps)
        if last or steps[number + 1]["epoch"] != recorded["epoch"]:
            scores = validation(case, modalities, recorded["epoch"])
            control = method.epoch(learner.state, scores)
            learner = apply_control(learner._replace(state=control.state), control, snapshots)
            crashed = release_crashes(case, before, control.state)  # before it could exit
            yield f"{number}.exit", bool(control.stop) and not crashed, last and ended.startswith("exit()")
            yield f"{number}.crash", crashed, last and not ENDS.match(ended)
            smoothed = method.smoothed_loss(before, scores) if isinstance(method, MSES) else smoothed
    yield from net.compare_params("final", learner, case.get("final_params", {}))
    match = re.search(r"ran all (\d+) epochs", ended)
    yield "epochs", len({step["epoch"] for step in steps}), int(match[1]) if match else recorded["epoch"]


def release_variables(m: str, i: int, state: MSLRState | MSESState, smoothed: Tensor) -> Case:
    """Return the release's variables of modality m, the i-th, before an epoch; those of the other method at their start."""
    memory, best, best_epoch, previous = (
        torch.zeros(0),
        torch.tensor(INITIAL_BEST),
        torch.tensor(0.0),
        torch.tensor(0.0),
    )
    if isinstance(state, MSLRState):
        memory, ratio = state.memory[max(0, len(state.memory) - int(state.epochs)) :, i], state.ratio[i]
    else:
        previous, best, best_epoch, ratio = (values[i] for values in state)
    return {
        f"{m}_lr_ratio": ratio,
        f"main_before_epoch.{m}_lr_memory": memory,
        f"main_before_epoch.min_test_{m}_loss": best,
        f"main_before_epoch.{m}_argmax_loss_epoch": best_epoch,
        f"main_before_epoch.{m}_batch_loss": smoothed[i],
        f"main_before_epoch.bre_{m}_batch_loss": previous,
    }


def validation(case: Case, modalities: list[str], epoch: int) -> Validation:
    """Return the scripted validation numbers of an epoch."""
    values = {
        name: torch.tensor(value, dtype=torch.float64) for name, value in case["scripted_validation"][epoch - 1].items()
    }
    loss, score = (torch.stack([values[f"{kind}_{m}"] for m in modalities]) for kind in ("loss", "acc"))
    one = torch.ones_like(values["acc"])
    return Validation(loss, score, one, values["acc"], epoch * one, one)


def release_crashes(case: Case, before: Any, after: Any) -> bool:
    """Return whether the release crashes: a stopped branch was best in epoch 1, which has no checkpoint."""
    if isinstance(after, MSLRState) or case["dataset_script"] == "URFunny":  # which checks for one before it rolls back
        return False
    return bool(((before.running != after.running) & (after.best_epoch == 1)).any())


def select_replay(case: Case) -> Callable[[Case], Pairs] | None:
    """Return what replays a case, if it is one of MSLR's or MSES's."""
    acts = case.get("hyper", {}).get("method") in {"MSLR", "MSES"}
    return replay_release if acts and "scripted_validation" in case else None
