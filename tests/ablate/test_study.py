"""A wrong study file gets one clear sentence, exit code 2, and leaves nothing behind."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

from ablate.cli import app
from ablate.designs import DesignPoint
from ablate.errors import UserError
from ablate.plan import point_trials
from ablate.search import rounds
from ablate.shards import label_columns
from ablate.study import Study, load, missing_companions
from ablate.vary import VariedAxis, grid_values
from search_spaces import CLAIMS, STUDIES
from search_spaces.axes import number
from search_spaces.methods import METHODS
from tests.ablate.helpers import SMALL, ablate, here, write

BROKEN = {
    "an unknown measurement": ("name: x\ndata: mfeat\nmethods: [joint]\nmeasure: [probe, fidelty]\n", ":4: measure[1]: there is no measurement `fidelty`", "`fidelity`"),
    "an unknown measurement in a mapping": (
        "name: x\ndata: mfeat\nmethods: [joint]\nmeasure:\n  shaply: 1\n", ":5: measure.shaply: there is no measurement `shaply`", "`shapley`"
    ),
    "a measurement listed twice": ("name: x\ndata: mfeat\nmethods: [joint]\nmeasure: [probe, probe]\n", ":4: measure[1]: `probe` is listed twice", ""),
    "one measurement as text": ("name: x\ndata: mfeat\nmethods: [joint]\nmeasure: probe\n", ":4: measure: must be a list or a mapping, got 'probe'", ""),
    "an interval of no steps": (
        "name: x\ndata: mfeat\nmethods: [joint]\nmeasure: {fidelity: 0}\n",
        ":4: measure.fidelity: the interval in steps must be an integer from 1, got 0", "",
    ),
    "an interval that is no number": (
        "name: x\ndata: mfeat\nmethods: [joint]\nmeasure: {shapley: yes}\n",
        "measure.shapley: the interval in epochs must be an integer from 0 (0: only after the last epoch), got 'yes'", "",
    ),
    "a negative interval": ("name: x\ndata: mfeat\nmethods: [joint]\nmeasure: {probe: -1}\n", "must be an integer from 0", ""),
    "truth where none is planted": (
        "name: x\ndata: mfeat\nmethods: [joint]\nmeasure: [truth]\n",
        ":4: measure[0]: `truth` compares with planted contributions, and mfeat has none", "",
    ),
    "competition without a competitor": (
        "name: x\ndata: {name: av-digits, modalities: [image]}\nmethods: [joint]\nmeasure: [probe, competition]\n",
        ":4: measure[1]: `competition` needs several modalities, and av-digits has one", "",
    ),
    "SHAPE of many modalities": (
        "name: x\ndata: {name: synthetic, modalities: 11}\nmethods: [joint]\nmeasure: [shape]\n",
        ":4: measure[0]: `shape` evaluates all coalitions of at most 10 modalities, and synthetic has 11", "",
    ),
    "an unknown key": ("name: x\ndata: mfeat\nmethods: [joint]\nepoch: 3\n", ":4: epoch: there is no such key", ""),
    "an unknown key inside": (
        "name: x\ndata: mfeat\nmethods: [joint]\ntrain:\n  epoch: 3\n", ":5: train.epoch: there is no such key", "`epochs`"
    ),
    "a misspelt hyperparameter": (
        "name: x\ndata: mfeat\nmethods: [agm]\nset: {agm.samples: 4}\nvary:\n  agm.alhpa: [0, 1]\n",
        ":6: vary.agm.alhpa: agm has no setting `alhpa`", "`alpha`",
    ),
    "a wrong type": ("name: x\ndata: mfeat\nmethods: [joint]\nseeds: ten\n", ":4: seeds: must be an integer or a mapping, got 'ten'", ""),
    "out of range": (
        "name: x\ndata: mfeat\nmethods: [agm]\nset:\n  agm.alpha: -1\n",
        ":5: set.agm.alpha: must be a number in [0, 1000], got -1", "",
    ),
    "unknown data": ("name: x\ndata: mfaet\nmethods: [joint]\n", ":2: data.name: ablate has no data set 'mfaet'", "mfeat"),
    "a duplicate key": ("name: x\ndata: mfeat\nmethods: [joint]\ndata: mfeat\n", ":4: data: is given twice, first on line 2", ""),
    "an empty file": ("", ":1: the file is empty", ""),
    "not YAML": ("name: [x\ndata: mfeat\n", "is not safe YAML", ""),
    "a tag that would run code": (
        "name: x\ndata: !!python/object/apply:os.system ['touch pwned']\nmethods: [joint]\n", ":2: is not safe YAML: ", ""
    ),
    "a list where a mapping belongs": ("name: x\ndata: mfeat\nmethods: [joint]\ntrain: [1]\n", ":4: train: must be a mapping, got a list", ""),
    "an axis of a method that is not in the study": (
        "name: x\ndata: mfeat\nmethods: [joint]\nvary:\n  agm.alpha: [0, 1]\n",
        ":5: vary.agm.alpha: `agm` is not among the methods of this study (joint)", "",
    ),
    "an unknown method": ("name: x\ndata: mfeat\nmethods: [joint, agn]\n", ":3: methods[1]: there is no method `agn`", "`agm`"),
    "a list where the study belongs": ("- name: x\n", ":1: a study is a mapping of keys to values, got a list", ""),
    "a missing key": ("name: x\ndata: mfeat\n", "the key `methods` is missing", ""),
    "a misspelt choice": (
        "name: x\ndata: mfeat\nmethods: [joint]\ntrain: {optimizer: adm}\n",
        ":4: train.optimizer: must be one of sgd, adam, adamw, got 'adm'", "`adam`",
    ),
    "a precision that overflows": (
        "name: x\ndata: mfeat\nmethods: [joint]\ntrain: {dtype: float16}\n",
        ":4: train.dtype: must not be float16, which overflows without loss scaling; use bfloat16, got 'float16'", "",
    ),
    "a precision that overflows, varied": (
        "name: x\ndata: mfeat\nmethods: [joint]\nvary: {train.dtype: [float32, float16]}\n",
        ":4: vary.train.dtype: must not be float16", "",
    ),
    "a grid without a number of points": (
        "name: x\ndata: av-digits\nmethods: [agm]\nvary: {agm.alpha: {log: [1, 2]}}\n", "a grid needs `num`", ""
    ),
    "zero on a log scale": (
        "name: x\ndata: av-digits\nmethods: [agm]\nvary: {agm.alpha: {log: [0, 2], num: 3}}\n", "must start above 0 on a log scale", ""
    ),
    "a trigger without a clip": (
        "name: x\ndata: mfeat\nmethods: [joint]\ntrain: {clip_trigger: 1}\n", ":4: train.clip_trigger: has no effect alone", "",
    ),
    "parts of a batch that is normalised as a whole": (
        "name: x\ndata: mfeat\nmethods: [joint]\nmodel: {norm: batch}\ntrain: {accumulate: 2}\n",
        ":5: train.accumulate: splits a batch into parts", "",
    ),
    "parts of a batch that is normalised as a whole, from a range": (
        "name: x\ndata: mfeat\nmethods: [joint]\nmodel: {norm: batch}\nsearch: random\nvary: {train.accumulate: {linear: [1, 4]}}\n",
        "train.accumulate: splits a batch into parts", "",
    ),
    "clipping before a method that has no gradient before it": (
        "name: x\ndata: mfeat\nmethods: [agm]\ntrain: {clip_before: 1}\n", ":4: train.clip_before: clips the gradient before", "",
    ),
    "a loss of regression": (
        "name: x\ndata: mfeat\nmethods: [joint]\nvary: {train.loss: [mse, l1]}\n", ":4: vary.train.loss: applies to regression", "",
    ),
    "one loss of regression": (
        "name: x\ndata: mfeat\nmethods: [joint]\ntrain: {loss: huber}\n", ":4: train.loss: applies to regression", "",
    ),
    "a key that is misspelt and must be there": (
        "name: x\ndata: mfeat\nmehods: [joint]\n", ":3: mehods: there is no such key", "`methods`",
    ),
    "clipping before a method with several gradients": (
        "name: x\ndata: mfeat\nmethods: [bogc]\ntrain: {clip_before: 1}\n", ":4: train.clip_before: clips the gradient before", "",
    ),
    "clipping before a method with several gradients, from a range": (
        "name: x\ndata: mfeat\nmethods: [bogc]\nsearch: random\nvary: {train.clip_before: {log: [0.1, 10]}}\n",
        "train.clip_before: clips the gradient before", "",
    ),
    "coalitions of too many modalities": (
        "name: x\ndata: {name: synthetic, modalities: 7}\nmethods: [joint, agm]\n", ":3: methods[1]: 7 modalities have too many coalitions", "",
    ),
    "coalitions of too many modalities, from a range": (
        "name: x\ndata: {name: synthetic, modalities: 7}\nmethods: [agm]\nsearch: random\nvary: {agm.samples: {linear: [0, 8]}}\n",
        ":3: methods[0]: 7 modalities have too many coalitions; set agm.samples", "",
    ),
    "a method that would never act": (
        "name: x\ndata: mfeat\nmethods: [agm]\nset: {agm.start: 5, agm.end: 2}\n", ":4: set.agm.start: agm would never act", "",
    ),
    "a reference for one modality of two": (
        "name: x\ndata: av-digits\nmethods: [agm]\nset: {agm.reference: target, agm.target: {image: 1}}\n",
        ":4: set.agm.target: needs a cross-entropy for every modality; missing: audio", "",
    ),
    "a reference that is none": (
        "name: x\ndata: av-digits\nmethods: [agm]\nset: {agm.reference: target, agm.target: 1}\n",
        ":3: methods[0]: agm: reference: target needs agm.target, a mapping", "",
    ),
    "hits of a regression": (
        "name: x\ndata: diabetes\nmethods: [ogm]\nset: {ogm.ratio: bb}\n", ":4: set.ogm.ratio: BalanceBenchmark's ratios count correct predictions", "",
    ),
    "settings of the other route": (
        "name: x\ndata: mfeat\nmethods: [agm]\nset: {agm.apply: lr}\n", ":4: set.agm.apply: has no effect here: it applies only if agm.route is encoder", "",
    ),
    "a place that nothing reaches": (
        "name: x\ndata: mfeat\nmethods: [bogc]\nset: {bogc.where: joint}\n", ":3: methods[0]: bogc: where: joint needs losses", "",
    ),
    "shares of too many modalities": (
        "name: x\ndata: {name: synthetic, modalities: 7}\nmethods: [bogc]\nset: {bogc.where: phi}\n",
        ":3: methods[0]: bogc: where: phi compares all 128 coalitions", "",
    ),
    "settings that contradict each other": (
        "name: x\ndata: diabetes\nmethods: [joint, bogc]\nset: {bogc.estimator: laplace}\n",
        ":3: methods[1]: bogc: where: encoder+joint, estimator: laplace and losses: head cannot be combined", "",
    ),
    "a metric of another task": ("name: x\ndata: diabetes\nmethods: [joint]\nmetric: accuracy\n", ":4: metric: `accuracy` does not apply", ""),
    "an encoder of no modality": (
        "name: x\ndata: av-digits\nmethods: [joint]\nmodel: {encoder: {imgae: cnn}}\n",
        ":4: model.encoder: av-digits has no modality `imgae`", "`image`",
    ),
    "an unknown encoder": (
        "name: x\ndata: mfeat\nmethods: [joint]\nmodel: {encoder: {pix: cmn}}\n",
        ":4: model.encoder.pix: must be one of mlp, cnn, gru, transformer, or your own as module:attribute, got 'cmn'", "`cnn`",
    ),
    "an encoder in no module": (
        "name: x\ndata: mfeat\nmethods: [joint]\nvary: {model.encoder: [mlp, nowhere:Net]}\n",
        ":4: vary.model.encoder: `nowhere` cannot be imported: ModuleNotFoundError", "",
    ),
    "an encoder that is none": (
        "name: x\ndata: mfeat\nmethods: [joint]\nmodel: {module: torch.nn.functional:relu}\n",
        ":4: model.encoder: must be a subclass of torch.nn.Module", "",
    ),
    "seeds that do not rise": (
        "name: x\ndata: mfeat\nmethods: [joint, agm]\nseeds: {auto: [5, 5]}\n", ":4: seeds.auto: must be the minimum and the maximum number of seeds", "",
    ),
    "seeds to be added to a search": (
        "name: x\ndata: mfeat\nmethods: [joint, agm]\nvary: {agm.alpha: {log: [0.1, 1]}}\nsearch: tpe\nseeds: {auto: [5, 40]}\n",
        ":6: seeds: cannot be `auto`, because `tpe` needs equally many", "",
    ),
    "seeds to be added to nothing": (
        "name: x\ndata: mfeat\nmethods: [agm, ogm]\nseeds: {auto: [5, 40]}\n", ":4: seeds: cannot be `auto` without a comparison", "",
    ),
    "a name that leaves the store": ("name: ../x\ndata: mfeat\nmethods: [joint]\n", ":1: name: must start with a letter from A to Z or a digit", ""),
    "a name that is too long": (f"name: {'x' * 65}\ndata: mfeat\nmethods: [joint]\n", ":1: name: must have at most 64 characters", ""),
    "seeds that fall": (
        "name: x\ndata: mfeat\nmethods: [joint, agm]\nseeds: {auto: [40, 5]}\n",
        ":4: seeds.auto: must be the minimum and the maximum number of seeds, as [5, 40], got [40, 5]", "",
    ),
    "no seeds": ("name: x\ndata: mfeat\nmethods: [joint]\nseeds: []\n", ":4: seeds: must be an integer or a mapping, got []", ""),
    "too many numbers of seeds": ("name: x\ndata: mfeat\nmethods: [joint]\nseeds: {auto: [5, 10, 20]}\n", ":4: seeds.auto: must have at most 2 entries", ""),
    "an unknown search": ("name: x\ndata: mfeat\nmethods: [agm]\nsearch: sobel\n", ":4: search: there is no search `sobel`", "`sobol`"),
    "two searches": ("name: x\ndata: mfeat\nmethods: [agm]\nsearch: {tpe: {}, cma: {}}\n", ":4: search: must be a name, or a mapping of one name", ""),
    "a Sobol design of another size": (
        "name: x\ndata: mfeat\nmethods: [agm]\nsearch: {sobol: {samples: 100}}\n", ":4: search.sobol.samples: must be a power of two, got 100", "",
    ),
    "a number of points for a grid": ("name: x\ndata: mfeat\nmethods: [agm]\ntrials: 9\n", ":4: trials: applies to the searches random, tpe, cma", ""),
    "nothing to search": ("name: x\ndata: mfeat\nmethods: [agm]\nsearch: morris\n", ":4: search: a search needs at least one axis in `vary`", ""),
    "nothing to leave out": ("name: x\ndata: mfeat\nmethods: [joint]\nsearch: ablate\n", ":4: search: ablate removes parts of methods", ""),
    "a part that is varied and left out": (
        "name: x\ndata: mfeat\nmethods: [agm]\nsearch: ablate\nvary: {agm.alpha: [1, 2]}\n", ":5: vary.agm.alpha: is already switched off by `search: ablate`", "",
    ),
    "CMA-ES of one number": (
        "name: x\ndata: mfeat\nmethods: [agm]\nsearch: cma\nvary: {agm.alpha: {log: [0.1, 1]}}\n", ":4: search: cma needs two numeric ranges", "",
    ),
    "CMA-ES of two metrics": (
        "name: x\ndata: mfeat\nmethods: [agm]\nmetric: [accuracy, seconds]\nsearch: cma\nvary: {agm.alpha: {log: [0.1, 1]}}\n",
        ":5: search: cma supports one metric", "",
    ),
    "an axis that never acts": (
        "name: x\ndata: mfeat\nmethods: [agm]\nvary:\n  agm.beta: [0.9, 0.99]\n", ":5: vary.agm.beta: has no effect here: it applies only if agm.reference is ema", "",
    ),
    "an axis that never acts where the others are left as they are": (
        "name: x\ndata: mfeat\nmethods: [agm]\nsearch: one-at-a-time\nvary:\n  agm.reference: [ema, fixed]\n  agm.beta: [0.9, 0.99]\n",
        ":7: vary.agm.beta: has no effect here", "",
    ),
    "an axis of another optimiser": (
        "name: x\ndata: mfeat\nmethods: [agm]\ntrain: {optimizer: adam}\nvary: {train.momentum: [0, 0.9]}\n",
        ":5: vary.train.momentum: has no effect here: it applies only if train.optimizer is sgd", "",
    ),
    "a metric that cannot be chosen by": ("name: x\ndata: mfeat\nmethods: [agm]\nmetric: seconds\n", ":4: metric: `seconds` cannot be the first metric", ""),
    "a balance that nobody measures": (
        "name: x\ndata: mfeat\nmethods: [agm]\nmetric: [accuracy, balance]\n", ":4: metric: `balance` is computed from `probe` or `shapley`", "",
    ),
    "a metric listed twice": ("name: x\ndata: mfeat\nmethods: [agm]\nmetric: [loss, loss]\n", ":4: metric: lists a metric twice", ""),
    "a budget for less than a point": (
        "name: x\ndata: mfeat\nmethods: [joint, agm]\nbudget: {trials: 9}\n", ":4: budget.trials: one point of every method already takes 10 trials", "",
    ),
    "indices of what is pruned": (
        "name: x\ndata: mfeat\nmethods: [agm]\nvary: {agm.alpha: {log: [0.1, 2]}}\nsearch: morris\nprune: asha\n", ":6: prune: stops trials early, but `morris` needs the score of every point", "",
    ),
    "an empty list of values": (
        "name: x\ndata: mfeat\nmethods: [agm]\nvary: {agm.alpha: []}\n", ":4: vary.agm.alpha: must be a list of values, or a range such as {log: [0.1, 10], num: 5}, got no value", "",
    ),
    "a single value in place of a list": (
        "name: x\ndata: mfeat\nmethods: [agm]\nvary: {agm.alpha: 1}\n", ":4: vary.agm.alpha: must be a list of values, or a range such as {log: [0.1, 10], num: 5}, got 1", "",
    ),
    "a target in percent": (
        "name: x\ndata: mfeat\nmethods: [agm]\nbudget: {target: 95}\n", ":4: budget.target: an accuracy is at most 1, got 95", "`0.95`",
    ),
    "a budget of no time": ("name: x\ndata: mfeat\nmethods: [agm]\nbudget: {hours: 0}\n", ":4: budget.hours: must be greater than 0, got 0", ""),
    "a misspelt key deep inside": ("name: x\ndata: mfeat\nmethods: [joint]\nsearch: {tpe: {btach: 2}}\n", ":4: search.tpe.btach: there is no such key", "`batch`"),
    "a capital letter": ("name: x\ndata: mfeat\nmethods: [joint]\ntrain: {Epochs: 2}\n", ":4: train.Epochs: there is no such key", "`epochs`"),
    "an infinite learning rate": ("name: x\ndata: mfeat\nmethods: [joint]\ntrain: {lr: .inf}\n", ":4: train.lr: must be a finite number", ""),
    "an empty list": ("name: x\ndata: mfeat\nmethods: []\n", ":3: methods: must not be empty", ""),
    "a list of data": ("name: x\ndata: [mfeat]\nmethods: [joint]\n", ":2: data: must be text or a mapping, got a list", ""),
    "a nested setting": ("name: x\ndata: mfeat\nmethods: [agm]\nset: {agm: {alpha: 1}}\n", ":4: set.agm: a setting is written as method.name", ""),
    "training among the settings": ("name: x\ndata: mfeat\nmethods: [joint]\nset: {train.lr: 1}\n", ":4: set.train.lr: belongs under the key `train`", ""),
    "an empty key": ('name: x\ndata: mfeat\nmethods: [joint]\n"": 1\n', "there is no such key", ""),
    "a control character": ("name: x\x07\ndata: mfeat\nmethods: [joint]\n", "is not YAML", ""),
    "deep nesting": ("[" * 3000, "is nested too deeply", ""),
    "a metric that the axis rescales": (
        "name: x\ndata: diabetes\nmethods: [joint]\nmetric: loss\nvary: {train.loss: [l1, mse]}\n", "changes the scale of the loss", ""
    ),
    "batches of one to normalise": (
        "name: x\ndata: mfeat\nmethods: [joint]\nmodel: {norm: batch}\ntrain: {batch_size: 1}\n",
        ":5: train.batch_size: batch normalisation needs batches of more than one sample", "",
    ),
    "batches of one to normalise, from a range": (
        "name: x\ndata: mfeat\nmethods: [joint]\nmodel: {norm: batch}\nsearch: random\nvary: {train.batch_size: {log: [1, 8]}}\n",
        "train.batch_size: batch normalisation needs batches of more than one sample", "",
    ),
    "batches of one to normalise, beside what does not vary": (
        "name: x\ndata: mfeat\nmethods: [joint]\nmodel: {norm: batch}\nsearch: one-at-a-time\nvary: {train.batch_size: [1], model.norm: [none]}\n",
        "train.batch_size: batch normalisation needs batches of more than one sample", "",
    ),
    "a list as a value": ("name: x\ndata: av-digits\nmethods: [agm]\nset: {agm.cap: [7]}\n", ":4: set.agm.cap: must be a number in [0, inf], got a list", ""),
    "a list as a choice": ("name: x\ndata: av-digits\nmethods: [agm]\nset: {agm.reference: [ema]}\n", "must be one of cumulative, ema", ""),
    "none as a choice": ("name: x\ndata: av-digits\nmethods: [agm]\nset: {agm.reference: none}\n", "got 'none'", ""),
    "text among numbers": (
        "name: x\ndata: av-digits\nmethods: [agm]\nvary: {agm.alpha: {log: [1, 2], num: 2, also: [x]}}\n",
        ":4: vary.agm.alpha.also[0]: must be a number, got 'x'", "",
    ),
    "a fraction of a count": (
        "name: x\ndata: av-digits\nmethods: [agm]\nvary: {agm.window: {log: [1, 9], num: 2, also: [2.7]}}\n",
        "must be an integer in [1, 1e+06], got 2.7", "",
    ),
    "a key that is no text": ("name: x\ndata: mfeat\n? [a]\n: 1\nmethods: [joint]\n", ":3: a key must be text", ""),
    "an alias": ("name: x\ndata: &a [*a]\nmethods: [joint]\n", ":2: is not safe YAML: alias *a is not supported", ""),
    "the store's own name": ("name: trials\ndata: mfeat\nmethods: [joint]\n", ":1: name: `trials` is reserved in the store", ""),
    "the store's marker": ("name: Schema\ndata: mfeat\nmethods: [joint]\n", ":1: name: `Schema` is reserved in the store", ""),
    "a store elsewhere": ("name: x\ndata: mfeat\nmethods: [joint]\nstore: s4://b/x\n", ":4: store: s4://b/x is not the address of a store: it must begin with s3:// or gs://, or be a folder", ""),
    "a store without a bucket": ("name: x\ndata: mfeat\nmethods: [joint]\nstore: s3://\n", ":4: store: s3:// is not the address of a store: it must be like", ""),
    "a varied encoder of no modality": (
        "name: x\ndata: av-digits\nmethods: [joint]\nvary: {model.encoder: [mlp, {imgae: cnn}]}\n",
        "av-digits has no modality `imgae`", "`image`",
    ),
    "a factor of no modality": (
        "name: x\ndata: av-digits\nmethods: [mslr]\nset: {mslr.factor: {audio: 1.3, imgae: 0.7}}\n",
        ":4: set.mslr.factor: av-digits has no modality `imgae` (it has: ", "`image`",
    ),
    "a varied factor of no modality": (
        "name: x\ndata: av-digits\nmethods: [mslr]\nvary: {mslr.factor: [1, {imgae: 0.7}]}\n",
        ":4: vary.mslr.factor: av-digits has no modality `imgae`", "`image`",
    ),
    "a factor of a modality out of range": (
        "name: x\ndata: av-digits\nmethods: [mslr]\nset:\n  mslr.factor:\n    audio: 1.3\n    image: -1\n",
        ":7: set.mslr.factor.image: must be a number in [0, 1000], got -1", "",
    ),
    "a list of factors": (
        "name: x\ndata: av-digits\nmethods: [mslr]\nset: {mslr.factor: [1.3, 0.7]}\n",
        ":4: set.mslr.factor: must be a number in [0, 1000], or a mapping of modalities to such numbers, got a list", "",
    ),
    "a mapping where one number belongs": (
        "name: x\ndata: av-digits\nmethods: [mses]\nset: {mses.mix: {audio: 0.5}}\n",
        ":4: set.mses.mix: must be a number in [0, 1], got a mapping", "",
    ),
    "less of a CPU than can be counted": (
        "name: x\ndata: mfeat\nmethods: [joint]\nresources: {cpu: 0.00005}\n", ":4: resources.cpu: must be greater than or equal to 0.01, got 5e-05", "",
    ),
    "a CPU in parts that cannot be counted": (
        "name: x\ndata: mfeat\nmethods: [joint]\nresources: {cpu: 0.12345}\n", ":4: resources.cpu: must be a multiple of 0.0001, got 0.12345", "",
    ),
    "less of a GPU than can be counted": (
        "name: x\ndata: mfeat\nmethods: [joint]\nresources: {gpu: 0.00005}\n", ":4: resources.gpu: must be a multiple of 0.0001, got 5e-05", "",
    ),
    "a store at nobody's home": (
        "name: x\ndata: mfeat\nmethods: [joint]\nstore: ~nosuchuser/x\n", ":4: store: must not begin with an unknown home directory, got '~nosuchuser/x'", "",
    ),
    "data at nobody's home": (
        "name: x\ndata: {path: ~nosuchuser/x.npz}\nmethods: [joint]\n", ":2: data.path: must not begin with an unknown home directory, got", "",
    ),
    "a path that no file can have": (
        'name: x\ndata: {path: "a\\0b"}\nmethods: [joint]\n', ":2: data.path: must be the path of an .npz file or its folder, got 'a\\x00b'", "",
    ),
    "a pack of none": (
        "name: x\ndata: mfeat\nmethods: [joint]\nresources: {pack: 0}\n", ":4: resources.pack: must be greater than or equal to 1, got 0", "",
    ),
    "a fraction of a pack": (
        "name: x\ndata: mfeat\nmethods: [joint]\nresources: {pack: 1.5}\n", ":4: resources.pack: must be auto, or an integer, got 1.5", "",
    ),
    "two rules of pruning": (
        "name: x\ndata: mfeat\nmethods: [joint]\nprune: {asha: {}, median: {}}\n", ":4: prune: must name one rule: asha or median, got a mapping", "",
    ),
    "no rule of pruning": (
        "name: x\ndata: mfeat\nmethods: [joint]\nprune: {asha: }\n", ":4: prune: must name one rule: asha or median, got a mapping", "",
    ),
    "a rule of pruning that is none": (
        "name: x\ndata: mfeat\nmethods: [joint]\nprune: 3\n", ":4: prune: must be one of asha, median, or a mapping, got 3", "",
    ),
    "no metric": (
        "name: x\ndata: mfeat\nmethods: [joint]\nmetric: []\n", ":4: metric: must not be empty, got []", "",
    ),
    "a measurement that is no name": (
        "name: x\ndata: mfeat\nmethods: [joint]\nmeasure: [3]\n", ":4: measure[0]: must be text, got 3", "",
    ),
    "a varied encoder that is unknown": (
        "name: x\ndata: mfeat\nmethods: [joint]\nvary: {model.encoder: [mlp, {pix: 3}]}\n", ":4: vary.model.encoder: must be one of mlp, cnn, gru, transformer, or your own as module:attribute, got 3", "",
    ),
    "starts after the last epoch": (
        "name: x\ndata: mfeat\nmethods: [agm]\ntrain: {epochs: 2}\nvary: {agm.start: [5, 6]}\n", ":5: vary.agm.start: agm would never act: it starts in epoch 5, and the last epoch is 2", "",
    ),
    "one start after the last epoch": (
        "name: x\ndata: mfeat\nmethods: [agm]\ntrain: {epochs: 2}\nvary: {agm.start: [1, 6]}\n", ":5: vary.agm.start: agm would never act: it starts in epoch 6", "",
    ),
    "starts after the last epoch, from a range": (
        "name: x\ndata: mfeat\nmethods: [agm]\ntrain: {epochs: 2}\nsearch: random\nvary: {agm.start: {linear: [5, 6]}}\n", "vary.agm.start: agm would never act: it starts in epoch 5", "",
    ),
    "an end before the start": (
        "name: x\ndata: mfeat\nmethods: [agm]\nset: {agm.start: 2}\nvary: {agm.end: [1, 2]}\n", ":5: vary.agm.end: agm would never act: it starts in epoch 2, and the last epoch is 1", "",
    ),
    "an end before anything starts": (
        "name: x\ndata: mfeat\nmethods: [agm]\nset: {agm.end: 0}\n", ":4: set.agm.end: agm would never act: it starts in epoch 1, and the last epoch is 0", "",
    ),
    "fewer epochs than to the start": (
        "name: x\ndata: mfeat\nmethods: [agm]\nset: {agm.start: 5}\nvary: {train.epochs: [2, 9]}\n", ":5: vary.train.epochs: agm would never act: it starts in epoch 5, and the last epoch is 2", "",
    ),
    "a start after the last epoch where the others are left as they are": (
        "name: x\ndata: mfeat\nmethods: [agm]\nsearch: one-at-a-time\nvary: {agm.start: [25], train.epochs: [30]}\n", ":5: vary.agm.start: agm would never act: it starts in epoch 25, and the last epoch is 20", "",
    ),
    "a value listed twice": ("name: x\ndata: av-digits\nmethods: [agm]\nvary: {agm.alpha: [1, 1]}\n", "lists a value twice", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_study_gets_one_clear_sentence(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, said, meant = BROKEN[case]
    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text(text)
    ended = CliRunner().invoke(app, ["run", "study.yaml"])
    assert (ended.exit_code, ended.stdout) == (2, "")
    message = ended.stderr.removesuffix("\n")
    assert message.startswith("study.yaml"), message
    assert said in message, message
    assert len(message.splitlines()) == 1, message
    if meant:
        assert f"Did you mean {meant}?" in message or f"Did you mean '{meant}'?" in message, message
    assert [file.name for file in tmp_path.iterdir()] == ["study.yaml"]


def test_the_command_says_it_on_stderr_with_exit_code_2_and_leaves_nothing(tmp_path: Path) -> None:
    file = write(tmp_path, seeds="ten")
    ended = ablate("run", file, "--store", tmp_path / "store")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1
    assert "seeds: must be an integer or a mapping, got 'ten'" in ended.stderr
    missing = here("run", tmp_path / "nowhere.yaml")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert missing.stderr.endswith("nowhere.yaml: there is no such file\n")
    misspelt = here("run", "agm-alhpa")
    assert misspelt.returncode == 2
    assert misspelt.stderr.endswith("or claim has that name. Did you mean `agm-alpha`?\n")
    for name in ("agm-alpha", CLAIMS / "agm-alpha.yaml"):
        assert f"{name}: is a claim, but a study is required here" in here("doctor", name).stderr
    assert [f.name for f in tmp_path.iterdir()] == ["small.yaml"]


@pytest.mark.parametrize("file", sorted(STUDIES.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_ready_study_is_valid_and_called_like_its_file(file: Path) -> None:
    assert load(file.stem).file.name == file.stem


def test_only_what_differs_needs_to_be_written(tmp_path: Path) -> None:
    study = load(str(write(tmp_path)))
    assert study.metric == "accuracy"
    assert study.file.train.batch_size == 64
    assert study.vary[0].values == [0.0, 1.0]


def test_numbers_may_be_written_as_people_write_them(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(yaml.safe_dump(SMALL).replace("epochs: 2", "epochs: 2\n  lr: 1e-3") + "set: {agm.cap: none}\n")
    study = load(str(file))
    assert study.file.train.lr == 0.001
    assert study.set == {"agm.cap": float("inf")}


@pytest.mark.parametrize(
    ("vary", "values"),
    [
        ({"agm.alpha": {"log": [0.05, 5], "num": 3, "also": [0]}}, [0.0, 0.05, 0.5, 5.0]),
        ({"agm.alpha": {"linear": [0, 1], "num": 3}}, [0.0, 0.5, 1.0]),
        ({"agm.samples": {"log": [10, 1000], "num": 3}}, [10, 100, 1000]),
        ({"agm.reference": ["cumulative", "fixed"]}, ["cumulative", "fixed"]),
        ({"train.optimizer": {"choice": ["sgd", "adam"]}}, ["sgd", "adam"]),
        ({"model.hidden": {"linear": [8, 16], "num": 2}}, [8, 16]),
        ({"model.hidden": {"linear": [1, 10.6], "num": 3}}, [1, 6, 10]),
        ({"model.hidden": {"linear": [2.5, 10], "num": 3}}, [3, 6, 10]),
        ({"train.batch_size": {"log": [0.4, 8], "num": 2}}, [1, 8]),
    ],
)
def test_axes_become_values(vary: dict[str, Any], values: list[Any], tmp_path: Path) -> None:
    (axis,) = load(str(write(tmp_path, vary=vary))).vary
    assert axis.values == values
    assert [type(v) for v in axis.values] == [type(v) for v in values]


@pytest.mark.parametrize(
    ("changes", "ends"),
    [
        ({"train": {"clip_trigger": 1}, "vary": {"train.clip": {"log": [0.1, 10]}}}, [0.1, 10]),
        ({"model": {"norm": "batch"}, "vary": {"train.batch_size": {"log": [2, 8]}}}, [2, 8]),
        ({"vary": {"train.batch_size": {"log": [0.4, 8.6]}}}, [1, 8]),
        ({"data": {"name": "synthetic", "modalities": 7}, "vary": {"agm.samples": {"linear": [0.5, 8]}}}, [1, 8]),
        ({"set": {"agm.start": 5}, "vary": {"train.epochs": {"linear": [2, 9]}}}, [2, 9]),
        ({"train": {"epochs": 3}, "vary": {"agm.start": {"linear": [3, 9]}}}, [3, 9]),
    ],
)
def test_a_range_reaches_to_its_ends(changes: dict[str, Any], ends: list[float], tmp_path: Path) -> None:
    (axis,) = load(str(write(tmp_path, search="random", **changes))).vary
    assert (axis.values, axis.values_or_bounds) == ([], ends)


@pytest.mark.parametrize(
    "changes",
    [
        {"vary": {"agm.start": [1, 2], "agm.end": [1, 2]}},
        {"vary": {"agm.start": [1, 9], "train.epochs": [5, 10]}},
        {"vary": {"agm.end": ["inf", 1]}},
        {"set": {"agm.start": 25}, "vary": {"train.epochs": [30]}, "search": "one-at-a-time"},
        {"resources": {"cpu": 0.3, "gpu": 0.0001}},
    ],
)
def test_what_can_act_or_be_counted_is_taken(changes: dict[str, Any], tmp_path: Path) -> None:
    assert load(str(write(tmp_path, **{"vary": None} | changes)))


def test_what_lies_in_a_range_or_in_a_list_is_taken() -> None:
    ranged, listed = VariedAxis("a.b", "linear", [], 1, 4.5, integer=True), VariedAxis("a.b", "choice", [1, "x"])
    assert [ranged.contains(value) for value in (0, 1, 3, 4, 4.5, "x")] == [False, True, True, True, False, False]
    assert [listed.contains(value) for value in (1, 3, "x")] == [True, False, True]


def test_an_axis_acts_beside_a_number_within_a_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def loaded(low: float, high: float) -> Study:
        vary = {"agm.alpha": {"linear": [low, high]}, "agm.beta": {"linear": [0.9, 0.99]}}
        return load(str(write(tmp_path, search="random", vary=vary)))

    monkeypatch.setitem(METHODS["agm"], "beta", number(0.99, 0, 1, when={"alpha": (0.5,)}))
    assert len(loaded(0, 1).vary) == 2
    with pytest.raises(UserError, match=r"vary.agm.beta: has no effect here: it applies only if agm.alpha is 0.5"):
        loaded(2, 3)


def test_a_setting_may_be_split_by_modality_and_becomes_a_column_of_text(tmp_path: Path) -> None:
    vary = {"mslr.factor": [1, {"m0": 1.3, "m1": 0.7}], "mses.patience": ["inf", 3]}
    study = load(str(write(tmp_path, methods=["mslr", "mses"], vary=vary, seeds=1, set={"mslr.adapt": False})))
    (planned,) = rounds(study)
    assert [t.config["settings"].get("factor") for t in planned] == [1.0, {"m0": 1.3, "m1": 0.7}, None, None]
    assert len({t.id for t in planned}) == 4
    label_columns(planned).write_parquet(tmp_path / "trials.parquet")
    table = pl.read_parquet(tmp_path / "trials.parquet")
    assert table["mslr.factor"].to_list() == ["1.0", '{"m0": 1.3, "m1": 0.7}', None, None]
    assert table["mses.patience"].to_list() == [None, None, float("inf"), 3.0]


def test_a_list_of_measurements_is_the_mapping_with_default_intervals(tmp_path: Path) -> None:
    def first(measure: Any, method: str = "joint") -> Any:
        file = write(tmp_path, measure=measure, methods=["joint", "unimodal"], vary=None)
        return point_trials(load(str(file)), method, DesignPoint({}, {}))[0]

    one, other = first(["truth", "contribution", "fidelity"]), first({"fidelity": 10, "truth": 0, "contribution": 1})
    assert list(one.config["measure"].items()) == [("contribution", 1), ("fidelity", 10), ("truth", 0)]
    assert one == other
    assert first({"fidelity": 9, "truth": 0, "contribution": 1}).id != one.id
    assert first(["fidelity", "truth"], "unimodal") == first(["fidelity"], "unimodal")  # one has no company


def test_spacing_keeps_the_ends_exactly() -> None:
    assert grid_values(0.05, 5, "log", 7)[0] == 0.05
    assert grid_values(0.05, 5, "log", 7)[-1] == 5
    assert grid_values(1, 100, "log", 3) == [1, 10, 100]


def test_values_are_those_of_yaml_1_2(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("name: no\ndata: mfeat\nmethods: [joint]\nseeds: 010\n")
    study = load(str(tmp_path / "x.yaml"))
    assert (study.file.name, study.file.seeds) == ("no", 10)


def test_too_many_trials_are_refused_without_counting_them_one_by_one(tmp_path: Path) -> None:
    vary = {"agm.alpha": {"linear": [0, 1], "num": 100_000}, "agm.cap": {"linear": [0, 1], "num": 100_000}}
    ended = here("plan", write(tmp_path, vary=vary, seeds=10_000), "--store", tmp_path / "store")
    assert ended.returncode == 2
    assert "trials; a study may have at most 1,000,000" in ended.stderr


def test_a_relative_path_is_relative_to_the_study(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=str(tmp_path / "mine.npz")):
        load(str(write(tmp_path, data={"path": "mine.npz"})))


def test_a_method_without_its_companions_is_named(tmp_path: Path) -> None:
    def said(method: str = "cggm", **changes: Any) -> list[str]:
        return missing_companions(
            load(str(write(tmp_path, methods=["joint", method], vary=changes.pop("vary", None), **changes)))
        )

    assert said() == ["cggm was published with train.clip: 0.8; this study does not set it."]
    assert said(train={"clip": 0.8}) == said(train={"clip": None}) == said(vary={"train.clip": [0.5, 1]}) == []
    published = "agm was published with train.clip: 1 and train.clip_trigger: 1; this study does not set them."
    assert (said("agm"), said("agm", train={"clip": 5, "clip_trigger": 5})) == ([published], [])
