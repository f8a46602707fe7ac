"""UPMC Food-101: photographs of dishes and the titles of the pages that they were on."""

import csv
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trainables.data.convert.found import Found, numbered, present, validated
from trainables.data.convert.media import picture
from trainables.data.dataset import DataError

COLUMNS = ("Image_path", "text", "label")


class Page(NamedTuple):
    """A title, a photograph, a dish."""

    text: str
    image: Path
    label: str
    split: int


def food_101(source: Path, *, words: int = 1000, size: int = 64) -> Found:
    """Read ``texts/{train,test}_titles.csv`` with ``images/`` (BalanceBenchmark), or ``{train,dev,test}.json`` (CGGM).

    A title becomes the TF-IDF weights of the ``words`` that are most frequent in training. CGGM validates on the test
    pages; here, without a list of its own, a tenth of each class of training is validation.
    """
    pages = of_json(source) if (source / "train.json").exists() else of_tables(source)
    kept = [page for page in pages if page.image.is_file()]
    if not kept:
        raise DataError(f"convert: {source} holds none of its {len(pages)} listed photographs.")
    label, names = numbered([page.label for page in kept])
    split, told = validated(np.array([page.split for page in kept]), label)
    arrays = {
        "image": np.stack([picture(page.image, size) for page in kept]),
        "text": weighed([page.text for page in kept], split == 0, words),
        "label": label,
        "split": split,
    }
    sheet = {
        "task": "classification",
        "classes": names,
        "modalities": ["image", "text"],
        "pairing": "natural",
        "splits": told,
    }
    left = len(pages) - len(kept)
    return Found(arrays, sheet, [f"{left} of {len(pages)} pages lack their photograph"] if left else [])


def of_tables(source: Path) -> list[Page]:
    """Return the pages of BalanceBenchmark's tables, which have a line of names or none."""
    pages = []
    for code, name in ((0, "train"), (2, "test")):
        (file,) = present(source, f"texts/{name}_titles.csv")
        with file.open(encoding="utf-8-sig", newline="") as stream:
            lines = [line for line in csv.reader(stream) if len(line) >= len(COLUMNS)]
        named = bool(lines) and set(COLUMNS) <= set(lines[0])
        places = [lines[0].index(column) for column in COLUMNS] if named else range(len(COLUMNS))
        for line in lines[named:]:
            image, text, label = (line[place] for place in places)
            pages.append(Page(text, source / "images" / name / label / image, label, code))
    return pages


def of_json(source: Path) -> list[Page]:
    """Return the pages of CGGM's lists."""
    pages = []
    for code, name in enumerate(("train", "dev", "test")):
        file = source / f"{name}.json"
        if name == "dev" and not file.exists():
            continue
        (file,) = present(source, file.name)
        try:
            for entry in json.loads(file.read_text(encoding="utf-8")):
                text = " ".join(map(str, entry["text_tokens"]))
                pages.append(Page(text, source / str(entry["img_path"]), str(entry["label"]), code))
        except (ValueError, KeyError, TypeError) as error:
            told = "a list of {id, text_tokens, img_path, label}"
            raise DataError(f"convert: {file} must hold {told}: {error!r}.") from None
    return pages


def weighed(texts: list[str], training: np.ndarray, words: int) -> np.ndarray:
    """Return TF-IDF weights, [N, words] float16, of the words and their frequencies in training."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    weights = TfidfVectorizer(max_features=words, dtype=np.float32)
    try:
        weights.fit([text for text, one in zip(texts, training, strict=True) if one])
    except ValueError as error:
        raise DataError(f"convert: the titles cannot be counted: {error}.") from None
    return np.asarray(weights.transform(texts).toarray(), dtype=np.float16)
