"""The page of verdicts: what was claimed, what was found on which data, and what one cannot tell."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from analysis import files

INTRODUCTION = """# Claims and verdicts

Made by `{command}` from the store; nothing on this page is written by hand. Each claim is one file of
`search_spaces/claims`, and `ablate run NAME` runs and judges it again.

A verdict compares runs that share seed, data order and initial weights, and says what was found **on the data named
with it**: small sets that come with the package, small models, few epochs. It judges the claim on this test bed, never
the paper. *Supported* and *refuted* mean that the whole 95 % interval lies where the rule wants it, or where the rule
excludes it; *inconclusive* that it lies in neither, and nothing can be told; *reported* that a quantity was measured
and nothing tested.
"""


def page(listed: Iterable[Mapping[str, Any]], file: Path, command: str) -> None:
    """Write the page, and the figures into the folder beside it that is named as it is.

    Args:
        listed: the claims, each with what it says, its verdict (if there is one) and the `folder` of that.
        file: the page, such as docs/claims.md.
        command: that makes it.
    """
    claims = list(listed)
    parts = [INTRODUCTION.format(command=command), tally(claims), overview(claims)]
    parts += [section(claim, file) for claim in claims]
    files.write(file, "\n".join(parts).encode())


def tally(claims: list[Mapping[str, Any]]) -> str:
    """Return how many claims ended how."""
    count = Counter(claim.get("verdict", "not run") for claim in claims)
    words = ", ".join(f"{number} {verdict}" for verdict, number in count.most_common())
    return f"Of {len(claims)} claims: {words}.\n"


def overview(claims: list[Mapping[str, Any]]) -> str:
    """Return the table of all claims."""
    rows = ["| claim | question | verdict |", "|---|---|---|"]
    rows += [f"| [{c['name']}](#{c['name']}) | {cell(c['question'])} | {outcome(c)} |" for c in claims]
    return "\n".join(rows) + "\n"


def section(claim: Mapping[str, Any], file: Path) -> str:
    """Return what is known of one claim, and copy its figure."""
    lines = [f"## {claim['name']}\n", f"**{claim['question']}** ({claim['source']})\n", f"Said: {claim['says']}\n"]
    lines += [f"Support: {claim['support']}\n"]
    if claim["folder"] is None:
        return "\n".join([*lines, "Not run yet.\n"])
    trials = claim["trials"]
    lost = "".join(f", {trials[word]} {word}" for word in ("diverged", "failed") if trials[word])
    lines += [f"**{outcome(claim)}.** {claim['sentence']}\n"]
    more = [f"{name}: {one['sentence']}" for name, one in claim["beside"].items()] + claim["remarks"]
    lines += [f"- {each}" for each in more] + [""] * bool(more)
    lines += [f"On {claim['bed']}. {trials['planned']} trials{lost}; judged {claim['date'][:10]}.\n"]
    picture = file.with_suffix("") / f"{claim['name']}.png"
    files.write(picture, (Path(claim["folder"]) / "figures" / "verdict.png").read_bytes())
    lines += [f"![{claim['question']}]({picture.relative_to(file.parent)})\n"]
    return "\n".join(lines)


def outcome(claim: Mapping[str, Any]) -> str:
    """Return a verdict, and that it was made in a hurry if it was."""
    return f"{claim.get('verdict', 'not run')}{' (quick: few seeds and epochs)' if claim['quick'] else ''}"


def cell(text: str) -> str:
    """Return a text that stays within its cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ")
