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
from trainables.methods.joint_uni import PREDICTION_SIGNALS, unimodal_predictions
from trainables.moments import Moments, expand_numbers, has_variance, init_moments, mask_absent, sample_variance, update
from trainables.shapley import MAX_EXACT, exact_weights, weighted_sums
from trainables.signals import Params, Pull, Signals, Sloped, Step, Task, all_subsets, each, leaves, placed, scalar

ENCODERS, JOINT = "encoders", "*"  # blocks of parameters: all encoders; fusion and joint head
ZERO_EXPONENT = 1.5  # a gradient is zero but for rounding if its square is below eps**1.5 times the largest


class LogPrecision(NamedTuple):
    """Running mean of the log-precision of T tensors, the unit of evidence under ``scale=ema``."""

    weight: Tensor  # [T] total weight of the gradients so far, each beta times that of the next; [] for a single tensor
    mean: Tensor  # [T] or []


class BOGCState(NamedTuple):
    """Estimates of the gradients' variance, by block of parameters."""

    moments: dict[str, Moments]  # under ``estimator=ema``, of all tensors of the block in one row, [S, D]
    log_precisions: dict[str, LogPrecision]  # under ``scale=ema``; of features by modality
    posteriors: dict[str, Normal]  # under ``estimator=laplace``, of the linear heads, after the last batch


class Segment(NamedTuple):
    """Tensors of a block whose gradients come from the same samples: one encoder, or all of fusion and joint head."""

    sizes: list[int]
    present: Tensor | None  # [S, B] bool, which samples contribute to each source; None: all


