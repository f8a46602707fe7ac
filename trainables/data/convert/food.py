"""UPMC Food-101: photographs of dishes and the titles of the pages that they were on."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trainables.data.convert.found import (
    Found,
    each,
    inside,
    noted,
    numbered,
    present,
    readable,
    table,
    text,
    unread,
    validated,
)
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
    there = [page for page in pages if page.image.is_file()]
    if not there:
        such = f", such as {pages[0].image}" if pages else ""
        raise DataError(f"convert: {source} holds none of its {len(pages)} listed photographs{such}.")
    made, broken = each(there, lambda page: picture(page.image, size))
    if not made:
        raise broken[0]
    kept = [page for page, _ in made]
    label, names = numbered([page.label for page in kept])
    split, told = validated(np.array([page.split for page in kept]), label)
    arrays = {
        "image": np.stack([image for _, image in made]),
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
    left = noted(len(pages) - len(there), f"of {len(pages)} pages lack their photograph")
    return Found(arrays, sheet, [*left, *unread(broken)])


def of_tables(source: Path) -> list[Page]:
    """Return the pages of BalanceBenchmark's tables, which have a line of names or none."""
    pages = []
    for code, name in ((0, "train"), (2, "test")):
        (file,) = present(source, f"texts/{name}_titles.csv")
        lines = [line for line in table(file) if len(line) >= len(COLUMNS)]
        named = bool(lines) and set(COLUMNS) <= set(lines[0])
        places = [lines[0].index(column) for column in COLUMNS] if named else range(len(COLUMNS))
        for line in lines[named:]:
            image, title, label = (line[place] for place in places)
            pages.append(Page(title, inside(source, f"images/{name}/{label}/{image}"), label, code))
    return pages


def of_json(source: Path) -> list[Page]:
    """Return the pages of CGGM's lists."""
    pages = []
    for code, name in enumerate(("train", "dev", "test")):
        file = source / f"{name}.json"
        if name == "dev" and not file.exists():
            continue
        (file,) = present(source, file.name)
        with readable(file, "list of {id, text_tokens, img_path, label}"):
            for entry in json.loads(text(file)):
                title = " ".join(map(str, entry["text_tokens"]))
                pages.append(Page(title, inside(source, str(entry["img_path"])), str(entry["label"]), code))
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
