"""Replays numbers of the authors' own code through this project's methods, models and optimisers.

    python -m tests.replay FILE.json ...

Prints one line a case with the worst relative deviation, |ours - theirs| / max(1, |theirs|), over every number of
the case that has a counterpart here, and exits with 1 if one exceeds the tolerance. Trajectories run from
`init_params` to `final_params` without looking back, so an error at any step shows at all that follow.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from tests import oracle_nets
from trainables.methods.agm import AGM, AGMState, lead, shapley_weights
from trainables.methods.joint import Joint
from trainables.methods.ogm import OGM
from trainables.methods.ogm_ge import OGMGE
from trainables.optim import SGD
from trainables.setup import Learner, Setup
from trainables.signals import Task, all_subsets, mix
from trainables.train import step

TOLERANCE = 1e-9
Case = dict[str, Any]
Pairs = Iterator[tuple[str, Any, Any]]  # (what, ours, theirs)


def deviation(ours: Any, theirs: Any) -> float:
    """Return the largest relative deviation between two numbers or nests of numbers."""
    a = torch.as_tensor(ours, dtype=torch.float64)
    b = torch.as_tensor(theirs, dtype=torch.float64)
    if a.shape != b.shape:
        return float("inf")
    worst = ((a - b).abs() / b.abs().clamp(min=1)).nan_to_num(nan=float("inf")).flatten()
    return float(worst.max()) if worst.numel() else 0.0


def agm_official(case: Case) -> Pairs:
    """AGM as its authors train it; `stale` where their hooks keep the last coefficients."""
    hyper = case["hyper"]
    family = case["name"].split("_")[0]
    net = oracle_nets.read(case)
    modalities = list(net.model.encoders)
    # The release clips the total norm if an element of the head's gradient exceeds the same number.
    limit = {"urfunny": 5.0}.get(family, 1.0)
    clipping = None if family == "ave" else limit
    cap = float("inf") if hyper["clamp"] is None else hyper["clamp"]
    method = AGM(alpha=hyper["alpha"], cap=cap, stale=True)
    order = [hyper["order_of_returned_scores"].index(m) for m in modalities]
    mean = torch.tensor([hyper["init_scores"][i] for i in order], dtype=torch.float64)
    per_epoch = sum(s["epoch"] == hyper["start_epoch"] for s in case["steps"])
    before = torch.tensor(float((hyper["start_epoch"] - 1) * per_epoch), dtype=torch.float64)
    state = AGMState(before, (before * mean)[None], before, torch.ones_like(mean))
    learner = Learner(net.params, net.buffers, SGD(momentum=0.0).init(net.params), state)
    for number, recorded in enumerate(case["steps"]):
        theirs = recorded["official"]
        yield from net.compare_params(number, learner, recorded["params_before_step"])
        active = hyper["modulation_starts"] <= recorded["epoch"] <= hyper["modulation_ends"]
        setup = net.setup(method, SGD(hyper["lr"], 0.0), clip=clipping, trigger=clipping)
        task = net.task(recorded, active=active, reduction=hyper.get("task_loss_reduction", "mean"))
        spied = Spied()
        past = method.past(learner.state)
        new, metrics = spied.step(setup, learner, net.inputs(recorded), task)
        weights = shapley_weights(len(modalities))
        shares = mix(weights, spied.signals.muted)
        for i, m in enumerate(modalities):
            letter = {"text": "t", "audio": "a", "visual": "v"}[m]
            ours = {
                f"score_{m}": metrics["method.score"][i],
                f"ratio_{letter}": lead(metrics["method.score"])[i],
                f"optimal_ratio_{letter}": lead(past)[i],
                f"coeff_{letter}": metrics["method.scale"][i] if active else None,
                f"train_score_{letter}": method.past(new.state)[i],
                f"train_epoch_score_{letter}": method.past(new.state)[i],
            }
            yield from ((f"{number}.{k}", v, theirs[k]) for k, v in ours.items() if k in theirs and v is not None)
            yield f"{number}.scale_used", metrics["method.scale"][i], theirs["scale_used"][f"scale_{letter}"]
            yield f"{number}.phi.{m}", shares[i], theirs["phi"][f"m_{letter}_o"]
        yield f"{number}.out", spied.signals.logits, theirs["out"]
        yield f"{number}.loss", task.objective(spied.signals.logits), theirs["loss"]
        yield from net.compare_statistics(number, new, theirs)
        yield from coalition_outputs(number, family, modalities, spied.signals.muted, theirs)
        yield from net.compare_grads(number, "grads_after_backward", spied.raw, theirs)
        yield from net.compare_grads(number, "grads_at_step", spied.final, theirs)
        learner = new
    yield from net.compare_params("final", learner, case["final_params"])


def coalition_outputs(number: int, family: str, modalities: list[str], muted: Tensor, theirs: Case) -> Pairs:
    """Compare the prediction of every coalition, in the order in which each script calls its net."""
    calls = {
        "avmnist": ["av", "a", "v"],
        "cremad": ["av", "a", "v", ""],
        "urfunny": ["avt", "vt", "at", "av", "t", "a", "v", ""],
        "mosei": ["ta", "a", "t", ""],
        "ave": ["av", "a", "v", ""],
    }.get(family, [])
    heard = {
        "".join(sorted(m[0] for m, h in zip(modalities, row, strict=True) if h)): muted[s]
        for s, row in enumerate(all_subsets(len(modalities)).tolist())
    }
    for call, output in zip(calls, theirs["net_outputs_in_call_order"], strict=False):
        key = "".join(sorted(call))
        if key in heard:
            yield f"{number}.f({call})", heard[key], output


def ogm_official(case: Case) -> Pairs:
    """OGM, OGM-GE and joint training as in the OGM-GE release; its noise is handed to ours as unit noise."""
    hyper = case["hyper"]
    net = oracle_nets.read(case)
    modalities = list(net.model.encoders)
    method: Any = {
        "OGM": OGM(hyper["alpha"], "conv4d"),
        "OGM_GE": OGMGE(hyper["alpha"], 1.0, "conv4d"),
        "Normal": Joint(),
    }[hyper["modulation"]]
    learner = Learner(net.params, net.buffers, SGD(momentum=0.0).init(net.params), method.init(net.params))
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

        setup = net.setup(method, SGD(hyper["lr"], 0.0))
        task = net.task(recorded, active=active, noise=noise)
        spied = Spied()
        new, metrics = spied.step(setup, learner, net.inputs(recorded), task)
        signals = setup.model(learner.params, learner.buffers, net.inputs(recorded), frozenset({"unimodal"}))[0]
        losses = task.mean(task.loss(signals.unimodal))
        scores = torch.exp(-task.loss(signals.unimodal)).sum(-1)
        for i, m in enumerate(modalities):
            ours = {
                f"out_{m[0]}": signals.unimodal[i],
                f"loss_{m[0]}": losses[i],
                f"score_{m[0]}": scores[i],
                f"ratio_{m[0]}": scores[i] / (scores.sum() - scores[i]),
                f"coeff_{m[0]}": metrics["method.scale"][i] if active and "method.scale" in metrics else None,
            }
            yield from ((f"{number}.{k}", v, theirs[k]) for k, v in ours.items() if k in theirs and v is not None)
        yield f"{number}.out", signals.logits, theirs["out"]
        yield f"{number}.loss", metrics["loss"], theirs["loss"]
        yield f"{number}.noise left over", len(list(drawn)), 0
        yield from net.compare_grads(number, "grads_after_backward", spied.raw, theirs)
        yield from net.compare_grads(number, "grads_at_step", spied.final, theirs)
        learner = new
    yield from net.compare_params("final", learner, case["final_params"])


class Spied:
    """The project's own training step, with what passes through it written down."""

    def step(self, setup: Setup, learner: Learner, inputs: dict[str, Tensor], task: Task) -> tuple[Learner, Case]:
        spy = self

        class Watched:
            needs = setup.needs
            init = setup.method.init

            def step(self, state: Any, signals: Any, task: Task, pull: Any) -> Any:
                spy.signals = tree_map(torch.detach, signals)

                def watched(f: Any) -> Any:
                    spy.raw = pull(f)
                    return spy.raw

                return setup.method.step(state, signals, task, watched)

        class Attributing(Watched):
            def coalitions(self, modalities: int, task: Task) -> Tensor:
                return setup.method.coalitions(modalities, task)  # type: ignore[attr-defined]

        class Applied:
            init = setup.optimizer.init

            def update(self, grads: Any, state: Any, params: Any) -> Any:
                spy.final = grads
                return setup.optimizer.update(grads, state, params)

        watched = Attributing() if hasattr(setup.method, "coalitions") else Watched()
        return step(setup._replace(method=watched, optimizer=Applied()), learner, inputs, task)


