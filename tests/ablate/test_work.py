"""What a worker does with a pack before it trains it."""

from pathlib import Path
from typing import Any

import pytest

from ablate import work
from ablate.run import job
from ablate.search import rounds
from ablate.study import load
from tests.ablate.helpers import write


def test_what_a_shape_needs_of_the_memory_is_measured_once_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shape's packs differ in their numbers; another share of the memory is another number of trials."""
    measured: list[str] = []
    room = work.room

    def counted(config: dict[str, Any], *where: Any) -> int:
        measured.append(config["method"])
        return room(config, *where)

    monkeypatch.setattr(work, "ROOM", {})
    monkeypatch.setattr(work, "room", counted)
    study = load(str(write(tmp_path, methods=["agm"], vary={"agm.alpha": [0.5, 1, 2]})))
    trials, asked = next(rounds(study)), job(study)
    packs = [trials[i : i + 2] for i in range(0, 6, 2)]
    assert [work.fitting(asked, pack) for pack in packs] == [work.fitting(asked, trials)] * 3
    assert len(measured) == 1
    work.fitting({**asked, "cpu": 1e-3}, packs[0])
    assert len(measured) == 2
