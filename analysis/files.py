"""A file appears whole or not at all."""

import os
from pathlib import Path
from uuid import uuid4


def write(path: Path, content: bytes) -> None:
    """Write a file, and the folders above it, by writing aside and renaming."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
