"""A spec is a name or a mapping; what is wrong with it is said in one sentence."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainables.data.conftest import Write
from trainables import data

MODALITIES = ["sound", "sight"]


def message(spec: Any) -> str:
    with pytest.raises(data.DataError) as error:
        data.load_sheet(spec)
    with pytest.raises(data.DataError, match=re.escape(str(error.value))):
        data.load(spec)
    return str(error.value)


def test_a_name_is_short_for_a_mapping() -> None:
    assert data.load_sheet("mfeat") == data.load_sheet({"name": "mfeat"})


def test_every_name_has_a_sheet() -> None:
    assert data.dataset_names() == ["av-digits", "diabetes", "mfeat", "synthetic"]
    assert [data.load_sheet(name).name for name in data.dataset_names()] == data.dataset_names()


def test_the_sheet_and_the_data_agree(write: Write, rows: dict[str, np.ndarray]) -> None:
    spec = {"path": write(rows, modalities=MODALITIES), "modalities": ["sight"]}
    sheet, loaded = data.load_sheet(spec), data.load(spec)
    assert (sheet.name, sheet.task, sheet.outputs) == (loaded.name, loaded.task, loaded.outputs)
    assert sheet.modalities == tuple(loaded.train.inputs) == tuple(loaded.test.inputs) == ("sight",)


def test_a_folder_with_one_file_is_that_file(write: Write, rows: dict[str, np.ndarray]) -> None:
    path = write(rows, modalities=MODALITIES)
    assert data.load_sheet({"path": str(path.parent)}) == data.load_sheet({"path": str(path)})


def test_a_folder_with_two_files_lists_them(write: Write, rows: dict[str, np.ndarray]) -> None:
    folder = write(rows, modalities=MODALITIES).parent
    write(rows, name="other", modalities=MODALITIES)
    assert "found 2: other.npz, toy.npz. Name one of them." in message({"path": str(folder)})


def test_a_folder_without_data_says_so(tmp_path: Path) -> None:
    assert message({"path": str(tmp_path)}).endswith("found none.")


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("av_digits", "data.name: ablate has no data set 'av_digits' (it has: av-digits, diabetes, mfeat, synthetic). "
                      "Did you mean 'av-digits'?"),
        ({}, "data: needs a `name` (av-digits, diabetes, mfeat, synthetic) or a `path`."),
        ({"name": "mfeat", "path": "x"}, "data: has both a `name` and a `path`"),
        ("mine.npz", "data: 'mine.npz' is the name of a file; did you mean {path: mine.npz}?"),
        (7, "data: must be a name or a mapping, got 7."),
        ({"path": 7}, "data.path: must be the path of an .npz file or its folder, got 7."),
        ({"path": "/no/such.npz"}, "data.path: there is no file or folder /no/such.npz."),
        ({"path": __file__}, "data.path: must be an .npz file or a folder that holds one"),
        ({"name": "av-digits", "protocl": "a"}, "Did you mean 'protocol'?"),
        ({"name": "av-digits", "protocol": "stratfied"},
         "data.protocol: av-digits has no protocol 'stratfied' (it has: stratified). Did you mean 'stratified'?"),
        ({"name": "mfeat", "protocol": "stratified"},
         "data.protocol: mfeat has no protocol 'stratified' (it has none)."),
        ({"name": "av-digits", "protocol": "stratified", "split": "stratified"}, "means the same as"),
        ({"name": "av-digits", "image": "pca52"},
         "data.image: image of av-digits has no variant 'pca52' (it has: clean, pca25). Did you mean 'pca25'?"),
        ({"name": "av-digits", "audio": "pca25"}, "data.audio: audio of av-digits has no variant 'pca25'"),
        ({"name": "av-digits", "modalities": ["imag"]}, "Did you mean 'image'?"),
        ({"name": "av-digits", "modalities": "image"}, "data.modalities: must be a list of modalities"),
        ({"name": "av-digits", "modalities": []}, "data.modalities: must be a list of modalities"),
        ({"name": "av-digits", "modalities": ["image", "image"]}, "each modality may be named once"),
        ({"name": "mfeat", "target": "labels"}, "data.target: mfeat has no array 'labels'"),
        ({"name": "diabetes", "transform": "log"}, "Did you mean 'log1p'?"),
        ({"name": "diabetes", "standardise": "no"}, "data.standardise: must be true or false, got 'no'."),
    ],
)  # fmt: skip
def test_a_wrong_spec_is_one_sentence(spec: Any, sentence: str) -> None:
    assert sentence in message(spec)
    assert "\n" not in message(spec)


def test_split_is_another_spelling_of_protocol() -> None:
    old, new = ({"name": "av-digits", key: "stratified"} for key in ("protocol", "split"))
    assert data.load_sheet(old) == data.load_sheet(new)


def test_sheets_and_arrays_need_none_of_the_heavy_packages() -> None:
    code = "import sys; from trainables import data; data.load_sheet('synthetic'); data.load_sheet('av-digits');"
    code += "data.load('av-digits');"
    code += "print([m for m in ('torch', 'ray', 'polars', 'sklearn', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
