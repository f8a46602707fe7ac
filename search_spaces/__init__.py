"""What varies: the settings of each method with their published defaults, and ready studies."""

from pathlib import Path

STUDIES = Path(__file__).parent / "studies"
