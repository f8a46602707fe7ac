"""BOGC: Bayesian-oriented gradient calibration."""

import math
from collections.abc import Iterable, Sequence
from functools import partial, reduce
from typing import NamedTuple

import torch
from torch import Tensor

from trainables import laplace
from trainables.evidence import (
    CombinedGradient,
    Opinion,
    combine,
    combine_gradients,
    evidence,
    mean_log_precision,
    tensor_means,
)
from trainables.laplace import Gaussian, Normal
from trainables.methods.joint_uni import SOURCES, alone
from trainables.moments import Moments, expand_numbers, has_variance, init_moments, mask_absent, sample_variance, update
from trainables.shapley import EXACT, exact_weights, weighted_sums
from trainables.signals import Params, Pull, Signals, Sloped, Step, Task, all_subsets, each, leaves, placed, scalar

ENCODERS, JOINT = "encoders", "*"  # places: all encoders; fusion and joint head
NOUGHT = 1.5  # power of the precision: of the largest square, what rounding may leave of a gradient that is zero


class Level(NamedTuple):
    """Running mean of the log-precision of T tensors, the unit of evidence under ``scale=ema``."""

    seen: Tensor  # [T] gradients, each worth beta times the next; [] where there is one tensor
    mean: Tensor  # [T] or []


class BOGCState(NamedTuple):
    """What is known of the gradients' variance, by place."""

    moments: dict[str, Moments]  # under ``estimator=ema``, of all tensors of the place side by side, [S, D]
    levels: dict[str, Level]  # under ``scale=ema``; of features by modality
    posteriors: dict[str, Normal]  # under ``estimator=laplace``, of the linear head, after the last batch


class Stretch(NamedTuple):
    """Tensors of a place that the same samples teach: an encoder, or all of fusion and joint head."""

    sizes: list[int]
    heard: Tensor | None  # [S, B] bool, which samples teach each source; None: all