class BOGC(NamedTuple):
    r"""Bayesian-oriented gradient calibration (https://arxiv.org/abs/2505.23071; no public code).

    From the paper: the gradient of a modality is a random variable. The last layer of each modality has a Laplace
    posterior, and draws from it give the mean :math:`\mu_s` and variance :math:`v_s` of the gradient in every dimension
    (moment matching). A power of the precision is the evidence of a source, evidence becomes an opinion (belief and
    uncertainty), and a reduced Dempster rule combines the opinions of all sources into the weights of the update. The
    losses are the fusion loss and the unimodal losses.

    .. math:: e_s = \left(\frac{1 / v_s}{\lambda_0}\right)^\kappa, \quad w_s = \frac{e_s}{K + \sum_j e_j}, \quad
        u = \frac{K}{K + \sum_j e_j}, \quad g = S \Big(\sum_s w_s \mu_s + u \bar\mu\Big), \quad K = k S.

    Ours, where our sources state nothing (METHODS.md 8.1; the formulas are derived in 8.2): the values of all
    constants, :math:`\lambda_0`, the floors, the frame, K, the mean :math:`\bar\mu` as what uncertainty falls back on,
    the factor S, where the method acts, and every estimator of :math:`v_s` other than ``laplace``.

    ``where`` it acts. ``encoder``: encoder m has two sources, the fusion loss and the unimodal losses. ``joint``:
    fusion and joint head have M + 1 sources, the fusion loss and each modality's loss; with ``losses=head`` (the
    default, for which ``encoder+joint`` equals ``encoder``) only the fusion loss reaches them, and their gradient is
    left as it is. ``phi``: every parameter has M sources, the split of the joint gradient by AGM's shares,
    :math:`(\partial A^s / \partial\theta)^\top \partial L / \partial f`, without any further loss. ``repr``: the
    gradient of each sample by each feature has two sources, the joint head and the modality's own head; the aggregate
    is backpropagated through the encoder. Everything else receives the plain sum of the gradients.

    ``losses`` are those of `JointUni`; ``kappa=0`` equals `JointUni` with the same ``source`` or, for ``phi``, joint
    training. This does not hold for ``repr``, whose :math:`\mu_s` is the mean over drawn heads, as in the paper. Where
    muted predictions pass through the other encoders too (``single``, and ``split`` in a fusion that is not additive),
    the second source of encoder m is the gradient of all unimodal losses. Outside its epochs the update is the plain
    sum, as with ``kappa=0``.

    ``estimator`` of :math:`v_s`:

    - ``ema``: the fluctuation of the gradient around its running mean (of decay ``beta``); :math:`\mu_s` is the
      gradient of this batch (METHODS.md 8.4). Until a source has been observed twice, all have the same evidence.
    - ``sample``: the variance over the batch (8.5). It holds B gradients of every parameter: for small models.
    - ``laplace``: posterior and draws of 8.3, only with ``repr`` and for additive fusions: ``prior`` is the variance
      of the prior, ``draws`` the number of heads. BayesAgg first takes a posterior over the training set, once an
      epoch, as the prior of each batch; ours is the posterior after the last batch, whose precision decays towards that
      of the prior by ``beta``, which needs no features of another epoch. With ``k=0``, ``scale=none`` and ``gain=none``
      a batch is aggregated as by BayesAgg. In regression the curvature is that of the squared error, whatever the loss.

    Each setting turns one component off: ``kappa=0`` the variance (``scale`` then does nothing); ``k=0`` the
    uncertainty, so that the weights are :math:`e_s / \sum_j e_j` and ``fallback`` does nothing; ``scale=dim`` keeps the
    comparison between sources and turns off the one between dimensions (``none``: no unit at all; ``ema``: a running
    one); ``fallback=zero`` lets uncertainty shrink the update, ``fusion`` gives its weight to the fusion loss (for
    ``phi``: the joint gradient over M); ``gain=none`` leaves out S, ``match_norm`` gives each tensor the norm of the
    plain sum; ``frame`` changes the rule of combination (see `evidence.combine`); ``snr`` takes
    :math:`\mu_s^2 / v_s` in place of the precision.

    A modality without samples in a batch is not a source: it counts nowhere and its moments are kept; the gradients
    that its muted input receives from the losses of others are added as they are. Nor is a source one that never
    reaches a parameter, such as the share of one modality in the encoder of another (``phi``), its loss in the columns
    of a joint head that belong to another, or the fusion loss in a bias before batch normalisation, which the muted
    predictions do reach. Where no source has a gradient, all count, as the formulas state: dimensions of inputs that
    never vary have the highest precision, and where they make up most of a tensor, the evidence of its other dimensions
    is next to nothing and their update stays the plain sum.
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
        """Return the signals that the method reads in addition to the logits.

        Raises:
            ValueError: the estimator or the losses cannot be combined with ``where``.
        """
        laplace_settings = (self.where == "repr") + (self.estimator == "laplace")
        if laplace_settings == 1 or (laplace_settings and self.losses != "head"):
            raise ValueError(
                f"bogc: where: {self.where}, estimator: {self.estimator} and losses: {self.losses} cannot be combined; "
                "where: repr and estimator: laplace require each other and losses: head"
            )
        if self.where == "joint" and self.losses == "head":
            raise ValueError(
                "bogc: where: joint needs losses: split or single; unimodal heads do not reach the joint head"
            )
        if self.where == "phi":
            return frozenset({"muted"})
        extra = {"features", "fused", "weight", "readers"} if self.where == "repr" else set()
        return frozenset({PREDICTION_SIGNALS[self.losses], *extra})

    @property
    def has_separate_losses(self) -> bool:
        """Return whether each unimodal loss is a source of its own in fusion and joint head."""
        return "joint" in self.where and self.losses != "head"

    @property
    def has_unreached_parameters(self) -> bool:
        """Return whether there may be parameters that one source reaches and another never does."""
        return self.where == "phi" or self.losses != "head"

    def coalitions(self, modalities: int, task: Task) -> Tensor:
        """Return the coalitions whose predictions are compared, [S, M] bool.

        Raises:
            ValueError: ``where`` is ``phi`` and there are more than six modalities.
        """
        if self.where != "phi":
            return torch.eye(modalities, dtype=torch.bool, device=task.device)
        if modalities > MAX_EXACT:
            rule = f"compares all {2**modalities} coalitions; it supports at most {MAX_EXACT} modalities"
            raise ValueError(f"bogc: where: phi {rule}")
        return placed(task.device, all_subsets, modalities)

    def init(self, params: Params) -> BOGCState:
        """Return the state before the first gradient, for every block that is aggregated.

        Raises:
            ValueError: a head is too large for a Laplace posterior.
        """
        if self.where == "repr":
            return self.init_at_features(params)
        moments: dict[str, Moments] = {}
        log_precisions: dict[str, LogPrecision] = {}
        for block, part in self.blocks(params).items():
            tensors = leaves(part)
            count = sum(tensor.numel() for tensor in tensors)
            if self.estimator == "ema":
                like = tensors[0].new_zeros(self.num_sources(block, len(params.encoders)), count)
                moments[block] = init_moments(like, len(tensors))
            if self.scale == "ema":
                log_precisions[block] = LogPrecision(*tensors[0].new_zeros(2, len(tensors)))
        return BOGCState(moments, log_precisions, {})

    def init_at_features(self, params: Params) -> BOGCState:
        """Return the prior of every head and, under ``scale=ema``, an empty running mean for every modality."""
        sizes = {m: group["head.weight"].shape for m, group in params.heads.items()}
        outputs, fused = next(iter(sizes.values()))[0], sum(shape[1] for shape in sizes.values())
        widths = {m: shape[1] for m, shape in sizes.items()} | {JOINT: fused}
        like = leaves(params)[0]
        priors = {
            name: laplace.prior(like.new_zeros(outputs * (width + 1)), self.prior) for name, width in widths.items()
        }
        log_precisions = {
            m: LogPrecision(like.new_zeros(()), like.new_zeros(())) for m in params.encoders if self.scale == "ema"
        }
        return BOGCState({}, log_precisions, {name: Normal(p.mean, p.precision) for name, p in priors.items()})

    def num_sources(self, block: str, modalities: int) -> int:
        """Return the number of sources of a block."""
        if self.where == "phi":
            return modalities
        return modalities + 1 if block == JOINT else 2

    def blocks(self, params: Params) -> dict[str, Params]:
        """Return the parts of a tree whose gradients are aggregated, by block."""
        blocks: dict[str, Params] = {}
        if self.where == "phi" or "encoder" in self.where:
            blocks[ENCODERS] = Params(params.encoders, {}, {}, {})
        if self.where == "phi" or self.has_separate_losses:
            blocks[JOINT] = Params({}, params.readouts, params.shared, {})
        return {block: part for block, part in blocks.items() if leaves(part)}

    def step(self, state: BOGCState, signals: Signals, task: Task, pull: Pull) -> Step:
        """Aggregate the gradients of all sources, block by block."""
        if self.where == "repr":
            return self.step_at_features(state, signals, task, pull)
        trees = self.source_gradients(signals, task, pull)
        samples = self.sample_gradients(signals, task, pull) if self.estimator == "sample" else None
        parts = [self.blocks(tree) for tree in trees]
        moments, log_precisions = dict(state.moments), dict(state.log_precisions)
        metrics: dict[str, Tensor] = {}
        grads = sum_trees([drop_blocks(tree, parts[0]) for tree in trees])
        for block, part in parts[0].items():
            segments = self.segments(block, part, task)
            sizes, present = [size for segment in segments for size in segment.sizes], present_sources(segments, task)
            gradients = self.block_sources(block, flatten_sources(other[block] for other in parts))
            if samples is None:
                moments[block] = update(moments[block], gradients, self.beta, present, sizes)
                variance, known = moments[block].variance, has_variance(moments[block], present)
            else:
                flat = torch.cat([rows.flatten(1) for rows in leaves(self.blocks(samples)[block])], 1)
                flat = self.block_sources(block, flat.view(len(trees), -1, flat.shape[-1]))
                variance, known = batch_variance(flat, segments, task, zero_fill=self.where == "phi")
            active = None if present is None else expand_numbers(present, sizes)
            if self.has_unreached_parameters:
                active = nonzero_sources(gradients, variance, active)
            if self.scale == "ema":
                log_precisions[block] = self.update_log_precision(
                    log_precisions[block], variance, gradients, known, active, sizes
                )
            reference = log_precisions[block].mean if self.scale == "ema" else 0.0
            aggregate = self.aggregate_gradients(gradients, variance, known, active, reference, sizes)
            gradient = (
                aggregate.gradient
                if task.full
                else torch.lerp(aggregate.plain, aggregate.gradient, task.strength.to(aggregate.plain))
            )
            grads = replace_block(grads, part, gradient)
            metrics = metrics or self.metrics(block, split_segments(aggregate, segments), task)
        return Step(grads, BOGCState(moments, log_precisions, {}), metrics)

    def source_gradients(self, signals: Signals, task: Task, pull: Pull) -> list[Params]:
        """Return the gradient of every source; the unimodal losses are one source unless they are separate."""
        if self.where == "phi":
            slope = task.slope(signals.logits.detach())
            return unstack(pull(lambda s: task.reduced(share_losses(s, slope, task))))
        if not self.has_separate_losses:
            slopes = task.slopes(signals.logits, unimodal_predictions(signals, self.losses))
            fusion = pull(lambda s: Sloped((s.logits,), (slopes[0],)))
            return [fusion, pull(lambda s: Sloped((unimodal_predictions(s, self.losses),), (slopes[1:],)))]

        def losses(s: Signals) -> Tensor:
            unimodal = task.objectives(unimodal_predictions(s, self.losses))
            return torch.cat([task.objective(s.logits)[None], unimodal])

        return unstack(pull(losses))

    def sample_gradients(self, signals: Signals, task: Task, pull: Pull) -> Params:
        """Return the gradient of every source's loss on every sample, tensors of [S * B, ...]."""
        slope = task.slope(signals.logits.detach())

        def losses(s: Signals) -> Tensor:
            if self.where == "phi":
                return task.everyone(share_losses(s, slope, task)).flatten()
            unimodal = task.loss(unimodal_predictions(s, self.losses))
            unimodal = unimodal if task.present is None else torch.where(task.present, unimodal, 0.0)
            unimodal = unimodal if self.has_separate_losses else unimodal.sum(0, keepdim=True)
            losses = torch.cat([task.loss(s.logits)[None], unimodal])
            return task.everyone(losses).flatten()

        return pull(losses)

    def block_sources(self, block: str, gradients: Tensor) -> Tensor:
        """Return the gradients of a block's sources, [S, ...]; for encoders the unimodal losses are summed into one."""
        if self.where == "phi" or block == JOINT or len(gradients) == 2:
            return gradients
        return torch.stack([gradients[0], gradients[1:].sum(0)])

    def segments(self, block: str, part: Params, task: Task) -> list[Segment]:
        """Return the tensors of a block, grouped by the samples that contribute to their gradients."""
        groups = list(part.encoders.values()) if block == ENCODERS else [dict(enumerate(leaves(part)))]
        sizes = [[tensor.numel() for tensor in group.values()] for group in groups]
        present = task.present
        if present is None or self.where == "phi":
            return [Segment(group_sizes, present) for group_sizes in sizes]
        fusion = torch.ones_like(present[:1])
        unimodal = [present] if block == JOINT else [mask[None] for mask in present.unbind()]
        return [
            Segment(group_sizes, torch.cat([fusion, mask])) for group_sizes, mask in zip(sizes, unimodal, strict=True)
        ]

    def update_log_precision(
        self,
        previous: LogPrecision,
        variance: Tensor,
        gradients: Tensor,
        known: Tensor,
        active: Tensor | None = None,
        sizes: Sequence[int] | None = None,
    ) -> LogPrecision:
        """Return the running mean after one more gradient; tensors without source or known variance keep theirs."""
        current = mean_log_precision(variance, gradients if self.snr else None, active, sizes)
        weight = self.beta * previous.weight + 1
        updated = LogPrecision(weight, previous.mean + (current - previous.mean) / weight)
        valid = known & current.isfinite()
        return LogPrecision(*(torch.where(valid, new, old) for new, old in zip(updated, previous, strict=True)))

    def aggregate_gradients(
        self,
        gradients: Tensor,
        variance: Tensor,
        known: Tensor,
        active: Tensor | None = None,
        reference: float | Tensor = 0.0,
        sizes: Sequence[int] | None = None,
    ) -> CombinedGradient:
        """Return the aggregate of the gradients of all sources, [S, ...] -> [...].

        Args:
            gradients: of the sources.
            variance: of the gradients, [S, ...].
            known: whether the variance is known, [T] or []; where it is not, all sources weigh alike.
            active: which sources are present and reach a dimension, [S, D] bool; None: all.
            reference: the unit of evidence under ``scale=ema``, a log-precision.
            sizes: of the tensors that make up a row; None: one tensor.
        """
        kappa, k = self.evidence_parameters(gradients, known, active, sizes)
        aggregate = combine_gradients(
            gradients, variance, kappa, k,
            scale=self.scale, frame=self.frame, fallback=self.fallback, gain=self.gain, snr=self.snr,
            reference=reference, present=active, sizes=sizes,
            fusion=gradients.mean(0) if self.where == "phi" else gradients[0],
        )  # fmt: skip
        if active is None:
            return aggregate
        inactive = mask_absent(~active, gradients).sum(0)
        return aggregate._replace(plain=aggregate.plain + inactive, gradient=aggregate.gradient + inactive)

    def evidence_parameters(
        self, gradients: Tensor, known: Tensor, active: Tensor | None, sizes: Sequence[int] | None
    ) -> tuple[Tensor, float | Tensor]:
        """Return kappa, 0 where the variance is unknown, and K; each for every dimension, [D], or for all, []."""
        kappa = known.double() * self.kappa
        if known.ndim:
            kappa = expand_numbers(kappa.to(gradients), sizes)
        return kappa, self.k * (len(gradients) if active is None else active.sum(0).to(gradients))

    def opinions(self, state: BOGCState, params: Params) -> dict[str, Opinion]:
        """Return the combined opinion of each block's sources, [S, D] and [D], by the moments after the last step.

        It is computed tensor by tensor, as in a batch with all the sources that the tensor has ever had.
        """
        opinions = {}
        for block, part in self.blocks(params).items():
            sizes, moments = [tensor.numel() for tensor in leaves(part)], state.moments[block]
            present = moments.weight > 0
            active = expand_numbers(present, sizes)
            if self.has_unreached_parameters:
                active = nonzero_sources(moments.mean, moments.variance, active)
            kappa, k = self.evidence_parameters(moments.mean, has_variance(moments, present), active, sizes)
            reference = state.log_precisions[block].mean if self.scale == "ema" else 0.0
            means = moments.mean if self.snr else None
            e = evidence(moments.variance, kappa, self.scale, reference, means=means, present=active, sizes=sizes)
            columns = (torch.split(x, sizes, -1) for x in (e, scalar(k, e).expand(e.shape[1:])))
            combined = [combine(part_e, part_k, self.frame) for part_e, part_k in zip(*columns, strict=True)]
            opinions[block] = Opinion(*(torch.cat(pieces, -1) for pieces in zip(*combined, strict=True)))
        return opinions

    def metrics(self, block: str, aggregates: list[CombinedGradient], task: Task) -> dict[str, Tensor]:
        """Return `scale`, each encoder's update projected on the plain sum, and the mean `uncertainty`, both [M]."""
        uncertainty = torch.stack([aggregate.uncertainty.mean() for aggregate in aggregates])
        if block == JOINT:
            return {"uncertainty": uncertainty[0]}
        return {"scale": task.faded(projection_coefficients(aggregates)), "uncertainty": uncertainty}

    def step_at_features(self, state: BOGCState, signals: Signals, task: Task, pull: Pull) -> Step:
        """Aggregate each sample's gradient by its features, and backpropagate it through the encoders."""
        inputs = {m: h.detach() for m, h in signals.features.items()} | {JOINT: signals.fused.detach()}
        modalities, widths = list(signals.features), [h.shape[-1] for h in signals.features.values()]
        posteriors, gradient_moments = dict(state.posteriors), {}
        log_precisions = dict(state.log_precisions)
        for name, head in linear_heads(signals, task).items():
            before = laplace.decay_posterior(posteriors[name], self.beta, self.prior)
            after = posterior(head, inputs[name], training_mask(name, modalities, task), task, before)
            normal = task.noise(f"bogc.{name}", head.new_empty(self.draws, head.numel()))
            moments = laplace.sampled_moments(laplace.sample_heads(after, normal, len(head)), inputs[name], task.slope)
            gradient_moments[name] = laplace.GradientMoments(*(task.everyone(moment, 0) for moment in moments))
            posteriors[name] = Normal(after.mean, after.precision)
        aggregates: dict[str, CombinedGradient] = {}
        joint_moments = (torch.split(x, widths, -1) for x in gradient_moments[JOINT])
        for m, mean, variance in zip(modalities, *joint_moments, strict=True):
            weight = relative_weight(training_mask(m, modalities, task), mean, task)
            unimodal = gradient_moments[m]
            gradients = torch.stack([mean, weight * unimodal.mean])
            variances = torch.stack([variance, torch.where(weight > 0, weight.square() * unimodal.variance, variance)])
            known, active = torch.ones((), dtype=torch.bool, device=mean.device), labelled_mask(gradients, task)
            if self.scale == "ema":
                log_precisions[m] = self.update_log_precision(log_precisions[m], variances, gradients, known, active)
            reference = log_precisions[m].mean if log_precisions else 0.0
            aggregate = self.aggregate_gradients(gradients, variances, known, active, reference)
            uncertainty = aggregate.uncertainty
            uncertainty = uncertainty if active is None else tensor_means(uncertainty, active[0])
            gradient = torch.where(weight > 0, aggregate.gradient, mean)
            aggregates[m] = aggregate._replace(gradient=gradient, uncertainty=uncertainty)
        plain = pull(lambda s: task.objective(s.logits) + task.objectives(s.heads).sum(0))

        def backpropagated(s: Signals) -> Tensor:
            paths = [(s.features[m] * task.own(aggregates[m].gradient)).flatten(1).sum(-1) for m in modalities]
            return task.reduced(torch.stack(paths)).sum(0)

        calibrated = pull(backpropagated)
        encoders = {
            m: {n: torch.lerp(g, calibrated.encoders[m][n], task.strength.to(g)) for n, g in group.items()}
            for m, group in plain.encoders.items()
        }
        state = BOGCState({}, log_precisions, posteriors)
        return Step(plain._replace(encoders=encoders), state, self.metrics(ENCODERS, list(aggregates.values()), task))


