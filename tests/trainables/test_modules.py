"""User-defined encoders: torch modules that train in packs as they do alone, or are refused if they cannot."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.test_checkpoints import check_resumes
from tests.trainables.test_packs import MODEL, configurations, relative_differences, tiny
from trainables.layers import EVALUATION, Mode
from trainables.methods import METHODS
from trainables.modules import build_module_encoder
from trainables.randomness import uniform
from trainables.setup import build_setup, init_learner
from trainables.train import fit, fit_pack, iterate_epochs


class Net(nn.Module):
    """A convolution and batch normalisation, with an index and a constant that are no weights."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(1, 4, 3, padding=1), nn.BatchNorm1d(4), nn.ReLU(inplace=True))
        self.out = nn.Linear(4 * shape[0], 7)
        self.register_buffer("order", torch.arange(4).flip(0))
        self.register_buffer("share", torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        h = self.layers(x[:, None])[:, self.order] * self.share
        return torch.tanh(self.out(h.flatten(1)))


class Fixed(Net):
    """The same after random features that no gradient reaches: a buffer and a frozen layer that the seed draws."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape)
        self.register_buffer("directions", torch.randn(*shape, *shape))
        self.register_buffer("places", torch.randperm(shape[0]))
        self.before = nn.Linear(shape[0], shape[0])
        self.before.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.tanh(self.before(x[:, self.places])) @ self.directions)


class Still(Fixed):
    """No statistics of the batch."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape)
        self.layers[1] = nn.Identity()


class Unlearning(Fixed):
    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape)
        self.requires_grad_(False)


class Drops(Net):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(super().forward(x), 0.5, self.training)


class Flat(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).sum(1)