def shapley(case: Case) -> Pairs:
    """Shapley values by brute force over all orders, in exact rationals."""
    modalities = case["M"]
    value = {tuple(entry["subset"]): entry["value"] for entry in case["subset_values"]}
    heard = [tuple(i for i, h in enumerate(row) if h) for row in all_subsets(modalities).tolist()]
    ours = shapley_weights(modalities) @ torch.tensor([value[s] for s in heard], dtype=torch.float64)
    yield "phi", ours, case["phi"]
    yield "sum", ours.sum(), value[tuple(range(modalities))]


def agm_reference(case: Case) -> Pairs:
    """The reference variants of AGM over a stream of scores."""
    kind, params = case["name"].split("_")[0], case["params"]
    method = AGM(
        alpha=1.0, cap=float("inf"), reference=kind, beta=params.get("beta", 0.99),
        window=params.get("w", 100), warm=params.get("n", 100),
    )  # fmt: skip
    shared = {"head.weight": torch.zeros(1, dtype=torch.float64)}
    encoders = {str(m): {} for m in range(case["M"])}
    state = method.init(oracle_nets.Params(encoders, shared, {}))
    for number, moment in enumerate(case["stream"]):
        score = torch.tensor(moment["s"], dtype=torch.float64)
        tau, r = lead(method.past(state)), lead(score)
        yield f"{number}.ref", method.past(state), moment["ref"]
        yield f"{number}.r", r, moment["r"]
        yield f"{number}.tau", tau, moment["tau"]
        yield f"{number}.kappa", torch.exp(tau - r), moment["kappa_alpha_1_noclamp"]
        state = method.remember(state, score, torch.exp(tau - r))


