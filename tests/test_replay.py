"""The replayed oracles agree, and a replay that does not agree says so."""

import json
from pathlib import Path

import pytest

from tests.replay import main, replay

ORACLES = sorted((Path(__file__).parent / "oracles").glob("*.json"))


@pytest.mark.parametrize("file", ORACLES, ids=lambda file: file.stem)
def test_every_case_agrees_with_the_authors_code(file: Path) -> None:
    for case in replay(file):
        assert case.worst <= case.tolerance, case
        assert case.count > 1
        assert not case.unread


def perturbed(file: str, tmp_path: Path, *keys: object) -> Path:
    content = json.loads((Path(__file__).parent / "oracles" / file).read_text())
    case = next(c for c in content["cases"] if len(c.get("steps", [])) > 1)
    holder = case
    for key in keys[:-1]:
        holder = holder[key]
    holder[keys[-1]] += 1e-7
    (tmp_path / file).write_text(json.dumps({"cases": [case]}))
    return tmp_path / file


@pytest.mark.parametrize(
    ("file", "keys"),
    [
        ("agm_official.json", ("steps", 1, "official", "coeff_a")),
        ("agm_official.json", ("final_params", "net.head.fc.bias", 0)),
        ("agm_official.json", ("steps", 0, "official", "phi", "m_v_o", 0, 0)),
        ("ogm_official.json", ("steps", 1, "official", "grads_at_step", "visual_net.conv.weight", 0, 0, 0, 0)),
        ("ogm_official.json", ("hyper", "lr")),
        ("mslr_official.json", ("steps", 7, "official", "mslr_audio_coeff")),
        ("mslr_official.json", ("scripted_validation", 6, "acc_visual")),
        ("mses_official.json", ("steps", 5, "official", "main_before_epoch.audio_batch_loss")),
        ("mses_official.json", ("final_params", "audio_cls.bias", 0)),
    ],
)
def test_a_deviation_of_one_in_ten_million_fails(
    file: str, keys: tuple[object, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(perturbed(file, tmp_path, *keys))]) == 1
    assert capsys.readouterr().out.startswith("FAIL")


def changed(file: str, tmp_path: Path, *pairs: tuple[str, str]) -> Path:
    """Return a file of the first cases with names replaced throughout."""
    text = json.dumps({"cases": json.loads((Path(__file__).parent / "oracles" / file).read_text())["cases"][:2]})
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    (tmp_path / file).write_text(text)
    return tmp_path / file


@pytest.mark.parametrize(
    ("file", "pairs"),
    [
        ("agm_official.json", [("audio_encoder", "audio_net"), ("head.fc", "fusion_module.fc_out")]),
        (
            "agm_official.json",
            [("net.audio_encoder", "net.encoders.audio"), ("net.visual_encoder", "net.encoders.visual")],
        ),
        ("ogm_official.json", [("audio_net.conv", "audio_net.layer1"), ("visual_net.conv", "visual_net.layer1")]),
    ],
)
def test_other_names_of_the_same_parameters_are_read(file: str, pairs: list[tuple[str, str]], tmp_path: Path) -> None:
    assert main([str(changed(file, tmp_path, *pairs))]) == 0


def test_the_order_of_the_parameters_in_the_file_does_not_matter(tmp_path: Path) -> None:
    content = json.loads((Path(__file__).parent / "oracles/agm_official.json").read_text())
    for case in content["cases"]:
        case["init_params"] = dict(reversed(case["init_params"].items()))
    (tmp_path / "reversed.json").write_text(json.dumps(content))
    assert main([str(tmp_path / "reversed.json")]) == 0


def test_a_parameter_that_nothing_here_answers_to_fails(tmp_path: Path) -> None:
    file = changed("agm_official.json", tmp_path)
    content = json.loads(file.read_text())
    content["cases"][0]["final_params"]["net.mystery.weight"] = [1.0]
    file.write_text(json.dumps(content))
    assert main([str(file)]) == 1


def test_a_number_that_nothing_here_answers_to_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = changed("agm_official.json", tmp_path, ('"score_audio"', '"score_mystery"'))
    main([str(file)])
    assert "not read: 0.score_mystery" in capsys.readouterr().out


def test_a_case_that_cannot_be_read_fails_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = changed("agm_official.json", tmp_path)
    content = json.loads(file.read_text())
    del content["cases"][0]["hyper"]["alpha"]
    file.write_text(json.dumps(content))
    assert main([str(file)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("FAIL")
    assert "KeyError: 'alpha'" in lines[0]
    assert lines[1].startswith("ok")


def test_an_unknown_case_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.json").write_text(json.dumps({"cases": [{"name": "mystery", "kind": "unheard of"}]}))
    assert main([str(tmp_path / "other.json")]) == 1
    assert "no method of this project replays it" in capsys.readouterr().out