def share_losses(s: Signals, slope: Tensor, task: Task) -> Tensor:
    """Return the contribution of each modality's share to each sample's loss, to first order, [M, B]."""
    modalities = len(s.muted).bit_length()
    weights = exact_weights(modalities, task)
    shares = weighted_sums(weights.to(s.muted), s.muted, by_sample=weights.ndim == 3)
    return (slope * shares).flatten(2).sum(-1)


def unstack(tree: Params) -> list[Params]:
    """Return the trees that are stacked along the leading axis."""
    return [each(lambda tensor, i=i: tensor[i], tree) for i in range(len(leaves(tree)[0]))]


def flatten_sources(sources: Iterable[Params]) -> Tensor:
    """Return the tensors of each source flattened into one row, [S, D]."""
    rows = [[tensor.flatten() for tensor in leaves(source)] for source in sources]
    return torch.cat([tensor for row in rows for tensor in row]).view(len(rows), -1)


def sum_trees(trees: list[Params]) -> Params:
    """Return the sum of trees of the same shape."""
    return reduce(partial(each, torch.add), trees)


def drop_blocks(tree: Params, blocks: Iterable[str]) -> Params:
    """Return a tree without the parameters of these blocks."""
    tree = tree._replace(encoders={}) if ENCODERS in blocks else tree
    return tree._replace(readouts={}, shared={}) if JOINT in blocks else tree


