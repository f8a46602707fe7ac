"""What a study means: tables in, tables, figures and one HTML page out."""

from analysis.tables import load

__all__ = ["load"]
