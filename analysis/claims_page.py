"""Write the page of claims and verdicts: what was claimed, what was found on which data, and what is inconclusive."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from analysis import files
from analysis.record import decision_label
from analysis.report_tables import escape_markdown

VERDICT_ORDER = ("supported", "refuted", "inconclusive", "reported")  # in the table; other verdicts come last
MAX_UNFOLDED = 4  # decisions listed below a verdict
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


def write_claims_page(listed: Iterable[Mapping[str, Any]], file: Path, command: str) -> None:
    """Write the page, and its figures into the folder beside it that has the name of the page without suffix.

    Args:
        listed: the claims, each with its text, its verdict (if there is one) and the `folder` of that.
        file: the page, such as docs/claims.md.
        command: that writes the page.
    """
    claims = list(listed)
    blocks = [INTRODUCTION.format(command=command), verdict_counts(claims), overview_table(claims)]
    blocks += [claim_section(claim, file) for claim in claims]
    files.write_atomically(file, "\n".join(blocks).encode())


def verdict_counts(claims: list[Mapping[str, Any]]) -> str:
    """Return how many claims have each verdict."""
    counter = Counter(claim.get("verdict", "not run") for claim in claims)
    counts = ", ".join(f"{number} {verdict}" for verdict, number in counter.most_common())
    return f"Of {len(claims)} claims: {counts}.\n"


def overview_table(claims: list[Mapping[str, Any]]) -> str:
    """Return the table of all claims, ordered by verdict."""
    rows = ["| verdict | claim | question | found |", "|---|---|---|---|"]
    for claim in sorted(claims, key=lambda claim: (verdict_rank(claim), claim["name"])):
        verdict = f"{escape_markdown(claim.get('verdict', 'not run'))}{' (quick)' if claim['quick'] else ''}"
        link = f"[{claim['name']}](#{claim['name']})"
        texts = (escape_markdown(claim.get(key, "")) for key in ("question", "sentence"))
        rows.append(f"| {' | '.join([verdict, link, *texts])} |")
    return "\n".join(rows) + "\n"


def verdict_rank(claim: Mapping[str, Any]) -> int:
    """Return the position of a claim's verdict in the order of the table."""
    verdict = claim.get("verdict")
    return VERDICT_ORDER.index(verdict) if verdict in VERDICT_ORDER else len(VERDICT_ORDER) + (verdict is None)


def claim_section(claim: Mapping[str, Any], file: Path) -> str:
    """Return the section of one claim, and copy its figures."""
    text = {key: escape_markdown(claim[key]) for key in ("question", "source", "says", "support")}
    statement = [f"- Said by {text['source']}: {text['says']}", f"- What counts: {text['support']}"]
    title = [f"## {claim['name']}\n", f"**{text['question']}**\n"]
    if claim["folder"] is None:
        return "\n".join([*title, "Not run yet.\n", *statement, ""])
    verdict = f"**{verdict_label(claim).capitalize()}.** {escape_markdown(claim['sentence'])}\n"
    figures = [copy_figure(claim, figure, file) for figure in claim["figures"]]
    remarks = [f"- {escape_markdown(remark)}" for remark in claim["remarks"]]
    effects = claim["effects"] if len(claim["effects"]) > 1 else {}
    decisions = [*decision_list("All that was measured", effects), *decision_list("Beside it", claim["beside"])]
    return "\n".join([*title, verdict, *figures, *statement, *describe_test_bed(claim), *remarks, "", *decisions])


def copy_figure(claim: Mapping[str, Any], figure: Mapping[str, str], file: Path) -> str:
    """Copy a figure into the folder of the page, and return its link with an alternative text."""
    copy = file.with_suffix("") / f"{claim['name']}{figure['stem'].removeprefix('verdict')}.png"
    files.write_atomically(copy, (Path(claim["folder"]) / "figures" / f"{figure['stem']}.png").read_bytes())
    alternative = escape_markdown(f"{figure['title']}: {figure['caption']}")
    return f"![{alternative}]({copy.relative_to(file.parent).as_posix()})\n"


def describe_test_bed(claim: Mapping[str, Any]) -> list[str]:
    """Return the line on data, model, training and trials of a claim, if they are known."""
    if not claim["bed"]:
        return []
    trials = claim["trials"]
    lost = "".join(f", {trials[status]} {status}" for status in ("diverged", "failed") if trials[status])
    return [f"- On {escape_markdown(claim['bed'])}; {trials['planned']} trials{lost}; judged {claim['date'][:10]}"]


def decision_list(title: str, decisions: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the lines of a list of decisions, folded if there are many."""
    rows = [
        f"- {escape_markdown(decision_label(name, decision))}: {escape_markdown(decision['sentence'])}"
        for name, decision in decisions.items()
    ]
    if not rows:
        return []
    if len(rows) <= MAX_UNFOLDED:
        return [f"{title}:\n", *rows, ""]
    return [f"<details><summary>{title}, {len(rows)} numbers</summary>\n", *rows, "\n</details>\n"]


def verdict_label(claim: Mapping[str, Any]) -> str:
    """Return the verdict of a claim, marked if it is of a quick run."""
    quick = " (quick: few seeds and epochs)" if claim["quick"] else ""
    return escape_markdown(claim.get("verdict", "not run")) + quick
