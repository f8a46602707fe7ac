"""What a study means: tables in, tables, figures and one HTML page out."""

from analysis.tables import load, load_store, traces

__all__ = ["load", "load_store", "traces"]
