"""AGM: its authors' training loop, the Shapley weights, and the variants of the reference."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from tests.replay import networks
from tests.replay.recorder import Case, Pairs, StepRecorder, compare_step
from trainables.dry_run import dummy_task
from trainables.methods.agm import AGM, AGMState, strength_ratio
from trainables.optim import SGD
from trainables.setup import Learner
from trainables.shapley import shapley_weights, weighted_sums
from trainables.signals import all_subsets, mix


class Unbounded(AGM):
    """AGM as in the script of UR-Funny, whose scores have no upper bound."""

    @property
    def max_loss(self) -> float:
        return math.inf


def replay_release(case: Case) -> Pairs:
    """AGM as its authors train it; `stale` where their hooks keep the last coefficients."""
    hyper, net = case["hyper"], networks.build_network(case)
    family, modalities = case["name"].split("_")[0], list(net.model.encoders)
    cap = float("inf") if hyper["clamp"] is None else hyper["clamp"]
    method = (Unbounded if family == "urfunny" else AGM)(alpha=hyper["alpha"], cap=cap, stale=True)
    order = [hyper["order_of_returned_scores"].index(m) for m in modalities]
    learner = Learner(net.params, net.buffers, SGD(momentum=0.0).init(net.params), initial_state(case, order))
    means = []
    for number, recorded in enumerate(case["steps"]):
        theirs = recorded["official"]
        yield from net.compare_params(number, learner, recorded["params_before_step"])
        active = hyper["modulation_starts"] <= recorded["epoch"] <= hyper["modulation_ends"]
        task = net.task(recorded, active=active, reduction=hyper.get("task_loss_reduction", "mean"))
        past, recorder = method.reference_scores(learner.state), StepRecorder()
        learner, metrics = recorder.clipped_step(net, method, SGD(hyper["lr"], 0.0), family, learner, recorded, task)
        means.append((recorded["epoch"], [float(mean) for mean in method.reference_scores(learner.state)]))
        shares = mix(shapley_weights(len(modalities)), recorder.signals.muted)
        known = {
            "out": recorder.signals.logits,
            "loss": task.objective(recorder.signals.logits),
            "clipped": recorder.clipped,
        }
        for i, m in enumerate(modalities):
            known[f"phi.m_{m[0]}_o"] = shares[i]
            known[f"scale_used.scale_{m[0]}"] = metrics["method.scale"][i]
            known[f"score_{m}"] = metrics["method.score"][i]
            known[f"ratio_{m[0]}"] = strength_ratio(metrics["method.score"])[i]
            known[f"optimal_ratio_{m[0]}"] = strength_ratio(past)[i]
            known[f"train_score_{m[0]}"] = known[f"train_epoch_score_{m[0]}"] = method.reference_scores(learner.state)[
                i
            ]
            known[f"coeff_{m[0]}"] = method.coefficients(metrics["method.score"], past)[i]
        yield from compare_step(number, known, theirs, net, recorder, skip={"iteration", "net_outputs_in_call_order"})
        yield from compare_coalition_outputs(number, family, modalities, recorder.signals.muted, theirs)
    yield from net.compare_params("final", learner, case["final_params"])
    last = {epoch: [values[order.index(i)] for i in range(len(order))] for epoch, values in means}
    yield "scores of the epochs", list(last.values()), case.get("returned_scores_per_epoch", list(last.values()))


def initial_state(case: Case, order: list[int]) -> AGMState:
    """Return the state that holds the running means of a case before its first step."""
    hyper = case["hyper"]
    mean = torch.tensor([hyper["init_scores"][i] for i in order], dtype=torch.float64)
    steps = sum(s["epoch"] == hyper["start_epoch"] for s in case["steps"]) * (hyper["start_epoch"] - 1)
    before = torch.tensor(max(float(steps), 1e-200), dtype=torch.float64)  # in epoch 1 next to nothing, yet a mean
    counts = before.expand(len(mean))
    return AGMState(counts, (before * mean)[None], counts, torch.zeros(3).double(), torch.ones_like(mean))


def compare_coalition_outputs(number: int, family: str, modalities: list[str], muted: Tensor, theirs: Case) -> Pairs:
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


def replay_shapley(case: Case) -> Pairs:
    """Shapley values by brute force over all orders, in exact rationals."""
    modalities = case["M"]
    value = {tuple(entry["subset"]): entry["value"] for entry in case["subset_values"]}
    heard = [tuple(i for i, h in enumerate(row) if h) for row in all_subsets(modalities).tolist()]
    ours = shapley_weights(modalities) @ torch.tensor([value[s] for s in heard], dtype=torch.float64)
    yield "phi", ours, case["phi"]
    found = torch.tensor([value[s] for s in heard], dtype=torch.float64)
    without = AGM(score_attr="bb", route="encoder").weights(modalities, dummy_task()) @ found
    yield "phi_without_empty_coalition", without, case.get("phi_without_empty_coalition", without)
    yield "sum", ours.sum(), value[tuple(range(modalities))]


def replay_reference(case: Case) -> Pairs:
    """The reference variants of AGM over a stream of scores."""
    kind, params = case["name"].split("_")[0], case["params"]
    method = AGM(
        alpha=1.0, cap=float("inf"), reference=kind, beta=params.get("beta", 0.99),
        window=params.get("w", 100), warm=params.get("n", 100),
    )  # fmt: skip
    encoders = {str(m): {"weight": torch.zeros(1, dtype=torch.float64)} for m in range(case["M"])}
    state = method.init(networks.Params(encoders, {}, {}, {}))
    for number, moment in enumerate(case["stream"]):
        score = torch.tensor(moment["s"], dtype=torch.float64)
        tau, r = strength_ratio(method.reference_scores(state)), strength_ratio(score)
        yield f"{number}.ref", method.reference_scores(state), moment["ref"]
        yield f"{number}.r", r, moment["r"]
        yield f"{number}.tau", tau, moment["tau"]
        yield f"{number}.kappa", torch.exp(tau - r), moment["kappa_alpha_1_noclamp"]
        state = method.update_history(state, score, torch.exp(tau - r))


def replay_balance_benchmark(case: Case) -> Pairs:
    """BalanceBenchmark's variant, under the options that name it."""
    hyper, net = case["hyper"], networks.build_network(case)
    modalities = list(net.model.encoders)
    method = AGM(
        alpha=hyper["alpha"], cap=hyper["clamp"], score_attr="bb", bb_sign=True, route="encoder", filter="ndim>1"
    )
    rule = SGD(hyper["lr"], 0.0)
    learner = Learner(net.params, net.buffers, rule.init(net.params), method.init(net.params))
    for number, recorded in enumerate(case["steps"]):
        yield from net.compare_params(number, learner, recorded["params_before_step"])
        task, recorder = net.task(recorded, active=True), StepRecorder()
        learner, metrics = recorder.clipped_step(net, method, rule, "balancebench", learner, recorded, task)
        shares = weighted_sums(method.weights(len(modalities), task), recorder.signals.muted, by_sample=False)
        known = {"loss": metrics["loss"]}
        for i, m in enumerate(modalities):
            known |= {f"phi.{m}": shares[i], f"scores.{m}": metrics["method.score"][i]}
            known[f"coeffs.{m}"] = metrics["method.scale"][i]
            known[f"running_mean_after.{m}"] = method.reference_scores(learner.state)[i]
        yield from compare_step(number, known, recorded["official"], net, recorder, skip=set())


def select_replay(case: Case) -> Callable[[Case], Pairs] | None:
    """Return the function that replays a case of AGM; None for other cases."""
    if case.get("hyper", {}).get("methods") == "AGM":
        return replay_release
    if "clamp" in case.get("hyper", {}) and "coeffs" in case["steps"][0]["official"]:
        return replay_balance_benchmark
    return {"shapley_by_permutations": replay_shapley, "agm_reference": replay_reference}.get(case.get("kind", ""))
