"""Output on the terminal: progress while trials run, and tables."""

from ablate.terminal.claims import show_claims, show_verdict
from ablate.terminal.console import print_json
from ablate.terminal.listings import show_checks, show_conversion, show_data, show_methods
from ablate.terminal.plans import show_forecast, show_inventory, show_progress
from ablate.terminal.progress import ProgressDisplay
from ablate.terminal.results import show_comparison, show_outcome, show_replay, show_report

__all__ = [
    "ProgressDisplay",
    "print_json",
    "show_checks",
    "show_claims",
    "show_comparison",
    "show_conversion",
    "show_data",
    "show_forecast",
    "show_inventory",
    "show_methods",
    "show_outcome",
    "show_progress",
    "show_replay",
    "show_report",
    "show_verdict",
]
