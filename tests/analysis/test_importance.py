import numpy as np
import optuna
import pytest
from optuna.importance import (
    BaseImportanceEvaluator,
    FanovaImportanceEvaluator,
    PedAnovaImportanceEvaluator,
    get_param_importances,
)

from analysis import load
from analysis.importance import MAX_CONFIGURATIONS, TREES, importance, importances
from tests.analysis.conftest import Write, trial

RNG = np.random.default_rng(0)
POINTS = {"much": RNG.random(60), "little": RNG.random(60), "none": RNG.random(60)}
SCORES = 2 * POINTS["much"] + 0.5 * POINTS["little"] ** 2
SETTINGS = {name: [float(x) for x in values] for name, values in POINTS.items()}


def directly(evaluator: BaseImportanceEvaluator) -> dict[str, float]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    axes = {name: optuna.distributions.FloatDistribution(min(v), max(v)) for name, v in SETTINGS.items()}
    for i, score in enumerate(SCORES):
        params = {name: values[i] for name, values in SETTINGS.items()}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=axes, value=float(score)))
    return get_param_importances(study, evaluator=evaluator, normalize=False)


@pytest.mark.filterwarnings("ignore:Argument ``normalize``")
@pytest.mark.parametrize(
    ("name", "evaluator"),
    [("ped-anova", PedAnovaImportanceEvaluator()), ("fanova", FanovaImportanceEvaluator(n_trees=TREES, seed=0))],
)
def test_it_is_what_optuna_says(name: str, evaluator: BaseImportanceEvaluator) -> None:
    table = importances(SETTINGS, SCORES[:, None], name, resamples=3)
    assert dict(zip(table["factor"], table["value"], strict=True)) == pytest.approx(directly(evaluator))


@pytest.mark.parametrize(("name", "size"), [("ped-anova", 200), ("fanova", 60)])
def test_what_does_nothing_is_not_above_the_floor(name: str, size: int) -> None:
    rng = np.random.default_rng(0)
    much, none = rng.random((2, size))
    table = importances(
        {"none": list(map(float, none)), "much": list(map(float, much))},
        much[:, None] + rng.normal(0, 0.1, (size, 3)),
        name,
        resamples=15,
    )
    assert table.select("factor", "above_floor").rows() == [("much", True), ("none", False)]


def test_of_very_many_configurations_a_random_part_is_enough() -> None:
    """Not the best, which come first: those know nothing of what separates good from bad."""
    rng = np.random.default_rng(0)
    much, none = np.sort(rng.random(4000))[::-1], rng.random(4000)
    settings = {"none": list(map(float, none)), "much": list(map(float, much))}
    table = importances(settings, much[:, None], resamples=3)
    assert table["factor"].to_list() == ["much", "none"]
    assert table.select("configurations", "used", "dropped").unique().rows() == [
        (4000, MAX_CONFIGURATIONS["ped-anova"], 0)
    ]
    part = slice(None, None, 4000 // 1000)
    whole = importances({name: v[part] for name, v in settings.items()}, much[part, None], resamples=3)
    assert table["value"].to_list() == pytest.approx(whole["value"].to_list(), abs=0.1)


def test_a_configuration_without_a_result_is_counted() -> None:
    scores = np.stack([SCORES, SCORES], axis=1)
    scores[:5] = np.nan
    scores[5:9, 0] = np.inf
    table = importances(SETTINGS, scores, resamples=3)
    assert table.select("configurations", "dropped", "seeds").unique().rows() == [(55, 5, 2)]


@pytest.mark.parametrize("scores", [np.full((60, 2), 0.5), np.full((60, 2), np.nan), np.full((60, 0), 0.0)])
def test_what_cannot_be_told_is_null(scores: np.ndarray) -> None:
    table = importances(SETTINGS, scores)
    assert table["value"].to_list() == table["above_floor"].to_list() == [None] * 3


def test_the_interval_of_a_share_ends_where_a_share_does() -> None:
    """One of two settings decides all, and halves of twelve configurations differ much."""
    rng = np.random.default_rng(0)
    much, none = rng.random((2, 12))
    settings = {"much": list(map(float, much)), "none": list(map(float, none))}
    table = importances(settings, much[:, None] ** 4, "fanova")
    assert 0 == table["low"].min() < table["high"].max() == 1  # type: ignore[operator]


def test_an_unknown_measure_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown evaluator `shap`"):
        importances(SETTINGS, SCORES[:, None], "shap")


def test_a_run_with_zero_on_a_log_axis_and_a_choice(write_run: Write) -> None:
    """Accuracy grows with alpha and does not know the route; one configuration has failed."""
    alphas, routes = [0.0, 0.1, 1.0, 10.0], ["phi", "encoder"]
    vary = {
        "agm.alpha": {"values": alphas, "scale": "log"},
        "agm.route": {"values": routes, "scale": "choice"},
        "train.lr": {"values": [0.1], "scale": "log"},
    }
    rows = [
        trial(f"{a}{r}{s}", "agm", s, 0.5 + 0.1 * i + 0.01 * s, 0.5, **{"agm.alpha": a, "agm.route": r})
        for i, a in enumerate(alphas) for r in routes for s in range(2)
    ]  # fmt: skip
    rows[0] |= {"status": "failed", "validation.accuracy": None}
    rows[1] |= {"status": "diverged", "validation.accuracy": float("nan")}
    run = load(write_run(rows, vary=vary))
    for evaluator in ("ped-anova", "fanova"):
        table = importance(run, "agm", evaluator, resamples=5)
        assert table["factor"].to_list() == ["agm.alpha", "agm.route"]
        assert table.select("configurations", "dropped", "seeds").unique().rows() == [(7, 1, 2)]
    assert importance(run, "ogm").is_empty()


def test_a_setting_that_does_not_act_beside_another_is_a_number_where_it_does(write_run: Write) -> None:
    """Accuracy grows with beta, which acts beside one reference of two."""
    vary = {
        "agm.reference": {"values": ["cumulative", "ema"], "scale": "choice"},
        "agm.beta": {"values": [], "scale": "linear"},
    }
    betas = [None if i % 4 == 0 else 0.9 + 0.001 * i for i in range(100)]
    rows = [
        trial(f"{i}", "agm", 0, 0.5 + 4 * ((beta or 0.9) - 0.9), 0.5,
              **{"agm.beta": beta, "agm.reference": "ema" if beta else "cumulative"})
        for i, beta in enumerate(betas)
    ]  # fmt: skip
    table = importance(load(write_run(rows, vary=vary)), "agm", resamples=5)
    assert dict(table.select("factor", "above_floor").rows())["agm.beta"] is True


def test_where_hardly_any_scores_differ_there_is_an_answer() -> None:
    """A forest whose trees all draw equal scores has no variance to share out."""
    y = np.full((16, 3), 0.25)
    y[0] = 0.3
    settings = {"a": list(range(16)), "b": list(map(float, RNG.random(16)))}
    table = importances(settings, y, "fanova", resamples=10)
    assert table["value"].null_count() == table["above_floor"].null_count() == 0


def test_a_single_score_that_differs_is_worth_no_warning() -> None:
    """In half of the random halves all scores are equal, and the best tenth by PED-ANOVA is all of them."""
    table = importances(SETTINGS, np.array([[0.5]] + [[0.9]] * 59), "ped-anova")
    assert not table["above_floor"].any()
