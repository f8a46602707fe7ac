"""What varies: the settings of each method with their published defaults, ready studies and claims."""

from pathlib import Path

STUDIES = Path(__file__).parent / "studies"
CLAIMS = Path(__file__).parent / "claims"
