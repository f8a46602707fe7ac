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
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from tests import oracle_nets
from trainables.methods.agm import AGM, AGMState, lead, shapley_weights
from trainables.methods.joint import Joint
from trainables.methods.ogm import OGM, damping
from trainables.methods.ogm_ge import OGMGE
from trainables.optim import SGD
from trainables.setup import Learner, Setup
from trainables.signals import Task, all_subsets, leaves, mix
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
    hyper, net = case["hyper"], oracle_nets.read(case)
    family, modalities = case["name"].split("_")[0], list(net.model.encoders)
    cap = float("inf") if hyper["clamp"] is None else hyper["clamp"]
    method = AGM(alpha=hyper["alpha"], cap=cap, stale=True)
    order = [hyper["order_of_returned_scores"].index(m) for m in modalities]
    learner = Learner(net.params, net.buffers, SGD(momentum=0.0).init(net.params), history(case, order))
    means = []
    for number, recorded in enumerate(case["steps"]):
        theirs = recorded["official"]
        yield from net.compare_params(number, learner, recorded["params_before_step"])
        active = hyper["modulation_starts"] <= recorded["epoch"] <= hyper["modulation_ends"]
        task = net.task(recorded, active=active, reduction=hyper.get("task_loss_reduction", "mean"))
        past, spied = method.past(learner.state), Spied()
        learner, metrics = spied.clipped_step(net, method, SGD(hyper["lr"], 0.0), family, learner, recorded, task)
        means.append((recorded["epoch"], [float(mean) for mean in method.past(learner.state)]))
        shares = mix(shapley_weights(len(modalities)), spied.signals.muted)
        known = {"out": spied.signals.logits, "loss": task.objective(spied.signals.logits), "clipped": spied.clipped}
        for i, m in enumerate(modalities):
            known[f"phi.m_{m[0]}_o"] = shares[i]
            known[f"scale_used.scale_{m[0]}"] = metrics["method.scale"][i]
            known[f"score_{m}"] = metrics["method.score"][i]
            known[f"ratio_{m[0]}"] = lead(metrics["method.score"])[i]
            known[f"optimal_ratio_{m[0]}"] = lead(past)[i]
            known[f"train_score_{m[0]}"] = known[f"train_epoch_score_{m[0]}"] = method.past(learner.state)[i]
            known[f"coeff_{m[0]}"] = method.coefficients(metrics["method.score"], past)[i]
        yield from against(number, known, theirs, net, spied, skip={"iteration", "net_outputs_in_call_order"})
        yield from coalition_outputs(number, family, modalities, spied.signals.muted, theirs)
    yield from net.compare_params("final", learner, case["final_params"])
    last = {epoch: [values[order.index(i)] for i in range(len(order))] for epoch, values in means}
    yield "scores of the epochs", list(last.values()), case.get("returned_scores_per_epoch", list(last.values()))


def history(case: Case, order: list[int]) -> AGMState:
    """Return the running means with which a case starts, as the cumulative mean of the epochs before it."""
    hyper = case["hyper"]
    mean = torch.tensor([hyper["init_scores"][i] for i in order], dtype=torch.float64)
    steps = sum(s["epoch"] == hyper["start_epoch"] for s in case["steps"]) * (hyper["start_epoch"] - 1)
    before = torch.tensor(float(steps), dtype=torch.float64)
    return AGMState(before, (before * mean)[None], before, torch.ones_like(mean))


def against(number: int, known: Case, theirs: Case, net: oracle_nets.Net, spied: "Spied", skip: set[str]) -> Pairs:
    """Compare every official number of a step; one that nothing here answers to counts as unread."""
    for key, value in theirs.items():
        if key in skip:
            continue
        if key.startswith("grads_"):
            grads = spied.raw if key == "grads_after_backward" else spied.final
            yield from net.compare_grads(number, key, grads, theirs)
        elif isinstance(value, dict) and any(name.rpartition(".")[2] in oracle_nets.STATISTICS for name in value):
            for name, recorded in value.items():
                yield from net.compare(f"{number}.{key}.{name}", name, spied.final, spied.buffers, recorded)
        elif isinstance(value, dict):
            for name, recorded in value.items():
                yield f"{number}.{key}.{name}", known.get(f"{key}.{name}"), recorded
        else:
            yield f"{number}.{key}", known.get(key), value


