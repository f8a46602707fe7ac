"""The engine: a study file becomes trials, trials run on Ray, rows land on disk."""

from ablate import environment  # noqa: F401  (Ray reads it when it is imported)

__version__ = "0.1.0"
