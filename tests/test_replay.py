"""The replayed oracles agree, and a replay that does not agree says so."""

import json
from pathlib import Path

import pytest

from tests.replay import TOLERANCE, main, replay

ORACLES = sorted((Path(__file__).parent / "oracles").glob("*.json"))


@pytest.mark.parametrize("file", ORACLES, ids=lambda file: file.stem)
def test_every_case_agrees_with_the_authors_code(file: Path) -> None:
    for name, where, worst, count in replay(file):
        assert worst <= TOLERANCE, (name, where)
        assert count > 1, name


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
    ],
)
def test_a_deviation_of_one_in_ten_million_fails(
    file: str, keys: tuple[object, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(perturbed(file, tmp_path, *keys))]) == 1
    assert capsys.readouterr().out.startswith("FAIL")


def test_an_unknown_case_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.json").write_text(json.dumps({"cases": [{"name": "mystery", "kind": "unheard of"}]}))
    assert main([str(tmp_path / "other.json")]) == 1
    assert "no method of this project replays it" in capsys.readouterr().out
