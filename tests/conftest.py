"""Options of the test command, and patience on a busy machine."""

import pytest
from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--method", help="run the conformance suite on a method of your own, as module:attribute")
