"""Copying what a study needs on another machine into one folder: this code, user-defined modules and small data."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ablate.identity import PROJECT_PACKAGES, import_closure
from ablate.methods import module_folders, user_encoders
from ablate.study import Study, encoder_entries
from trainables.data.archive import find_archive

MAX_DATA_BYTES = 100 * 2**20  # of data that is uploaded with a job


def stage(studies: Sequence[Study], folder: Path) -> str:
    """Copy what studies of one file need into a folder; return the file's name in it.

    Data at a relative path is copied; an absolute path must exist on the cluster.

    Raises:
        UserError: the data is too large to be uploaded, or outside the study's folder.
    """
    copy_code(folder)
    return copy_study(studies, folder)


def copy_code(folder: Path) -> None:
    """Copy the packages of this project."""
    root = Path(__file__).parent.parent
    for package in PROJECT_PACKAGES:
        shutil.copytree(root / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))


def copy_study(studies: Sequence[Study], folder: Path) -> str:
    """Copy the file of studies with the modules and data that they need; return its name, or raise as `stage`."""
    for study in studies:
        copy_modules(study, folder)
        copy_data(study, folder)
    file = studies[0].document.file
    shutil.copy(file, folder / file.name)
    return file.name


def copy_modules(study: Study, folder: Path) -> None:
    """Copy the user-defined modules of a study that are in its folder or in the working directory.

    They are those that enter the ids of its trials (`ablate.identity`), so that the ids are the same on the cluster.
    """
    search_path = module_folders(study.document.file)
    encoders = [path for _, encoder in encoder_entries(study.file, study.vary) for path in user_encoders(encoder)]
    for name, file in import_closure({path.partition(":")[0] for path in (*study.methods.values(), *encoders)}).items():
        parts = name.split(".")
        if parts[0] not in PROJECT_PACKAGES and any(file.is_relative_to(parent) for parent in search_path):
            target = folder.joinpath(*(parts if file.name == "__init__.py" else parts[:-1]), file.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)


def copy_data(study: Study, folder: Path) -> None:
    """Copy data at a relative path to the same path relative to the copied study file."""
    if not is_data_staged(study):
        return
    archive = find_archive(study.data["path"])
    study_folder = study.document.file.parent.resolve()
    advice = "put it in a folder that all nodes share, and use its absolute path"
    if not archive.is_relative_to(study_folder):
        raise study.document.error(("data", "path"), f"is outside the folder of the study; {advice}")
    if (size := archive.stat().st_size) > MAX_DATA_BYTES:
        problem = f"has {size // 2**20} MB, and {MAX_DATA_BYTES // 2**20} MB is the maximum that is uploaded with a job"
        raise study.document.error(("data", "path"), f"{problem}; {advice}")
    target = folder / archive.relative_to(study_folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    for suffix in (".npz", ".json"):
        shutil.copy(archive.with_suffix(suffix), target.with_suffix(suffix))


def staged_data(study: Study) -> dict[str, Any]:
    """Return the data of a study with the path that it has relative to the copied study file."""
    if not is_data_staged(study):
        return study.data
    path = Path(study.data["path"]).relative_to(study.document.file.parent.resolve())
    return {**study.data, "path": str(path)}


def is_data_staged(study: Study) -> bool:
    """Return whether the data of a study is copied: a file at a relative path."""
    data = study.file.data
    return isinstance(data, dict) and "path" in data and not Path(data["path"]).expanduser().is_absolute()