class BOGC(NamedTuple):
    r"""Bayesian-oriented gradient calibration (https://arxiv.org/abs/2505.23071; no public code).

    The paper's: a modality's gradient is a random variable. The last layer of each modality has a Laplace posterior,
    and drawing from it matches mean :math:`\mu_s` and variance :math:`v_s` of the gradient, dimension by dimension; the
    precision becomes evidence by a power, evidence an opinion (belief and uncertainty), and the opinions of all sources
    are combined by a reduced Dempster rule into the weights of the update. Losses: fusion and unimodal.

    .. math:: e_s = \left(\frac{1 / v_s}{\lambda_0}\right)^\kappa, \quad w_s = \frac{e_s}{K + \sum_j e_j}, \quad
        u = \frac{K}{K + \sum_j e_j}, \quad g = S \Big(\sum_s w_s \mu_s + u \bar\mu\Big), \quad K = k S.

    Ours, where our sources are silent (METHODS.md 8.1; the formulas are derived in 8.2): the values of all constants,
    :math:`\lambda_0`, floors, the frame, K, that uncertainty falls back on the mean :math:`\bar\mu`, the factor S,
    where it acts, and every estimator of :math:`v_s` but ``laplace``.

    ``where`` it acts. ``encoder``: encoder m has two sources, the fusion loss and the unimodal losses.
    ``joint``: fusion and joint head have M + 1, the fusion loss and each modality's; with ``losses=head`` (the
    default, so that ``encoder+joint`` is ``encoder`` there) only the fusion loss reaches them, and their
    gradient is its own. ``phi``: every parameter has M, the split of the joint gradient by AGM's shares,
    :math:`(\partial A^s / \partial\theta)^\top \partial L / \partial f`, without any further loss. ``repr``:
    each sample's gradient by each feature has two, the fusion head's and the modality's own head's; the
    aggregate is pulled back to the encoder. Everything else receives the plain sum of the gradients.

    ``losses`` are those of `JointUni`; ``kappa=0`` is `JointUni` with ``source`` the same, for ``phi`` joint training.
    Not in ``repr``, whose :math:`\mu_s` is the mean over drawn heads, as in the paper. Where muted predictions pass
    through the other encoders too (``single``, and ``split`` in a fusion that does not add up), encoder m has as its
    second source the gradient of all unimodal losses. Outside its epochs it is the plain sum: as with ``kappa=0``.

    ``estimator`` of :math:`v_s`:

    - ``ema``: fluctuation of the gradient around its running mean (``beta``), and :math:`\mu_s` this batch's
      (METHODS.md 8.4). Until a source was seen twice, all are trusted alike.
    - ``sample``: the variance over the batch (8.5). It holds B gradients of every parameter: for small models.
    - ``laplace``: posterior and draws of 8.3, with ``repr`` alone and for fusions that add up: ``prior`` is the
      variance of the prior, ``draws`` the number of heads. BayesAgg first takes a posterior over the training set,
      once an epoch, as prior of each batch; ours is the posterior after the last batch, whose precision fades to
      the prior's by ``beta``, which needs no features of another epoch. With ``k=0``, ``scale=none`` and
      ``gain=none`` a batch is aggregated as by BayesAgg. In regression the curvature is that of squared error,
      whatever the loss.

    Each setting turns one component off: ``kappa=0`` the variance (``scale`` then does nothing); ``k=0`` the
    uncertainty, so that weights are :math:`e_s / \sum_j e_j` and ``fallback`` does nothing; ``scale=dim`` keeps the
    comparison between sources and turns off the one between dimensions (``none``: no unit at all; ``ema``: a running
    one); ``fallback=zero`` lets uncertainty shrink the update, ``fusion`` leaves it to the fusion loss (of ``phi``: the
    joint gradient over M); ``gain=none`` leaves out S, ``match_norm`` keeps each tensor as long as the plain sum;
    ``frame`` changes the rule of combination (see `evidence.combine`); ``snr`` puts :math:`\mu_s^2 / v_s` in place of
    the precision.

    A modality without samples in a batch is no source: it counts nowhere and its moments are kept; what its silence
    has to say in the losses of others is added as it is. Nor is one that never reaches a parameter, as the share of
    one modality in the encoder of another (``phi``), or its loss in the columns that a joint head has for another.
    Of an encoder all sources count in every dimension, as written: those of inputs that never vary are the surest, and
    where they are the most of a tensor, the others weigh next to nothing beside them and their sum stays plain.
    """

    kappa: float | Tensor = 0.5
    k: float | Tensor = 1.0
    scale: str = "tensor"
    estimator: str = "ema"
    beta: float | Tensor = 0.95
    draws: int = 64
    prior: float | Tensor = 0.005
    where: str = "encoder+joint"
    losses: str = "head"
    fallback: str = "mean"
    frame: str = "modality"
    gain: str = "sum"
    snr: bool = False

    @property
    def needs(self) -> frozenset[str]:
        """Return the signals it reads beside the logits.

        Raises:
            ValueError: the estimator, or the losses, do not go with where it acts.
        """
        asked = (self.where == "repr") + (self.estimator == "laplace")
        if asked == 1 or (asked and self.losses != "head"):
            raise ValueError(
                f"bogc: where: {self.where}, estimator: {self.estimator} and losses: {self.losses} do not go together; "
                "where: repr and estimator: laplace need each other, and losses: head"
            )
        if self.where == "joint" and self.losses == "head":
            raise ValueError("bogc: where: joint needs losses: split or single; own heads do not reach the joint head")
        if self.where == "phi":
            return frozenset({"muted"})
        more = {"features", "fused", "weight", "readers"} if self.where == "repr" else set()
        return frozenset({SOURCES[self.losses], *more})

    @property
    def separate(self) -> bool:
        """Return whether fusion and joint head tell the unimodal losses apart."""
        return "joint" in self.where and self.losses != "head"

    def coalitions(self, modalities: int, task: Task) -> Tensor:
        """Return the coalitions whose predictions are compared, [S, M] bool.

        Raises:
            ValueError: the joint gradient is split by the shares of more than six modalities.
        """
        if self.where != "phi":
            return torch.eye(modalities, dtype=torch.bool, device=task.device)
        if modalities > EXACT:
            raise ValueError(f"bogc: where: phi compares all {2**modalities} coalitions; it takes {EXACT} modalities")
        return placed(task.device, all_subsets, modalities)

    def init(self, params: Params) -> BOGCState:
        """Return an empty past for every place where it acts.

        Raises:
            ValueError: a head is too large for a Laplace posterior.
        """
        if self.where == "repr":
            return self.init_at_features(params)
        moments: dict[str, Moments] = {}
        levels: dict[str, Level] = {}
        for place, part in self.places(params).items():
            tensors = leaves(part)
            count = sum(tensor.numel() for tensor in tensors)
            if self.estimator == "ema":
                like = tensors[0].new_zeros(self.number(place, len(params.encoders)), count)
                moments[place] = init_moments(like, len(tensors))
            if self.scale == "ema":
                levels[place] = Level(*tensors[0].new_zeros(2, len(tensors)))
        return BOGCState(moments, levels, {})

    def init_at_features(self, params: Params) -> BOGCState:
        """Return the prior of every head, and an empty level for every modality."""
        sizes = {m: group["head.weight"].shape for m, group in params.heads.items()}
        outputs, fused = next(iter(sizes.values()))[0], sum(shape[1] for shape in sizes.values())
        widths = {m: shape[1] for m, shape in sizes.items()} | {JOINT: fused}
        like = leaves(params)[0]
        priors = {
            place: laplace.prior(like.new_zeros(outputs * (width + 1)), self.prior) for place, width in widths.items()
        }
        levels = {m: Level(like.new_zeros(()), like.new_zeros(())) for m in params.encoders if self.scale == "ema"}
        return BOGCState({}, levels, {place: Normal(p.mean, p.precision) for place, p in priors.items()})

    def number(self, place: str, modalities: int) -> int:
        """Return the number of sources at a place."""
        if self.where == "phi":
            return modalities
        return modalities + 1 if place == JOINT else 2

    def places(self, params: Params) -> dict[str, Params]:
        """Return the parts of a tree whose gradients are aggregated, by place."""
        found: dict[str, Params] = {}
        if self.where == "phi" or "encoder" in self.where:
            found[ENCODERS] = Params(params.encoders, {}, {}, {})
        if self.where == "phi" or self.separate:
            found[JOINT] = Params({}, params.readouts, params.shared, {})
        return {place: part for place, part in found.items() if leaves(part)}

    def step(self, state: BOGCState, signals: Signals, task: Task, pull: Pull) -> Step:
        """Aggregate the gradients of all sources, place by place."""
        if self.where == "repr":
            return self.step_at_features(state, signals, task, pull)
        trees = self.gradients(signals, task, pull)
        samples = self.samples(signals, task, pull) if self.estimator == "sample" else None
        parts = [self.places(tree) for tree in trees]
        moments, levels = dict(state.moments), dict(state.levels)
        metrics: dict[str, Tensor] = {}
        grads = summed([without(tree, parts[0]) for tree in trees])
        for place, part in parts[0].items():
            stretches = self.stretches(place, part, task)
            sizes, present = [size for one in stretches for size in one.sizes], presence(stretches, task)
            gradients = self.sources(place, side_by_side(other[place] for other in parts))
            if samples is None:
                moments[place] = update(moments[place], gradients, self.beta, present, sizes)
                variance, known = moments[place].variance, has_variance(moments[place], present)
            else:
                flat = torch.cat([row.flatten(1) for row in leaves(self.places(samples)[place])], 1)
                flat = self.sources(place, flat.view(len(trees), -1, flat.shape[-1]))
                variance, known = over_the_batch(flat, stretches, task, whole=self.where == "phi")
            there = None if present is None else expand_numbers(present, sizes)
            if self.where == "phi" or place == JOINT:
                there = reaching(gradients, variance, there)
            if self.scale == "ema":
                levels[place] = self.follow(levels[place], variance, gradients, known, there, sizes)
            reference = levels[place].mean if self.scale == "ema" else 0.0
            made = self.mix(gradients, variance, known, there, reference, sizes)
            drawn = made.gradient if task.full else torch.lerp(made.plain, made.gradient, task.strength.to(made.plain))
            grads = joined(grads, part, drawn)
            metrics = metrics or self.metrics(place, divided(made, stretches), task)
        return Step(grads, BOGCState(moments, levels, {}), metrics)

    def gradients(self, signals: Signals, task: Task, pull: Pull) -> list[Params]:
        """Return the gradient of every source; the unimodal losses are one where nothing tells them apart."""
        if self.where == "phi":
            slope = task.slope(signals.logits.detach())
            return unstacked(pull(lambda s: task.reduced(shares(s, slope, task))))
        if not self.separate:
            slopes = task.slopes(signals.logits, alone(signals, self.losses))
            fusion = pull(lambda s: Sloped((s.logits,), (slopes[0],)))
            return [fusion, pull(lambda s: Sloped((alone(s, self.losses),), (slopes[1:],)))]

        def losses(s: Signals) -> Tensor:
            return torch.cat([task.objective(s.logits)[None], task.objectives(alone(s, self.losses))])

        return unstacked(pull(losses))

    def samples(self, signals: Signals, task: Task, pull: Pull) -> Params:
        """Return the gradient of every source's loss in every sample, tensors of [S * B, ...]."""
        slope = task.slope(signals.logits.detach())

        def losses(s: Signals) -> Tensor:
            if self.where == "phi":
                return task.everyone(shares(s, slope, task)).flatten()
            own = task.loss(alone(s, self.losses))
            own = own if task.present is None else torch.where(task.present, own, 0.0)
            losses = torch.cat([task.loss(s.logits)[None], own if self.separate else own.sum(0, keepdim=True)])
            return task.everyone(losses).flatten()

        return pull(losses)

    def sources(self, place: str, gradients: Tensor) -> Tensor:
        """Return the sources of a place, [S, ...]: an encoder does not tell the unimodal losses apart."""
        if self.where == "phi" or place == JOINT or len(gradients) == 2:
            return gradients
        return torch.stack([gradients[0], gradients[1:].sum(0)])

    def stretches(self, place: str, part: Params, task: Task) -> list[Stretch]:
        """Return the tensors of a place by who teaches them."""
        groups = list(part.encoders.values()) if place == ENCODERS else [dict(enumerate(leaves(part)))]
        sizes = [[tensor.numel() for tensor in group.values()] for group in groups]
        present = task.present
        if present is None or self.where == "phi":
            return [Stretch(own, present) for own in sizes]
        fusion = torch.ones_like(present[:1])
        heard = [present] if place == JOINT else [one[None] for one in present.unbind()]
        return [Stretch(own, torch.cat([fusion, who])) for own, who in zip(sizes, heard, strict=True)]

    def follow(
        self,
        past: Level,
        variance: Tensor,
        gradients: Tensor,
        known: Tensor,
        there: Tensor | None = None,
        sizes: Sequence[int] | None = None,
    ) -> Level:
        """Return the level after one more gradient, of tensors that a source reaches and whose variance is known."""
        now = mean_log_precision(variance, gradients if self.snr else None, there, sizes)
        seen = self.beta * past.seen + 1
        after = Level(seen, past.mean + (now - past.mean) / seen)
        told = known & now.isfinite()
        return Level(*(torch.where(told, new, old) for new, old in zip(after, past, strict=True)))

    def mix(
        self,
        gradients: Tensor,
        variance: Tensor,
        known: Tensor,
        there: Tensor | None = None,
        reference: float | Tensor = 0.0,
        sizes: Sequence[int] | None = None,
    ) -> CombinedGradient:
        """Return what sources with these gradients agree on, [S, ...] -> [...]; all count alike unless ``known``.

        ``there`` is [S, D] bool, of what is present and reaches a place; ``known`` is [T] or [].
        """
        kappa, k = self.powers(gradients, known, there, sizes)
        made = combine_gradients(
            gradients, variance, kappa, k,
            scale=self.scale, frame=self.frame, fallback=self.fallback, gain=self.gain, snr=self.snr,
            reference=reference, present=there, sizes=sizes,
            fusion=gradients.mean(0) if self.where == "phi" else gradients[0],
        )  # fmt: skip
        if there is None:
            return made
        rest = mask_absent(~there, gradients).sum(0)
        return made._replace(plain=made.plain + rest, gradient=made.gradient + rest)

    def powers(
        self, gradients: Tensor, known: Tensor, there: Tensor | None, sizes: Sequence[int] | None
    ) -> tuple[Tensor, float | Tensor]:
        """Return kappa, 0 where nothing is known of the variance, and K, both of each dimension or of all."""
        kappa = known.double() * self.kappa
        if known.ndim:
            kappa = expand_numbers(kappa.to(gradients), sizes)
        return kappa, self.k * (len(gradients) if there is None else there.sum(0).to(gradients))

    def opinions(self, state: BOGCState, params: Params) -> dict[str, Opinion]:
        """Return what the sources of each place say together, [S, D] and [D], by the moments after the last step.

        Of each tensor, as in a batch with all the sources that it has ever had.
        """
        found = {}
        for place, part in self.places(params).items():
            sizes, moments = [tensor.numel() for tensor in leaves(part)], state.moments[place]
            present = moments.weight > 0
            there = expand_numbers(present, sizes)
            if self.where == "phi" or place == JOINT:
                there = reaching(moments.mean, moments.variance, there)
            kappa, k = self.powers(moments.mean, has_variance(moments, present), there, sizes)
            reference = state.levels[place].mean if self.scale == "ema" else 0.0
            means = moments.mean if self.snr else None
            held = evidence(moments.variance, kappa, self.scale, reference, means=means, present=there, sizes=sizes)
            columns = (torch.split(x, sizes, -1) for x in (held, scalar(k, held).expand(held.shape[1:])))
            said = [combine(e, own, self.frame) for e, own in zip(*columns, strict=True)]  # tensors do not meet
            found[place] = Opinion(*(torch.cat(parts, -1) for parts in zip(*said, strict=True)))
        return found

    def metrics(self, place: str, made: list[CombinedGradient], task: Task) -> dict[str, Tensor]:
        """Return each encoder's gradient along the plain sum, in units of that, and the mean uncertainty, both [M]."""
        uncertainty = torch.stack([one.uncertainty.mean() for one in made])
        if place == JOINT:
            return {"uncertainty": uncertainty[0]}
        return {"scale": task.faded(along(made)), "uncertainty": uncertainty}

    def step_at_features(self, state: BOGCState, signals: Signals, task: Task, pull: Pull) -> Step:
        """Aggregate each sample's gradient by its features, and send it back through the encoders."""
        inputs = {m: h.detach() for m, h in signals.features.items()} | {JOINT: signals.fused.detach()}
        names, widths = list(signals.features), [h.shape[-1] for h in signals.features.values()]
        posteriors, found, levels = dict(state.posteriors), {}, dict(state.levels)
        for place, head in linear_heads(signals, task).items():
            before = laplace.faded(posteriors[place], self.beta, self.prior)
            after = posterior(head, inputs[place], taught(place, names, task), task, before)
            normal = task.noise(f"bogc.{place}", head.new_empty(self.draws, head.numel()))
            moments = laplace.drawn_moments(laplace.sample(after, normal, len(head)), inputs[place], task.slope)
            found[place] = laplace.GradientMoments(*(task.everyone(each, 0) for each in moments))
            posteriors[place] = Normal(after.mean, after.precision)
        mixed: dict[str, CombinedGradient] = {}
        for m, mean, variance in zip(names, *(torch.split(x, widths, -1) for x in found[JOINT]), strict=True):
            unit = unimodal_unit(taught(m, names, task), mean, task)
            gradients = torch.stack([mean, unit * found[m].mean])
            variances = torch.stack([variance, torch.where(unit > 0, unit.square() * found[m].variance, variance)])
            known, there = torch.ones((), dtype=torch.bool, device=mean.device), counted(gradients, task)
            if self.scale == "ema":
                levels[m] = self.follow(levels[m], variances, gradients, known, there)
            made = self.mix(gradients, variances, known, there, levels[m].mean if levels else 0.0)
            doubt = made.uncertainty if there is None else tensor_means(made.uncertainty, there[0])
            mixed[m] = made._replace(gradient=torch.where(unit > 0, made.gradient, mean), uncertainty=doubt)
        plain = pull(lambda s: task.objective(s.logits) + task.objectives(s.heads).sum(0))

        def sent_back(s: Signals) -> Tensor:
            paths = [(s.features[m] * task.own(mixed[m].gradient)).flatten(1).sum(-1) for m in names]
            return task.reduced(torch.stack(paths)).sum(0)

        sent = pull(sent_back)
        drawn = {
            m: {n: torch.lerp(g, sent.encoders[m][n], task.strength.to(g)) for n, g in group.items()}
            for m, group in plain.encoders.items()
        }
        state = BOGCState({}, levels, posteriors)
        return Step(plain._replace(encoders=drawn), state, self.metrics(ENCODERS, list(mixed.values()), task))