def replace_block(tree: Params, part: Params, row: Tensor) -> Params:
    """Return a tree with the tensors of ``part`` taken from a flat row, [D]."""
    pieces = iter(torch.split(row, [tensor.numel() for tensor in leaves(part)]))
    new = each(lambda tensor: next(pieces).view_as(tensor), part)
    return Params(
        tree.encoders | new.encoders, tree.readouts | new.readouts, tree.shared | new.shared, tree.heads | new.heads
    )


def present_sources(segments: list[Segment], task: Task) -> Tensor | None:
    """Return which sources of each tensor have a sample in this batch, [S, T] bool; None: all."""
    if task.present is None:
        return None
    columns = [
        (task.total(segment.present.sum(-1)) > 0, len(segment.sizes))
        for segment in segments
        if segment.present is not None
    ]
    return torch.cat([sources[:, None].expand(-1, tensors) for sources, tensors in columns], -1)


def nonzero_sources(gradients: Tensor, variance: Tensor, present: Tensor | None = None) -> Tensor:
    """Return which of the sources that are present have a gradient in a dimension, [S, D] bool.

    A source that never reaches a parameter (another modality's share in an encoder, another modality's columns of a
    head) has no variance there, and must not count as a certain opinion (METHODS.md 8.2.4). Its gradient is zero but
    for rounding.
    """
    power = mask_absent(present, gradients.square() + variance)
    nonzero = power >= math.pow(torch.finfo(power.dtype).eps, ZERO_EXPONENT) * power.amax(0)
    return nonzero if present is None else nonzero & present


