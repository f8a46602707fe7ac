"""The page of verdicts: what was claimed, what was found on which data, and what one cannot tell."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from analysis import files
from analysis.record import called
from analysis.tabulation import markdown

ORDER = ("supported", "refuted", "inconclusive", "reported")  # of the table; others come after these
FEW = 4  # numbers below a verdict that are not folded away
INTRODUCTION = """# Claims and verdicts

Made by `{command}` from the store; nothing on this page is written by hand. Each claim is one file of
`search_spaces/claims`, and `ablate run NAME` runs and judges it again.

A verdict compares runs that share seed, data order and initial weights, and says what was found **on the data named
with it**: small sets that come with the package, small models, few epochs. It judges the claim on this test bed, never
the paper. *Supported* and *refuted* mean that the whole 95 % interval lies where the rule wants it, or where the rule
excludes it (with several cells, also after Holm's correction for their number); *inconclusive* that neither is shown;
*reported* that a quantity was measured and nothing tested. Of several cells p is a cell's own where it supports, and
else corrected; intervals are not. A change of an error or a loss is what was gained.
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
    files.write_atomically(file, "\n".join(parts).encode())


def tally(claims: list[Mapping[str, Any]]) -> str:
    """Return how many claims ended how."""
    count = Counter(claim.get("verdict", "not run") for claim in claims)
    words = ", ".join(f"{number} {verdict}" for verdict, number in count.most_common())
    return f"Of {len(claims)} claims: {words}.\n"


def overview(claims: list[Mapping[str, Any]]) -> str:
    """Return the table of all claims, those that ended alike together."""
    ended = sorted(claims, key=lambda claim: (place(claim), claim["name"]))
    rows = ["| verdict | claim | question | found |", "|---|---|---|---|"]
    for claim in ended:
        ended_as = f"{markdown(claim.get('verdict', 'not run'))}{' (quick)' if claim['quick'] else ''}"
        said = (markdown(claim.get(key, "")) for key in ("question", "sentence"))
        link = f"[{claim['name']}](#{claim['name']})"
        rows.append(f"| {' | '.join([ended_as, link, *said])} |")
    return "\n".join(rows) + "\n"


def place(claim: Mapping[str, Any]) -> int:
    """Return where in the table a claim's verdict comes."""
    verdict = claim.get("verdict")
    return ORDER.index(verdict) if verdict in ORDER else len(ORDER) + (verdict is None)


def section(claim: Mapping[str, Any], file: Path) -> str:
    """Return what is known of one claim, and copy its figures."""
    words = {key: markdown(claim[key]) for key in ("question", "source", "says", "support")}
    asked = [f"- Said by {words['source']}: {words['says']}", f"- What counts: {words['support']}"]
    title = [f"## {claim['name']}\n", f"**{words['question']}**\n"]
    if claim["folder"] is None:
        return "\n".join([*title, "Not run yet.\n", *asked, ""])
    verdict = f"**{outcome(claim).capitalize()}.** {markdown(claim['sentence'])}\n"
    pictures = [picture(claim, figure, file) for figure in claim["figures"]]
    remarks = [f"- {markdown(remark)}" for remark in claim["remarks"]]
    measured = claim["effects"] if len(claim["effects"]) > 1 else {}
    listed = [*numbers("All that was measured", measured), *numbers("Beside it", claim["beside"])]
    return "\n".join([*title, verdict, *pictures, *asked, *bed(claim), *remarks, "", *listed])


def picture(claim: Mapping[str, Any], figure: Mapping[str, str], file: Path) -> str:
    """Copy a figure into the folder of the page, and return the link to it, with a text for who cannot see it."""
    copy = file.with_suffix("") / f"{claim['name']}{figure['stem'].removeprefix('verdict')}.png"
    files.write_atomically(copy, (Path(claim["folder"]) / "figures" / f"{figure['stem']}.png").read_bytes())
    words = markdown(f"{figure['title']}: {figure['caption']}")
    return f"![{words}]({copy.relative_to(file.parent).as_posix()})\n"


def bed(claim: Mapping[str, Any]) -> list[str]:
    """Return what the runs were made of, if it is known."""
    if not claim["bed"]:
        return []
    trials = claim["trials"]
    lost = "".join(f", {trials[word]} {word}" for word in ("diverged", "failed") if trials[word])
    return [f"- On {markdown(claim['bed'])}; {trials['planned']} trials{lost}; judged {claim['date'][:10]}"]


def numbers(title: str, decisions: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a list of what was found; much of it is folded away."""
    rows = [f"- {markdown(called(name, one))}: {markdown(one['sentence'])}" for name, one in decisions.items()]
    if not rows:
        return []
    if len(rows) <= FEW:
        return [f"{title}:\n", *rows, ""]
    return [f"<details><summary>{title}, {len(rows)} numbers</summary>\n", *rows, "\n</details>\n"]


def outcome(claim: Mapping[str, Any]) -> str:
    """Return a verdict, and that it was made in a hurry if it was."""
    return f"{markdown(claim.get('verdict', 'not run'))}{' (quick: few seeds and epochs)' if claim['quick'] else ''}"