def shares(s: Signals, slope: Tensor, task: Task) -> Tensor:
    """Return what each modality's share adds to each sample's loss, to first order, [M, B]."""
    modalities = len(s.muted).bit_length()
    weights = exact_weights(modalities, task)
    parts = weighted_sums(weights.to(s.muted), s.muted, by_sample=weights.ndim == 3)
    return (slope * parts).flatten(2).sum(-1)


def unstacked(tree: Params) -> list[Params]:
    """Return the trees that were stacked on the leading axis."""
    return [each(lambda tensor, i=i: tensor[i], tree) for i in range(len(leaves(tree)[0]))]


def side_by_side(sources: Iterable[Params]) -> Tensor:
    """Return the tensors of each source in one row, [S, D]."""
    rows = [[tensor.flatten() for tensor in leaves(source)] for source in sources]
    return torch.cat([tensor for row in rows for tensor in row]).view(len(rows), -1)


def summed(trees: list[Params]) -> Params:
    """Return the sum of trees of one shape."""
    return reduce(partial(each, torch.add), trees)


def without(tree: Params, places: Iterable[str]) -> Params:
    """Return a tree without the parts at these places."""
    tree = tree._replace(encoders={}) if ENCODERS in places else tree
    return tree._replace(readouts={}, shared={}) if JOINT in places else tree