def batch_variance(rows: Tensor, segments: list[Segment], task: Task, *, zero_fill: bool) -> tuple[Tensor, Tensor]:
    """Return the variance of each source's gradient from its rows, [S, B, D] -> [S, D], and whether it is known.

    The latter is [T] bool where samples are missing; else [], of all. With ``zero_fill`` a gradient is the mean over
    all samples, in which those that do not contribute to the source count as zeros.
    """
    if task.present is None:
        return segment_variance(rows, None, task, zero_fill=zero_fill)
    pieces = torch.split(rows, [sum(segment.sizes) for segment in segments], -1)
    results = [
        segment_variance(piece, segment.present, task, zero_fill=zero_fill)
        for piece, segment in zip(pieces, segments, strict=True)
    ]
    known = [flag.expand(len(segment.sizes)) for (_, flag), segment in zip(results, segments, strict=True)]
    return torch.cat([variance for variance, _ in results], -1), torch.cat(known)


def segment_variance(rows: Tensor, present: Tensor | None, task: Task, *, zero_fill: bool) -> tuple[Tensor, Tensor]:
    """Return the result of `batch_variance` for one segment, [S, D], and whether it is known, []."""
    present = None if present is None else task.everyone(present)
    count = torch.full((len(rows),), rows.shape[1], device=rows.device) if present is None else present.sum(-1)
    masks = [None] * len(rows) if present is None else present.unbind()
    variance = torch.stack([sample_variance(row, mask) for row, mask in zip(rows.unbind(), masks, strict=True)])
    if task.reduction == "sum" or zero_fill:
        factor = count if task.reduction == "sum" else count / rows.shape[1]
        variance = variance * factor.to(variance)[:, None].square()
    return variance, (count != 1).all()