class Beside(Net):
    """Normalises by the batch in evaluation, too."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape)
        self.layers[1] = nn.BatchNorm1d(4, track_running_stats=False)


class Shares(Still):
    """Weighs the samples of a batch against each other, in training."""

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = super().forward(x)
        return h.softmax(0) if self.training else h


class Broken(Net):
    def forward(self, x: Tensor) -> Tensor:
        raise KeyError("here")


OWN = MODEL | {"encoder": {"a": "tests.trainables.test_modules:Net", "b": "mlp"}}
DRAW = partial(uniform, 3)


def test_it_is_the_module_with_the_weights_of_the_seed() -> None:
    """In training and evaluation, running statistics included; the global random state is left as it was."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    encoder = build_module_encoder(partial(Net, (5,)), (5,), 0.0, dense=False)
    params, buffers = encoder.init(DRAW), encoder.buffers()
    assert torch.equal(torch.rand(3), expected)
    assert encoder.width == 7
    assert buffers.keys() == {f"layers.1.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}
    theirs = Net((5,))
    theirs.load_state_dict(dict(params), strict=False)
    x = torch.randn(6, 5)
    for mode in (Mode(training=True), EVALUATION):
        h, buffers = encoder(params, buffers, x, mode)
        assert torch.equal(h, theirs.train(mode.training is True)(x))
        assert all(torch.equal(buffers[name], value) for name, value in theirs.named_buffers() if name in buffers)
    assert all(torch.equal(encoder.init(DRAW)[name], value) for name, value in params.items())
    assert not torch.equal(encoder.init(partial(uniform, 4))["out.weight"], params["out.weight"])


def test_a_mode_given_as_a_tensor_is_the_same_mode() -> None:
    encoder = build_module_encoder(partial(Net, (5,)), (5,), 0.0, dense=False)
    params, buffers, x = encoder.init(DRAW), encoder.buffers(), torch.randn(6, 5)
    for training in (True, False):
        known, unknown = (encoder(params, buffers, x, Mode(training=t)) for t in (training, torch.tensor(training)))
        assert torch.equal(known[0], unknown[0])
        assert all(torch.equal(known[1][name], unknown[1][name]) for name in buffers)


@pytest.mark.parametrize("method", ["joint", "agm", "cggm", "bogc", "mses"])
def test_it_trains_in_a_pack_as_it_does_alone(method: str) -> None:
    settings = {"clip_b": 2.0} if method == "cggm" else {"patience": 2.0} if method == "mses" else {}
    chosen, dataset = configurations(method, 3, settings=settings, model=OWN | {"dropout": 0.2}), tiny()
    packed = fit_pack(chosen, dataset)
    assert len({outcome.weights for outcome in packed}) == 3
    for one, other in zip(packed, [fit(each, dataset) for each in chosen], strict=True):
        assert max(relative_differences(one, other)) < 1e-9


def model_settings(kind: type[nn.Module]) -> dict[str, Any]:
    return MODEL | {"encoder": {"a": f"tests.trainables.test_modules:{kind.__name__}", "b": "mlp"}}


@pytest.mark.parametrize("method", ["joint", "agm", "cggm", "bogc", "mses"])
def test_constants_stay_as_the_seed_of_the_trial_drew_them(method: str) -> None:
    """Alone and in a pack: members differ in their random features."""
    settings = {"clip_b": 2.0} if method == "cggm" else {"patience": 2.0} if method == "mses" else {}
    chosen, dataset = configurations(method, 3, settings=settings, model=model_settings(Fixed)), tiny()
    for one, other in zip(fit_pack(chosen, dataset), [fit(each, dataset) for each in chosen], strict=True):
        assert max(relative_differences(one, other)) < 1e-9
    drawn = [init_learner(build_setup(each, dataset)).buffers["a"] for each in chosen]
    setup = build_setup(chosen[0], dataset)
    *_, last = iterate_epochs(setup, init_learner(setup))
    for name in ("directions", "places", "before.weight", "before.bias"):
        assert not torch.equal(drawn[0][name], drawn[1][name])
        assert torch.equal(drawn[0][name], last.learner.buffers["a"][name])
        assert name not in last.learner.params.encoders["a"]
    assert not {"order", "share"} & drawn[0].keys()


def test_constants_do_not_make_training_and_evaluation_differ() -> None:
    for kind, differ in ((Fixed, True), (Still, False)):
        setup = build_setup(configurations("joint", 1, model=model_settings(kind))[0], tiny())
        assert setup.model.depends_on_mode(init_learner(setup).buffers) == setup.model.has_batch_norm == differ


@pytest.mark.parametrize("method", METHODS)
def test_an_encoder_without_weights_lets_the_rest_train(method: str) -> None:
    settings = {"clip_b": 2.0} if method == "cggm" else {}
    (one,) = configurations(method, 1, settings=settings, model=model_settings(Unlearning))
    assert fit(one, tiny()).status == "done"


def test_it_resumes_from_a_checkpoint() -> None:
    check_resumes(configurations("agm", 3, model=model_settings(Fixed)), 7)


def test_its_floats_have_the_precision_of_the_trial_and_its_indices_stay_integers() -> None:
    learner = init_learner(build_setup(configurations("joint", 1, model=model_settings(Fixed))[0], tiny()))
    assert {value.dtype for value in learner.params.encoders["a"].values()} == {torch.float64}
    kinds = {name: value.dtype for name, value in learner.buffers["a"].items()}
    assert {name for name, kind in kinds.items() if kind == torch.int64} == {"places", "layers.1.num_batches_tracked"}
    assert {kind for kind in kinds.values() if kind != torch.int64} == {torch.float64}


@pytest.mark.parametrize(
    ("kind", "dense", "sentence"),
    [
        (Drops, False, "draws random numbers in training"),
        (Flat, False, r"must encode 3 samples of shape \(5,\) as \[B, H\], got \(3,\)"),
        (Net, True, r"as \[B, L, H\], as the target has positions, got \(3, 7\)"),
        (Beside, False, "mixes the samples of a batch"),
        (Shares, False, "mixes the samples of a batch"),
        (Broken, False, r"cannot encode samples of shape \(5,\): KeyError: 'here'"),
    ],
)
def test_modules_that_cannot_train_are_refused(kind: Any, dense: bool, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        build_module_encoder(partial(kind, (5,)), (5,), 0.0, dense=dense)
