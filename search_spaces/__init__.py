"""Search spaces: the settings of each method with published defaults, ready studies, claims and recipes."""

from pathlib import Path

STUDIES = Path(__file__).parent / "studies"
CLAIMS = Path(__file__).parent / "claims"
RECIPES = Path(__file__).parent / "recipes"  # claims that compare the published settings of a method
