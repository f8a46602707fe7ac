"""Data: what a study's `data` entry names becomes a sheet (before training) or a data set (for training).

A spec is a name (`av-digits`) or a mapping: `{name: av-digits, image: pca25, modalities: [image]}`,
`{path: my-data.npz, protocol: speaker}` or `{name: synthetic, snr: [6, 0]}`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainables.data import files, synthetic
from trainables.data.archive import EMBEDDED, embedded_names, locate, open_archive
from trainables.data.dataset import DataError, Dataset, Sheet, Split, choose

__all__ = ["DataError", "Dataset", "Sheet", "Split", "check_deals", "load", "names", "sheet"]

Spec = str | Mapping[str, Any]


def names() -> list[str]:
    """Return the names of the data sets that need no file of the user's."""
    return [*embedded_names(), "synthetic"]


def sheet(spec: Spec) -> Sheet:
    """Return what is known of a data set without reading its inputs; raises DataError if the spec is wrong.

    A file must have the sha256 that its datasheet names.
    """
    options = _options(spec)
    if options.get("name") == "synthetic":
        return synthetic.describe(options)
    return files.describe(open_archive(_path(options)), options)


def load(spec: Spec) -> Dataset:
    """Return the arrays of a data set, checked like its sheet, standardised with training statistics only."""
    options = _options(spec)
    if options.get("name") == "synthetic":
        return synthetic.load(options)
    return files.load(open_archive(_path(options)), options)


def check_deals(spec: Spec, count: int) -> None:
    """Raise a DataError unless there are so many deals of a data set's samples, the given one the first of them."""
    options = _options(spec)
    if options.get("name") != "synthetic":
        files.check_deals(open_archive(_path(options)), options, count)


def _options(spec: Spec) -> Mapping[str, Any]:
    """Return the spec as a mapping that has either a known name or a path."""
    if not isinstance(spec, str | Mapping):
        raise DataError(f"data: must be a name or a mapping, got {spec!r}.")
    options = {"name": spec} if isinstance(spec, str) else spec
    if "name" in options and "path" in options:
        raise DataError("data: has both a `name` and a `path`; a set has one of them.")
    if "name" not in options and "path" not in options:
        raise DataError(f"data: needs a `name` ({', '.join(names())}) or a `path`.")
    if str(options.get("name")).endswith(".npz"):
        raise DataError(f"data: {options['name']!r} is the name of a file; did you mean {{path: {options['name']}}}?")
    if "name" in options:
        choose(options["name"], names(), "data.name", "ablate", "data set")
    elif not isinstance(options["path"], str | Path):
        raise DataError(f"data.path: must be the path of an .npz file or its folder, got {options['path']!r}.")
    return options


def _path(options: Mapping[str, Any]) -> Path:
    return locate(options["path"]) if "path" in options else EMBEDDED / f"{options['name']}.npz"
