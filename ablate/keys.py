"""The keys of a study file, each valid by itself; what does not fit together is found in `contradictions`."""

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from ablate.searching import Count
from ablate.validation import Section

Positive = Annotated[float, Field(gt=0)]
MOST_SEEDS = 10_000
SeedCount = Annotated[int, Field(ge=1, le=MOST_SEEDS)]
BLOCKS = ("split", "init", "order")  # what seeds decide, each nested in those before
Encoder = Literal["mlp", "cnn", "gru", "transformer"] | Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
Metric = Literal["accuracy", "mae", "loss", "seconds", "balance"]
DIRECTIONS = {"accuracy": "max", "mae": "min", "loss": "min", "seconds": "min", "balance": "max"}
REDUCED = {"bfloat16", "tf32"}  # precision of training
LEARNING_RATES = {"sgd": 0.02, "adam": 1e-3, "adamw": 1e-3}


def portion(number: float) -> float:
    """Return a part of a processor as Ray can count it; Ray drops further digits, or fails on them."""
    if round(number, 4) != number:
        raise ValueError("must be a multiple of 0.0001")
    return number


class Training(Section):
    """How a trial is trained; the same for all methods of a study, unless varied."""

    epochs: Count = 20
    batch_size: Count = 64
    accumulate: Count = 1  # parts in which a batch passes through the model, one after another
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: Positive | None = None  # 0.02 for sgd, 0.001 for adam and adamw
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    loss: Literal["mse", "l1", "huber"] = "mse"  # of regression
    reduction: Literal["mean", "sum"] = "mean"  # of the loss over a batch
    clip: Positive | None = None  # total norm of the gradients, after the method
    clip_before: Positive | None = None  # the same, before the method
    clip_trigger: Positive | None = None  # clip only if the head's gradient has an element beyond this
    order: Literal["shuffled", "stream"] = "shuffled"  # stream: one pass over the samples in their order, in all epochs
    schedule: Literal["constant", "cosine", "step"] = "constant"  # of the learning rate, over the epochs
    dtype: Literal["float32", "float64", "bfloat16", "tf32"] = "float32"

    @property
    def rate(self) -> float:
        """Return the learning rate: the one that is given, or that of the optimiser."""
        return self.lr or LEARNING_RATES[self.optimizer]

    @field_validator("dtype", mode="before")
    @classmethod
    def unscaled(cls, dtype: Any) -> Any:
        """Raise a ValueError for what would need its losses scaled."""
        if dtype == "float16":
            raise ValueError("must not overflow, as float16 does where losses are not scaled; take bfloat16")
        return dtype


class Network(Section):
    """What is trained."""

    fusion: Literal["concat", "sum", "early", "gated", "film", "attention"] = "concat"
    encoder: Encoder | dict[str, Encoder] = "mlp"
    hidden: Annotated[int, Field(ge=1, le=65536)] = 64
    norm: Literal["none", "batch", "layer"] = "none"  # of mlp and cnn; a transformer has its own, a gru has none
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share of hidden units left out in training

    @model_validator(mode="before")
    @classmethod
    def one_module(cls, given: Any) -> Any:
        """Return `module: my_package.nets:Net` as what it says, the encoder of all modalities."""
        if isinstance(given, dict) and "module" in given and "encoder" not in given:
            return {"encoder" if key == "module" else key: value for key, value in given.items()}
        return given


class Limits(Section):
    """When a study ends before all of it has run."""

    hours: Positive | None = None  # of a run, by the clock
    trials: Count | None = None  # of the study, those known before included
    target: Annotated[float, Field(allow_inf_nan=False)] | None = None  # of a configuration's mean on validation


