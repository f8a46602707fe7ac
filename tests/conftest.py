"""Options of the test command."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--method", help="run the conformance suite on a method of your own, as module:attribute")
