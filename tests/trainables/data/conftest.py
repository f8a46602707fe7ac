"""Small files in the product's own format, written for a test."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes arrays and a datasheet, with the right sha256, as `tmp_path/toy.npz`."""

    def write(arrays: dict[str, np.ndarray], name: str = "toy", **description: Any) -> Path:
        path = tmp_path / f"{name}.npz"
        np.savez(path, **arrays)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        sheet = {"name": name, "task": "classification", "sha256_file": sha256, **description}
        path.with_suffix(".json").write_text(json.dumps(sheet))
        return path

    return write


@pytest.fixture
def rows() -> dict[str, np.ndarray]:
    """Return nine samples of two modalities: three of each split, and a tenth that is not used."""
    random = np.random.default_rng(0)
    return {
        "sound": random.normal(3, 2, (10, 4)).astype(np.float32),
        "sight": random.integers(0, 256, (10, 2, 3), np.uint8),
        "label": np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 7]),
        "split": np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, -1]),
    }
