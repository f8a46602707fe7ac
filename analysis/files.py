"""A file appears whole or not at all."""

import os
import socket
from pathlib import Path
from uuid import uuid4


def write(path: Path, content: bytes) -> None:
    """Write a file, and the folders above it, by writing aside, under a name that tells who does, and renaming."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".aside.{os.getpid()}@{socket.gethostname()}.{uuid4().hex}")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