def joined(tree: Params, part: Params, row: Tensor) -> Params:
    """Return a tree with a part in it whose tensors lie side by side, [D]."""
    pieces = iter(torch.split(row, [tensor.numel() for tensor in leaves(part)]))
    new = each(lambda tensor: next(pieces).view_as(tensor), part)
    return Params(
        tree.encoders | new.encoders, tree.readouts | new.readouts, tree.shared | new.shared, tree.heads | new.heads
    )


def presence(stretches: list[Stretch], task: Task) -> Tensor | None:
    """Return which sources of each tensor have a sample in this batch, [S, T] bool; None: all."""
    if task.present is None:
        return None
    there = [(task.total(one.heard.sum(-1)) > 0, len(one.sizes)) for one in stretches if one.heard is not None]
    return torch.cat([sources[:, None].expand(-1, tensors) for sources, tensors in there], -1)


def reaching(gradients: Tensor, variance: Tensor, there: Tensor | None = None) -> Tensor:
    """Return which of the sources that are there have a gradient at a place, [S, D] bool.

    One that never reaches it (another modality's share at an encoder, another modality's columns of a head) has no
    variance there, and is no opinion of which all is certain but none (METHODS.md 8.2.4). It is zero but for rounding.
    """
    power = mask_absent(there, gradients.square() + variance)
    found = power >= math.pow(torch.finfo(power.dtype).eps, NOUGHT) * power.amax(0)
    return found if there is None else found & there