class Halving(Section):
    """Asynchronous successive halving (Li et al., MLSys 2020, https://arxiv.org/abs/1810.05934), by stopping.

    After ``first`` epochs, and whenever ``reduction`` times as many have passed, a trial goes on only if it is among
    the best ``1 / reduction`` of those that came so far.
    """

    reduction: Annotated[int, Field(ge=2, le=100)] = 3
    first: Count = 1

    def rung(self, epoch: int) -> bool:
        """Say whether trials are judged after an epoch."""
        passed = epoch / self.first
        return passed >= 1 and math.isclose(passed, self.reduction ** round(math.log(passed, self.reduction)))

    def kept(self, known: list[float]) -> float:
        """Return the score that a trial needs, given all scores of the rung; more is better."""
        return sorted(known, reverse=True)[max(1, len(known) // self.reduction) - 1]


class Median(Section):
    """The median rule (Golovin et al., KDD 2017, 3.2.2): end what is worse than half of those that came so far.

    It judges after every epoch from ``first`` on, once there are ``enough`` trials to judge by.
    """

    first: Count = 3
    enough: Annotated[int, Field(ge=2, le=10**6)] = 5

    def rung(self, epoch: int) -> bool:
        """Say whether trials are judged after an epoch."""
        return epoch >= self.first

    def kept(self, known: list[float]) -> float:
        """Return the score that a trial needs, given all scores of the epoch; more is better."""
        return -math.inf if len(known) < self.enough else sorted(known)[len(known) // 2 - (len(known) % 2 == 0)]


class Pruning(Section):
    """How lagging trials are ended early; one of both."""

    asha: Halving | None = None
    median: Median | None = None

    @model_validator(mode="after")
    def one(self) -> "Pruning":
        """Raise a ValueError unless there is one rule."""
        if (self.asha is None) == (self.median is None):
            raise ValueError("must name one rule: asha or median")
        return self


class Resources(Section):
    """What a pack of trials reserves, and how large it may be."""

    cpu: Annotated[float, Field(ge=0.01), AfterValidator(portion)] = 1  # of each worker
    gpu: Annotated[float, Field(ge=0), AfterValidator(portion)] = 0  # of each worker
    workers: Annotated[int, Field(ge=1, le=1024)] = 1  # that train a pack together, each with its share of a batch
    pack: Literal["auto"] | Annotated[int, Field(ge=1, le=4096)] = "auto"  # trials, at most, that train together
    compile: Literal["auto", "on", "off"] = "auto"  # a pack's steps; auto: where they are many
    checkpoint: Annotated[float, Field(ge=0)] = 60  # seconds, at least, between two; 0: none are written

    @property
    def cpus(self) -> float:
        """Return how many CPUs all workers of a pack need."""
        return self.cpu * self.workers


class Seeds(Section):
    """Seeds that are added until methods are told apart from joint training, or a number of each kind."""

    auto: Annotated[list[Annotated[int, Field(ge=2, le=MOST_SEEDS)]], Field(min_length=2, max_length=2)] | None = None
    split: SeedCount | None = None  # of training and validation
    init: SeedCount | None = None  # initial weights
    order: SeedCount | None = None  # of the samples, and all else that is drawn during training

    @field_validator("auto")
    @classmethod
    def rising(cls, auto: list[int] | None) -> list[int] | None:
        """Raise a ValueError unless there is room for more seeds."""
        if auto and not auto[0] < auto[1]:
            raise ValueError("must be the fewest and the most seeds, as [5, 40]")
        return auto

    @model_validator(mode="after")
    def possible(self) -> "Seeds":
        """Raise a ValueError unless one way is chosen, and there is room for all."""
        blocks = [getattr(self, block) for block in BLOCKS]
        if self.auto is None:
            if not any(blocks):
                raise ValueError("must be a number, {auto: [5, 40]}, or numbers of split, init and order")
            if math.prod(self.blocks) > MOST_SEEDS:
                raise ValueError(f"must be {MOST_SEEDS:,} at most in all")
        elif any(blocks):
            raise ValueError("must be one way or the other: `auto`, or split, init and order")
        return self

    @property
    def blocks(self) -> tuple[int, ...]:
        """Return how many seeds there are of each kind; one of which nothing is said is held."""
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
