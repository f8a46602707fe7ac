"""What is started once for all tests of the engine."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ablate import identity
from tests.ablate.nodes import Cluster, head


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A head node with one CPU."""
    with head(tmp_path_factory.mktemp("head") / "log") as started:
        yield started


@pytest.fixture(autouse=True)
def own_modules_are_forgotten(tmp_path: Path) -> Iterator[None]:
    """Let the modules of one's own that a test made not be those of the next."""
    yield
    made = [name for name, module in sys.modules.items() if str(tmp_path) in str(getattr(module, "__file__", None))]
    for name in made:
        del sys.modules[name]
    sys.path[:] = [place for place in sys.path if str(tmp_path) not in place]
    identity.IMPORT_FOLDERS -= {place for place in identity.IMPORT_FOLDERS if tmp_path in place.parents}
    identity.fingerprint.cache_clear()  # by names, which the next test may give to other modules
