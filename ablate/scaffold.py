"""Templates of `ablate init`: a commented study file, data, and a user-defined method and encoder."""

from importlib.resources import files
from pathlib import Path

from ablate.errors import UserError

FILES = ("study.yaml", "data.py", "method.py", "encoder.py")


def write_scaffold(folder: Path) -> list[Path]:
    """Write the templates into a folder, and return their paths.

    Raises:
        UserError: one of the files exists already; nothing was written.
    """
    targets = [folder / name for name in FILES]
    for target in targets:
        if target.exists():
            raise UserError(f"init: {target} already exists; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for target in targets:
        target.write_text((files("ablate") / "templates" / target.name).read_text(encoding="utf-8"), encoding="utf-8")
    return targets
