"""What a study needs on another machine: this code, user-defined modules, and small data, in one folder."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ablate.identity import PROJECT_PACKAGES, import_closure
from ablate.methods import folders, own_encoders
from ablate.study import Study, encoders
from trainables.data.archive import find_archive

MAX_DATA_BYTES = 100 * 2**20  # bytes of data that travel with a job


def stage(studies: Sequence[Study], folder: Path) -> str:
    """Copy what studies of one file need into a folder; return the name of the file in it.

    Data that the study names by a relative path comes along; an absolute path stays, and must exist on the cluster.

    Raises:
        UserError: the data is too large to come along.
    """
    copy_code(folder)
    return copy_study(studies, folder)


def copy_code(folder: Path) -> None:
    """Copy this code."""
    root = Path(__file__).parent.parent
    for package in PROJECT_PACKAGES:
        shutil.copytree(root / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))


def copy_study(studies: Sequence[Study], folder: Path) -> str:
    """Copy a file of studies, and what is beside it and they need; return its name, or raise as `stage`."""
    for study in studies:
        copy_modules(study, folder)
        copy_data(study, folder)
    file = studies[0].document.file
    shutil.copy(file, folder / file.name)
    return file.name


def copy_modules(study: Study, folder: Path) -> None:
    """Copy the study's user-defined modules that lie beside it or where it is run.

    They are those that enter the ids of its trials (`ablate.identity`), so that these have the same ids there.
    """
    places = folders(study.document.file)
    named = [path for _, encoder in encoders(study.file, study.vary) for path in own_encoders(encoder)]
    for name, file in import_closure({path.partition(":")[0] for path in (*study.methods.values(), *named)}).items():
        parts = name.split(".")
        if parts[0] not in PROJECT_PACKAGES and any(file.is_relative_to(place) for place in places):
            target = folder.joinpath(*(parts if file.name == "__init__.py" else parts[:-1]), file.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)


def copy_data(study: Study, folder: Path) -> None:
    """Copy data that the study names by a relative path to where its file, beside it, looks for it."""
    if not is_data_staged(study):
        return
    found = find_archive(study.data["path"])
    beside = study.document.file.parent.resolve()
    advice = "put it on a folder that all nodes share, and name it by its absolute path"
    if not found.is_relative_to(beside):
        raise study.document.error(("data", "path"), f"leads out of the folder of the study; {advice}")
    if found.stat().st_size > MAX_DATA_BYTES:
        size = (
            f"{found.stat().st_size // 2**20} MB, and {MAX_DATA_BYTES // 2**20} MB are the most that travel with a job"
        )
        raise study.document.error(("data", "path"), f"has {size}; {advice}")
    target = folder / found.relative_to(beside)
    target.parent.mkdir(parents=True, exist_ok=True)
    for suffix in (".npz", ".json"):
        shutil.copy(found.with_suffix(suffix), target.with_suffix(suffix))


def staged_data(study: Study) -> dict[str, Any]:
    """Return the data of a study as it is named where its files were brought to."""
    if not is_data_staged(study):
        return study.data
    path = Path(study.data["path"]).relative_to(study.document.file.parent.resolve())
    return {**study.data, "path": str(path)}


def is_data_staged(study: Study) -> bool:
    """Tell whether the data of a study comes along with it: a file that it names by a relative path."""
    given = study.file.data
    return isinstance(given, dict) and "path" in given and not Path(given["path"]).expanduser().is_absolute()