def coalition_outputs(number: int, family: str, modalities: list[str], muted: Tensor, theirs: Case) -> Pairs:
    """Compare the prediction of every coalition, in the order in which each script calls its net."""
    if "net_outputs_in_call_order" not in theirs:
        return
    calls = {
        "cremad": ["av", "a", "v", ""],
        "urfunny": ["avt", "vt", "at", "av", "t", "a", "v", ""],
        "mosei": ["ta", "a", "t", ""],
    }.get(family, ["av", "a", "v", ""])
    heard = {
        "".join(sorted(m[0] for m, h in zip(modalities, row, strict=True) if h)): muted[s]
        for s, row in enumerate(all_subsets(len(modalities)).tolist())
    }
    for call, output in zip(calls, theirs["net_outputs_in_call_order"], strict=False):
        if call:  # the all-muted output is computed by the release and never used
            yield f"{number}.f({call})", heard["".join(sorted(call))], output


def ogm_official(case: Case) -> Pairs:
    """OGM, OGM-GE and joint training as in the OGM-GE release; its noise is handed to ours as unit noise."""
    hyper, net = case["hyper"], oracle_nets.read(case)
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
            known[f"coeff_{m[0]}"] = damping(score, torch.tensor(True), hyper["alpha"])[i]
        yield from against(number, known, theirs, net, spied, skip={"normal_calls"})
        yield f"{number}.noise left over", len(list(drawn)), 0 if active else len(theirs["normal_calls"])
        each = {m[0]: float(alone[i]) for i, m in enumerate(modalities)}
        losses.setdefault(recorded["epoch"], []).append([float(metrics["loss"]), each["a"], each["v"]])
    yield from net.compare_params("final", learner, case["final_params"])
    means = [torch.tensor(rows, dtype=torch.float64).mean(0).tolist() for rows in losses.values()]
    yield "losses of the epochs", means, case.get("returned_epoch_losses", means)


class Spied:
    """The project's own training step, with what passes through it written down."""

    def clipped_step(
        self, net: oracle_nets.Net, method: Any, rule: SGD, family: str, learner: Learner, recorded: Case, task: Task
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
        after, metrics = step(setup._replace(method=watched, optimizer=Applied()), learner, inputs, task)
        self.buffers = after.buffers
        return after, metrics


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


def replayer(case: Case) -> Callable[[Case], Pairs] | None:
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


class Replayed(NamedTuple):
    """A case and how well it agrees."""

    name: str
    worst: float
    where: str  # the number that deviates most, or what went wrong
    count: int  # comparisons
    unread: list[str]  # official numbers that nothing here answers to


def replay(file: Path) -> Iterator[Replayed]:
    """Replay every case of a file; one that cannot be read has failed, and the others go on."""
    for index, case in enumerate(json.loads(file.read_text())["cases"]):
        name = f"{file.stem}/{case.get('name') or index}"
        run = replayer(case)
        if run is None:
            yield Replayed(name, float("inf"), "no method of this project replays it", 0, [])
            continue
        try:
            pairs = list(run(case))
            offs = [(deviation(ours, theirs), what) for what, ours, theirs in pairs if ours is not None]
        except Exception as error:
            yield Replayed(name, float("inf"), f"{type(error).__name__}: {error}", 0, [])
            continue
        worst, where = max(offs, default=(float("inf"), "nothing was compared"))
        unread = [what for what, ours, theirs in pairs if ours is None and theirs is not None]
        yield Replayed(name, worst, where, len(offs), unread)


def main(files: list[str]) -> int:
    """Replay every case of every file; return 1 if a deviation exceeds the tolerance, 2 without files."""
    if not files:
        sys.stderr.write("usage: python -m tests.replay FILE.json ...\n")
        return 2
    failed = False
    for case in (case for file in files for case in replay(Path(file))):
        failed |= not case.worst <= TOLERANCE
        unread = f"; not read: {', '.join(case.unread)}" if case.unread else ""
        verdict = "ok  " if case.worst <= TOLERANCE else "FAIL"
        line = f"{verdict} {case.worst:8.1e}  {case.name}  ({case.count} comparisons; worst: {case.where}{unread})"
        sys.stdout.write(line + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
