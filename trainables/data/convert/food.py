"""UPMC Food-101: photographs of dishes and the titles of the web pages that they come from."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trainables.data.convert.conversion import Conversion, add_validation, count_notes, encode_labels, unreadable_notes
from trainables.data.convert.media import load_picture
from trainables.data.convert.sources import (
    read_csv,
    read_each,
    read_text,
    require_paths,
    resolve_inside,
    translate_errors,
)
from trainables.data.dataset import DataError

COLUMNS = ("Image_path", "text", "label")


class Page(NamedTuple):
    """A web page: its title, its photograph, the dish, and its split."""

    text: str
    image: Path
    label: str
    split: int


def food_101(source: Path, *, words: int = 1000, size: int = 64) -> Conversion:
    """Read ``texts/{train,test}_titles.csv`` with ``images/`` (BalanceBenchmark), or ``{train,dev,test}.json`` (CGGM).

    A title becomes the TF-IDF weights of the ``words`` that are most frequent in training. CGGM validates on the test
    pages; here, without a list of its own, a tenth of each class of training is validation.
    """
    listed = read_json_pages(source) if (source / "train.json").exists() else read_csv_pages(source)
    existing = [page for page in listed if page.image.is_file()]
    if not existing:
        example = f", such as {listed[0].image}" if listed else ""
        raise DataError(f"convert: {source} holds none of its {len(listed)} listed images{example}.")
    pictures, errors = read_each(existing, lambda page: load_picture(page.image, size))
    if not pictures:
        raise errors[0]
    pages = [page for page, _ in pictures]
    label, names = encode_labels([page.label for page in pages])
    split, origin = add_validation(np.array([page.split for page in pages]), label)
    arrays = {
        "image": np.stack([image for _, image in pictures]),
        "text": tfidf_weights([page.text for page in pages], split == 0, words),
        "label": label,
        "split": split,
    }
    datasheet = {
        "task": "classification",
        "classes": names,
        "modalities": ["image", "text"],
        "pairing": "natural",
        "splits": origin,
    }
    notes = count_notes(len(listed) - len(existing), f"of {len(listed)} pages lack their image and are left out")
    return Conversion(arrays, datasheet, [*notes, *unreadable_notes(errors)])


def read_csv_pages(source: Path) -> list[Page]:
    """Return the pages of BalanceBenchmark's tables, with or without a header."""
    pages = []
    for code, name in ((0, "train"), (2, "test")):
        (file,) = require_paths(source, f"texts/{name}_titles.csv")
        lines = [line for line in read_csv(file) if len(line) >= len(COLUMNS)]
        has_header = bool(lines) and set(COLUMNS) <= set(lines[0])
        columns = [lines[0].index(column) for column in COLUMNS] if has_header else range(len(COLUMNS))
        for line in (line for line in lines[has_header:] if len(line) > max(columns)):
            image, title, label = (line[column] for column in columns)
            pages.append(Page(title, resolve_inside(source, f"images/{name}/{label}/{image}"), label, code))
    return pages


def read_json_pages(source: Path) -> list[Page]:
    """Return the pages of CGGM's lists."""
    pages = []
    for code, name in enumerate(("train", "dev", "test")):
        file = source / f"{name}.json"
        if name == "dev" and not file.exists():
            continue
        (file,) = require_paths(source, file.name)
        with translate_errors(file, "list of {id, text_tokens, img_path, label}"):
            for entry in json.loads(read_text(file)):
                title = " ".join(map(str, entry["text_tokens"]))
                image = resolve_inside(source, str(entry["img_path"]))
                pages.append(Page(title, image, str(entry["label"]), code))
    return pages


def tfidf_weights(texts: list[str], training: np.ndarray, words: int) -> np.ndarray:
    """Return TF-IDF weights, [N, words] float16, with words and frequencies of the training texts."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(max_features=words, dtype=np.float32)
    try:
        vectorizer.fit([text for text, is_training in zip(texts, training, strict=True) if is_training])
    except ValueError as error:
        raise DataError(f"convert: the words of the titles cannot be counted: {error}.") from None
    return np.asarray(vectorizer.transform(texts).toarray(), dtype=np.float16)
