"""A run folder with numbers that can be checked by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

Write = Callable[..., Path]
STUDY = {
    "name": "alphas",
    "data": "av-digits",
    "methods": ["agm", "unimodal", "ogm", "joint-uni", "joint"],
    "metric": "accuracy",
    "direction": "max",
    "seeds": 3,
    "vary": {"agm.alpha": {"values": [0.0, 0.5, 2.0], "scale": "log"}},
    "search": "grid",
}


def trial(
    name: str, method: str, seed: int, validation: float | None, test: float | None, **other: Any
) -> dict[str, Any]:
    """Return the row of a trial; without scores it is a failed one."""
    return {
        "trial": name, "method": method, "modality": None, "seed": seed,
        "status": "done" if validation is not None else "failed",
        "error": None if validation is not None else "out of memory",
        "seconds": 2.0, "steps": 10, "params": 100, "train.lr": 0.1,
        "validation.accuracy": validation, "test.accuracy": test, **other,
    }  # fmt: skip


def probe(name: str, modality: str, validation: float, test: float) -> list[dict[str, Any]]:
    """Return the rows of a probe, an earlier one among them."""
    values = [(1, "validation", 0.1), (2, "validation", validation), (2, "test", test)]
    return [
        {"trial": name, "epoch": epoch, "step": 5 * epoch, "split": split, "modality": modality,
         "metric": "probe_accuracy", "value": value}
        for epoch, split, value in values
    ]  # fmt: skip


@pytest.fixture
def write_run(tmp_path: Path) -> Write:
    """Return a function that writes a run folder, its trials one file per method, as engines do."""

    def write(trials: list[dict[str, Any]], metrics: list[dict[str, Any]] | None = None, **study: Any) -> Path:
        return write_folder(tmp_path / "run", trials, metrics, **study)

    return write


def write_folder(
    folder: Path, trials: list[dict[str, Any]], metrics: list[dict[str, Any]] | None = None, **study: Any
) -> Path:
    """Write a run folder."""
    folder.mkdir()
    about = {"study": STUDY | study, "modalities": ["image", "audio"], "planned": 20}
    facts = {"versions": {"torch": "2.13.0"}, "machine": {"cpus": 2}}
    (folder / "study.yaml").write_text(yaml.safe_dump(about | facts))
    for table, rows in (("trials", trials), ("metrics", metrics or [])):
        for place, kind in enumerate(sorted({row.get("method", "all") for row in rows})):
            (folder / table).mkdir(exist_ok=True)
            part = [row for row in rows if row.get("method", "all") == kind]
            pl.DataFrame(part, infer_schema_length=None).write_parquet(folder / table / f"{place:05}.parquet")
    return folder


@pytest.fixture
def folder(write_run: Write) -> Path:
    """Return the run of `alphas`."""
    return write_run(*alphas())


def alphas() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return trials and metrics of three seeds of joint, joint-uni, agm at three alphas and two modalities alone.

    Alpha=2 has the best scores, but for one seed only: of the complete ones 0.5 is best on validation (0.82).
    """
    trials = [trial(f"joint-{s}", "joint", s, 0.80, [0.70, 0.72, 0.74][s]) for s in range(3)]
    trials += [trial(f"uni-{s}", "joint-uni", s, 0.81, [0.71, 0.75, 0.74][s]) for s in range(3)]
    for s in range(3):
        trials.append(trial(f"agm-0-{s}", "agm", s, 0.80, 0.70, **{"agm.alpha": 0.0}))
        trials.append(
            trial(f"agm-half-{s}", "agm", s, [0.80, 0.82, 0.84][s], [0.73, 0.74, 0.75][s], **{"agm.alpha": 0.5})
        )
    trials.append(trial("agm-2-0", "agm", 0, 0.90, 0.95, **{"agm.alpha": 2.0}))
    trials.append(trial("agm-2-1", "agm", 1, None, None, **{"agm.alpha": 2.0, "error": "<script>alert(1)</script>"}))
    trials.append(trial("agm-2-2", "agm", 2, None, None, **{"agm.alpha": 2.0, "status": "diverged", "error": "nan"}))
    alone = {"image": 0.6, "audio": 0.5}
    trials += [trial(f"{m}-{s}", "unimodal", s, v, v, modality=m) for m, v in alone.items() for s in range(3)]
    metrics = [row for s in range(3) for m, v in alone.items() for row in probe(f"{m}-{s}", m, v, v + 0.01 * s)]
    metrics += [row for s in range(3) for row in probe(f"joint-{s}", "image", 0.55, 0.55)]
    metrics += [row for s in range(3) for row in probe(f"agm-half-{s}", "audio", 0.45, 0.45)]
    return trials, metrics
