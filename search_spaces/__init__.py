"""What varies: the settings of each method with their published defaults, ready studies, claims and recipes."""

from pathlib import Path

STUDIES = Path(__file__).parent / "studies"
CLAIMS = Path(__file__).parent / "claims"
RECIPES = Path(__file__).parent / "recipes"  # claims, too: a method's published settings against each other