def over_the_batch(rows: Tensor, stretches: list[Stretch], task: Task, *, whole: bool) -> tuple[Tensor, Tensor]:
    """Return the variance of each source's gradient from its rows, [S, B, D] -> [S, D], and of which it is known.

    The latter is [T] bool where samples are missing; else [], of all. ``whole``: a gradient is the mean over all
    samples, those that do not teach the source as zeros.
    """
    if task.present is None:
        return unexplained(rows, None, task, whole=whole)
    pieces = torch.split(rows, [sum(one.sizes) for one in stretches], -1)
    found = [unexplained(piece, one.heard, task, whole=whole) for piece, one in zip(pieces, stretches, strict=True)]
    known = [each.expand(len(one.sizes)) for (_, each), one in zip(found, stretches, strict=True)]
    return torch.cat([variance for variance, _ in found], -1), torch.cat(known)


def unexplained(rows: Tensor, heard: Tensor | None, task: Task, *, whole: bool) -> tuple[Tensor, Tensor]:
    """Return what `over_the_batch` does of tensors that the same samples teach, and whether it is known, []."""
    heard = None if heard is None else task.everyone(heard)
    count = torch.full((len(rows),), rows.shape[1], device=rows.device) if heard is None else heard.sum(-1)
    masks = [None] * len(rows) if heard is None else heard.unbind()
    variance = torch.stack([sample_variance(row, mask) for row, mask in zip(rows.unbind(), masks, strict=True)])
    if task.reduction == "sum" or whole:
        summed = count if task.reduction == "sum" else count / rows.shape[1]
        variance = variance * summed.to(variance)[:, None].square()
    return variance, (count != 1).all()


