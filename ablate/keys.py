"""The keys of a study file as pydantic models; `contradictions` checks keys against each other."""

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from ablate.search_options import Count
from ablate.validation import Section

Positive = Annotated[float, Field(gt=0)]
MAX_SEEDS = 10_000
SeedCount = Annotated[int, Field(ge=1, le=MAX_SEEDS)]
BLOCKS = ("split", "init", "order")  # sources of randomness, each nested in those before
Encoder = Literal["mlp", "cnn", "gru", "transformer"] | Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
Metric = Literal["accuracy", "mae", "loss", "seconds", "balance"]
DIRECTIONS = {"accuracy": "max", "mae": "min", "loss": "min", "seconds": "min", "balance": "max"}
REDUCED_PRECISION = {"bfloat16", "tf32"}  # values of `dtype`
LEARNING_RATES = {"sgd": 0.02, "adam": 1e-3, "adamw": 1e-3}


def check_fraction(number: float) -> float:
    """Return the number; raise a ValueError if it has more digits than Ray's resources, which drop them or fail."""
    if round(number, 4) != number:
        raise ValueError("must be a multiple of 0.0001")
    return number


class Training(Section):
    """The key `train`: settings of training, common to all methods of a study unless varied."""

    epochs: Count = 20
    batch_size: Count = 64
    accumulate: Count = 1  # parts of a batch that pass through the model one after another
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: Positive | None = None  # 0.02 for sgd, 0.001 for adam and adamw
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    loss: Literal["mse", "l1", "huber"] = "mse"  # of regression
    reduction: Literal["mean", "sum"] = "mean"  # of the loss over a batch
    clip: Positive | None = None  # total norm of the gradients, after the method
    clip_before: Positive | None = None  # the same, before the method
    clip_trigger: Positive | None = None  # clip only if an element of the head's gradient exceeds this
    order: Literal["shuffled", "stream"] = "shuffled"  # stream: one pass over the samples in their order, in all epochs
    schedule: Literal["constant", "cosine", "step"] = "constant"  # of the learning rate, over the epochs
    dtype: Literal["float32", "float64", "bfloat16", "tf32"] = "float32"

    @property
    def learning_rate(self) -> float:
        """Return the learning rate: `lr`, or the default of the optimiser."""
        return self.lr or LEARNING_RATES[self.optimizer]

    @field_validator("dtype", mode="before")
    @classmethod
    def refuse_float16(cls, dtype: Any) -> Any:
        """Raise a ValueError for float16, which would need loss scaling."""
        if dtype == "float16":
            raise ValueError("must not be float16, which overflows without loss scaling; use bfloat16")
        return dtype


class Network(Section):
    """The key `model`."""

    fusion: Literal["concat", "sum", "early", "gated", "film", "attention"] = "concat"
    encoder: Encoder | dict[str, Encoder] = "mlp"
    hidden: Annotated[int, Field(ge=1, le=65536)] = 64
    norm: Literal["none", "batch", "layer"] = "none"  # of mlp and cnn; a transformer has its own, a gru has none
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share of hidden units left out in training

    @model_validator(mode="before")
    @classmethod
    def module_as_encoder(cls, model: Any) -> Any:
        """Return `module: my_package.nets:Net` as the equivalent `encoder`, for all modalities."""
        if isinstance(model, dict) and "module" in model and "encoder" not in model:
            return {"encoder" if key == "module" else key: value for key, value in model.items()}
        return model


class Limits(Section):
    """The key `budget`: limits that end a study early."""

    hours: Positive | None = None  # wall-clock time of a run
    trials: Count | None = None  # of the study, including those in the store
    target: Annotated[float, Field(allow_inf_nan=False)] | None = None  # for a configuration's mean on validation