def replayer(case: Case, stem: str) -> Callable[[Case], Pairs] | None:
    """Return what replays a case, by what it holds; None if nothing here does."""
    if case.get("kind") == "shapley_by_permutations":
        return shapley
    if case.get("kind") == "agm_reference":
        return agm_reference
    if case.get("hyper", {}).get("methods") == "AGM":
        return agm_official
    if "modulation" in case.get("hyper", {}):
        return ogm_official
    return None


def replay(file: Path) -> Iterator[tuple[str, str, float, int]]:
    """Yield name, the worst number's name, its deviation and how many comparisons were made, for every case."""
    for index, case in enumerate(json.loads(file.read_text())["cases"]):
        name = f"{file.stem}/{case.get('name') or index}"
        run = replayer(case, file.stem)
        if run is None:
            yield name, "no method of this project replays it", float("inf"), 0
            continue
        worst, where, count = 0.0, "-", 0
        for what, ours, theirs in run(case):
            off, count = deviation(ours, theirs), count + 1
            if not off <= worst:
                worst, where = off, what
        yield name, where, worst if count else float("inf"), count


def main(files: list[str]) -> int:
    """Replay every case of every file; return 1 if a deviation exceeds the tolerance, 2 without files."""
    if not files:
        sys.stderr.write("usage: python -m tests.replay FILE.json ...\n")
        return 2
    failed = False
    for file in files:
        for name, where, worst, count in replay(Path(file)):
            ok = worst <= TOLERANCE
            failed |= not ok
            sys.stdout.write(
                f"{'ok  ' if ok else 'FAIL'} {worst:8.1e}  {name}  ({count} comparisons; worst: {where})\n"
            )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