def divided(made: CombinedGradient, stretches: list[Stretch]) -> list[CombinedGradient]:
    """Return what was agreed on by stretch."""
    widths = [sum(one.sizes) for one in stretches]
    return [CombinedGradient(*columns) for columns in zip(*(torch.split(x, widths, -1) for x in made), strict=True)]


def along(made: list[CombinedGradient]) -> Tensor:
    """Return how long each gradient is along the plain sum, in units of that, [M]; 1 where that is zero."""
    pairs = [(one.gradient.flatten(), one.plain.flatten()) for one in made]
    square = torch.stack([plain @ plain for _, plain in pairs])
    product = torch.stack([gradient @ plain for gradient, plain in pairs])
    return torch.where(square > 0, product / square, 1.0)


def linear_heads(signals: Signals, task: Task) -> dict[str, Tensor]:
    """Return weight and bias of each modality's own head and of the joint head, [C, H + 1]."""
    weight = signals.weight.detach()
    rest = task.everyone(signals.logits.detach() - signals.fused.detach() @ weight.mT, 0)
    bias = rest.flatten(0, -2)[0]
    own = {m: head.detach() for m, head in signals.readers.items()}
    return own | {JOINT: torch.cat([weight, bias[:, None]], -1)}


def taught(place: str, names: list[str], task: Task) -> Tensor | None:
    """Return which samples the head at a place learns from, [B] bool; None: all."""
    return None if task.present is None or place == JOINT else task.present[names.index(place)]


