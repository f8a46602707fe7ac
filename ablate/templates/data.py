"""Writes mine.npz and mine.json, the data of study.yaml. Replace the random arrays with your own."""

import json
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
CLASSES = 3
SIZES = {"training": 600, "validation": 150, "test": 150}


def main() -> None:
    """Write the arrays, with samples along their first axis, and their datasheet."""
    random = np.random.default_rng(0)
    label = random.integers(0, CLASSES, sum(SIZES.values()))
    centres = {"image": random.normal(size=(CLASSES, 20)), "sound": random.normal(size=(CLASSES, 8))}
    noise = {"image": 1.5, "sound": 3.0}  # the image is more informative: sound may be neglected
    arrays = {m: (c[label] + noise[m] * random.normal(size=(len(label), c.shape[1]))) for m, c in centres.items()}
    split = np.repeat([0, 1, 2], list(SIZES.values()))  # 0 training, 1 validation, 2 test; keep a subject in one split
    np.savez(FOLDER / "mine.npz", **{m: x.astype(np.float32) for m, x in arrays.items()}, label=label, split=split)
    sheet = {
        "name": "mine",
        "task": "classification",
        "classes": CLASSES,
        "modalities": list(arrays),
        "target": "label",
    }
    (FOLDER / "mine.json").write_text(json.dumps(sheet, indent=2) + "\n")


if __name__ == "__main__":
    main()