def split_segments(aggregate: CombinedGradient, segments: list[Segment]) -> list[CombinedGradient]:
    """Return the part of an aggregate that belongs to each segment."""
    widths = [sum(segment.sizes) for segment in segments]
    columns = (torch.split(x, widths, -1) for x in aggregate)
    return [CombinedGradient(*parts) for parts in zip(*columns, strict=True)]


def projection_coefficients(aggregates: list[CombinedGradient]) -> Tensor:
    """Return the projection of each aggregate on its plain sum, in units of that, [M]; 1 where the sum is zero."""
    pairs = [(aggregate.gradient.flatten(), aggregate.plain.flatten()) for aggregate in aggregates]
    square = torch.stack([plain @ plain for _, plain in pairs])
    product = torch.stack([gradient @ plain for gradient, plain in pairs])
    return torch.where(square > 0, product / square, 1.0)


def linear_heads(signals: Signals, task: Task) -> dict[str, Tensor]:
    """Return weight and bias of each modality's own head and of the joint head, [C, H + 1]."""
    weight = signals.weight.detach()
    remainder = task.everyone(signals.logits.detach() - signals.fused.detach() @ weight.mT, 0)
    bias = remainder.flatten(0, -2)[0]
    unimodal = {m: head.detach() for m, head in signals.readers.items()}
    return unimodal | {JOINT: torch.cat([weight, bias[:, None]], -1)}