class SuccessiveHalving(Section):
    """Asynchronous successive halving (Li et al., MLSys 2020, https://arxiv.org/abs/1810.05934), stopping variant.

    The rungs are epochs ``first * reduction ** k``. At a rung, a trial continues only if it is among the best
    ``1 / reduction`` of those that have reached it so far.
    """

    reduction: Annotated[int, Field(ge=2, le=100)] = 3
    first: Count = 1

    def is_rung(self, epoch: int) -> bool:
        """Return whether trials are compared after an epoch."""
        ratio = epoch / self.first
        return ratio >= 1 and math.isclose(ratio, self.reduction ** round(math.log(ratio, self.reduction)))

    def threshold(self, scores: list[float]) -> float:
        """Return the score that a trial needs, given all scores at the rung so far; larger is better."""
        return sorted(scores, reverse=True)[max(1, len(scores) // self.reduction) - 1]


class MedianRule(Section):
    """The median stopping rule (Golovin et al., KDD 2017, 3.2.2): stop trials worse than the median so far.

    It applies after every epoch from ``first`` on, once ``enough`` trials have reached that epoch.
    """

    first: Count = 3
    enough: Annotated[int, Field(ge=2, le=10**6)] = 5

    def is_rung(self, epoch: int) -> bool:
        """Return whether trials are compared after an epoch."""
        return epoch >= self.first

    def threshold(self, scores: list[float]) -> float:
        """Return the score that a trial needs, given all scores at the epoch so far; larger is better."""
        return -math.inf if len(scores) < self.enough else sorted(scores)[len(scores) // 2 - (len(scores) % 2 == 0)]


class Pruning(Section):
    """The key `prune`: exactly one rule for stopping trials early."""

    asha: SuccessiveHalving | None = None
    median: MedianRule | None = None

    @model_validator(mode="after")
    def check_one_rule(self) -> "Pruning":
        """Raise a ValueError unless there is exactly one rule."""
        if (self.asha is None) == (self.median is None):
            raise ValueError("must name one rule: asha or median")
        return self


class Resources(Section):
    """The key `resources`: what a pack of trials reserves, and its size."""

    cpu: Annotated[float, Field(ge=0.01), AfterValidator(check_fraction)] = 1  # of each worker
    gpu: Annotated[float, Field(ge=0), AfterValidator(check_fraction)] = 0  # of each worker
    workers: Annotated[int, Field(ge=1, le=1024)] = 1  # processes that train a pack, each on its share of a batch
    pack: Literal["auto"] | Annotated[int, Field(ge=1, le=4096)] = "auto"  # most trials that train together
    compile: Literal["auto", "on", "off"] = "auto"  # compile a pack's steps; auto: if there are many
    checkpoint: Annotated[float, Field(ge=0)] = 60  # minimum seconds between two checkpoints; 0: no checkpoints

    @property
    def total_cpus(self) -> float:
        """Return the CPUs of all workers of a pack."""
        return self.cpu * self.workers


class Seeds(Section):
    """The key `seeds` as a mapping: seeds added until methods differ from joint training, or a number per block."""

    auto: Annotated[list[Annotated[int, Field(ge=2, le=MAX_SEEDS)]], Field(min_length=2, max_length=2)] | None = None
    split: SeedCount | None = None  # of training and validation
    init: SeedCount | None = None  # initial weights
    order: SeedCount | None = None  # order of the samples, and all other randomness during training

    @field_validator("auto")
    @classmethod
    def check_auto(cls, auto: list[int] | None) -> list[int] | None:
        """Raise a ValueError unless the first number is smaller than the second."""
        if auto and not auto[0] < auto[1]:
            raise ValueError("must be the minimum and the maximum number of seeds, as [5, 40]")
        return auto

    @model_validator(mode="after")
    def check_kinds(self) -> "Seeds":
        """Raise a ValueError unless either `auto` or blocks are given, and blocks not too large."""
        counts = [getattr(self, block) for block in BLOCKS]
        if self.auto is None:
            if not any(counts):
                raise ValueError("must be a number, {auto: [5, 40]}, or numbers of split, init and order")
            if math.prod(self.blocks) > MAX_SEEDS:
                raise ValueError(f"must be at most {MAX_SEEDS:,} in total")
        elif any(counts):
            raise ValueError("must be either `auto`, or split, init and order")
        return self

    @property
    def blocks(self) -> tuple[int, ...]:
        """Return the number of seeds of each block; 1 for a block that is not given."""
        return tuple(getattr(self, block) or 1 for block in BLOCKS)


class StudyFile(Section):
    """The keys of a study file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]
    data: str | dict[str, Any]
    model: Network = Network()
    train: Training = Training()
    methods: Annotated[list[str], Field(min_length=1)]
    set: dict[str, Any] = Field(default_factory=dict)
    vary: dict[str, Any] = Field(default_factory=dict)
    seeds: SeedCount | Seeds = 5
    search: str | dict[str, Any] = "grid"
    trials: Annotated[int, Field(ge=1, le=100_000)] = 50
    metric: Metric | Annotated[list[Metric], Field(min_length=1)] | None = None
    budget: Limits = Limits()
    measure: list[str] | dict[str, Any] = Field(default_factory=list)
    prune: Literal["asha", "median"] | Pruning | None = None
    resources: Resources = Resources()
    track: list[Literal["tensorboard", "mlflow", "wandb"]] = Field(default_factory=list)
    store: str = "runs"
