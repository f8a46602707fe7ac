"""Data sets: a study's `data` entry becomes a sheet (metadata, before training) or a data set (arrays, for training).

A spec is a name (`av-digits`) or a mapping: `{name: av-digits, image: pca25, modalities: [image]}`,
`{path: my-data.npz, protocol: speaker}` or `{name: synthetic, snr: [6, 0]}`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainables.data import files, synthetic
from trainables.data.archive import EMBEDDED, embedded_names, find_archive, open_archive
from trainables.data.dataset import DataError, Dataset, Sheet, Split, check_choice

__all__ = ["DataError", "Dataset", "Sheet", "Split", "check_deals", "dataset_names", "load", "load_sheet"]

Spec = str | Mapping[str, Any]


def dataset_names() -> list[str]:
    """Return the names of the data sets that come with the package."""
    return [*embedded_names(), "synthetic"]


def load_sheet(spec: Spec) -> Sheet:
    """Return the metadata of a data set without reading its inputs; raises DataError if the spec is invalid.

    A file must have the sha256 that its datasheet names.
    """
    options = parse_spec(spec)
    if options.get("name") == "synthetic":
        return synthetic.load_sheet(options)
    return files.load_sheet(open_archive(archive_path(options)), options)


def load(spec: Spec) -> Dataset:
    """Return the arrays of a data set, standardised with training statistics only; raises as `load_sheet`."""
    options = parse_spec(spec)
    if options.get("name") == "synthetic":
        return synthetic.load(options)
    return files.load(open_archive(archive_path(options)), options)


def check_deals(spec: Spec, count: int) -> None:
    """Raise a DataError unless a data set has `count` deals of its samples, its own split included."""
    options = parse_spec(spec)
    if options.get("name") != "synthetic":
        files.check_deals(open_archive(archive_path(options)), options, count)


def parse_spec(spec: Spec) -> Mapping[str, Any]:
    """Return the spec as a mapping with either a known name or a path."""
    if not isinstance(spec, str | Mapping):
        raise DataError(f"data: must be a name or a mapping, got {spec!r}.")
    options = {"name": spec} if isinstance(spec, str) else spec
    if "name" in options and "path" in options:
        raise DataError("data: has both a `name` and a `path`; give one of them.")
    if "name" not in options and "path" not in options:
        raise DataError(f"data: needs a `name` ({', '.join(dataset_names())}) or a `path`.")
    if str(options.get("name")).endswith(".npz"):
        raise DataError(f"data: {options['name']!r} is the name of a file; did you mean {{path: {options['name']}}}?")
    if "name" in options:
        check_choice(options["name"], dataset_names(), "data.name", "ablate", "data set")
    elif not isinstance(options["path"], str | Path):
        raise DataError(f"data.path: must be the path of an .npz file or its folder, got {options['path']!r}.")
    return options


def archive_path(options: Mapping[str, Any]) -> Path:
    return find_archive(options["path"]) if "path" in options else EMBEDDED / f"{options['name']}.npz"