def posterior(head: Tensor, features: Tensor, among: Tensor | None, task: Task, before: Gaussian | Normal) -> Gaussian:
    """Return the posterior of a linear head after the samples of a batch that are ``among`` them.

    One Newton step from where the head stands; the precision is the generalised Gauss-Newton matrix of the summed loss.
    Every position of a dense target that has a label is an observation. The curvature of a regression is that of the
    squared error.
    """
    x, outputs = laplace.biased(features), len(head)
    logits = x @ head.mT
    counts = features.shape[1:-1].numel() if task.labelled is None else task.labelled.sum(-1)[:, None, None]
    slope = (task.slope(logits) * counts).flatten(0, -2)
    if task.labelled is not None:
        x = x * task.labelled[..., None]
    if among is not None:
        x = x * among.view(-1, *[1] * (x.ndim - 1))
    x = x.flatten(0, -2)
    if task.nats:
        curvature = laplace.curvature(logits.softmax(-1).flatten(0, -2), x)
    else:
        curvature = torch.kron(torch.eye(outputs, dtype=x.dtype, device=x.device), x.mT @ x) * (2 / outputs)
    return laplace.newton(head, task.total(slope.mT @ x), task.total(curvature), before)


def counted(gradients: Tensor, task: Task) -> Tensor | None:
    """Return which gradients by the features of all samples are of a position that has a label, [S, B, L, H] bool.

    None: all. The others are zero, and so sure that they would be the unit of all.
    """
    if task.labelled is None:
        return None
    return task.everyone(task.labelled, 0)[..., None].expand_as(gradients)


def unimodal_unit(among: Tensor | None, like: Tensor, task: Task) -> Tensor:
    """Return the weight of each sample in a unimodal loss in units of that in the joint loss, [B, 1...] or []."""
    if among is None:
        return like.new_ones(())
    weight = torch.ones_like(among, dtype=like.dtype)
    if task.reduction == "mean":
        weight = weight * task.samples / task.total(among.sum()).clamp(min=1)
    return task.everyone(torch.where(among, weight, 0.0)).view(-1, *[1] * (like.ndim - 1))
