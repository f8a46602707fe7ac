"""The settings of each method, with published defaults and their sources (METHODS.md, sections 5, 6 and 11)."""

from search_spaces.axes import Axis, Condition, choice, flag, integer, number

INF = float("inf")
ENCODER = {"route": ("encoder",)}  # conditions under which a setting is active
MAGNITUDE = {"magnitude": (True,)}
DIRECTIONS = ("grad", "grad_prev", "param_released")
CLASSIFIERS = {"eps_source": ("aux",), "direction": DIRECTIONS}
LAPLACE = {"estimator": ("laplace",)}

OGM_ALPHA = number(0.8, 0, 1e3, neutral=0.0, source="OGM-GE README, CREMA-D; 0.1 VGGSound, 2.6 BML issue 3")
FILTER = choice("auto", "conv4d", "ndim>1", "all", source="OGM-GE main.py:130 (conv4d); ours: auto")
APPLY = choice("grad", "lr", source="all releases: grad; ours: lr, effective under Adam")
RATIO = choice("mean", "bb", "bb3", source="OGM-GE main.py:121; bb, bb3: BalanceBenchmark OGM_trainer.py")

METHODS: dict[str, dict[str, Axis]] = {
    "joint": {},
    "joint-uni": {
        "weight": number(1.0, 0, 1e3, neutral=0.0, source="ours"),
        "source": choice("head", "split", "single", source="ours: what makes the unimodal predictions"),
    },
    "unimodal": {},
    "moddrop": {"rate": number(0.3, 0, 1, neutral=0.0, source="ours; ModDrop, TPAMI 2016")},
    "ogm": {
        "alpha": OGM_ALPHA,
        "filter": FILTER,
        "apply": APPLY,
        "ratio": RATIO,
    },
    "ogm-ge": {
        "alpha": OGM_ALPHA,
        "noise": number(1.0, 0, 1e3, neutral=0.0, source="OGM-GE main.py:133"),
        "filter": FILTER,
        "apply": APPLY,
        "ratio": RATIO,
    },
    "agm": {
        "alpha": number(1.0, 0, 1e3, neutral=0.0, source="AGM argparse; 2.5 README, 1.5 issues 3 and 5"),
        "cap": number(10.0, 0, INF, source="AGM CREMAD_main.py:151; 7 for UR-Funny, none elsewhere"),
        "reference": choice("cumulative", "ema", "window", "fixed", "target", "balanced", source="AGM 3.2; ours"),
        "beta": number(0.99, 0, 1, source="ours", when={"reference": ("ema",)}),
        "window": integer(100, 1, 1e6, source="ours", when={"reference": ("window",)}),
        "warm": number(100, 1, INF, source="ours", when={"reference": ("fixed",)}),
        "target": number(
            0.0,
            0,
            1e3,
            source="ours; cross-entropy of each modality",
            by_modality=True,
            when={"reference": ("target",)},
        ),
        "route": choice("phi", "encoder", source="AGM CREMAD_net.py:39 (phi); BalanceBenchmark: encoder"),
        "score_attr": choice(
            "shapley", "single", "loo", "head", "bb", source="AGM 3.1; ours; bb: BalanceBenchmark", when=ENCODER
        ),
        "mute": choice("zero", "mean", "feature", source="AGM release: zero"),
        "samples": integer(0, 0, 1e4, source="ours; 0 is exact", when={"score_attr": ("shapley", "bb")}),
        "stale": flag(default=False, source="AGM release, by oversight"),
        "filter": choice("all", "conv4d", "ndim>1", "auto", source="ours; ndim>1: BalanceBenchmark", when=ENCODER),
        "apply": APPLY._replace(when=ENCODER),
        "bb_sign": flag(default=False, source="BalanceBenchmark AGM_trainer.py:571"),
    },
    "mslr": {
        "factor": number(
            1.0, 0, 1e3, neutral=1.0, by_modality=True, source="AGM release: AV-MNIST 1.3 audio, 0.7 visual"
        ),
        "adapt": flag(default=True, neutral=False, source="ours: false omits the ratio"),
        "window": integer(5, 1, 1e6, source="AGM release, AVMNIST_main.py:539", when={"adapt": (True,)}),
        "form": choice("lr", "grad_scale", source="lr: as in the paper's title; grad_scale: AGM release"),
    },
    "mses": {
        "patience": number(10, 0, INF, neutral=INF, source="AGM release: AV-MNIST; 30 for UR-Funny, 80 for CREMA-D"),
        "mix": number(0.6, 0, 1, source="AGM release, AVMNIST_main.py:561"),
        "stop": choice("freeze", "grad_zero", source="freeze: as the paper intends; grad_zero: AGM release"),
        "rollback": choice("whole", "branch", "none", source="AGM release: whole; ours: the others"),
        "first": choice("save", "none", source="ours: save; AGM release: none", when={"rollback": ("whole", "branch")}),
    },
    "cggm": {
        "magnitude": flag(default=True, neutral=False, source="CGGM paper; the release has none for BraTS"),
        "direction": choice(*DIRECTIONS, "off", source="CGGM paper: grad; release: param_released"),
        "rho": number(1.3, 0, 1e3, source="CGGM release: CMU-MOSI, IEMOCAP, Food-101; 1.0 for BraTS", when=MAGNITUDE),
        "lam": number(
            0.2,
            0,
            1e3,
            neutral=0.0,
            source="CGGM release: CMU-MOSI, IEMOCAP; 0.05 Food-101, 0.1 BraTS",
            when={"direction": DIRECTIONS},
        ),
        "delta": choice("signed", "positive", source="CGGM paper and release; positive is ours"),
        "smooth": number(0.0, 0, 0.999, source="ours; CGGM paper: 0"),
        "clip_b": number(INF, 0, INF, source="ours; the paper and the release have none"),
        "eps_source": choice("aux", "head", "single", source="CGGM: aux; ours: the others, without classifiers"),
        "eps_metric": choice("accuracy", "p_y", "sign", source="CGGM release: accuracy, sign (CMU-MOSI); p_y is ours"),
        "apply": APPLY._replace(when=MAGNITUDE),
        "cls_lr": number(5e-4, 0, 1e3, source="CGGM release; 6e-3 for BraTS", when=CLASSIFIERS),
        "cls_optimizer": choice(
            "adam", "sgd", "adamw", source="CGGM release: CMU-MOSI; adamw Food-101, sgd BraTS", when=CLASSIFIERS
        ),
        "cls_decay": number(0.0, 0, 1e3, source="CGGM release: CMU-MOSI; 3e-3 for Food-101", when=CLASSIFIERS),
        "cls_layers": integer(2, 0, 100, source="CGGM release", when=CLASSIFIERS),
        "cls_width": integer(
            32, 0, 1e6, source="ours; 0: width of the joint head's input, as in the release", when=CLASSIFIERS
        ),
        "cls_heads": integer(0, 0, 1e4, source="ours: no attention; 5 in the release", when=CLASSIFIERS),
    },
    "bogc": {
        "kappa": number(0.5, 0, 10, neutral=0.0, source="ours; paper: a power; BayesAgg: 5e-4 to 0.3"),
        "k": number(1.0, 0, 1e6, source="ours, in units of the number of sources; 0: no uncertainty, as BayesAgg"),
        "scale": choice("tensor", "dim", "none", "ema", source="ours; none: BayesAgg"),
        "estimator": choice("ema", "laplace", "sample", source="paper: laplace, for heads; ours: the others"),
        "beta": number(0.95, 0, 0.999999, source="ours", when={"estimator": ("ema", "laplace"), "scale": ("ema",)}),
        "draws": integer(64, 2, 1e5, source="ours; paper: draws; BayesAgg: 1024", when=LAPLACE),
        "prior": number(0.005, 1e-8, 1e6, source="BayesAgg: 0.005 and 0.0005", when=LAPLACE),
        "where": choice("encoder+joint", "encoder", "joint", "repr", "phi", source="ours; repr: BayesAgg"),
        "losses": choice(
            "head",
            "split",
            "single",
            source="ours; paper: unimodal losses",
            when={"where": ("encoder+joint", "encoder", "joint")},
        ),
        "fallback": choice("mean", "zero", "fusion", source="ours"),
        "frame": choice("modality", "reliability", "dims", source="ours; paper: evidence per modality"),
        "gain": choice("sum", "none", "match_norm", source="ours; none: BayesAgg"),
        "snr": flag(default=False, source="ours"),
    },
}

PUBLISHED_TRAINING: dict[str, dict[str, float]] = {  # training settings that a method was published with
    "agm": {"train.clip": 1.0, "train.clip_trigger": 1.0},  # late and early fusion; 5 and 5 on UR-Funny
    "cggm": {"train.clip": 0.8},  # without it a coefficient near its pole, 1e7, can end a trial (METHODS.md 7.5)
}

TRAINING_CONDITIONS: dict[str, Condition] = {  # conditions under which a training setting is active
    "momentum": {"optimizer": ("sgd",)},
}

BASELINES = {"bogc": "joint-uni"}  # what a method equals with all settings neutral; others: joint training

ACTIVE_EPOCHS: dict[str, Axis] = {  # settings of every method: the epochs, counted from 1, in which it acts
    "start": integer(1, 1, INF, source="OGM-GE and AGM argparse: the first epoch"),
    "warmup": integer(0, 0, 1e6, source="ours: epochs until full strength"),
    "end": number(INF, 0, INF, source="OGM-GE: 51 of 100 epochs; AGM argparse: 20"),
}
