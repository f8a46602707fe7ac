"""The engine: a study file becomes trials, trials run on Ray, rows land on disk."""

__version__ = "0.1.0"
