"""What is started once for all tests of the engine."""

from collections.abc import Iterator

import pytest

from tests.ablate.nodes import Cluster, head


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A head node with one CPU."""
    with head(tmp_path_factory.mktemp("head") / "log") as started:
        yield started