def training_mask(name: str, modalities: list[str], task: Task) -> Tensor | None:
    """Return which samples a head (of a modality, or the joint one) is trained on, [B] bool; None: all."""
    return None if task.present is None or name == JOINT else task.present[modalities.index(name)]


def posterior(head: Tensor, features: Tensor, mask: Tensor | None, task: Task, before: Gaussian | Normal) -> Gaussian:
    """Return the posterior of a linear head after the samples of a batch, or those in ``mask`` [B].

    One Newton step from the current head; the precision is the generalised Gauss-Newton matrix of the summed loss.
    Every labelled position of a dense target is an observation. The curvature of a regression is that of the squared
    error.
    """
    x, outputs = laplace.append_bias_input(features), len(head)
    logits = x @ head.mT
    counts = features.shape[1:-1].numel() if task.labelled is None else task.labelled.sum(-1)[:, None, None]
    slope = (task.slope(logits) * counts).flatten(0, -2)
    if task.labelled is not None:
        x = x * task.labelled[..., None]
    if mask is not None:
        x = x * mask.view(-1, *[1] * (x.ndim - 1))
    x = x.flatten(0, -2)
    if task.nats:
        curvature = laplace.curvature(logits.softmax(-1).flatten(0, -2), x)
    else:
        curvature = torch.kron(torch.eye(outputs, dtype=x.dtype, device=x.device), x.mT @ x) * (2 / outputs)
    return laplace.newton_posterior(head, task.total(slope.mT @ x), task.total(curvature), before)


def labelled_mask(gradients: Tensor, task: Task) -> Tensor | None:
    """Return which gradients by the features of all samples belong to a labelled position, [S, B, L, H] bool.

    None: all. The gradients of other positions are zero; at their floored variance they would set the unit of evidence.
    """
    if task.labelled is None:
        return None
    return task.everyone(task.labelled, 0)[..., None].expand_as(gradients)


def relative_weight(mask: Tensor | None, like: Tensor, task: Task) -> Tensor:
    """Return the weight of each sample in a unimodal loss over its weight in the joint loss, [B, 1...] or []."""
    if mask is None:
        return like.new_ones(())
    weight = torch.ones_like(mask, dtype=like.dtype)
    if task.reduction == "mean":
        weight = weight * task.samples / task.total(mask.sum()).clamp(min=1)
    return task.everyone(torch.where(mask, weight, 0.0)).view(-1, *[1] * (like.ndim - 1))
