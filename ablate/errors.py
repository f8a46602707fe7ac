"""The one error a user can cause, and the search for what was probably meant."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """Wrong input, in one clear sentence: where, the rule, what was found, what was probably meant. Exit code 2."""


def meant(found: object, names: Iterable[str]) -> str:
    """Return the valid names, and a question if one of them is near."""
    known = list(names)
    near = get_close_matches(str(found), known, n=1, cutoff=0.6)
    question = f". Did you mean `{near[0]}`?" if near else ""
    return f"(it has: {', '.join(known) or 'none'}){question}"
